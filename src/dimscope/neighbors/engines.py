"""Engines: frozen values that say what is promised of the distances.

Where a search runs (a tree, tiles, a CUDA device) follows from the points and stays
within the promise. Nothing approximate is chosen unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Approximate", "Engine", "Exact"]


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


@dataclass(frozen=True)
class Approximate(Engine):
    """Neighbours found by a library, for a million points and more; their recall is measured.

    Parameters
    ----------
    method : {"pynndescent", "faiss-ivf", "faiss-hnsw"}
        Descent on the graph of neighbours; lists of the nearest cells; a navigable graph.
    seed : int
        Of the library's draws, and of the rows on which the recall is measured.
    sample : int
        Number of those rows.
    parameters : dict
        Of the library: of ``pynndescent.NNDescent``, or ``nlist`` and ``nprobe``, or ``M``,
        ``efConstruction`` and ``efSearch``.

    Raises
    ------
    ValueError
        If there is no such method, or the sample is empty.

    Notes
    -----
    The distances to the neighbours that were found are exact: they are computed again by
    direct differences in float64. A neighbour that was missed makes a distance too large. The
    recall is the fraction of the true nearest that were found; it is measured against an exact
    search for the sampled rows and stated in the guarantee of every result.

    Examples
    --------
    >>> Approximate("faiss-ivf")
    Approximate(method='faiss-ivf', seed=0, sample=500, parameters={})
    """

    method: str = "pynndescent"
    seed: int = 0
    sample: int = 500
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        methods = ("pynndescent", "faiss-ivf", "faiss-hnsw")
        if self.method not in methods:
            raise ValueError(f"method is {self.method!r}, but must be one of {', '.join(methods)}")
        if self.sample < 1:
            raise ValueError(f"sample is {self.sample}, but the recall needs at least one row")
