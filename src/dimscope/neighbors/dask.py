"""Dask: the exact search of a dask array, with one task per pair of chunks.

The rows are cut into chunks. One task per chunk finds the nearest neighbours within the chunk. Then
one task per pair of chunks finds, for the rows of each chunk, any rows of the other chunk that are
nearer than those found so far (:func:`~dimscope.neighbors.certificate.certified_across`). So every
pair of rows is compared once, and no task holds more than two chunks. The neighbour tables of a
chunk are merged pairwise, in a tree, keeping the k smallest distances. Every task is pure: its
result depends on its arguments only.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.dask_points import chunk_points, client_in_force
from dimscope.arrays.numpy_points import NumpyPoints
from dimscope.arrays.threads import alone
from dimscope.neighbors.certificate import certified_across, certified_neighbors
from dimscope.neighbors.exclusion import Exclusion
from dimscope.neighbors.tiles import Tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.dask_points import DaskPoints
    from dimscope.arrays.threads import Progress

    Table = tuple[NDArray[np.float64], NDArray[np.intp]]

__all__ = ["dask_among", "dask_neighbors"]
_MERGED = 8  # tables that one task merges
_QUERIES = 1 << 26  # bytes of points sent to every chunk


def dask_neighbors(
    points: DaskPoints,
    k: int,
    progress: Progress | None = None,
    exclusion: Exclusion | None = None,
) -> Table:
    """Find the k nearest neighbours of every point.

    Parameters
    ----------
    points : DaskPoints of shape (n_points, n_features)
        Distinct rows.
    k : int
        At most the number of points that each point may have as neighbours.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.

    Returns
    -------
    distances, indices : arrays of shape (n_points, k)

    Examples
    --------
    >>> import dask.array as da
    >>> from dimscope.arrays.dask_points import dask_points
    >>> points = dask_points(da.from_array(np.array([[0.0], [1.0], [3.0]])))
    >>> dask_neighbors(points, 2)[0].tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    dask = sys.modules["dask"]
    within, across, merged = (dask.delayed(f) for f in (_within, _across, _merged))
    edges, rows = points.edges, points.rows
    # positions among the distinct points at which each chunk starts
    starts = edges if rows is None else np.searchsorted(rows, edges)
    groups = []
    for i, chunk in enumerate(points.chunks()):
        kept = None
        if rows is not None and starts[i + 1] - starts[i] < edges[i + 1] - edges[i]:
            in_chunk = rows[starts[i] : starts[i + 1]] - edges[i]
            kept = dask.delayed(in_chunk, traverse=False)
        if starts[i + 1] > starts[i]:
            barred = None
            if exclusion is not None:
                inside = exclusion.groups[starts[i] : starts[i + 1]]
                barred = dask.delayed(inside, traverse=False)
            groups.append((chunk, kept, int(starts[i]), barred))
    tables = [[within(group, points.max_abs, k)] for group in groups]
    for a in range(len(groups)):
        for b in range(a + 1, len(groups)):
            both = across(groups[a], groups[b], tables[a][0], tables[b][0], points.max_abs, k)
            tables[a].append(both[0])
            tables[b].append(both[1])
    results = _computed([_tree(chunk_tables, merged, k) for chunk_tables in tables], progress)
    distances, indices = (np.concatenate(parts) for parts in zip(*results, strict=True))
    return distances, indices


def dask_among(
    points: DaskPoints,
    queries: NDArray[np.intp],
    labels: NDArray[np.intp],
    k: int,
    exclusion: Exclusion | None = None,
) -> Table:
    """Find the k nearest neighbours with the same label, for the given points.

    Parameters
    ----------
    points : DaskPoints of shape (n_points, n_features)
        Distinct rows.
    queries : array of int, shape (m,)
    labels : array of int, shape (n_points,)
    k : int
        Less than the number of points of each label.
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.

    Returns
    -------
    distances, indices : arrays of shape (m, k)

    Examples
    --------
    >>> import dask.array as da
    >>> from dimscope.arrays.dask_points import dask_points
    >>> points = dask_points(da.from_array(np.array([[0.0], [1.0], [3.0], [7.0]])))
    >>> dask_among(points, np.array([0]), np.array([5, -1, 5, 5]), 2)[0].tolist()
    [[3.0, 7.0]]
    """
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.intp)
    step = max(1, _QUERIES // (points.n_features * points.dtype.itemsize))
    for label in np.unique(labels[queries]):
        mine = np.flatnonzero(labels[queries] == label)
        mine = mine[np.argsort(queries[mine])]  # chunks are read in their order
        among = np.flatnonzero(labels == label)
        for start in range(0, len(mine), step):
            batch = mine[start : start + step]
            distances[batch], indices[batch] = _search_batch(
                points, queries[batch], among, k, exclusion
            )
    return distances, indices


def _search_batch(
    points: DaskPoints,
    queries: NDArray[np.intp],
    among: NDArray[np.intp],
    k: int,
    exclusion: Exclusion | None,
) -> Table:
    dask = sys.modules["dask"]
    beyond, merged = dask.delayed(_beyond), dask.delayed(_merged)
    rows = among if points.rows is None else points.rows[among]
    edges, values = points.edges, dask.delayed(points.block(queries), traverse=False)
    places = np.searchsorted(rows, edges)
    # without an exclusion, each point is a group of its own, which keeps it from finding itself
    groups = np.arange(points.n_points) if exclusion is None else exclusion.groups
    tables = []
    for i, chunk in enumerate(points.chunks()):
        inside = slice(places[i], places[i + 1])
        if inside.start < inside.stop:
            kept = rows[inside] - edges[i]
            barred = np.concatenate([groups[queries], groups[among[inside]]])
            tables.append(beyond(values, chunk, kept, among[inside], points.max_abs, k, barred))
    ((distances, indices),) = _computed([_tree(tables, merged, k)], None)
    return distances, indices


def _computed(tasks: list[Any], progress: Progress | None) -> Any:
    """Compute tasks on the active scheduler."""
    dask, client = sys.modules["dask"], client_in_force()
    if progress is None:
        return dask.compute(*tasks)
    if client is None:

        def done(key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
            finished, left = len(state["finished"]), ("waiting", "ready", "running")
            progress(
                "searching", finished / (finished + sum(len(state[kind]) for kind in left)), 1.0
            )

        with sys.modules["dask.callbacks"].Callback(posttask=done):
            return dask.compute(*tasks)
    futures = client.compute(tasks)
    for number, _ in enumerate(sys.modules["distributed"].as_completed(futures)):
        progress("searching", (number + 1) / len(tasks), 1.0)
    return client.gather(futures)


def _tree(tables: list[Any], merged: Any, k: int) -> Any:
    while len(tables) > 1:
        tables = [merged(tables[i : i + _MERGED], k) for i in range(0, len(tables), _MERGED)]
    return tables[0]


def _within(group: Any, max_abs: float, k: int) -> Table:
    """Find the k nearest rows within a chunk; infinite where there are fewer than k."""
    chunk, kept, start, barred = group
    with alone():
        points = chunk_points(chunk, max_abs, kept)
        n = points.n_points
        if barred is not None:
            # rows may be left with fewer than k neighbours, or none
            rows = points.block(slice(None))
            return _beyond(
                rows, rows, None, np.arange(start, start + n), max_abs, k, np.tile(barred, 2)
            )
        distances, indices = np.full((n, k), np.inf), np.full((n, k), -1, dtype=np.intp)
        width = min(k, n - 1)
        if width:
            distances[:, :width], indices[:, :width], *_ = certified_neighbors(Tiles(points), width)
            indices[:, :width] += start
        return distances, indices


def _across(
    first: Any, second: Any, first_table: Table, second_table: Table, max_abs: float, k: int
) -> tuple[Table, Table]:
    """Find, for each row of two chunks, up to k rows of the other chunk that enter its table."""
    with alone():
        a, b = (chunk_points(chunk, max_abs, kept) for chunk, kept, *_ in (first, second))
        both = NumpyPoints(
            np.concatenate([a.block(slice(None)), b.block(slice(None))], dtype=a.dtype), max_abs
        )
        limits = np.concatenate([first_table[0][:, -1], second_table[0][:, -1]])
        n = a.n_points
        exclusion = None
        if first[3] is not None:
            exclusion = Exclusion(np.concatenate([first[3], second[3]]))
        distances, indices = certified_across(both, n, k, limits, exclusion)
        is_filled = indices >= 0
        indices[:n][is_filled[:n]] += second[2] - n
        indices[n:][is_filled[n:]] += first[2]
        return (distances[:n], indices[:n]), (distances[n:], indices[n:])


def _beyond(
    values: NDArray[Any],
    chunk: Any,
    kept: NDArray[np.intp] | None,
    positions: NDArray[np.intp],
    max_abs: float,
    k: int,
    groups: NDArray[np.intp],
) -> Table:
    """Find, for each query point, its k nearest rows in a chunk; they lie at ``positions``.

    Rows of the group of the query point are left out; the groups are those of the query points,
    then those of the rows of the chunk.
    """
    with alone():
        rows = chunk_points(chunk, max_abs, kept).block(slice(None))
        both, n = NumpyPoints(np.concatenate([values, rows]), max_abs), len(values)
        # the rows of the chunk seek no neighbours
        limits = np.append(np.full(n, np.inf), np.zeros(len(rows)))
        distances, indices = certified_across(both, n, k, limits, Exclusion(groups))
        is_filled = indices[:n] >= 0
        indices[:n][is_filled] = positions[indices[:n][is_filled] - n]
        return distances[:n], indices[:n]


def _merged(tables: list[Table], k: int) -> Table:
    """Merge tables of the same rows, keeping the k smallest; ties are ordered by row."""
    distances, indices = (np.concatenate(parts, axis=1) for parts in zip(*tables, strict=True))
    order = np.lexsort((indices, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)
