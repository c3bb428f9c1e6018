"""Compiled kernels (``_kernels.c``), and what the processor offers them.

The kernels are optional: they are compiled for x86-64 by GCC or Clang, and need a processor with
AVX2. Without them, NumPy and BLAS do the work, with the same results. Products of bytes take a
quarter of the time of products in float32 where the processor has instructions for them (VNNI), and
half elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    from dimscope.neighbors import _kernels
except ImportError:  # no wheel for this platform, and no compiler
    _kernels = None  # type: ignore[assignment]

from dimscope.neighbors.products import at, mirror

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "PANEL",
    "Coded",
    "add_products",
    "below",
    "empty",
    "encode",
    "hits",
    "largest_code",
    "level",
    "nearest",
    "pair_squares",
    "squares",
]

PANEL = 16  # points that are encoded side by side
_FEATURES = 8  # features are padded to a multiple of this
_LARGEST = {0: 0, 1: 63, 2: 127, 3: 127}  # code, by level; sums of products fit 16 bits at level 1
_SMALLEST = 31  # largest code below which codes say too little
_MOST = 2**31 - 1  # sum of a product of codes
_ROOM = 1 << 16  # hits for which there is room at first

levels: tuple[int, ...] = tuple(
    level for level in (1, 2, 3) if _kernels is not None and _kernels.levels() >> level & 1
)
"""What the processor offers: 1 AVX2, 2 AVX-VNNI, 3 AVX-512 VNNI."""

level: int = max(levels, default=0)
"""The level that is used; 0 for none."""


@dataclass(frozen=True, eq=False)
class Coded:
    """Codes of points: each point is nearly ``scale`` times a vector of integers of one byte.

    Parameters
    ----------
    codes : array of shape (n_panels, n_groups, 16, 4), uint8
        Groups of 4 features of panels of 16 points. An offset is added to every integer: 64 at
        level 1, otherwise 128.
    scale : array of shape (n_points,), float32
    square : array of shape (n_points,), float32
        Squared length of the coded point, made smaller by 2^-19.
    error : array of shape (n_points,), float32
        Distance between the point and its code.
    total : array of shape (n_points,), int32
        Sum of the integers.
    """

    codes: NDArray[np.uint8]
    scale: NDArray[np.float32]
    square: NDArray[np.float32]
    error: NDArray[np.float32]
    total: NDArray[np.int32]

    def panels(self, which: slice) -> Coded:
        """Return some panels of 16 points: a view."""
        points = slice(PANEL * which.start, PANEL * which.stop)
        return Coded(
            self.codes[which], self.scale[points], self.square[points], self.error[points],
            self.total[points],
        )  # fmt: skip

    def decoded(self) -> NDArray[np.float64]:
        """Return the points that the codes stand for, with the padding of their features."""
        codes = self.codes.transpose(0, 2, 1, 3).reshape(PANEL * len(self.codes), -1)
        integers = codes.astype(np.int16) - (64 if level == 1 else 128)
        return np.asarray(self.scale[:, None] * integers[: len(self.scale)].astype(np.float64))


def largest_code(n_features: int) -> int:
    """Return the largest integer of a code, so that products do not overflow; 0 for no codes.

    Examples
    --------
    >>> largest_code(2**31)
    0
    """
    largest = min(_LARGEST[level], math.isqrt(_MOST // _padded(n_features)))
    return largest if largest >= _SMALLEST else 0


def empty(n_points: int, n_features: int) -> Coded:
    """Return room for the codes of points."""
    codes = np.empty((-(-n_points // PANEL), _padded(n_features) // 4, PANEL, 4), np.uint8)
    scale, square, error = (np.empty(n_points, np.float32) for _ in range(3))
    return Coded(codes, scale, square, error, np.empty(n_points, np.int32))


def encode(
    points: NDArray[np.float32],
    out: Coded,
    start: int = 0,
    centre: NDArray[np.float32] | None = None,
) -> None:
    """Write the codes of points.

    Parameters
    ----------
    points : array of shape (n, n_features), float32
        The values of a point lie side by side.
    out : Coded
    start : int
        Where the codes of these points begin: a multiple of 16.
    centre : array of shape (n_features,), float32, optional
        Subtracted from every point first.
    """
    n, n_features = points.shape
    if points.dtype != np.float32 or points.strides[1] != 4 or points.strides[0] % 4:
        points = np.ascontiguousarray(points, np.float32)
    n_groups = out.codes.shape[1]
    if start % PANEL or start + n > len(out.scale) or _padded(n_features) != 4 * n_groups:
        raise ValueError(f"{n} points of {n_features} features do not fit at {start}")
    numbers = (out.scale, out.square, out.error, out.total)
    shift = None if centre is None else np.ascontiguousarray(centre, np.float32)
    if shift is not None and shift.shape != (n_features,):
        raise ValueError(f"a centre of {shift.shape} does not fit points of {n_features} features")
    where = 0 if shift is None else shift.ctypes.data
    _kernels.encode(
        level, points.ctypes.data, where, points.strides[0] // 4, n, n_features, n_groups,
        largest_code(n_features), out.codes[start // PANEL :].ctypes.data,
        *(array[start:].ctypes.data for array in numbers),
    )  # fmt: skip


def squares(a: Coded, b: Coded) -> NDArray[np.float32]:
    """Compute the squared distances between the points that codes stand for.

    Returns
    -------
    array of shape (n_a, n_b), float32
        Lower bounds that are too small by at most 2^-18 of the sum of the two squared lengths.
    """
    out = np.empty((len(a.scale), len(b.scale)), np.float32)
    none = np.empty(0, np.float32)
    _multiply(a, b, none, none, out, 0, 0, 0, 0, is_square=a is b)
    if a is b:
        mirror(out)
    return out


def add_products(coded: Coded, total: NDArray[np.float32]) -> None:
    """Add the products of all pairs of points that codes stand for, on and below the diagonal.

    Parameters
    ----------
    coded : Coded
    total : array of shape (n_points, n_points), float32
        What is above the diagonal is undefined afterwards.
    """
    none = np.empty(0, np.float32)
    _multiply(coded, coded, none, none, total, 0, 0, 0, 0, is_square=True, adds=True)


def nearest(
    a: Coded, b: Coded, ids: tuple[NDArray[np.int32], NDArray[np.int32]]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Find points of b that are near to each point of a: one in each of 16 parts of b, or of 32.

    Parameters
    ----------
    a, b : Coded
        If they are the same object, each product is computed once.
    ids : tuple of arrays of shapes (n_a,) and (n_b,), int32
        Points of equal ids are not compared.

    Returns
    -------
    squares : array of shape (n_a, 16), float32
        As in :func:`squares`; infinite where a part has no point. If a is b, the shape is
        (n_a, 32).
    places : array of the same shape, int32
        Positions in b: all that belong to a point of a differ, where squares are finite.
    """
    first, second = (np.ascontiguousarray(numbers, np.int32) for numbers in ids)
    if (len(first), len(second)) != (len(a.scale), len(b.scale)):
        raise ValueError(
            f"{len(first)} and {len(second)} ids are not those of {len(a.scale)} and "
            f"{len(b.scale)} points"
        )
    n_panels, is_square = len(a.codes), a is b
    shape = (2 if is_square else 1, n_panels, PANEL, PANEL)
    found, places = np.full(shape, np.inf, np.float32), np.zeros(shape, np.int32)
    where = [(part.ctypes.data, kept.ctypes.data) for part, kept in zip(found, places, strict=True)]
    mine, theirs = where if is_square else (*where, (0, 0))
    none = np.empty(0, np.float32)
    _multiply(
        a, b, none, none, None, 0, 0, 0, 0, is_square=is_square,
        least=((first.ctypes.data, *mine), (second.ctypes.data, *theirs)),
    )  # fmt: skip
    if is_square:  # on the other side, the numbers of the points of a panel lie side by side
        found[1] = found[1].transpose(0, 2, 1).copy()
        places[1] = places[1].transpose(0, 2, 1).copy()
    rows = (n_panels * PANEL, len(found) * PANEL)
    squares = found.transpose(1, 2, 0, 3).reshape(rows)[: len(a.scale)]
    return squares, places.transpose(1, 2, 0, 3).reshape(rows)[: len(a.scale)]


def hits(
    a: Coded,
    b: Coded,
    ceilings: NDArray[np.float32],
    turned: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Find the pairs of different codes whose distance, as in :func:`squares`, is small.

    Parameters
    ----------
    a, b : Coded
    ceilings : array of shape (n_a,), float32
        A pair is a hit if the distance of its codes is below the ceiling of its first point plus
        the error of its second.
    turned : array of shape (n_b,), float32, optional
        Likewise with the points exchanged: a pair is a hit if it is one either way. If a is b, each
        pair of different points is then found once.

    Returns
    -------
    i, j : arrays of int32, shape (n_hits,)
    squares : array of shape (n_hits,), float32
    """
    none = np.empty(0, np.float32)
    theirs = none if turned is None else turned
    is_square = a is b and turned is not None
    i, j, found = _found(
        lambda *places: _multiply(a, b, ceilings, theirs, None, *places, is_square=is_square)
    )
    if is_square:
        once = i > j  # blocks on the diagonal are whole
        i, j, found = i[once], j[once], found[once]
    return i, j, found


def below(
    values: NDArray[np.float32],
    ceilings: NDArray[np.float32],
    turned: NDArray[np.float32] | None = None,
    errors: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Find the values that are below a ceiling: that of their row or, if given, of their column.

    Parameters
    ----------
    values : array of shape (n, m), float32
    ceilings : array of shape (n,), float32
    turned : array of shape (m,), float32, optional
        Ceilings of the columns.
    errors : tuple of arrays of shapes (n,) and (m,), float32, optional
        If given, the values are squares of distances, which are compared with ceilings: that of a
        row plus the error of the column, or the other way round. See :func:`hits`.

    Returns
    -------
    i, j : arrays of int32, shape (n_hits,)
    values : array of shape (n_hits,), float32

    Examples
    --------
    >>> values = np.array([[4, 1], [9, 16]], np.float32)
    >>> [found.tolist() for found in below(values, np.array([2, 10], np.float32))]
    [[0, 1], [1, 0], [1.0, 9.0]]
    """
    n, m = values.shape
    parts = ceilings, turned, *(errors or (None, None))
    sizes = [len(part) for part in parts if part is not None]
    if sizes != [size for size, part in zip((n, m, n, m), parts, strict=True) if part is not None]:
        raise ValueError(f"ceilings or errors of {sizes} do not fit values of {values.shape}")
    if not level:
        sides = [ceilings[:, None]] if turned is None else [ceilings[:, None], turned]
        if errors is not None:
            # in reverse: the error of a column is added to the ceiling of a row
            lost = errors[1], errors[0][:, None]
            sides = [
                np.maximum(side + theirs, 0) ** 2 for side, theirs in zip(sides, lost, strict=False)
            ]
        is_below = values < sides[0]
        for side in sides[1:]:
            is_below |= values < side
        return at(values, is_below)
    # kept until the kernel has read them
    arrays = [None if x is None else np.ascontiguousarray(x, np.float32) for x in (values, *parts)]
    places = [0 if array is None else array.ctypes.data for array in arrays]
    return _found(lambda *rest: int(_kernels.below(places[0], n, m, *places[1:], *rest)))


def _found(
    search: Callable[..., int],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Call a kernel with room for its hits, and again with more if they did not fit."""
    room = _ROOM
    while True:
        i, j = np.empty(room, np.int32), np.empty(room, np.int32)
        values = np.empty(room, np.float32)
        n = search(*(array.ctypes.data for array in (i, j, values)), room)
        if n <= room:
            return i[:n], j[:n], values[:n]
        room = n


def _multiply(
    a: Coded,
    b: Coded,
    ceilings: NDArray[np.float32],
    turned: NDArray[np.float32],
    dense: NDArray[np.float32] | None,
    *places: Any,
    least: tuple[tuple[int, int, int], tuple[int, int, int]] = ((0, 0, 0), (0, 0, 0)),
    is_square: bool = False,
    adds: bool = False,
) -> int:
    n_groups = a.codes.shape[1]
    if b.codes.shape[1] != n_groups:
        raise ValueError("the codes have different numbers of features")
    sides = [
        (
            *(x.ctypes.data for x in (s.codes, s.total, s.scale, s.square, s.error, c)), *kept,
            len(s.scale),
        )
        for s, c, kept in zip((a, b), (ceilings, turned), least, strict=True)
    ]  # fmt: skip
    where = 0 if dense is None else dense.ctypes.data
    flags = int(len(turned) > 0), int(is_square), int(adds)
    return int(_kernels.product(level, *sides, n_groups, *flags, where, *places))


def pair_squares(
    values: NDArray[Any],
    i: NDArray[np.intp],
    j: NDArray[np.intp],
    unit: float,
    *,
    in_runs: bool = False,
) -> NDArray[np.float64]:
    """Compute the squared distances of pairs of rows by differences, summed in float64.

    Parameters
    ----------
    values : array of shape (n_rows, n_features), float32 or float64
        The values of a row lie side by side.
    i, j : arrays of int, shape (n_pairs,)
    unit : float
        Factor of every difference.
    in_runs : bool
        Whether runs of 256 squares of float32 may be summed in float32, with a relative error of at
        most 5e-7. Only if the unit is 1 and the values are less than 2^20.
    """
    i, j = (np.ascontiguousarray(rows, np.int64) for rows in (i, j))
    first, last = min(i.min(initial=0), j.min(initial=0)), max(i.max(initial=0), j.max(initial=0))
    if first < 0 or last >= len(values):
        raise IndexError(f"pairs must be of rows 0 to {len(values) - 1}")
    out = np.empty(len(i))
    _kernels.squares(
        level, values.ctypes.data, values.strides[0], values.shape[1], values.itemsize,
        int(in_runs and unit == 1.0), unit,
        i.ctypes.data, j.ctypes.data, len(i), out.ctypes.data,
    )  # fmt: skip
    return out


def _padded(n_features: int) -> int:
    return -(-n_features // _FEATURES) * _FEATURES
