"""Matrix products of points: in-place BLAS calls, and points shifted to the origin.

For every range of columns, ``X @ X.T`` in NumPy allocates a new result and mirrors one triangle;
SciPy's Python wrappers hold the interpreter lock. The BLAS functions that SciPy exports for Cython
avoid both: they add to an existing array and, called through :mod:`ctypes`, release the lock, so
that each thread multiplies its own tile. They are called only if SciPy states the expected
signature, and on arrays that they can read; otherwise NumPy multiplies, which takes longer. The
bounds of :func:`dimscope.neighbors.tiles.rounding_bound` hold for both.

The rounding error of |x|^2 + |y|^2 - 2 x.y grows with the distance from the origin, so
:class:`Centred` shifts points that are far away. Points near the origin are multiplied in place,
which saves a copy.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import threadpoolctl

from dimscope.arrays import Points
from dimscope.arrays.threads import parallel, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Centred",
    "add_gram",
    "add_product",
    "at",
    "mirror",
    "one_thread_each",
    "smallest_in_parts",
]


_MIRROR = 128  # side of the blocks that are transposed: two of them fit the cache


_SIGNATURES = {
    "sgemm": "void (char *, char *, int *, int *, int *, float *, float *, int *, float *, int *,"
    " float *, float *, int *)",
    "ssyrk": "void (char *, char *, int *, int *, float *, float *, int *, float *, float *,"
    " int *)",
}


_FLOAT = "__pyx_t_5scipy_6linalg_11cython_blas_s"  # SciPy's name for float


@cache
def _routine(name: str) -> Any:
    """Return a function of BLAS; None if SciPy does not offer it with the expected signature."""
    from scipy.linalg import cython_blas

    # prototypes of our own: those of ctypes.pythonapi are shared by the whole process
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(
        ("PyCapsule_GetName", ctypes.pythonapi)
    )
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    try:
        capsule = cython_blas.__pyx_capi__[name]
        signature = get_name(capsule) or b""
    except (AttributeError, KeyError, ValueError):  # none, or not a capsule
        return None
    if signature.decode().replace(_FLOAT, "float") != _SIGNATURES[name]:
        return None
    n_parameters = _SIGNATURES[name].count("*")
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_parameters)(
        get_pointer(capsule, signature)
    )


@cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    _routine("sgemm")  # a library that is loaded later would not be found
    return threadpoolctl.ThreadpoolController()


_users, _lock = 0, threading.Lock()


_limit: Any = None


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Make every BLAS call single-threaded, within a context.

    The limit holds for the whole process. It is lifted when the last thread leaves the context.

    Examples
    --------
    >>> with one_thread_each():
    ...     add_gram(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    """
    global _users, _limit
    with _lock:
        if not _users:
            _limit = _libraries().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limit.restore_original_limits()


def _int(value: int) -> Any:
    return ctypes.byref(ctypes.c_int(value))


def _float(value: float) -> Any:
    return ctypes.byref(ctypes.c_float(value))


_MOST = 2**31 - 1  # BLAS takes sizes and strides as C integers


def _is_readable(array: NDArray[Any]) -> bool:
    """Tell whether BLAS can read an array: float32, the values of a row side by side."""
    (n, k), (between_rows, between_values) = array.shape, array.strides
    return (
        array.dtype == np.float32
        and array.flags.aligned
        and between_values == 4
        and between_rows % 4 == 0
        and max(1, k) <= between_rows // 4 <= _MOST
        and n <= _MOST
    )


def _stride(array: NDArray[np.float32]) -> Any:
    """Return the row stride, in values."""
    return _int(array.strides[0] // 4)


def _check_shapes(total: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> None:
    if left.shape[1:] != right.shape[1:] or total.shape != (len(left), len(right)):
        raise ValueError(
            f"a product of shapes {left.shape} and {right.shape} cannot be added to {total.shape}"
        )
    if not total.flags.writeable:
        raise ValueError("the total is read-only; give an array that can be written")


def add_product(
    total: NDArray[np.float32],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    factor: float = 1.0,
) -> None:
    """Add ``factor * left @ right.T`` to ``total`` in place.

    Parameters
    ----------
    total : array of shape (n, m), float32
    left : array of shape (n, k), float32
    right : array of shape (m, k), float32
    factor : float

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> t, a = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    >>> add_product(t, a[:2], a)
    >>> t.tolist()
    [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
    """
    _check_shapes(total, left, right)
    (n, k), m = left.shape, len(right)
    multiply = _routine("sgemm")
    if multiply is None or not all(map(_is_readable, (total, left, right))):
        total += np.asarray(factor, left.dtype) * (left @ right.T)
        return
    # Fortran sees every array transposed: total' += right left'
    multiply(
        b"T", b"N", _int(m), _int(n), _int(k), _float(factor), right.ctypes.data, _stride(right),
        left.ctypes.data, _stride(left), _float(1), total.ctypes.data, _stride(total),
    )  # fmt: skip


def add_gram(total: NDArray[np.float32], left: NDArray[np.float32]) -> None:
    """Add ``left @ left.T`` to ``total`` in place, on and below the diagonal only.

    This is half the work of :func:`add_product`; :func:`mirror` completes the matrix.

    Parameters
    ----------
    total : array of shape (n, n), float32
    left : array of shape (n, k), float32

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> t = np.zeros((2, 2), np.float32)
    >>> add_gram(t, np.array([[1, 2], [3, 4]], np.float32))
    >>> t.tolist()
    [[5.0, 0.0], [11.0, 25.0]]
    """
    _check_shapes(total, left, left)
    n, k = left.shape
    multiply = _routine("ssyrk")
    if multiply is None or not all(map(_is_readable, (total, left))):
        total += np.tril(left @ left.T)
        return
    multiply(
        b"U", b"T", _int(n), _int(k), _float(1), left.ctypes.data, _stride(left), _float(1),
        total.ctypes.data, _stride(total),
    )  # fmt: skip


def mirror(matrix: NDArray[np.float32]) -> None:
    """Copy the values below the diagonal to the positions above it.

    Examples
    --------
    >>> m = np.array([[1, 9], [2, 3]], np.float32)
    >>> mirror(m)
    >>> m.tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    n = len(matrix)
    for i in range(0, n, _MIRROR):
        a = slice(i, i + _MIRROR)
        matrix[a, a] = np.tril(matrix[a, a]) + np.tril(matrix[a, a], -1).T
        for j in range(i + _MIRROR, n, _MIRROR):
            b = slice(j, j + _MIRROR)
            matrix[a, b] = matrix[b, a].T


def at(
    bounds: NDArray[np.float32], chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return the rows, the columns and the values of chosen places of a matrix.

    Examples
    --------
    >>> values = np.array([[1, 2], [3, 4]], np.float32)
    >>> [part.tolist() for part in at(values, values > 2)]
    [[1, 1], [0, 1], [3.0, 4.0]]
    """
    hits = np.flatnonzero(chosen)
    i, j = np.divmod(hits.astype(np.int32), np.int32(bounds.shape[1]))
    return i, j, bounds.ravel()[hits]


def smallest_in_parts(
    values: NDArray[np.float32], n_parts: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return the smallest value of each row in each of some parts of its columns, and its column.

    Examples
    --------
    >>> values = np.array([[3, 1, 2, 5], [0, 7, 9, 8]], np.float32)
    >>> [part.tolist() for part in smallest_in_parts(values, 2)]
    [[[1.0, 2.0], [0.0, 8.0]], [[1, 2], [0, 3]]]
    """
    n_parts = min(n_parts, values.shape[1])
    size = values.shape[1] // n_parts
    parts = values[:, : n_parts * size].reshape(len(values), n_parts, size)
    places = parts.argmin(axis=2)
    smallest = np.take_along_axis(parts, places[:, :, None], axis=2)[:, :, 0]
    return smallest, places + size * np.arange(n_parts)


_SAMPLE = 16  # rows from which the centre is taken


_PART, _RUN = 1 << 15, 8192  # features of the sample: of a thread, and read at a time


_NEARLY = 4  # mean square distance from the origin over that from the centre


def _runs(part: slice) -> list[slice]:
    starts = range(part.start, part.stop, _RUN)
    return [slice(start, min(start + _RUN, part.stop)) for start in starts]


class Centred:
    """Blocks of points, shifted by a centre and multiplied by a scale factor.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    unit : float
        Factor by which every value is multiplied.
    """

    def __init__(self, points: Points, unit: float) -> None:
        self._points = points
        self._unit = unit

    @cached_property
    def centre(self) -> NDArray[Any] | None:
        """A point in the middle of most of the data; None if the origin is nearly as central.

        The centre is the mean over half of a sample: those points whose median distance to the
        others is smallest. Thus a few outliers do not shift it.
        """
        n_points = self._points.n_points
        sample = np.unique(np.linspace(0, n_points - 1, _SAMPLE).astype(int))
        parts = spans(self._points.n_features, _PART)

        def products(part: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            gram, norms = np.zeros((len(sample), len(sample))), np.zeros(len(sample))
            for columns in _runs(part):
                rows = self._points.block(sample, columns) * self._unit
                norms += np.vecdot(rows, rows)
                rows = rows - rows[0]
                gram += rows @ rows.T
            return gram, norms

        # parts that do not depend on the number of threads, so that the centre does not either
        gram, norms = (sum(sums) for sums in zip(*parallel(products, parts), strict=True))
        squares = np.diag(gram)
        spread = np.median(squares[:, None] + squares - 2 * gram, axis=1)
        inner = np.argsort(spread, kind="stable")[: max(1, len(sample) // 2)]
        around = squares[inner].mean() - gram[np.ix_(inner, inner)].mean()
        if self._as_is and norms[inner].mean() <= _NEARLY * around:
            return None
        amid = sample[inner]

        def middle(part: slice) -> NDArray[Any]:
            # divided before summing: the sum of values near the end of the range overflows
            rows = [self._points.block(amid, c) / len(amid) for c in _runs(part)]
            return np.concatenate([block.sum(0) for block in rows])

        return np.concatenate(parallel(middle, parts))

    def of(self, points: Points) -> Centred:
        """Shift other points by the same centre."""
        other = Centred(points, self._unit)
        other.centre = self.centre
        return other

    @property
    def is_in_place(self) -> bool:
        """Whether blocks of rows are views of the points."""
        return self._as_is and self.centre is None

    @property
    def _as_is(self) -> bool:
        """Whether BLAS can read the points in place: float32, in row-major order."""
        return self._unit == 1.0 and self._points.is_plain

    def unshifted(
        self, rows: Any, columns: slice
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return rows and columns in float32, and what is still to be subtracted from them."""
        if self._as_is:
            centre = None if self.centre is None else self.centre[columns]
            return self._points.block(rows, columns), centre
        n = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        buffer = np.empty((n, columns.stop - columns.start), np.float32)
        return self.block(rows, columns, buffer), None

    def block(self, rows: Any, columns: slice, out: NDArray[Any]) -> NDArray[Any]:
        """Return the given rows and columns, in the dtype of ``out``.

        The result is either the beginning of ``out`` or a view of the points: do not write to it.
        """
        block = self._points.block(rows, columns)
        if self.centre is None:
            return block.astype(out.dtype, copy=False)
        out = out[: len(block), : block.shape[1]]
        if out.dtype == block.dtype:
            np.subtract(block, self.centre[columns], out=out)
            if self._unit != 1.0:
                out *= self._unit
        else:
            # centred and scaled in the wider of the two types, or digits would be lost
            wide = np.subtract(block, self.centre[columns], dtype=np.float64)
            if self._unit != 1.0:
                wide *= self._unit
            out[:] = wide
        return out
