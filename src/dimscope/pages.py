"""Pages: memory for large arrays apart from the heap, and that of files that are mapped.

Pages of their own can grow without a copy, go back to the system when the array goes, and leave
the heap to what is small. What is read of a mapped file counts as memory in use until its
pages are let go.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["advise_huge", "empty_array", "own_pages", "release"]

_HUGE = 4 << 20  # bytes from which huge pages pay
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)


def own_pages(n_bytes: int) -> mmap.mmap:
    """Zeros that take no room until they are written.

    Examples
    --------
    >>> len(own_pages(10**9))
    1000000000
    """
    pages = mmap.mmap(-1, n_bytes, **_PRIVATE)
    advise_huge(pages)
    return pages


def advise_huge(pages: mmap.mmap) -> None:
    """Ask for huge pages where they pay, as again after growing."""
    if len(pages) >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)


def empty_array(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """``numpy.empty``, in pages of its own if it is large.

    Examples
    --------
    >>> empty_array((1000, 2000), np.dtype(float)).shape
    (1000, 2000)
    """
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    if n_bytes < _HUGE:
        return np.empty(shape, dtype)
    return np.frombuffer(own_pages(n_bytes), dtype).reshape(shape)


def release(array: Any) -> None:
    """Let go of the pages of a memory map that were read; other arrays are left alone.

    The file keeps what was written to it, and what is read again comes from the system's cache.

    Parameters
    ----------
    array : array
        A memory map, or a view of one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     mapped = np.memmap(file, np.uint8, "w+", shape=10_000)
    ...     mapped[:] = 7
    ...     release(mapped)
    ...     int(mapped[5000])
    7
    """
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            # the changes of a copy-on-write map are in these pages alone
            if array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
                array.base.madvise(mmap.MADV_DONTNEED)
            return
        array = array.base
