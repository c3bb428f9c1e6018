"""Files: write files atomically, and run a user's Python files on request."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dimscope.errors import BadSource

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "TemporaryFolder",
    "free_disk",
    "importable",
    "is_leftover",
    "load_module",
    "load_name",
    "name_in",
    "near",
    "write_beside",
]


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

    Threads and processes may write the same file at once; the last one to finish wins. A file that
    is replaced keeps its mode. If the path is a symbolic link, the file that it points to is
    replaced, not the link. A pipe or a character device, such as ``/dev/null``, gets the content
    when it is complete.

    Parameters
    ----------
    path : path
    write : callable
        Called with the path of an empty file to write to, with the same suffix.

    Raises
    ------
    BadSource
        If the file cannot be written, or is a folder, a block device or a socket.

    Examples
    --------
    >>> write_beside("no/such/folder/x.txt", lambda path: path.write_text("x"))
    Traceback (most recent call last):
    dimscope.errors.BadSource: cannot write no/such/folder/x.txt: No such file or directory
    """
    path = Path(path)
    try:
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            _replace(path, write, mode)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            _pour(path, write)
        else:
            raise BadSource(
                f"cannot write {path}: it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}"
            )
    except OSError as error:
        raise BadSource(f"cannot write {path}: {error.strerror or error}") from None


# Pipes and character devices are written to, as shells do: nothing on them can be lost, and users
# mean `--out /dev/null` and `>(gzip > x.gz)`. On a block device a disk would be overwritten.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFBLK: "a block device, which would be overwritten",
    stat.S_IFSOCK: "a socket",
}


def _mode(path: Path) -> int | None:
    """Return the type and permissions of what a path leads to; None if there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _replace(path: Path, write: Callable[[Path], Any], mode: int | None) -> None:
    """Write a new file and rename it to a regular one, or to one that does not exist yet."""
    if path.is_symlink():
        if mode is not None:  # the system may forbid to write through a link of another user
            os.close(os.open(path, os.O_WRONLY))
        path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        # made before others can make it, or a link of that name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(beside, flags, 0o666 if mode is None else mode & 0o777))
        if mode is not None:
            beside.chmod(mode & 0o777)  # without the umask
        write(beside)
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _pour(path: Path, write: Callable[[Path], Any]) -> None:
    """Write to a temporary file, as not all writers can write to a pipe, and copy that."""
    folder = TemporaryFolder()
    whole = folder.path / f"whole{path.suffix}"
    write(whole)
    with whole.open("rb") as source, open(os.open(path, os.O_WRONLY), "wb") as target:
        shutil.copyfileobj(source, target)


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
    """Return the free disk space for temporary files in bytes; 0 if there is no such folder."""
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
    return name_in(load_module(path), path, name)


def name_in(module: ModuleType, path: Path, name: str) -> Any:
    """Return the object ``name`` of the module that :func:`load_module` made from ``path``."""
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise BadSource(f"{path} does not define {name!r}.{near(name, names)}")
    return getattr(module, name)


def load_module(path: Path) -> ModuleType:
    """Run a Python file and return its module.

    Raises
    ------
    BadSource
        If the file is missing or cannot be run.
    """
    if not path.is_file():
        raise BadSource(f"{path} does not exist; give path/file.py:name")
    name = f"_dimscope_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadSource(f"{path} is not a Python file; give path/file.py:name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    try:
        with importable(path):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadSource(
            f"{path} cannot be run: {type(error).__name__}: {error}; correct this file"
        ) from error
    return module


@contextlib.contextmanager
def importable(path: Path) -> Iterator[None]:
    """Let the code of a Python file import modules beside it, as if Python ran the file.

    Examples
    --------
    >>> with importable(Path("models/net.py")):
    ...     Path(sys.path[0]).name
    'models'
    """
    folder = str(path.resolve().parent)
    if folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file may have removed it
            sys.path.remove(folder)


def near(name: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """Return a "Did you mean" question for a misspelt name; empty if no name is close.

    Examples
    --------
    >>> near("resnet81", ["resnet18", "vgg16"])
    " Did you mean 'resnet18'?"
    """
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=cutoff)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
