"""Pages of memory maps: what is read of a file counts as memory in use until it is let go."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

__all__ = ["release"]


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
