"""BLAS routines that NumPy does not offer: products added to a matrix in place.

``X @ X.T`` in NumPy allocates its result and then mirrors one triangle, again for
every run of columns, and SciPy's Python wrappers hold the interpreter lock. The
functions that SciPy exports for Cython do neither; called through :mod:`ctypes` they
release the lock, so that each thread can multiply its own tile.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import threadpoolctl

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["add_gram", "add_product", "mirror", "one_thread_each"]

_MIRROR = 128  # side of the blocks that are transposed: two of them fit the cache


@cache
def _routine(name: str) -> Any:
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__[name]
    get_name, get_pointer = (
        ctypes.pythonapi.PyCapsule_GetName,
        ctypes.pythonapi.PyCapsule_GetPointer,
    )
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * get_name(capsule).count(b"*"))(
        get_pointer(capsule, get_name(capsule))
    )


@cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    _routine("sgemm")  # a library that is loaded later would not be found
    return threadpoolctl.ThreadpoolController()


_users, _lock = 0, threading.Lock()
_limit: Any = None


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Context in which every BLAS call stays on the thread that makes it.

    The limit holds for the whole process; it is lifted when the last of several threads
    that are inside leaves.

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


def _stride(array: NDArray[np.float32]) -> Any:
    """Distance between rows, in values; the values of a row must be contiguous."""
    assert array.dtype == "float32"
    assert array.strides[1] == 4, "the values of a row must be contiguous"
    return _int(array.strides[0] // 4)


def add_product(
    total: NDArray[np.float32],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    factor: float = 1.0,
) -> None:
    """``total += factor * left @ right.T`` in place.

    Parameters
    ----------
    total : array of shape (n, m), float32
    left : array of shape (n, k), float32
    right : array of shape (m, k), float32
    factor : float

    Examples
    --------
    >>> t, a = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    >>> add_product(t, a[:2], a)
    >>> t.tolist()
    [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
    """
    (n, k), m = left.shape, len(right)
    # Fortran sees every array transposed: total' += right left'
    _routine("sgemm")(
        b"T", b"N", _int(m), _int(n), _int(k), _float(factor), right.ctypes.data, _stride(right),
        left.ctypes.data, _stride(left), _float(1), total.ctypes.data, _stride(total),
    )  # fmt: skip


def add_gram(total: NDArray[np.float32], left: NDArray[np.float32]) -> None:
    """``total += left @ left.T`` in place, on and below the diagonal only.

    Half the work of :func:`add_product`; :func:`mirror` completes the matrix.

    Parameters
    ----------
    total : array of shape (n, n), float32
    left : array of shape (n, k), float32

    Examples
    --------
    >>> t = np.zeros((2, 2), np.float32)
    >>> add_gram(t, np.array([[1, 2], [3, 4]], np.float32))
    >>> t.tolist()
    [[5.0, 0.0], [11.0, 25.0]]
    """
    n, k = left.shape
    _routine("ssyrk")(
        b"U", b"T", _int(n), _int(k), _float(1), left.ctypes.data, _stride(left), _float(1),
        total.ctypes.data, _stride(total),
    )  # fmt: skip


def mirror(matrix: NDArray[np.float32]) -> None:
    """Copy what is below the diagonal to above it.

    Examples
    --------
    >>> m = np.array([[1, 0], [2, 3]], np.float32)
    >>> mirror(m)
    >>> m.tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    n = len(matrix)
    for i in range(0, n, _MIRROR):
        a = slice(i, i + _MIRROR)
        block = matrix[a, a]
        block += np.tril(block, -1).T
        for j in range(i + _MIRROR, n, _MIRROR):
            b = slice(j, j + _MIRROR)
            matrix[a, b] = matrix[b, a].T
