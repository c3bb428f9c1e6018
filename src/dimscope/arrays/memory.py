"""Memory: the budget, and large arrays that can be let go of.

A budget is a number of bytes, by default half of what is free. Large arrays get pages of their
own, apart from the heap: they can grow without a copy and go back to the system when the array
goes. Pages of a mapped file count as memory in use until they are released.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "advise_huge",
    "as_bytes",
    "budget_from",
    "empty_array",
    "free_memory",
    "own_pages",
    "release",
    "total_memory",
]


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


_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


_SHARE = 2  # the part of the free memory that is taken unasked is one half


_NO_LIMIT = 1 << 60  # what control groups say where there is none


def as_bytes(memory: int | str) -> int:
    """Number of bytes that a number or a text such as ``"4GB"`` means.

    Parameters
    ----------
    memory : int or str
        Units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB.

    Raises
    ------
    ValueError
        If it is neither, or less than one byte.

    Examples
    --------
    >>> as_bytes("1.5 GB"), as_bytes("1KiB"), as_bytes(7)
    (1500000000, 1024, 7)
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e\d+)?)\s*([a-z]*)\s*", str(memory).lower())
    if found is None or isinstance(memory, bool) or found[2] not in _UNITS:
        raise ValueError(f"memory is {memory!r}; use a number of bytes or a text such as '4GB'")
    size = int(float(found[1]) * _UNITS[found[2]])
    if size < 1:
        raise ValueError(f"memory is {memory!r}; use at least one byte")
    return size


def budget_from(memory: int | str | None) -> int:
    """The budget in bytes; half of what is free if nothing was said.

    Examples
    --------
    >>> budget_from("2 GB")
    2000000000
    """
    return free_memory() // _SHARE if memory is None else as_bytes(memory)


def free_memory() -> int:
    """Bytes of memory that this process could still take, limits of containers included.

    Examples
    --------
    >>> free_memory() > 0
    True
    """
    return max(1, min([int(psutil.virtual_memory().available), *_left_by_groups()]))


def total_memory() -> int:
    """Return the bytes of memory of this machine.

    Examples
    --------
    >>> total_memory() >= free_memory()
    True
    """
    return int(psutil.virtual_memory().total)


def _left_by_groups(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What the limits of the control groups, version 2 and 1, leave."""
    for folder, limit, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            most = int((folder / limit).read_text(encoding="ascii"))
            left = most - int((folder / used).read_text(encoding="ascii"))
            words = (folder / "memory.stat").read_text(encoding="ascii").split()
            left += int(words[words.index("inactive_file") + 1])  # a cache that gives way
        except (OSError, ValueError, IndexError):
            continue
        if most < _NO_LIMIT:
            yield left
