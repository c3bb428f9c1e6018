"""Files: read arrays safely, write files atomically, and run a user's Python files on request."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
import secrets
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "TemporaryFolder",
    "free_disk",
    "is_leftover",
    "load_name",
    "near",
    "open_array",
    "write_beside",
]


_ZIP = b"PK\x03\x04"


_ARCHIVE = "is a zip archive such as .npz; save one array with numpy.save"


def open_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only.

    Parameters
    ----------
    path : path

    Returns
    -------
    numpy.memmap

    Raises
    ------
    BadSource
        If the file is missing or is not a complete NumPy array of numbers.

    Examples
    --------
    >>> open_array("nowhere.npy")
    Traceback (most recent call last):
    dimscope.errors.BadSource: there is no file nowhere.npy
    """
    path = Path(path)
    if not path.exists():
        raise BadSource(f"there is no file {path}")
    if _starts(path, _ZIP):  # NumPy would open it, and not close it if it is damaged
        raise BadSource(f"{path} {_ARCHIVE}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise BadSource(f"{path} cannot be read: permission denied") from None
    except Exception as error:  # a damaged header can raise almost anything
        raise BadSource(f"{path} {_trouble(path, error)}") from None
    return array


def _starts(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:  # loading reports it
        return False


def _trouble(path: Path, error: Exception) -> str:
    if path.is_dir():
        return "is a folder, not a .npy file"
    if path.stat().st_size == 0:
        return "is empty; write it again with numpy.save"
    with path.open("rb") as file:
        start = file.read(6)
    if start[:1] == b"\x80":
        return "is a pickle, which is never read; save the array with numpy.save"
    if start != b"\x93NUMPY":
        return "is not a NumPy array file; save the array with numpy.save"
    text = str(error).lower()
    if "object" in text or "pickle" in text:
        return (
            "holds Python objects, which are pickled and therefore never read; "
            "save a plain numeric array"
        )
    return "is truncated or damaged: its size does not match its header; copy it again"


# Names of files that write_beside has not renamed yet. They hold a random number; in earlier
# versions, the number of the process.
_LEFTOVER = re.compile(r"\..+\.([0-9a-f]{16}|\d+)\.part(\.\w+)?")


def is_leftover(name: str) -> bool:
    """Tell whether a file name belongs to an unfinished file, left by a killed process.

    Examples
    --------
    >>> is_leftover(".profile.0123456789abcdef.part.json"), is_leftover("profile.json")
    (True, False)
    """
    return _LEFTOVER.fullmatch(name) is not None


def write_beside(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name, then rename it, so that it is never incomplete.

    Threads and processes may write the same file at once; the last one to finish wins.

    Parameters
    ----------
    path : path
    write : callable
        Called with the path to write to, in the same folder and with the same suffix.

    Raises
    ------
    BadSource
        If the file cannot be written.

    Examples
    --------
    >>> write_beside("no/such/folder/x.txt", lambda path: path.write_text("x"))
    Traceback (most recent call last):
    dimscope.errors.BadSource: cannot write no/such/folder/x.txt: No such file or directory
    """
    path = Path(path)
    if path.is_dir():
        raise BadSource(f"cannot write {path}: it is a folder")
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        write(beside)
        beside.replace(path)
    except OSError as error:
        raise BadSource(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


class TemporaryFolder:
    """A temporary folder, deleted when this object is garbage-collected, or at exit.

    Parameters
    ----------
    suffix : str
        End of the folder's name.

    Examples
    --------
    >>> folder = TemporaryFolder()
    >>> path = folder.path
    >>> path.is_dir()
    True
    >>> del folder
    >>> path.exists()
    False
    """

    def __init__(self, suffix: str = "") -> None:
        self.path = Path(tempfile.mkdtemp(prefix="dimscope-", suffix=suffix))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def free_disk() -> int:
    """Return the free disk space for temporary files, in bytes; 0 without a temporary folder."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        return 0


def load_name(path: Path, name: str) -> Any:
    """Run a Python file and return its object ``name``.

    Parameters
    ----------
    path : Path
    name : str

    Raises
    ------
    BadSource
        If the file is missing, cannot be run, or does not define the name.
    """
    if not path.is_file():
        raise BadSource(f"{path} does not exist; give path/file.py:name")
    module = _run(path)
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise BadSource(f"{path} does not define {name!r}.{near(name, names)}")
    return getattr(module, name)


def _run(path: Path) -> ModuleType:
    name = f"_dimscope_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadSource(f"{path} is not a Python file; give path/file.py:name")
    module = importlib.util.module_from_spec(spec)
    # the file may import modules beside it, as if Python ran it
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadSource(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def near(name: str, names: Iterable[str]) -> str:
    """Return a "Did you mean" question for a misspelt name; empty if no name is close.

    Examples
    --------
    >>> near("resnet81", ["resnet18", "vgg16"])
    " Did you mean 'resnet18'?"
    """
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
