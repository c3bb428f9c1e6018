"""Folders: where a store lies, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from dimscope.errors import BadSource
from dimscope.files import write_beside

__all__ = ["WHOLE", "Folder", "has_zarr", "need_zarr"]

# Chunks of zeros are written too, so that one that is not there is known to be lost.
WHOLE = {"array.write_empty_chunks": True}
_LOCAL = ("file://", "local://")
# What a process leaves that was killed while it wrote: ours, a flag of several ranks, Zarr's.
_OURS = re.compile(r"\..+\.\d+\.part(\.\w+)?|\.stop\.part")
_ZARRS = re.compile(r".+\.[0-9a-f]{32}\.partial")


def need_zarr() -> Any:
    """Zarr, or a sentence that says how to get it."""
    try:
        import fsspec  # noqa: F401
        import zarr
    except ImportError as error:
        raise BadSource(
            f"activations on disk need {error.name}, which is not installed: "
            "pip install 'dimscope[scale]'"
        ) from error
    return zarr


def has_zarr() -> bool:
    """Whether activations can be kept on disk."""
    return all(importlib.util.find_spec(name) for name in ("zarr", "fsspec"))


class Folder:
    """A folder with small JSON files and Zarr arrays in it.

    Parameters
    ----------
    path : path or URL
        ``memory://`` and all that fsspec opens; ``file://`` is a path.

    Examples
    --------
    >>> folder = Folder("memory://example.zarr")
    >>> folder.write_json("note.json", {"rows": 3})
    >>> folder.read_json("note.json"), folder.read_json("none.json"), folder.is_empty
    ({'rows': 3}, None, False)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise BadSource(f"{path!r} is a {type(path).__name__}; give a path or a URL")
        self.url = os.fspath(path)
        for prefix in _LOCAL:
            if self.url.startswith(prefix):
                self.url = self.url.removeprefix(prefix)
        self.path: Path | None = None if "://" in self.url else Path(self.url)
        if self.path is None:
            need_zarr()
            import fsspec

            try:
                self._files, self._root = fsspec.core.url_to_fs(self.url)
            except (ImportError, ValueError, OSError) as error:
                raise BadSource(f"{self.url} cannot be opened: {error}") from None

    def __str__(self) -> str:
        return self.url

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing, files that were not finished apart."""
        if self.path is not None:
            if self.path.exists() and not self.path.is_dir():
                return False
            names = os.listdir(self.path) if self.path.exists() else []
            return all(_OURS.fullmatch(name) for name in names)
        return not self._files.exists(self._root) or not self._files.ls(self._root)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What a file holds, or None if there is none.

        Raises
        ------
        BadSource
            If it is not JSON.
        """
        try:
            if self.path is not None:
                text = (self.path / name).read_text(encoding="utf-8")
            else:
                text = self._files.cat_file(f"{self._root}/{name}").decode()
            found = json.loads(text)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise BadSource(f"{self}/{name} cannot be read: {error}") from None
        return found if isinstance(found, dict) else None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file whole: beside and renamed, or as one object."""
        text = json.dumps(content, allow_nan=False)
        if self.path is None:
            self._files.pipe_file(f"{self._root}/{name}", text.encode())
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSource(f"cannot make the folder {self}: {error.strerror}") from None
        write_beside(self.path / name, lambda beside: beside.write_text(text, encoding="utf-8"))

    def remove(self, name: str) -> None:
        """Remove a file or a folder in it, if it is there."""
        if self.path is None:
            if self._files.exists(f"{self._root}/{name}"):
                self._files.rm(f"{self._root}/{name}", recursive=True)
        elif (self.path / name).is_dir():
            shutil.rmtree(self.path / name)
        else:
            (self.path / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what processes that were killed had not finished writing of a store."""
        if self.path is None or not self.path.is_dir():
            return
        for found in self.path.rglob("*.part*"):
            ours = _OURS.fullmatch(found.name) or _ZARRS.fullmatch(found.name)
            if ours and not found.is_dir():
                found.unlink(missing_ok=True)
