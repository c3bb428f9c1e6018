"""Pages: memory for large arrays, apart from the heap.

It can grow without a copy, goes back to the system when the array goes, and leaves the
heap to what is small.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["advise_huge", "empty_array", "own_pages"]

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
