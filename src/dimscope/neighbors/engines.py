"""Engines: frozen values that say what is promised of the distances.

Where a search runs (a tree, tiles, a CUDA device) follows from the points and stays
within the promise. Nothing approximate is chosen unasked.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Engine", "Exact"]


@dataclass(frozen=True)
class Engine:
    """Base of the engines."""


@dataclass(frozen=True)
class Exact(Engine):
    """Distances agree with float64 direct differences to a relative 1e-6, certified.

    Examples
    --------
    >>> Exact()
    Exact()
    """
