"""Searchers: what finds neighbours among points, wherever the points lie.

An engine says what is promised; its searcher does the work. :func:`exact_searcher` chooses by the
points' home: a k-d tree for few features, certified tiles for many, tiles of tensors on a CUDA
device, or tasks for a dask array.
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
from dimscope.neighbors.cuda import DeviceTiles
from dimscope.neighbors.dask import dask_among, dask_neighbors
from dimscope.neighbors.guarantee import Guarantee
from dimscope.neighbors.kd_tree import tree_neighbors
from dimscope.neighbors.tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress

__all__ = ["TREE_FEATURES", "KernelSearcher", "SearchResult", "Searcher", "exact_searcher"]

TREE_FEATURES = 16  # measured: above, tiles are faster even on data of low dimension
_FEW = 4  # one side of a float64 product costs as much as this many of a symmetric one


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The neighbours that a search found, and what it promises of them.

    Parameters
    ----------
    distances : array of shape (n, k)
        Ascending in each row; the point itself is left out.
    indices : array of int, shape (n, k)
        Positions among the points.
    guarantee : Guarantee
    details : Mapping
        What else the provenance should record; only values that JSON holds.
    """

    distances: NDArray[np.float64]
    indices: NDArray[np.intp]
    guarantee: Guarantee
    details: Mapping[str, Any] = field(default_factory=dict)


class Searcher(Protocol):
    """Points that are ready to be searched."""

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest others of every point, or of some."""

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest others of some points that have the same label.

        Parameters
        ----------
        queries : array of int, shape (m,)
        labels : array of int, shape (n_points,)
            -1 for points that are not searched.
        k : int

        Returns
        -------
        distances, indices : arrays of shape (m, k)
        """


class TreeSearcher:
    """Search by a k-d tree: exact, and near linear in the points where features are few.

    Parameters
    ----------
    points : Points
        Distinct.
    progress : callable, optional
    """

    def __init__(self, points: Points, progress: Progress | None = None) -> None:
        self._points, self._progress = points, progress

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest others of every point, or of some."""
        distances, indices = tree_neighbors(self._points, k, self._progress, rows)
        return SearchResult(distances, indices, Guarantee.exact(), {"where": "tree"})

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest others of some points that have the same label."""
        _check_group_sizes(queries, labels, k)
        return _search_groups(self._points, None, None, queries, labels, k)


class KernelSearcher:
    """Search by a kernel of lower bounds, certified.

    Parameters
    ----------
    points : Points
        Distinct.
    kernel : Kernel
        Over the same points.
    """

    def __init__(self, points: Points, kernel: Kernel) -> None:
        self._points, self._kernel = points, kernel
        self._listed: Listed | None = None

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest others of every point, or of some."""
        distances, indices, effort, listed = certified_neighbors(self._kernel, k, rows)
        if rows is None:
            self._listed = listed
        guarantee = Guarantee.exact(self._kernel.failure)
        return SearchResult(distances, indices, guarantee, {"where": self._kernel.where, **effort})

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest others of some points that have the same label."""
        _check_group_sizes(queries, labels, k)
        return _search_groups(self._points, self._kernel, self._listed, queries, labels, k)


class DaskSearcher:
    """Search a dask array by tasks over pairs of chunks.

    Parameters
    ----------
    points : DaskPoints
        Distinct.
    progress : callable, optional
    """

    def __init__(self, points: Any, progress: Progress | None = None) -> None:
        self._points, self._progress = points, progress

    def nearest(self, k: int, rows: NDArray[np.intp] | None = None) -> SearchResult:
        """Find the k nearest others of every point; samples are not drawn from dask arrays."""
        assert rows is None, "engines that sample refuse dask arrays"
        distances, indices = dask_neighbors(self._points, k, self._progress)
        return SearchResult(distances, indices, Guarantee.exact(), {"where": "dask"})

    def nearest_with_label(
        self, queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest others of some points that have the same label."""
        _check_group_sizes(queries, labels, k)
        return dask_among(self._points, queries, labels, k)


def _memory_searcher(points: Points, progress: Progress | None) -> Searcher:
    if points.n_features <= TREE_FEATURES:
        return TreeSearcher(points, progress)
    return KernelSearcher(points, Tiles(points, progress))


def _device_searcher(points: Any, progress: Progress | None) -> Searcher:
    return KernelSearcher(points, DeviceTiles(points, progress))


_EXACT: dict[str, Callable[[Any, Progress | None], Searcher]] = {
    "memory": _memory_searcher,
    "device": _device_searcher,
    "dask": DaskSearcher,
}


def exact_searcher(points: Points, progress: Progress | None = None) -> Searcher:
    """Return the exact searcher for points, by where they lie and how many features they have.

    Parameters
    ----------
    points : Points
        Distinct.
    progress : callable, optional

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> exact_searcher(as_points([[0.0], [1.0], [3.0]])).nearest(2).distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    return _EXACT[points.home](points, progress)


def _check_group_sizes(queries: NDArray[np.intp], labels: NDArray[np.intp], k: int) -> None:
    too_few = np.bincount(labels[labels >= 0])[labels[queries]] <= k
    if too_few.any():
        size = int((labels == labels[queries[too_few.argmax()]]).sum())
        raise DegeneratePoints(f"{size} chosen points do not have {k} neighbours each")


def _search_groups(
    points: Points,
    kernel: Kernel | None,
    listed: Listed | None,
    queries: NDArray[np.intp],
    labels: NDArray[np.intp],
    k: int,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Take the k nearest with the same label from the lists of all, or search each group."""
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
            result = exact_searcher(points.select(among)).nearest(k)
            place = np.searchsorted(among, queries[mine])
            distances[mine], indices[mine] = result.distances[place], among[result.indices[place]]
        else:
            group_kernel = Tiles(points) if kernel is None else kernel
            squares, indices[mine], _ = certified_rows(group_kernel, queries[mine], k, among)
            distances[mine] = np.sqrt(squares) / group_kernel.unit
    return distances, indices
