"""SciPy's k-d tree, for few features: exact, in time nearly linear in the number of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dimscope.neighbors.exclusion import Exclusion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress

__all__ = ["tree_neighbors", "tree_neighbors_of_others"]
_BATCH = 1 << 15  # points between two reports of progress
_SPARE = 8  # neighbours beyond k, for those of the point's own group


def tree_neighbors(
    points: Points,
    k: int,
    progress: Progress | None = None,
    rows: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the k nearest neighbours of all points, or of the given ones, in float64.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows with few features.
    k : int
        Less than n_points.
    progress : callable, optional
    rows : array of int, optional
        The points to find neighbours for; all by default.

    Returns
    -------
    distances, indices : arrays of shape (n_points or len(rows), k)

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> tree_neighbors(as_points([[0.0], [1.0], [3.0]]), 2)[0].tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    from scipy.spatial import KDTree

    x = points.block(slice(None), dtype=np.dtype(np.float64)) * points.scale
    queries = np.arange(len(x)) if rows is None else rows
    n = len(queries)
    tree = KDTree(x, balanced_tree=False, compact_nodes=False)
    distances, indices = np.empty((n, k + 1)), np.empty((n, k + 1), dtype=np.intp)
    for start in range(0, n, _BATCH):
        batch = slice(start, start + _BATCH)
        distances[batch], indices[batch] = tree.query(x[queries[batch]], k=k + 1, workers=-1)
        if progress is not None:
            progress("searching", min(1.0, batch.stop / n), 1.0)
    # the point itself is among its k + 1 nearest, and need not come first
    is_other = indices != queries[:, None]
    is_other[is_other.all(axis=1), -1] = False
    return distances[is_other].reshape(n, k) / points.scale, indices[is_other].reshape(n, k)


def tree_neighbors_of_others(
    points: Points,
    k: int,
    exclusion: Exclusion,
    progress: Progress | None = None,
    rows: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the k nearest neighbours that belong to another group than the point itself.

    Parameters
    ----------
    points, k, progress, rows
        As in :func:`tree_neighbors`; k is at most the number of points of other groups.
    exclusion : Exclusion

    Returns
    -------
    distances, indices : arrays of shape (n_points or len(rows), k)

    Notes
    -----
    A few more neighbours than k are enough for most points. The others, which lie among points of
    their own group, are searched in trees of other points: the numbers of two different groups
    differ in at least one binary digit, so that the points of other groups are those in the trees
    of the opposite digit, one for each digit. Time and memory do not depend on the group sizes.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> points = as_points([[0.0], [1.0], [3.0], [7.0]])
    >>> tree_neighbors_of_others(points, 2, Exclusion(np.array([0, 0, 1, 2])))[0].tolist()
    [[3.0, 7.0], [2.0, 6.0], [2.0, 3.0], [4.0, 6.0]]
    """
    groups = exclusion.groups
    queries = np.arange(len(groups)) if rows is None else rows
    wide = min(k + _SPARE, len(groups) - 1)
    distances, indices = tree_neighbors(points, wide, progress, rows)
    allowed = groups[indices] != groups[queries][:, None]
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
    distances = np.take_along_axis(distances, order, axis=1)
    indices = np.take_along_axis(indices, order, axis=1)
    short = np.flatnonzero(allowed.sum(axis=1) < k)
    if len(short):
        distances[short], indices[short] = _by_digits(points, k, groups, queries[short])
    return distances, indices


def _by_digits(
    points: Points, k: int, groups: NDArray[np.intp], queries: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    from scipy.spatial import KDTree

    x = points.block(slice(None), dtype=np.dtype(np.float64)) * points.scale
    best = np.full((len(queries), k), np.inf)
    indices = np.full((len(queries), k), -1, dtype=np.intp)
    for digit in range(int(groups.max()).bit_length()):
        is_set = (groups >> digit & 1).astype(bool)
        for side in (False, True):
            others = np.flatnonzero(is_set != side)
            mine = np.flatnonzero(is_set[queries] == side)
            if not len(others) or not len(mine):
                continue
            tree = KDTree(x[others], balanced_tree=False, compact_nodes=False)
            width = min(k, len(others))
            for start in range(0, len(mine), _BATCH):
                batch = mine[start : start + _BATCH]
                near, places = tree.query(x[queries[batch]], k=width, workers=-1)
                near, places = near.reshape(-1, width), others[places.reshape(-1, width)]
                # a point that differs in several digits is found several times
                again = (places[:, :, None] == indices[batch][:, None]).any(axis=2)
                near[again] = np.inf
                merged = np.concatenate([best[batch], near], axis=1)
                found = np.concatenate([indices[batch], places], axis=1)
                order = np.argsort(merged, axis=1, kind="stable")[:, :k]
                best[batch] = np.take_along_axis(merged, order, axis=1)
                indices[batch] = np.take_along_axis(found, order, axis=1)
    return best / points.scale, indices
