"""Duplicates: the first occurrence of every distinct row, found before the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points

__all__ = ["distinct_rows"]


def distinct_rows(points: Points) -> NDArray[np.intp]:
    """Find the first occurrence of every distinct row.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)

    Returns
    -------
    array of int, shape (n_distinct,)
        Positions, ascending.

    Notes
    -----
    Rows are hashed, and rows with equal hashes are compared with the first of them, value by value.
    Rows that turn out to differ from the first are then compared with each other.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> distinct_rows(as_points([[1, 2], [3, 4], [1, 2], [0.0, 5], [-0.0, 5]])).tolist()
    [0, 1, 3]
    """
    is_first = np.ones(points.n_points, dtype=bool)
    positions, hashes = points.suspected_duplicates()
    while len(positions):
        starts = np.append(True, hashes[1:] != hashes[:-1])
        leaders = positions[starts][np.cumsum(starts) - 1]
        followers = ~starts
        positions, hashes, leaders = positions[followers], hashes[followers], leaders[followers]
        equal = points.are_equal(positions, leaders)
        is_first[positions[equal]] = False
        positions, hashes = positions[~equal], hashes[~equal]
    return np.flatnonzero(is_first)
