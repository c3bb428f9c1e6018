"""Reproduce the experiments of papers with the public API of dimscope."""
