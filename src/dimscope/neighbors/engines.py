"""Engines: frozen values that say what is promised of the distances.

Where a search runs (a tree, tiles, a CUDA device) follows from the points and stays
within the promise. Nothing approximate is chosen unasked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Approximate", "Engine", "Exact", "Sampled", "Sketched"]


_FEWEST = 100  # of a sample: fewer say little of their own error


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
class Sketched(Engine):
    """As :class:`Exact`, but with a stated probability that any distance is wrong.

    Sketches of the points, a few numbers for each, find those who could be near; direct
    differences in float64 decide. Many times faster for many features, and no slower for data that
    fill their space, where it does what :class:`Exact` does.

    Parameters
    ----------
    failure : float
        Largest probability, over the random signs of the sketches, that any distance of any
        point is wrong.
    seed : int
        Of the signs. Data that were made to fit a seed void the promise.

    Examples
    --------
    >>> from dimscope import TwoNN
    >>> from dimscope.manifolds import embed
    >>> from dimscope.manifolds import sphere
    >>> TwoNN()(embed(sphere(1000, 3), 2000), Sketched()).dimension == TwoNN()(
    ...     embed(sphere(1000, 3), 2000)).dimension
    True
    """

    failure: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.failure < 1:
            raise ValueError(f"failure is {self.failure}; it must be between 0 and 1")


@dataclass(frozen=True)
class Sampled(Engine):
    """The neighbours of a random sample of the points, among all points.

    The scale is that of all points, the cost grows with their number, not with its square. The
    sample grows until the standard error of every estimate is a small enough part of it; each
    distance is as good as those of :class:`Sketched`.

    Parameters
    ----------
    rtol : float
        Largest standard error, over the dimension.
    seed : int
        Of the sample, and of the signs of sketches.
    failure : float
        Largest probability that any distance is wrong.

    Examples
    --------
    >>> from dimscope import TwoNN
    >>> from dimscope.manifolds import torus
    >>> found = TwoNN()(torus(30_000, 3), Sampled(rtol=0.02))
    >>> found.std_error / found.dimension <= 0.02, found.n_queries < 5000
    (True, True)
    """

    rtol: float = 0.01
    seed: int = 0
    failure: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("rtol", "failure"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")

    @property
    def first(self) -> int:
        """Points of the first round: enough if they were independent and none was censored."""
        return max(_FEWEST, math.ceil(self.rtol**-2))


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
