"""Temporary: a place on disk for what does not fit in memory, gone when it is not needed."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from dimscope.errors import BadSource

__all__ = ["Temporary", "room"]


def room() -> int:
    """Bytes that are free where temporary files go; none if they can go nowhere."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        return 0


class Temporary:
    """A folder that goes when nothing refers to it any more, or the program ends.

    Parameters
    ----------
    n_bytes : int
        What is to be put there.

    Raises
    ------
    BadSource
        If the disk has not that much room.
    """

    def __init__(self, n_bytes: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="dimscope-", suffix=".zarr"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        free = room()
        if n_bytes > free:
            raise BadSource(
                f"the layers take {n_bytes / 1e9:.1f} GB on disk, but {self.path.parent} has "
                f"{free / 1e9:.1f} GB left; give another folder as out, fewer points or layers, "
                "or readout='mean'; dimscope.profile measures them in several passes"
            )
