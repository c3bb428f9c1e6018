"""SciPy's k-d tree, for few features: exact, in time nearly linear in the number of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress

__all__ = ["tree_neighbors"]
_BATCH = 1 << 15  # points between two reports of progress


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
