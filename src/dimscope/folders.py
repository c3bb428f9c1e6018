"""Folders: where a store lies, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from dimscope.errors import BadSource
from dimscope.files import write_beside

__all__ = ["Folder", "has_zarr", "need_zarr"]

_LOCAL = ("file://", "local://")


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
    try:
        need_zarr()
    except BadSource:
        return False
    return True


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
            return not any(".part" not in name for name in names)
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
        """Remove what processes that were killed had not finished writing."""
        if self.path is not None and self.path.is_dir():
            for pattern in (".*.part*", "*.partial"):  # ours, and those of Zarr
                for leftover in self.path.rglob(pattern):
                    leftover.unlink(missing_ok=True)
