"""Duplicate rows: found before the search, without reading more than is needed.

Rows are compared by a 64-bit sum of their bit patterns times random odd numbers,
first over a few columns, then, for rows that agree there, over all; rows whose sums
agree are compared value by value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.points import repeated, row_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.points import Points

__all__ = ["distinct_rows"]


_RUN = 16  # contiguous columns read at a time: one cache line of float32


_RUNS = 4


def distinct_rows(points: Points) -> NDArray[np.intp]:
    """Positions of the first occurrence of every distinct row, ascending.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)

    Returns
    -------
    array of int, shape (n_distinct,)

    Examples
    --------
    >>> from dimscope.arrays.points import as_points
    >>> distinct_rows(as_points([[1, 2], [3, 4], [1, 2], [0.0, 5], [-0.0, 5]])).tolist()
    [0, 1, 3]
    """
    n, width = points.n_points, points.n_features
    suspects = np.arange(n)
    if width > _RUN * _RUNS:
        starts = np.linspace(0, width - _RUN, _RUNS).astype(int)
        few = sum(row_sums(points, suspects, slice(s, s + _RUN)) for s in starts)
        suspects = np.sort(repeated(np.asarray(few)))
    sums = row_sums(points, suspects, slice(0, width))
    keep = np.ones(n, dtype=bool)
    group: np.uint64 | None = None
    seen: list[NDArray[Any]] = []
    for position in repeated(sums):
        row = points.block(suspects[position : position + 1])[0]
        if sums[position] != group:
            group, seen = sums[position], []
        if any(np.array_equal(row, other) for other in seen):
            keep[suspects[position]] = False
        else:
            seen.append(row)
    return np.flatnonzero(keep)
