"""Formulas: turn blocks of LaTeX (```math, as on GitHub) into MathML, which needs no script."""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert


def fence(source: str, *_: Any, **__: Any) -> str:
    """Return the MathML of a block; the signature is that of a custom fence of superfences."""
    return convert(source.strip(), display="block")
