"""A store: activations in a Zarr group on disk, read a layer, or part of one, at a time.

The group holds one array per layer under ``layers/``, named by its number and the plain letters of
its name, and ``labels`` if there are any. Everything else is in the attribute ``dimscope``: the
true names and descriptions of the layers, failures, class names, provenance and
``schema_version``. The attribute is written last: a group without it is incomplete and is not
opened.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.activations.activations import Activations, Layer
from dimscope.activations.chunks import Chunked, ChunkFiles, ZarrChunks
from dimscope.errors import BadSource
from dimscope.files import is_leftover, write_beside
from dimscope.provenance import Provenance
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ATTRIBUTE",
    "JOURNAL",
    "SCHEMA_VERSION",
    "STOP_FLAG",
    "WHOLE",
    "Folder",
    "StoredActivations",
    "completed",
    "has_zarr",
    "home_of",
    "is_store",
    "need_zarr",
    "open_array_of",
    "open_store",
    "opened",
    "read_labels",
]


# Chunks of zeros are written too, so that one that is not there is known to be lost.
WHOLE = {"array.write_empty_chunks": True}


_LOCAL = ("file://", "local://")


STOP_FLAG = ".stop.part"  # by which a rank that fails has the others stop

_PARTIAL_CHUNK = re.compile(r".+\.[0-9a-f]{32}\.partial")  # of Zarr


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
            return all(name == STOP_FLAG or is_leftover(name) for name in names)
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
        for path in self.path.rglob("*.part*"):
            unfinished = (
                path.name == STOP_FLAG
                or is_leftover(path.name)
                or _PARTIAL_CHUNK.fullmatch(path.name)
            )
            if unfinished and not path.is_dir():
                path.unlink(missing_ok=True)


SCHEMA_VERSION = 1


ATTRIBUTE = "dimscope"


JOURNAL = "journal.json"  # how far a capture is; gone when it is complete


# What a Zarr array says of itself if its chunks are plain files at c/ROW/COLUMN.
_PLAIN = {
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
}


@by_value
@dataclass(frozen=True, repr=False, eq=False)
class StoredActivations(Activations):
    """Activations on disk: a layer is read when it is asked for.

    A mapping ``layer name -> points`` as :class:`~dimscope.Activations`, of which
    ``activations[layer]`` reads the whole layer each time; :meth:`stored` gives what reads
    a part. Made by :func:`dimscope.open_store` and :func:`dimscope.capture`.

    Parameters
    ----------
    path : str
        Where the store is.
    """

    points: Mapping[str, Any] = field(default_factory=dict, compare=False)  # not read to compare
    path: str = ""

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.asarray(self.stored(name))

    def stored(self, name: str) -> Chunked:
        """One layer, not read yet.

        Parameters
        ----------
        name : str

        Returns
        -------
        Blocks
            With ``shape``, ``dtype``, ``nbytes``; ``[rows]`` and ``[rows, columns]`` read
            no more than what they return and one chunk.

        Raises
        ------
        KeyError
            If there is no such layer.
        """
        found: Any = super().__getitem__(name)
        assert isinstance(found, Chunked)
        return found

    def __repr__(self) -> str:
        return (
            f"StoredActivations({self.name!r}, {len(self)} layers, n={self.n_points}, "
            f"{self.nbytes / 1e6:.0f} MB in {self.path})"
        )


def open_store(path: str | os.PathLike[str]) -> StoredActivations:
    """Open activations on disk, without reading them.

    Parameters
    ----------
    path : path or URL
        A folder, or anything that fsspec opens, such as ``s3://bucket/store.zarr``.

    Returns
    -------
    StoredActivations

    Raises
    ------
    BadSource
        If there is no store, its capture did not finish, or Zarr is not installed.

    Examples
    --------
    >>> import torch
    >>> import dimscope as ds
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    >>> _ = ds.capture(net, torch.ones(5, 4), out="memory://opened.zarr")
    >>> activations = open_store("memory://opened.zarr")
    >>> activations["input"].shape, activations.stored("output")[1:3, :2].shape
    ((5, 4), (2, 2))
    """
    need_zarr()
    folder = Folder(path)
    about = completed(folder)
    if about is None:
        raise _incomplete(folder)
    return opened(folder, about)


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether something is, or was to become, a store; a URL is taken for one.

    Examples
    --------
    >>> is_store("nowhere"), is_store("s3://bucket/store.zarr")
    (False, True)
    """
    place = os.fspath(path)
    if "://" in place:
        return True
    return any((Path(place) / name).is_file() for name in ("zarr.json", JOURNAL))


def completed(folder: Folder) -> dict[str, Any] | None:
    """What a complete store says of itself; None if it is not complete, or none."""
    attributes = (folder.read_json("zarr.json") or {}).get("attributes", {})
    about = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    if not isinstance(about, dict):
        return None
    if about.get("schema_version") != SCHEMA_VERSION:
        raise BadSource(
            f"{folder} has schema_version {about.get('schema_version')}, this dimscope reads "
            f"{SCHEMA_VERSION}; capture again or use a matching version"
        )
    return about


def _incomplete(folder: Folder) -> BadSource:
    journal = folder.read_json(JOURNAL)
    if journal is None:
        if folder.is_empty:
            return BadSource(f"there is no store {folder}")
        return BadSource(f"{folder} is not a store that dimscope wrote; give one made by capture")
    total, rows = journal.get("n_points"), journal.get("rows", 0)
    shares = journal.get("shares", [])
    for rank in range(1, len(shares) - 1):
        own = home_of(folder, rank).read_json(JOURNAL) or {}
        if own.get("shares") == shares:
            rows += own["rows"] - own["first"]
    return BadSource(
        f"{folder} is not complete, it holds {rows} "
        f"{'rows' if total is None else f'of {total} rows'}; the same capture with "
        f"out={str(folder)!r} goes on where it stopped"
    )


def home_of(folder: Folder, rank: int) -> Folder:
    """Where a rank other than 0 keeps its journal and labels while many write to a store."""
    return Folder(f"{folder}/ranks/{rank}")


def opened(folder: Folder, about: Mapping[str, Any], owner: object = None) -> StoredActivations:
    """The activations of a store that says of itself ``about``."""
    try:
        described = about["layers"]
        layers = tuple(
            Layer(**{k: v for k, v in one.items() if k in Layer.__dataclass_fields__})
            for one in described
        )
        arrays = {
            one["name"]: open_array_of(folder, f"layers/{one['array']}", owner)
            for one in described
            if one["array"] is not None
        }
        names = about["class_names"]
        if len({layer.name for layer in layers}) < len(layers):
            raise KeyError("two layers of one name")
        for layer in layers:
            if layer.name in arrays and arrays[layer.name].shape != (
                about["n_points"],
                layer.n_features,
            ):
                raise KeyError(f"the shape of {layer.name}")
        return StoredActivations(
            arrays,
            layers,
            read_labels(folder, about["labels"]),
            None if names is None else tuple(names),
            dict(about["failures"]),
            about["name"],
            Provenance.from_dict(about["provenance"]),
            str(folder),
        )
    except BadSource:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise BadSource(f"{folder} is damaged: {error!r} in what it says of itself") from error


def open_array_of(folder: Folder, name: str, owner: object = None) -> Chunked:
    """One array of a store: plain files if they are, or else through Zarr.

    Parameters
    ----------
    folder : Folder
    name : str
        Its key in the group.
    owner : object, optional
        Kept alive as long as the array is.
    """
    zarr = need_zarr()
    if folder.path is not None:
        about = folder.read_json(f"{name}/zarr.json") or {}
        if all(about.get(key) == value for key, value in _PLAIN.items()):
            grid = about["chunk_grid"]["configuration"]["chunk_shape"]
            rows, columns = about["shape"]
            if len(grid) != 2 or min(rows, columns, *grid) < 1:
                raise BadSource(f"{folder} is damaged: {name} has shape {about['shape']}")
            dtype = np.dtype(about["data_type"]).newbyteorder("<")
            return ChunkFiles(folder.path / name, (rows, columns), tuple(grid), dtype, owner)
    try:
        array = zarr.open_array(f"{folder}/{name}", mode="r")
    except FileNotFoundError:
        raise BadSource(f"{folder} is damaged: there is no array {name}") from None
    # Zarr reads a chunk that is not there as zeros. A capture writes all of them, as they are; who
    # compressed the array later may have left out those that hold zeros only.
    if not array.compressors and array.nchunks_initialized < array.nchunks:
        raise BadSource(
            f"{folder} is damaged: {array.nchunks - array.nchunks_initialized} of "
            f"{array.nchunks} chunks of {name} are missing; copy it again, or capture again"
        )
    return ZarrChunks(array, owner)


def read_labels(folder: Folder, known: Mapping[str, Any] | None) -> NDArray[Any] | None:
    """The labels in a folder, if all rows have any, by what is known of them."""
    if known is None:
        return None
    try:
        array = need_zarr().open_array(f"{folder}/labels", mode="r")
        lost = array.nchunks_initialized < array.nchunks
        found: NDArray[Any] = np.asarray(array[:])
    except (OSError, ValueError):
        lost = True
    if lost:
        raise BadSource(
            f"{folder} is damaged: its labels are missing or cut short; copy it again, or capture "
            "again"
        )
    if known["words"] is not None:
        found = np.asarray(known["words"])[found]
    return found.astype(known["dtype"] if known["words"] is None else found.dtype)
