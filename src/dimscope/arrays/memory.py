"""Memory: the budget, large arrays that go back to the system when freed, and reuse of memory.

A budget is a number of bytes, by default half of the free memory. Large arrays are allocated
outside the heap, in pages that can grow without a copy and go back to the system when the array is
freed. Pages of a memory-mapped file count as memory in use until they are released. Options of the
allocator are changed only within :func:`reused_memory`.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from dimscope.errors import OverBudget

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "as_bytes",
    "budget_from",
    "check_budget",
    "empty_array",
    "free_memory",
    "is_mapped",
    "own_pages",
    "release",
    "reused_memory",
    "total_memory",
]


_LARGE = 4 << 20  # bytes above which an array lies outside the heap


_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)


def own_pages(n_bytes: int) -> mmap.mmap:
    """Allocate zero-filled pages, which take no memory until they are written.

    Examples
    --------
    >>> len(own_pages(10**9))
    1000000000
    """
    # not huge pages: where memory is in pieces, making one takes longer than all that it saves
    return mmap.mmap(-1, n_bytes, **_PRIVATE)


def empty_array(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Allocate an array as ``numpy.empty`` does, but outside the heap if it is large.

    Examples
    --------
    >>> empty_array((1000, 2000), np.dtype(float)).shape
    (1000, 2000)
    """
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    if n_bytes < _LARGE:
        return np.empty(shape, dtype)
    return np.frombuffer(own_pages(n_bytes), dtype).reshape(shape)


def release(array: Any) -> None:
    """Release the pages of a memory map that were read; do nothing for other arrays.

    The file keeps what was written to it. Pages that are read again usually come from the system's
    file cache.

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
    mapped = _memory_map(array)
    # changes of a copy-on-write map exist only in these pages
    if mapped is not None and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.base.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: Any) -> bool:
    """Tell whether an array is a memory map of a file, or a view of one.

    Examples
    --------
    >>> is_mapped(np.zeros(3))
    False
    """
    return _memory_map(array) is not None


def _memory_map(array: Any) -> Any:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = array.base
    return None


_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


_SHARE = 2  # the default budget is the free memory divided by this


_NO_LIMIT = 1 << 60  # control groups without a limit report a number above this


def as_bytes(memory: int | str) -> int:
    """Convert a number, or a string such as ``"4GB"``, to a number of bytes.

    Parameters
    ----------
    memory : int or str
        Units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB.

    Raises
    ------
    ValueError
        If it is not a valid size, or is less than one byte.

    Examples
    --------
    >>> as_bytes("1.5 GB"), as_bytes("1KiB"), as_bytes(7)
    (1500000000, 1024, 7)
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e\d+)?)\s*([a-z]*)\s*", str(memory).lower())
    if match is None or isinstance(memory, bool) or match[2] not in _UNITS:
        raise ValueError(f"memory is {memory!r}; use a number of bytes or a string such as '4GB'")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size < 1:
        raise ValueError(f"memory is {memory!r}; use at least one byte")
    return size


def budget_from(memory: int | str | None) -> int:
    """Return the memory budget in bytes: half of the free memory if ``memory`` is None.

    Examples
    --------
    >>> budget_from("2 GB")
    2000000000
    """
    return free_memory() // _SHARE if memory is None else as_bytes(memory)


def check_budget(n_bytes: int, budget: int, what: str, advice: str = "") -> None:
    """Refuse to allocate more than the memory budget.

    Parameters
    ----------
    n_bytes : int
        Bytes that are needed.
    budget : int
    what : str
        What needs them, for the message.
    advice : str
        What to do. By default, to give fewer points or a larger budget.

    Raises
    ------
    OverBudget

    Examples
    --------
    >>> check_budget(3 * 10**9, 10**9, "the surrogate")
    Traceback (most recent call last):
    dimscope.errors.OverBudget: the surrogate needs 3 GB of memory, more than the budget of 1 GB; \
give fewer points, or a larger budget such as memory='4GB'
    """
    if n_bytes > budget:
        larger = f"memory='{math.ceil(1.2 * n_bytes / 1e9)}GB'"
        advice = advice or f"give fewer points, or a larger budget such as {larger}"
        raise OverBudget(
            f"{what} needs {n_bytes / 1e9:.3g} GB of memory, more than the budget of "
            f"{budget / 1e9:.3g} GB; {advice}"
        )


def free_memory() -> int:
    """Return the bytes that this process can still allocate, within the limit of its container.

    Examples
    --------
    >>> free_memory() > 0
    True
    """
    return max(1, min([int(psutil.virtual_memory().available), *_left_by_groups()]))


def total_memory() -> int:
    """Return the total memory of this machine in bytes.

    Examples
    --------
    >>> total_memory() >= free_memory()
    True
    """
    return int(psutil.virtual_memory().total)


def _left_by_groups(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the bytes left under the limits of control groups (versions 2 and 1)."""
    for folder, limit, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            maximum = int((folder / limit).read_text(encoding="ascii"))
            left = maximum - int((folder / used).read_text(encoding="ascii"))
            words = (folder / "memory.stat").read_text(encoding="ascii").split()
            left += int(words[words.index("inactive_file") + 1])  # cache that can be dropped
        except (OSError, ValueError, IndexError):
            continue
        if maximum < _NO_LIMIT:
            yield left


# Options of malloc.h. The values set afterwards are those that glibc itself adopts once a block
# of 32 MiB has been freed; the values before cannot be read.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


_DURING = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1))


_AFTER = ((_M_MMAP_MAX, 65536), (_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 64 << 20))


_lock = threading.Lock()


_users = 0


@contextmanager
def reused_memory() -> Iterator[None]:
    """Keep freed memory for the next allocation, in the whole process, until the context ends.

    A network on a CPU frees large blocks after every layer. The allocator returns them to the
    system, and fetching them again can take as long as the layer itself. Within this context they
    stay with the process; at the end they are returned. The commands ``profile`` and ``capture``
    use it; Python functions do not, because it sets options of the allocator (``mallopt``) for all
    threads.

    Notes
    -----
    It has an effect with the GNU C library only. The options of the allocator cannot be read, so
    their earlier values cannot be restored. After the context, blocks smaller than 32 MiB are
    allocated from the heap, as in any process that has already freed a block of that size.

    Examples
    --------
    >>> from resource import RUSAGE_SELF, getrusage
    >>> def pages_fetched():
    ...     before = getrusage(RUSAGE_SELF).ru_minflt
    ...     _ = b"x" * 10**8  # allocates 100 MB and frees them
    ...     return getrusage(RUSAGE_SELF).ru_minflt - before
    >>> with reused_memory():
    ...     _, second_time = pages_fetched(), pages_fetched()
    >>> second_time < 1000
    True
    """
    global _users
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        _set(libc, _DURING)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _set(libc, _AFTER)
                libc.malloc_trim(0)


def _set(libc: Any, options: tuple[tuple[int, int], ...]) -> None:
    for option, value in options:
        libc.mallopt(option, value)


@cache
def _glibc() -> Any:
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (absent from other C libraries)
    except (AttributeError, OSError, TypeError):
        return None
    return libc
