"""Every check on arrays of points, with its error message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.codecs import check_zarr_array
from dimscope.arrays.memory import release
from dimscope.arrays.threads import parallel, spans, workers
from dimscope.errors import BadPoints, DegeneratePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = [
    "EXACT_INTEGER", "check_container", "check_dtype", "check_range", "check_shape", "check_tensor",
    "check_whole_numbers", "largest_absolute", "not_finite", "ragged",
]  # fmt: skip

EXACT_INTEGER = 2**53  # the first whole number whose successor float64 does not hold
_BLOCK_BYTES = 1 << 21


def check_container(points: Any) -> None:
    """Refuse what holds points but is no array of them, and Zarr arrays that would run code.

    Sparse matrices, masked arrays, paths, mappings and AnnData objects are refused with the call
    that gives an array.

    Examples
    --------
    >>> check_container(np.ma.masked_less([[1.0, 2.0]], 2))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: points are a masked array; drop the masked rows first
    """
    if hasattr(points, "toarray") and hasattr(points, "nnz"):
        raise BadPoints("points are a sparse matrix; give points.toarray()")
    if isinstance(points, np.ma.MaskedArray):
        raise BadPoints("points are a masked array; drop the masked rows first")
    if isinstance(points, str | os.PathLike):
        raise BadPoints(
            f"points are the path {os.fspath(points)!r}, not numbers; read the file with "
            f"dimscope.read_points({os.fspath(points)!r})"
        )
    if hasattr(points, "obsm") and hasattr(points, "X"):
        raise BadPoints(
            f"points are a {type(points).__name__} object, not an array; give one of its arrays, "
            "such as points.X or points.obsm['X_pca']"
        )
    if isinstance(points, Mapping):
        names = ", ".join(repr(name) for name in list(points)[:6])
        raise BadPoints(
            f"points are a {type(points).__name__}, not an array; give one of its arrays "
            f"({names}{', ...' if len(points) > 6 else ''})"
        )
    check_zarr_array(points)


def check_tensor(tensor: Any, strided: object) -> None:
    """Refuse torch tensors that are sparse or quantized.

    Parameters
    ----------
    tensor : torch.Tensor
    strided : object
        ``torch.strided``.
    """
    if tensor.layout != strided:
        raise BadPoints(f"points are a {tensor.layout} tensor; give points.to_dense()")
    if tensor.is_quantized:
        raise BadPoints(f"points are a quantized tensor ({tensor.dtype}); give points.dequantize()")


def check_dtype(array: NDArray[Any]) -> None:
    """Refuse arrays whose dtype is not real, or whose values do not fit in float64.

    Examples
    --------
    >>> check_dtype(np.array([["a", "b"]]))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: points hold <U1 values, not numbers; convert them first
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise BadPoints(_not_numeric(array))


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
        not_a_number = next(
            (
                (index, value)
                for index, value in np.ndenumerate(array)
                if not isinstance(value, (int, float, np.number))
            ),
            None,
        )
        where = (
            "convert it with points.astype('float64')"
            if not_a_number is None
            else f"row {not_a_number[0][0]} holds a {type(not_a_number[1]).__name__}"
        )
        return f"points are an array of Python objects, not numbers: {where}"
    if array.dtype.names:
        return (
            f"points have the fields {', '.join(array.dtype.names)}, not columns; give "
            "numpy.lib.recfunctions.structured_to_unstructured(points)"
        )
    return f"points have dtype {array.dtype}, which is not a real number"


def ragged(points: Any) -> BadPoints:
    """Return the error for rows of different lengths, naming the first row that differs.

    Examples
    --------
    >>> ragged([[1, 2], [3]])
    BadPoints('points are ragged (rows differ in length): row 0 has 2 values, row 1 has 1')
    """
    lengths = [len(row) if hasattr(row, "__len__") else 0 for row in points]
    bad = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
    where = (
        "some row contains nested lists or arrays of different lengths"
        if bad is None
        else f"row 0 has {lengths[0]} values, row {bad} has {lengths[bad]}"
    )
    return BadPoints(f"points are ragged (rows differ in length): {where}")


def check_whole_numbers(points: Any, array: NDArray[Any]) -> None:
    """Refuse integers that float64 cannot represent exactly, in lists or in object arrays.

    Parameters
    ----------
    points : object
        The points as the user passed them.
    array : array of float
        The same points, converted by NumPy.

    Examples
    --------
    >>> check_whole_numbers([[2**53 + 1, 0.5]], np.array([[2.0**53, 0.5]]))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: row 0 holds 9007199254740993, a whole number beyond 2^53, which \
float64 does not hold; subtract a constant
    """
    # an array, such as a memory map, is not converted; lists and columns become float64
    if hasattr(points, "__array_interface__") or array.dtype != np.float64:
        return
    places = np.argwhere(np.abs(array) >= EXACT_INTEGER)
    if not len(places):
        return
    # a frame makes one type of its columns before it makes objects of them
    objects = np.asarray(points.astype(object) if hasattr(points, "iloc") else points, dtype=object)
    for place in map(tuple, places):
        value = objects[place]
        if isinstance(value, int | np.integer) and int(value) != int(array[place]):
            raise BadPoints(
                f"row {place[0]} holds {value}, a whole number beyond 2^53, which float64 does not "
                "hold; subtract a constant"
            )


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse shapes other than (n_points, n_features) with at least 3 points and 1 feature.

    Examples
    --------
    >>> check_shape((3, 1))
    >>> check_shape((2, 1))
    Traceback (most recent call last):
    dimscope.errors.DegeneratePoints: 2 points are too few for each to have two neighbours; give at
    least 3
    """
    if len(shape) != 2:
        hint = {
            0: "it is a single number",
            1: "for n points on a line use points.reshape(-1, 1)",
        }.get(
            len(shape),
            "flatten each point with points.reshape(len(points), -1); if the first axis is that of "
            "trials, average over them first",
        )
        raise BadPoints(
            f"points must have shape (n_points, n_features), but have shape {shape}; {hint}"
        )
    if shape[0] == 0 or shape[1] == 0:
        raise BadPoints(f"points are empty: the shape is {shape}")
    if shape[0] < 3:
        raise DegeneratePoints(
            f"{shape[0]} points are too few for each to have two neighbours; give at least 3"
        )


def check_range(max_abs: float, n_features: int, long_integers: bool) -> None:
    """Refuse values so large that float64 cannot represent their distances.

    Parameters
    ----------
    max_abs : float
        Largest absolute value.
    n_features : int
    long_integers : bool
        Whether the values are 64-bit integers.

    Examples
    --------
    >>> check_range(1e25, 100_000, long_integers=False)
    """
    if max_abs > np.finfo(np.float64).max / (4 * np.sqrt(n_features)):
        raise BadPoints(
            f"values up to {max_abs:.3g} have distances beyond the range of float64; "
            "divide the points by a constant first"
        )
    # 2^53 + 1 becomes 2^53 as a float, so the limit itself cannot be told from it
    if long_integers and max_abs >= EXACT_INTEGER:
        raise BadPoints(
            f"integers up to {max_abs:.3g} cannot be represented exactly in float64; "
            "subtract an offset first, for example points - points.min(axis=0)"
        )


def largest_absolute(array: Any, first_row: int = 0) -> float:
    """Return the largest absolute value, refusing values that are not finite.

    Parameters
    ----------
    array : array or Blocks of shape (n, n_features)
    first_row : int
        Index of the first row in the user's array, for error messages.

    Raises
    ------
    BadPoints
        If a value is not finite; the message names the row and column of the first one.

    Examples
    --------
    >>> largest_absolute(np.array([[1.0, -2.0]]))
    2.0
    """
    n_values = _BLOCK_BYTES // array.dtype.itemsize
    height = -(-n_values // array.shape[1])
    width = min(array.shape[1], n_values)

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


def _raise_not_finite(array: Any, start: int, first_row: int) -> None:
    for row in range(start, len(array)):
        bad = ~np.isfinite(array[row])
        if bad.any():
            column = int(bad.argmax())
            raise not_finite(first_row + row, column, array[row, column])


def not_finite(row: int, column: int, value: object) -> BadPoints:
    """Return the error for a NaN or an infinite value.

    Examples
    --------
    >>> not_finite(3, 1, float("nan"))
    BadPoints('row 3, column 1 is nan; remove or replace the values that are not finite')
    """
    return BadPoints(
        f"row {row}, column {column} is {value}; remove or replace the values that are not finite"
    )
