"""Duplicate rows: found before the search, without reading more than is needed.

Rows are compared by a 64-bit sum of their bit patterns times random odd numbers,
first over a few columns, then, for rows that agree there, over all; rows whose sums
agree are compared value by value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.pages import release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.points import Points

__all__ = ["distinct_rows", "repeated", "row_sums"]

_RUN = 16  # contiguous columns read at a time: one cache line of float32
_RUNS = 4
_BATCH = 1 << 22  # values hashed at a time


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
    >>> from dimscope.points import as_points
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


def repeated(sums: NDArray[Any]) -> NDArray[np.intp]:
    """Positions whose value occurs more than once, equal values side by side and in order.

    Examples
    --------
    >>> repeated(np.array([7, 5, 7, 6, 5])).tolist()
    [1, 4, 0, 2]
    """
    _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    positions = np.flatnonzero(counts[inverse] > 1)
    return positions[np.argsort(inverse[positions], kind="stable")]


def row_sums(
    points: Points, rows: NDArray[np.intp] | None = None, columns: slice | None = None
) -> NDArray[np.uint64]:
    """A number for each row; rows of the same values and dtype have the same.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    rows : array of int, optional
        All by default.
    columns : slice, optional
        All by default.

    Returns
    -------
    array of shape (n_rows,), uint64

    Examples
    --------
    >>> from dimscope.points import as_points
    >>> a, b, c = row_sums(as_points([[0.0, 5], [1, 5], [-0.0, 5]]))
    >>> bool(a == c), bool(a == b)
    (True, False)
    """
    rows = np.arange(points.n_points) if rows is None else rows
    columns = slice(0, points.n_features) if columns is None else columns
    width = columns.stop - columns.start
    odd = np.random.default_rng(columns.start).integers(0, 2**63, width, dtype=np.uint64) * 2 + 1
    sums = np.empty(len(rows), dtype=np.uint64)
    step = max(1, _BATCH // width)
    for start in range(0, len(rows), step):
        block = points.block(rows[start : start + step], columns)
        values = np.ascontiguousarray(block + 0.0)  # -0.0 equals 0.0
        bits: NDArray[Any] = values.view(f"u{values.itemsize}")
        if bits.itemsize == 8:
            # small integers have their last 32 bits zero, which a product would not spread
            bits = bits ^ (bits >> np.uint64(32))
        sums[start : start + step] = (bits * odd).sum(axis=1, dtype=np.uint64)
        release(points.array)
    return sums
