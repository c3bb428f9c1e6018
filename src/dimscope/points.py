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

from dimscope.blocks import Blocks
from dimscope.coercion import EXACT_INTEGER, as_array
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.pages import release
from dimscope.threads import parallel, spans, workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Points", "as_points", "check_range", "check_shape", "largest_absolute"]

_BLOCK_BYTES = 1 << 21


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


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is not at least three points with at least one feature.

    Examples
    --------
    >>> check_shape((3, 1))
    """
    if len(shape) != 2:
        hint = {
            0: "it is a single number",
            1: "for n points on a line use points.reshape(-1, 1)",
        }.get(len(shape), "flatten each point with points.reshape(len(points), -1)")
        raise BadPoints(
            f"points must have shape (n_points, n_features), but the shape is {shape}; {hint}"
        )
    if shape[0] == 0 or shape[1] == 0:
        raise BadPoints(f"points are empty: the shape is {shape}")
    if shape[0] < 3:
        raise DegeneratePoints(
            f"{shape[0]} points have no two nearest neighbours each; give at least 3"
        )


def check_range(max_abs: float, n_features: int, long_integers: bool) -> None:
    """Refuse values whose distances float64 cannot hold.

    Examples
    --------
    >>> check_range(1e25, 100_000, long_integers=False)
    """
    if max_abs > np.finfo(np.float64).max / (4 * np.sqrt(n_features)):
        raise BadPoints(
            f"values up to {max_abs:.3g} have distances beyond the range of float64; "
            "divide the points by a constant first"
        )
    # 2^53 + 1 becomes 2^53 as a float, so the limit itself is not told from it
    if long_integers and max_abs >= EXACT_INTEGER:
        raise BadPoints(
            f"integers up to {max_abs:.3g} cannot be held exactly in float64; "
            "subtract an offset first, for example points - points.min(axis=0)"
        )


def largest_absolute(array: NDArray[Any] | Blocks, first_row: int = 0) -> float:
    """Largest absolute value.

    Parameters
    ----------
    array : array of shape (n, n_features)
    first_row : int
        Number by which the first row is known to the user.

    Raises
    ------
    BadPoints
        At the first value that is not finite; the message names it.

    Examples
    --------
    >>> largest_absolute(np.array([[1.0, -2.0]]))
    2.0
    """
    values = _BLOCK_BYTES // array.dtype.itemsize
    height = -(-values // array.shape[1])
    width = min(array.shape[1], values)

    def extent(rows: slice) -> float:
        largest = 0.0
        for start in range(rows.start, rows.stop, height):
            for left in range(0, array.shape[1], width):
                block = array[start : min(start + height, rows.stop), left : left + width]
                # min and max carry a NaN through, and need no temporary array; the
                # second finds the block in the cache
                high, low = float(block.max()), float(block.min())
                if not np.isfinite(high) or not np.isfinite(low):
                    _raise_not_finite(array, start, first_row)
                largest = max(largest, high, -low)
            release(array)
        return largest

    return float(max(parallel(extent, spans(len(array), -(-len(array) // workers())))))


def _raise_not_finite(array: NDArray[Any] | Blocks, start: int, first_row: int) -> None:
    for row in range(start, len(array)):
        bad = ~np.isfinite(array[row])
        if bad.any():
            column = int(bad.argmax())
            raise BadPoints(
                f"row {first_row + row}, column {column} is {array[row, column]}; "
                "remove or replace the values that are not finite"
            )
