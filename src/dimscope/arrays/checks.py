"""All checks of input arrays, and their messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.blocks import Blocks, Panels
from dimscope.arrays.memory import release
from dimscope.arrays.threads import parallel, spans, workers
from dimscope.errors import BadPoints, DegeneratePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EXACT_INTEGER", "as_array", "check_range", "check_shape", "largest_absolute"]


EXACT_INTEGER = 2**53  # the first whole number whose successor float64 does not hold


def as_array(points: Any) -> NDArray[Any] | Blocks:
    """A NumPy array of real numbers, of any shape; the values are not looked at.

    Raises
    ------
    BadPoints
        If the points are sparse, masked, ragged or not real numbers.

    Examples
    --------
    >>> as_array([[0, 1], [2, 3]]).shape
    (2, 2)
    """
    if isinstance(points, Blocks):
        return points if isinstance(points, Panels) else Panels(points)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(points, torch.Tensor):
        points = _from_tensor(points.detach(), torch)
    if hasattr(points, "toarray") and hasattr(points, "nnz"):
        raise BadPoints("points are a sparse matrix; give points.toarray()")
    if isinstance(points, np.ma.MaskedArray):
        raise BadPoints("points are a masked array; drop the masked rows first")
    try:
        array = np.asarray(points)
    except (TypeError, RuntimeError) as error:
        raise BadPoints(f"points are no array of numbers: {error}") from error
    except ValueError as error:
        raise BadPoints(
            f"points are ragged, rows differ in length: {_first_ragged(points)}"
        ) from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise BadPoints(_not_numeric(array))
    if array is not points and array.dtype.kind == "f":
        _check_whole(points, array)
    return array


def _from_tensor(points: Any, torch: Any) -> Any:
    if points.layout != torch.strided:
        raise BadPoints(f"points are a {points.layout} tensor; give points.to_dense()")
    if points.is_floating_point() and points.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        points = points.float()  # exact: NumPy has no bfloat16 and nothing smaller
    try:
        return points.cpu().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise BadPoints(
            f"a {points.dtype} tensor on {points.device} has no values that can be read: {error}"
        ) from error


def _check_whole(points: Any, array: NDArray[Any]) -> None:
    """Refuse whole numbers, in lists or in columns among others, that float64 does not hold."""
    places = np.argwhere(np.abs(array) >= EXACT_INTEGER)
    if not len(places) or hasattr(points, "__array_interface__"):
        return
    # a frame makes one type of its columns before it makes objects of them
    whole = points.astype(object) if hasattr(points, "iloc") else points
    plain = np.asarray(whole, dtype=object)
    for place in map(tuple, places):
        value = plain[place]
        if isinstance(value, int | np.integer) and int(value) != int(array[place]):
            raise BadPoints(
                f"row {place[0]} holds {value}, a whole number beyond 2^53, which float64 does not "
                "hold; subtract a constant"
            )


def _first_ragged(points: Any) -> str:
    lengths = [len(row) if hasattr(row, "__len__") else 0 for row in points]
    bad = next((i for i, n in enumerate(lengths) if n != lengths[0]), None)
    if bad is None:
        return "the values of some row are lists or arrays themselves, of different lengths"
    return f"row 0 has {lengths[0]} values, row {bad} has {lengths[bad]}"


def _not_numeric(array: NDArray[Any]) -> str:
    kind = array.dtype.kind
    if kind in "USmM":
        return f"points hold {array.dtype} values, not numbers; convert them first"
    if kind == "c":
        return "points are complex; give real and imaginary parts as separate features"
    if kind == "f":
        return f"points are {array.dtype}; convert them with points.astype('float64')"
    if kind == "O" and array.ndim == 0:
        return (
            f"points are a {type(array.item()).__name__}, not an array; "
            "give an array of shape (n_points, n_features)"
        )
    if kind == "O":
        bad = next(
            (
                (index, value)
                for index, value in np.ndenumerate(array)
                if not isinstance(value, (int, float, np.number))
            ),
            None,
        )
        where = (
            "convert it with points.astype('float64')"
            if bad is None
            else f"row {bad[0][0]} holds a {type(bad[1]).__name__}"
        )
        return f"points are an array of Python objects, not numbers: {where}"
    return f"points have dtype {array.dtype}, which is not a real number"


_BLOCK_BYTES = 1 << 21


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
