"""Experiments of papers, made again with the public API of dimscope."""
