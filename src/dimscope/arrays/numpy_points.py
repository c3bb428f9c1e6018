"""NumPy arrays, memory maps, and everything that NumPy can convert to an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dimscope.arrays.checks import (
    check_container,
    check_dtype,
    check_range,
    check_shape,
    check_whole_numbers,
    largest_absolute,
    ragged,
)
from dimscope.arrays.frames import as_frame, frame_values, is_frame
from dimscope.arrays.kinds import ArrayKind
from dimscope.arrays.memory import release
from dimscope.arrays.points import Points
from dimscope.errors import BadPoints, DimscopeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NumpyKind", "NumpyPoints", "as_numpy"]


class NumpyPoints(Points):
    """Points in a NumPy array or a memory map; see :class:`~dimscope.arrays.Points`."""

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns of the array; see :meth:`dimscope.arrays.Points.read`."""
        # columns first: a view, so that only the wanted values are gathered
        values: NDArray[Any] = self.array[:, columns][rows]
        return values

    def select(self, rows: NDArray[np.intp]) -> Self:
        """Return the points at the given positions, without a copy."""
        return type(self)(self.array, self.max_abs, self.rows_at(rows))

    @property
    def is_plain(self) -> bool:
        """Whether blocks are float32 rows that BLAS can read in place."""
        return self.rows is None and self._has_rows and self.dtype == np.float32

    @property
    def in_place(self) -> NDArray[Any] | None:
        """The array, if compiled code can read its rows in place; None if not."""
        return self.array if self._has_rows else None

    @property
    def _has_rows(self) -> bool:
        """Whether the array holds floats, unconverted, with the values of a row side by side."""
        array, size = self.array, self.array.itemsize
        return bool(
            array.dtype == self.dtype
            and array.dtype.isnative
            and array.flags.aligned
            and array.strides[1] == size
            and array.strides[0] % size == 0
            and array.strides[0] >= size * array.shape[1]
        )

    def release(self) -> None:
        """Release the pages of a memory map that were read."""
        release(self.array)


class NumpyKind(ArrayKind):
    """NumPy arrays, memory maps, data frames, nested lists: whatever NumPy can convert."""

    def accepts(self, array: Any) -> bool:
        """Accept everything; :meth:`open` explains what cannot be converted."""
        return True

    def open(self, array: Any, memory: int | None = None) -> NumpyPoints:
        """Check an array and wrap it."""
        return checked(as_numpy(array))

    def take(self, array: Any, rows: NDArray[np.intp]) -> Any:
        """Select the given rows."""
        return as_numpy(array)[rows]


def checked(array: NDArray[Any]) -> NumpyPoints:
    """Check the shape and the values of a NumPy array of numbers, and wrap it.

    Parameters
    ----------
    array : array of shape (n_points, n_features)

    Raises
    ------
    BadPoints, DegeneratePoints
        As for :func:`dimscope.arrays.as_points`.

    Examples
    --------
    >>> checked(np.eye(3)).n_features
    3
    """
    check_shape(array.shape)
    max_abs = largest_absolute(array)
    check_range(max_abs, array.shape[1], array.dtype.kind in "iu" and array.dtype.itemsize == 8)
    return NumpyPoints(array, max_abs)


def as_numpy(points: Any) -> NDArray[Any]:
    """Convert array-likes to NumPy, or explain why not; the values are not checked.

    Parameters
    ----------
    points : array-like of any shape

    Raises
    ------
    BadPoints
        If the points are sparse, masked, ragged, or not real numbers.

    Examples
    --------
    >>> as_numpy([[0, 1], [2, 3]]).shape
    (2, 2)
    """
    check_container(points)
    points = as_frame(points)
    if hasattr(points, "iloc") and hasattr(points, "to_frame"):  # a column: one axis
        array = frame_values(points.to_frame())[:, 0]
        check_dtype(array)
        return array
    try:
        if is_frame(points):
            array = frame_values(points)
        elif _is_dlpack(points):
            array = np.from_dlpack(points)
        else:
            array = np.asarray(points)
    except DimscopeError:
        raise
    except (TypeError, RuntimeError, BufferError) as error:
        raise BadPoints(f"points cannot be converted to an array of numbers: {error}") from error
    except ValueError as error:
        raise ragged(points) from error
    check_dtype(array)
    if array is not points and array.dtype.kind == "f":
        check_whole_numbers(points, array)
    return array


def _is_dlpack(points: Any) -> bool:
    """Tell whether an array offers its values by DLPack only."""
    others = ("__array__", "__array_interface__", "__array_struct__", "__buffer__")
    return hasattr(points, "__dlpack__") and not any(hasattr(points, name) for name in others)
