"""Points: the one door through which arrays enter, and the only input checks.

:func:`as_points` turns what a user has (an array, a memory map, a torch tensor,
nested lists) into a :class:`Points`, a light view that hands out blocks in a
floating dtype without ever copying the whole. It reads the data once, to find
values that are not finite and the largest absolute value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.blocks import Blocks
from dimscope.arrays.checks import as_array, check_range, check_shape, largest_absolute
from dimscope.arrays.memory import release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Points", "as_points", "repeated", "row_sums"]

_BATCH = 1 << 22  # values hashed at a time


@dataclass(frozen=True)
class Points:
    """Checked points, handed out block by block.

    Parameters
    ----------
    array : array or Blocks of shape (n, n_features)
        The user's array, untouched: any real dtype, order and strides.
    rows : array of shape (n_points,), optional
        The rows that count (distinct ones, or a subset); all without it.
    max_abs : float
        Largest absolute value.
    """

    array: Any
    max_abs: float
    rows: NDArray[np.intp] | None = None

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.array) if self.rows is None else len(self.rows)

    @property
    def n_features(self) -> int:
        """Number of coordinates of a point."""
        return int(self.array.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest floating dtype, float32 or float64, that holds every value exactly."""
        kind = self.array.dtype
        small = kind == np.float32 or kind == np.float16
        # Differences of two float32 numbers overflow near the end of the range.
        return np.dtype(np.float32 if small and self.max_abs < 1e38 else np.float64)

    @property
    def scale(self) -> float:
        """Power of two that brings the largest absolute value to between 1/2 and 1."""
        if not self.max_abs:
            return 1.0
        # values near the small end would need a factor that their dtype does not hold
        largest = 126 if self.dtype == np.float32 else 1022
        return float(np.ldexp(1.0, min(largest, -int(np.frexp(self.max_abs)[1]))))

    def select(self, rows: NDArray[np.intp]) -> Points:
        """The points at these rows, still without a copy."""
        return Points(self.array, self.max_abs, rows if self.rows is None else self.rows[rows])

    def block(
        self,
        rows: slice | NDArray[np.intp],
        columns: slice = slice(None),
        dtype: np.dtype[Any] | None = None,
    ) -> NDArray[Any]:
        """Values of some rows and columns as floats.

        A slice of rows may give a view: do not write to it. An array of rows gives a copy.
        """
        where = rows if self.rows is None else self.rows[rows]
        if isinstance(self.array, Blocks):
            part = self.array.read(where, columns)
        else:  # columns first: a view, so that only the wanted values are gathered
            part = self.array[:, columns][where]
        return part.astype(dtype or self.dtype, copy=False)


def as_points(points: Any) -> Points:
    """Check an array of points and wrap it.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        NumPy array, memory map, torch tensor on the CPU, a layer of a store, or nested
        lists; any integer, boolean or real floating dtype.

    Returns
    -------
    Points

    Raises
    ------
    BadPoints
        If it is not two-dimensional, not numeric, empty, ragged, or holds a NaN or an
        infinite value (the message names the first row and column).

    Examples
    --------
    >>> as_points([[0, 1], [2, 3], [4, -5]]).max_abs
    5.0
    >>> as_points([1.0, 2.0])
    Traceback (most recent call last):
    dimscope.errors.BadPoints: points must have shape (n_points, n_features), but the shape is \
(2,); for n points on a line use points.reshape(-1, 1)
    """
    if isinstance(points, Points):
        return points
    array = as_array(points)
    check_shape(array.shape)
    max_abs = largest_absolute(array)
    check_range(max_abs, array.shape[1], array.dtype.kind in "iu" and array.dtype.itemsize == 8)
    return Points(array, max_abs)


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
