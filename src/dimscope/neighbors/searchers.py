"""Searchers: the objects that find neighbours, one for each home of the points.

An engine states the guarantee; its searcher does the work. :func:`exact_searcher` chooses the
searcher by the home of the points: in memory, a k-d tree for few features and certified tiles for
many; tensor tiles on a CUDA device; tasks for a dask array.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dimscope.errors import DegeneratePoints
from dimscope.neighbors.certificate import (
    Kernel,
    Listed,
    certified_among,
    certified_neighbors,
    certified_rows,
)
from dimscope.neighbors.codes import Codes
from dimscope.neighbors.cuda import DeviceTiles
from dimscope.neighbors.dask import dask_among, dask_neighbors
from dimscope.neighbors.guarantee import Guarantee
from dimscope.neighbors.kd_tree import tree_neighbors, tree_neighbors_of_others
from dimscope.neighbors.pilot import chosen_screen
from dimscope.neighbors.sketches import Sketch, Sketcher, Widths
from dimscope.neighbors.survivors import Survivors
from dimscope.neighbors.tiles import Tiles
from dimscope.values import by_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

__all__ = [
    "TREE_FEATURES",
    "KernelSearcher",
    "ScreenedSearcher",
    "SearchResult",
    "Searcher",
    "exact_searcher",
]

TREE_FEATURES = 16  # measured: above, tiles are faster even on data of low dimension
_FEWEST_SKETCHED = 1000  # among fewer points, an exact search takes as long
_FEW = 4  # one side of a float64 product costs as much as this many of a symmetric one


@by_value
@dataclass(frozen=True, eq=False)
class SearchResult:
    """The neighbours that a search found, with their guarantee.

    Parameters
    ----------
    distances : array of shape (n, k)
        Ascending in each row; the point itself is left out.
    indices : array of int, shape (n, k)
        Positions among the points.
    guarantee : Guarantee
    details : Mapping
        Further details to record in the provenance; values must be JSON-compatible.
    """

    distances: NDArray[np.float64]
    indices: NDArray[np.intp]
    guarantee: Guarantee
    details: Mapping[str, Any] = field(default_factory=dict)


class Searcher(Protocol):
    """Points prepared for searching."""

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest neighbours of all points, or of the given ones."""

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours with the same label, for the given points.

        Parameters
        ----------
        queries : array of int, shape (m,)
        labels : array of int, shape (n_points,)
            Label of every point; points with label -1 are not searched.
        k : int

        Returns
        -------
        distances, indices : arrays of shape (m, k)
        """


class TreeSearcher:
    """Search with a k-d tree: exact, and fast if there are few features.

    Parameters
    ----------
    points : Points
        Distinct points.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.
    """

    def __init__(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> None:
        self._points, self._progress, self._exclusion = points, progress, exclusion

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest neighbours of all points, or of the given ones."""
        if self._exclusion is None:
            distances, indices = tree_neighbors(self._points, k, self._progress, rows)
        else:
            distances, indices = tree_neighbors_of_others(
                self._points, k, self._exclusion, self._progress, rows
            )
        return SearchResult(distances, indices, Guarantee.exact(), {"where": "tree"})

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours with the same label, for the given points."""
        _check_sizes(queries, labels, k, self._exclusion)
        return _search_labels(self._points, None, None, queries, labels, k, self._exclusion)


class KernelSearcher:
    """Certified search with a kernel of lower bounds.

    Parameters
    ----------
    points : Points
        Distinct points.
    kernel : Kernel
        Kernel of the same points.
    """

    def __init__(self, points: Points, kernel: Kernel) -> None:
        self._points, self._kernel = points, kernel
        self._listed: Listed | None = None

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest neighbours of all points, or of the given ones."""
        distances, indices, effort, listed = certified_neighbors(self._kernel, k, rows)
        if rows is None:
            self._listed = listed
        return SearchResult(
            distances, indices, Guarantee.exact(), {"where": self._kernel.where, **effort}
        )

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours with the same label, for the given points."""
        exclusion = self._kernel.exclusion
        _check_sizes(queries, labels, k, exclusion)
        return _search_labels(
            self._points, self._kernel, self._listed, queries, labels, k, exclusion
        )


class ScreenedSearcher:
    """Search with codes or sketches, or with products of all points if these are faster.

    Parameters
    ----------
    points : Points
        Distinct points.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.
    failure : float, optional
        Probability that any distance is wrong, if sketches are used; None, the default, for a
        search without sketches, which is exact.
    seed : int
    sketch : Sketch, optional
        A sketch of the same points, to be used in any case.
    """

    def __init__(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
        failure: float | None = None,
        seed: int = 0,
        sketch: Sketch | None = None,
    ) -> None:
        self._points, self._failure, self._seed = points, failure, seed
        self._progress = progress
        self._tiles = Tiles(points, progress, exclusion)
        self._exact = KernelSearcher(points, self._tiles)
        self._screen: Sketch | Codes | None = sketch
        self._is_decided = sketch is not None

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest neighbours of all points, or of the given ones."""
        if not self._is_decided:
            self._screen, self._is_decided = self._chosen(k, rows), True
        if self._screen is None:
            return self._exact.nearest(k, rows)
        survivors = Survivors(self._tiles, self._screen, k, rows, self._progress)
        squares, indices = survivors.search()
        open_rows = np.flatnonzero(survivors.is_open)
        if 2 * len(open_rows) > len(survivors.rows):
            # half of a product of all points is as much as that of half of them with all
            return self._exact.nearest(k, rows)
        distances, n_pairs = np.sqrt(squares) / self._tiles.unit, survivors.n_measured
        if len(open_rows):
            result = self._exact.nearest(k, survivors.rows[open_rows])
            distances[open_rows], indices[open_rows] = result.distances, result.indices
            n_pairs += result.details["pairs"]
        failure = self._failure if isinstance(self._screen, Sketch) else None
        guarantee = Guarantee.exact() if failure is None else Guarantee.exact(failure)
        details = {"where": self._screen.where, "pairs": n_pairs, "open_rows": len(open_rows)}
        return SearchResult(distances, indices, guarantee, details)

    def _chosen(self, k: int, rows: NDArray[np.intp] | None) -> Sketch | Codes | None:
        screen = chosen_screen(self._tiles, k, rows, self._failure, self._seed)
        if not isinstance(screen, Widths):
            return screen
        assert self._failure is not None
        sketcher = Sketcher(self._points, self._tiles.unit, screen, self._failure, self._seed)
        return sketcher.sketch(self._points, self._progress)

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours with the same label, for the given points."""
        if not isinstance(self._screen, Sketch):
            return self._exact.nearest_with_label(queries, labels, k)
        exclusion = self._tiles.exclusion
        _check_sizes(queries, labels, k, exclusion)
        return _search_labels(
            self._points, self._tiles, None, queries, labels, k, exclusion, self._among
        )

    def _among(self, among: NDArray[np.intp], exclusion: Exclusion | None, k: int) -> SearchResult:
        """Search some of the points, with their sketches if there are many."""
        points = self._points.select(among)
        if not isinstance(self._screen, Sketch) or len(among) < _FEWEST_SKETCHED:
            return exact_searcher(points, None, exclusion).nearest(k)
        sketch = self._screen.select(among)
        return ScreenedSearcher(points, None, exclusion, self._failure, self._seed, sketch).nearest(
            k
        )


class DaskSearcher:
    """Search a dask array with one task per pair of chunks.

    Parameters
    ----------
    points : DaskPoints
        Distinct points.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.
    """

    def __init__(
        self, points: Any, progress: Progress | None = None, exclusion: Exclusion | None = None
    ) -> None:
        self._points, self._progress, self._exclusion = points, progress, exclusion

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest neighbours of every point; sampling a dask array is not supported."""
        assert rows is None, "engines that sample do not accept dask arrays"
        distances, indices = dask_neighbors(self._points, k, self._progress, self._exclusion)
        return SearchResult(distances, indices, Guarantee.exact(), {"where": "dask"})

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours with the same label, for the given points."""
        _check_sizes(queries, labels, k, self._exclusion)
        return dask_among(self._points, queries, labels, k, self._exclusion)


def _memory_searcher(
    points: Points, progress: Progress | None, exclusion: Exclusion | None
) -> Searcher:
    if points.n_features <= TREE_FEATURES:
        return TreeSearcher(points, progress, exclusion)
    if not points.has_near_rows:  # pairs that survive are read row by row
        return KernelSearcher(points, Tiles(points, progress, exclusion))
    return ScreenedSearcher(points, progress, exclusion)


def _device_searcher(
    points: Any, progress: Progress | None, exclusion: Exclusion | None
) -> Searcher:
    return KernelSearcher(points, DeviceTiles(points, progress, exclusion))


_EXACT: dict[str, Callable[[Any, Progress | None, Exclusion | None], Searcher]] = {
    "memory": _memory_searcher,
    "device": _device_searcher,
    "dask": DaskSearcher,
}


def exact_searcher(
    points: Points, progress: Progress | None = None, exclusion: Exclusion | None = None
) -> Searcher:
    """Return the exact searcher that suits the home and the number of features of the points.

    Parameters
    ----------
    points : Points
        Distinct points.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> exact_searcher(as_points([[0.0], [1.0], [3.0]])).nearest(2).distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    return _EXACT[points.home](points, progress, exclusion)


def _check_sizes(
    queries: NDArray[np.intp], labels: NDArray[np.intp], k: int, exclusion: Exclusion | None
) -> None:
    """Refuse labels that leave a query point with fewer than k possible neighbours."""
    n_same = np.bincount(labels[labels >= 0])[labels[queries]]
    n_barred, other = np.ones(len(queries), dtype=np.intp), ""
    if exclusion is not None:
        # of the points with the label of a query, those of its group
        keys = labels * np.intp(len(exclusion.sizes)) + exclusion.groups
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        n_barred, other = counts[inverse[queries]], " with another id"
    too_few = n_same - n_barred < k
    if too_few.any():
        size = int(n_same[too_few.argmax()])
        raise DegeneratePoints(f"{size} chosen points are too few for {k} neighbours{other} each")


def _search_labels(
    points: Points,
    kernel: Kernel | None,
    listed: Listed | None,
    queries: NDArray[np.intp],
    labels: NDArray[np.intp],
    k: int,
    exclusion: Exclusion | None,
    search_among: Callable[[NDArray[np.intp], Exclusion | None, int], SearchResult] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the k nearest with the same label, from full candidate lists if these suffice."""
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.intp)
    open_queries = np.arange(len(queries))
    if kernel is not None and listed is not None:
        squares, indices, cleared = certified_among(kernel, listed, queries, labels, k)
        distances = np.sqrt(squares) / kernel.unit
        open_queries = np.flatnonzero(~cleared)
    open_labels = labels[queries[open_queries]]
    for label in np.unique(open_labels):
        among, mine = np.flatnonzero(labels == label), open_queries[open_labels == label]
        if _FEW * len(mine) > len(among):
            inside = None if exclusion is None else exclusion.among(among)
            if search_among is None:
                result = exact_searcher(points.select(among), None, inside).nearest(k)
            else:
                result = search_among(among, inside, k)
            place = np.searchsorted(among, queries[mine])
            distances[mine], indices[mine] = result.distances[place], among[result.indices[place]]
        else:
            own_kernel = Tiles(points, exclusion=exclusion) if kernel is None else kernel
            squares, indices[mine], _ = certified_rows(own_kernel, queries[mine], k, among)
            distances[mine] = np.sqrt(squares) / own_kernel.unit
    return distances, indices
