"""What every format provides: the arrays of a file, and how to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimscope.arrays.frames import refuse_row_numbers
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadSource

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["NOT_WHOLE", "Arrays", "Format", "SavedArray", "check_room", "damaged", "saved_frame"]


@dataclass(frozen=True)
class SavedArray:
    """An array in a file.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
    read : callable
        Returns the array: mapped into memory or read block by block where the format allows it.
    is_numeric : bool
        Whether it holds real numbers.
    said : str
        How it was read, where the file leaves a choice.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Any]
    is_numeric: bool = True
    said: str = ""

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


Arrays = dict[str, SavedArray]


@dataclass(frozen=True)
class Format:
    """A file format.

    Parameters
    ----------
    name : str
        Such as "a NumPy array file".
    suffixes : tuple of str
        Ends of the names of its files; the first is the usual one.
    list_arrays : callable
        Takes the path of a file. Returns name -> :class:`SavedArray`; the name is empty in a format
        that holds one array.
    magic : bytes
        The first bytes of its files; empty if they differ.
    begins : callable
        Tells by their first bytes which files can be of this format. By default, those that begin
        with the magic.
    remedy : str
        What to do where a file begins otherwise. Without it, the file is read nevertheless.
    is_zip : bool
        Whether the magic is that of any zip archive.
    """

    name: str
    suffixes: tuple[str, ...]
    list_arrays: Callable[[Path], Arrays]
    magic: bytes = b""
    begins: Callable[[bytes], bool] | None = None
    remedy: str = ""
    is_zip: bool = False

    def can_begin(self, start: bytes) -> bool:
        """Return whether a file with these first bytes can be of this format."""
        if self.begins is not None:
            return self.begins(start)
        return bool(self.magic) and start.startswith(self.magic)


def damaged(path: Path, why: str = "") -> BadSource:
    """Return the error of a file that ends too early, or whose bytes contradict each other."""
    return BadSource(f"{path} is truncated or damaged{why and f' ({why})'}; copy it again")


NOT_WHOLE = "save the array with numpy.save as .npy, which is not read whole, or free memory"


def check_room(path: Path, n_bytes: int) -> None:
    """Refuse to read more bytes than the memory budget."""
    what = f"reading {path}, which cannot be mapped,"
    check_budget(n_bytes, budget_from(None), what, NOT_WHOLE)


def saved_frame(frame: pd.DataFrame, said: str = "") -> SavedArray:
    """Make the array of a data frame."""

    def read() -> NDArray[Any]:
        refuse_row_numbers(frame)
        return as_numpy(frame)

    return SavedArray(frame.shape, "table", read, said=said)
