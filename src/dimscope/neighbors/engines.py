"""Engines: frozen values that say how accurate the distances are guaranteed to be.

The points determine how the search runs (k-d tree, tiles, CUDA device); the guarantee holds for all
of these. An approximate search is used only if you ask for it.

Examples
--------
A custom engine defines one method:

>>> from dataclasses import dataclass
>>> import numpy as np
>>> @dataclass(frozen=True)
... class BruteForce(Engine):
...     def search(self, points, k):
...         x = points.block(slice(None))
...         distances = np.linalg.norm(x[:, None] - x, axis=-1)
...         order = np.argsort(distances, axis=1)[:, 1 : k + 1]
...         nearest = np.take_along_axis(distances, order, axis=1)
...         return SearchResult(nearest, order, Guarantee.stated("by brute force"))
>>> from dimscope import TwoNN
>>> from dimscope.manifolds import torus
>>> TwoNN()(torus(500, 2), BruteForce()) == TwoNN()(torus(500, 2))
False
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from dimscope.arrays.memory import budget_from, check_budget
from dimscope.errors import check_word
from dimscope.neighbors.approximate import ApproximateSearcher
from dimscope.neighbors.guarantee import Guarantee
from dimscope.neighbors.searchers import (
    TREE_FEATURES,
    ScreenedSearcher,
    Searcher,
    SearchResult,
    exact_searcher,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.points import Home
    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

__all__ = [
    "Approximate", "ApproximateMethod", "Engine", "Exact", "Guarantee", "Sampled", "SearchResult",
    "Sketched", "default_engine",
]  # fmt: skip

ApproximateMethod = Literal["pynndescent", "faiss-ivf", "faiss-hnsw"]

_UNASKED = 1e-9  # largest probability of an error that is accepted unasked
_FEWEST = 100  # points of a sample: fewer say little of their own error


@dataclass(frozen=True)
class Engine:
    """Base class of the engines; a subclass is a frozen dataclass that defines :meth:`search`.

    Engines that keep state between searches define :meth:`searcher` instead.
    """

    homes: ClassVar[tuple[Home, ...]] = ("memory",)
    """Where points may lie that this engine searches."""

    @property
    def sampling(self) -> Sampled | None:
        """The engine itself if it searches the neighbours of a sample only; otherwise None."""
        return None

    def search(self, points: Points, k: int) -> SearchResult:
        """Find the k nearest neighbours of every point.

        Parameters
        ----------
        points : Points of shape (n_points, n_features)
            Checked and distinct; ``points.block(rows)`` reads their values.
        k : int
            Less than n_points.

        Returns
        -------
        SearchResult
        """
        return self.searcher(points).nearest(k)

    def searcher(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> Searcher:
        """Prepare points for searching.

        Parameters
        ----------
        points : Points
            Checked and distinct.
        progress : callable, optional
        exclusion : Exclusion, optional
            Pairs of points that are not neighbours. It is passed only if the user excludes some; an
            engine whose method lacks this parameter is then refused.
        """
        if type(self).search is Engine.search:
            raise TypeError(f"{type(self).__name__} must define search or searcher")
        return _Searches(self, points, exclusion)


class _Searches:
    """Searcher of an engine that writes :meth:`Engine.search` alone."""

    def __init__(self, engine: Engine, points: Points, exclusion: Exclusion | None) -> None:
        self._engine, self._points, self._exclusion = engine, points, exclusion

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest neighbours of every point."""
        assert rows is None, "an engine that samples must define searcher"
        if self._exclusion is None:
            return self._engine.search(self._points, k)
        return self._nearest_of_others(k, self._exclusion)

    def _nearest_of_others(self, k: int, exclusion: Exclusion) -> SearchResult:
        """Search so many neighbours that k of them belong to other groups, and drop the others."""
        wide = k + int(exclusion.sizes.max()) - 1
        n_bytes = 2 * 8 * wide * self._points.n_points
        name = type(self._engine).__name__
        check_budget(
            n_bytes, budget_from(None), f"searching {wide} neighbours of each point with {name}"
        )
        result = self._engine.search(self._points, wide)
        barred = exclusion.groups[result.indices] == exclusion.groups[:, None]
        order = np.argsort(barred, axis=1, kind="stable")[:, :k]
        return replace(
            result,
            distances=np.take_along_axis(result.distances, order, axis=1),
            indices=np.take_along_axis(result.indices, order, axis=1),
        )

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the exact k nearest neighbours with the same label, for the given points."""
        searcher = exact_searcher(self._points, None, self._exclusion)
        return searcher.nearest_with_label(queries, labels, k)


@dataclass(frozen=True)
class Exact(Engine):
    """Certified exact distances, within a relative 1e-6 of direct float64 differences.

    Examples
    --------
    >>> Exact()
    Exact()
    """

    homes: ClassVar[tuple[Home, ...]] = ("memory", "device", "dask")

    def searcher(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> Searcher:
        """Prepare points for an exact search."""
        return exact_searcher(points, progress, exclusion)


@dataclass(frozen=True)
class Sketched(Engine):
    """Exact distances, as from :class:`Exact`, except with a small probability that you choose.

    Sketches (a few numbers per point) rule out points that are too far away; direct differences in
    float64 decide among the rest. How many numbers pay is predicted from the points themselves. For
    data that fill their space, where sketches rule out little, and for few points, the search is
    that of :class:`Exact`, and the guarantee says so.

    Parameters
    ----------
    failure : float
        Upper bound on the probability, over the random signs of the sketches, that at least one
        distance of a search is wrong. Probabilities of several searches add up.
    seed : int
        Seed of the random signs. The guarantee does not hold for data constructed to fit a seed.

    Examples
    --------
    >>> from dimscope import TwoNN
    >>> from dimscope.manifolds import embed, sphere
    >>> TwoNN()(embed(sphere(1000, 3), 2000), Sketched()).dimension == TwoNN()(
    ...     embed(sphere(1000, 3), 2000)).dimension
    True
    """

    homes: ClassVar[tuple[Home, ...]] = ("memory", "device")

    failure: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        _check_fraction("failure", self.failure)

    def searcher(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> Searcher:
        """Prepare points for a sketched search, or for an exact one if that is as fast."""
        return _sketched_or_exact(points, self.failure, self.seed, progress, exclusion)


@dataclass(frozen=True)
class Sampled(Engine):
    """The neighbours of a random sample of the points, searched among all points.

    The dimension is measured at the scale of all points, but the cost grows linearly with their
    number, not quadratically. The sample grows until the standard error of every estimate is at
    most ``rtol`` times the dimension. The distances have the same guarantee as those of
    :class:`Sketched`.

    Parameters
    ----------
    rtol : float
        Largest standard error, relative to the dimension.
    seed : int
        Seed of the sample and of the random signs of the sketches.
    failure : float
        Upper bound on the probability that at least one distance is wrong.

    Examples
    --------
    >>> from dimscope import TwoNN
    >>> from dimscope.manifolds import torus
    >>> estimate = TwoNN()(torus(30_000, 3), Sampled(rtol=0.02))
    >>> estimate.std_error / estimate.dimension <= 0.02, estimate.n_queries < 5000
    (True, True)
    """

    homes: ClassVar[tuple[Home, ...]] = ("memory", "device")

    rtol: float = 0.01
    seed: int = 0
    failure: float = 1e-6

    def __post_init__(self) -> None:
        _check_fraction("rtol", self.rtol)
        _check_fraction("failure", self.failure)

    @property
    def sampling(self) -> Sampled:
        """Return the engine itself."""
        return self

    @property
    def first(self) -> int:
        """Size of the first sample: enough for ``rtol`` if all points are independent."""
        return max(_FEWEST, math.ceil(self.rtol**-2))

    def searcher(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> Searcher:
        """Prepare points for a sketched search, or for an exact one if that is as fast."""
        return _sketched_or_exact(points, self.failure, self.seed, progress, exclusion)


@dataclass(frozen=True)
class Approximate(Engine):
    """Approximate neighbours from a library, for a million points or more, with measured recall.

    Parameters
    ----------
    method : {"pynndescent", "faiss-ivf", "faiss-hnsw"}
        Nearest-neighbour descent; an inverted file over cells (IVF); or an HNSW graph.
    seed : int
        Seed of the library, and of the choice of rows on which the recall is measured.
    sample : int
        Number of rows on which the recall is measured.
    parameters : dict
        Parameters of the library, by method: those of ``pynndescent.NNDescent``; ``nlist`` and
        ``nprobe``; or ``M``, ``efConstruction`` and ``efSearch``.

    Raises
    ------
    ValueError
        If the method is unknown, or ``sample`` is less than 1.

    Notes
    -----
    The distances to the neighbours that were found are exact: they are recomputed by direct
    differences in float64. A missed neighbour makes a distance too large. The recall is the
    fraction of the true nearest neighbours that were found. It is measured against an exact search
    on the sampled rows, and reported in the guarantee of every result.

    Examples
    --------
    >>> Approximate("faiss-ivf")
    Approximate(method='faiss-ivf', seed=0, sample=500, parameters={})
    """

    method: ApproximateMethod = "pynndescent"
    seed: int = 0
    sample: int = 500
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_word("method", self.method, ApproximateMethod)
        if self.sample < 1:
            raise ValueError(f"sample is {self.sample}; measuring the recall needs at least 1 row")

    def searcher(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> Searcher:
        """Prepare points for a search with the library."""
        return ApproximateSearcher(
            points, self.method, self.seed, self.sample, self.parameters, progress, exclusion
        )


def default_engine(points: Points) -> Engine:
    """Return the engine that searches points unless the user gives another.

    Sketches measure more pairs of points than an exact search, so only points whose single rows are
    cheap to read are searched with them.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> default_engine(as_points([[0.0], [1.0], [3.0]]))
    Sketched(failure=1e-09, seed=0)
    """
    may_sketch = points.home == "memory" and points.has_near_rows
    return Sketched(_UNASKED) if may_sketch else Exact()


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1")


def _sketched_or_exact(
    points: Points,
    failure: float,
    seed: int,
    progress: Progress | None,
    exclusion: Exclusion | None,
) -> Searcher:
    if points.home != "memory" or points.n_features <= TREE_FEATURES:
        return exact_searcher(points, progress, exclusion)
    return ScreenedSearcher(points, progress, exclusion, failure, seed)
