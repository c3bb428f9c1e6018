"""Store: activations in a Zarr group on disk, read one layer, or part of a layer, at a time.

The group holds one array per layer under ``layers/`` and, if there are labels, an array ``labels``.
An array is named by the position of its layer and the layer's name, with special characters
replaced by hyphens. The attribute ``dimscope`` holds everything else: the full names and
descriptions of the layers, failures, class names, provenance and ``schema_version``. It is written
last, so a group without it is incomplete and cannot be opened.
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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.activations.activations import Activations, Layer
from dimscope.activations.chunks import Chunked, ChunkFiles, ZarrChunks
from dimscope.arrays.codecs import check_codecs
from dimscope.errors import BadSource
from dimscope.extras import needed
from dimscope.files import is_leftover, write_beside
from dimscope.provenance import Provenance
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ATTRIBUTE",
    "JOURNAL",
    "LOCK",
    "OWNER",
    "SCHEMA_VERSION",
    "STOP_FLAG",
    "WHOLE",
    "Folder",
    "StoredActivations",
    "checked_array",
    "completed",
    "has_zarr",
    "home_of",
    "is_store",
    "key_of",
    "need_zarr",
    "open_array_of",
    "open_store",
    "opened",
    "read_labels",
]


# Write chunks of zeros too, so that a missing chunk means lost data.
WHOLE = {"array.write_empty_chunks": True}


_LOCAL = ("file://", "local://")


STOP_FLAG = ".stop.part"  # a rank that fails creates this file to stop the others

LOCK = ".lock"  # locked by the process that writes to the store


OWNER = ".owner.json"  # names that process


_PARTIAL_CHUNK = re.compile(r".+\.[0-9a-f]{32}\.partial")  # of Zarr


def need_zarr() -> Any:
    """Return the module zarr, or explain how to install it."""
    with needed("a store"):
        import fsspec  # noqa: F401
        import zarr
    return zarr


def has_zarr() -> bool:
    """Whether the packages for activations on disk are installed."""
    return all(importlib.util.find_spec(name) for name in ("zarr", "fsspec"))


class Folder:
    """A folder of small JSON files and Zarr arrays, on this machine or at a URL.

    Parameters
    ----------
    path : path or URL
        A local path or ``file://`` URL, or any other URL that fsspec can open, such as
        ``memory://``.

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
            with needed("a store"):
                import fsspec

            try:
                self._files, self._root = fsspec.core.url_to_fs(self.url)
            except (ImportError, ValueError, OSError) as error:
                raise BadSource(f"{self.url} cannot be opened: {error}") from None

    def __str__(self) -> str:
        return self.url

    @property
    def is_empty(self) -> bool:
        """Whether the folder is missing or holds only unfinished files."""
        if self.path is not None:
            if self.path.exists() and not self.path.is_dir():
                return False
            names = os.listdir(self.path) if self.path.exists() else []
        elif self._files.exists(self._root):
            paths = self._files.ls(self._root, detail=False)
            names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        else:
            names = []
        return all(name in (STOP_FLAG, LOCK, OWNER) or is_leftover(name) for name in names)

    def has(self, name: str) -> bool:
        """Whether there is a file with this name."""
        if self.path is not None:
            return (self.path / name).is_file()
        return bool(self._files.exists(f"{self._root}/{name}"))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file, or None if it is missing or is not a JSON object.

        Raises
        ------
        BadSource
            If the file cannot be read or is not valid JSON.
        """
        try:
            if self.path is not None:
                text = (self.path / name).read_text(encoding="utf-8")
            else:
                text = self._files.cat_file(f"{self._root}/{name}").decode()
            content = json.loads(text)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise BadSource(f"{self}/{name} cannot be read: {error}") from None
        return content if isinstance(content, dict) else None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file atomically: by renaming it on disk, or as one object at a URL.

        Raises
        ------
        BadSource
            If it cannot be written, or lies behind a symbolic link.
        """
        text = json.dumps(content, allow_nan=False)
        if self.path is None:
            self._files.pipe_file(f"{self._root}/{name}", text.encode())
            return
        self.make()
        self._refuse_link(self.path / name)
        write_beside(self.path / name, lambda beside: beside.write_text(text, encoding="utf-8"))

    def make(self) -> None:
        """Make the folder if there is none; at a URL it comes with its first file."""
        try:
            if self.path is not None:
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSource(f"cannot make the folder {self}: {error.strerror}") from None

    def remove(self, name: str) -> None:
        """Remove a file or folder inside this folder, if it exists; of a link, only the link.

        Raises
        ------
        BadSource
            If it lies in a folder that is a symbolic link.
        """
        if self.path is None:
            if self._files.exists(f"{self._root}/{name}"):
                self._files.rm(f"{self._root}/{name}", recursive=True)
            return
        path = self.path / name
        self._refuse_link(path.parent)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def refuse_links(self) -> None:
        """Refuse a folder with a symbolic link inside, which writing would follow.

        Raises
        ------
        BadSource
        """
        if self.path is None:
            return
        for place, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                self._refuse_link(Path(place, name), up=False)

    def _refuse_link(self, path: Path, up: bool = True) -> None:
        """Refuse a path inside if it, or a folder on the way to it, is a symbolic link."""
        while path != self.path:
            if path.is_symlink():
                raise BadSource(
                    f"{path} is a symbolic link, and a capture does not write or delete through "
                    "links; replace the link with the files themselves"
                )
            if not up:
                break
            path = path.parent

    def tidy(self) -> None:
        """Remove the unfinished files that killed processes left behind."""
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


JOURNAL = "journal.json"  # progress of an incomplete capture


# Metadata of a Zarr array whose chunks are plain files at c/ROW/COLUMN.
_PLAIN = {
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
}


@by_value
@dataclass(frozen=True, repr=False, eq=False)
class StoredActivations(Activations):
    """Activations on disk, whose layers are read on access.

    A mapping ``layer name -> points``, like :class:`~dimscope.Activations`. ``activations[layer]``
    reads the whole layer each time; :meth:`stored` returns an object that reads parts of it.
    Returned by :func:`dimscope.open_store` and :func:`dimscope.capture`.

    Parameters
    ----------
    path : str
        Path or URL of the store.
    """

    points: Mapping[str, Any] = field(default_factory=dict, compare=False)  # not read to compare
    path: str = ""

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.asarray(self.stored(name))

    def stored(self, name: str) -> Chunked:
        """Return a layer without reading it.

        Parameters
        ----------
        name : str

        Returns
        -------
        Blocks
            It has ``shape``, ``dtype`` and ``nbytes``. Indexing it with ``[rows]`` or ``[rows,
            columns]`` needs memory only for the result and one chunk.

        Raises
        ------
        KeyError
            If there is no such layer.
        """
        layer: Any = super().__getitem__(name)
        assert isinstance(layer, Chunked)
        return layer

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
        A folder, or any URL that fsspec can open, such as ``s3://bucket/store.zarr``.

    Returns
    -------
    StoredActivations

    Raises
    ------
    BadSource
        If there is no store, its capture is incomplete, or Zarr is not installed.

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
    """Whether a path is a store, complete or not; a URL is assumed to be one.

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
    """Return the description of a store, or None if the store is incomplete or missing."""
    attributes = (folder.read_json("zarr.json") or {}).get("attributes", {})
    about = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    if not isinstance(about, dict):
        return None
    if about.get("schema_version") != SCHEMA_VERSION:
        raise BadSource(
            f"{folder} has schema_version {about.get('schema_version')}, but this version of "
            f"dimscope reads {SCHEMA_VERSION}; capture again or use a matching version"
        )
    return about


def _incomplete(folder: Folder) -> BadSource:
    journal = folder.read_json(JOURNAL)
    if journal is None:
        if folder.is_empty:
            return BadSource(f"there is no store {folder}; dimscope capture writes one")
        is_zarr = folder.read_json("zarr.json") is not None
        return BadSource(
            f"{folder} is not a dimscope store; give a store that capture wrote"
            f"{', or open it with zarr.open and give its arrays' if is_zarr else ''}"
        )
    total, rows = journal.get("n_points"), journal.get("rows", 0)
    shares = journal.get("shares", [])
    for rank in range(1, len(shares) - 1):
        share = home_of(folder, rank).read_json(JOURNAL) or {}
        if share.get("shares") == shares:
            rows += share["rows"] - share["first"]
    return BadSource(
        f"{folder} is incomplete: it holds {rows} "
        f"{'rows' if total is None else f'of {total} rows'}; repeat the same capture with "
        f"out={str(folder)!r} to resume it"
    )


_KEY = re.compile(r"[A-Za-z0-9_-]+")


def key_of(name: object) -> str:
    """Return the key of a layer's array from the name that a description gives it.

    Raises
    ------
    KeyError
        If the name is not a plain one, and might lead out of the store.

    Examples
    --------
    >>> key_of("000-input")
    'layers/000-input'
    >>> key_of("../../home")
    Traceback (most recent call last):
    KeyError: "the name of an array, '../../home'"
    """
    if not isinstance(name, str) or _KEY.fullmatch(name) is None:
        raise KeyError(f"the name of an array, {name!r}")
    return f"layers/{name}"


def home_of(folder: Folder, rank: int) -> Folder:
    """Return the folder where a rank other than 0 keeps its journal and labels."""
    return Folder(f"{folder}/ranks/{rank}")


def opened(folder: Folder, about: Mapping[str, Any], owner: object = None) -> StoredActivations:
    """Open the activations in a store, given its description ``about``."""
    try:
        described = about["layers"]
        layers = tuple(
            Layer(**{k: v for k, v in entry.items() if k in Layer.__dataclass_fields__})
            for entry in described
        )
        arrays = {
            entry["name"]: open_array_of(folder, key_of(entry["array"]), owner)
            for entry in described
            if entry["array"] is not None
        }
        names = about["class_names"]
        if len({layer.name for layer in layers}) < len(layers):
            raise KeyError("two layers with the same name")
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
            ids=read_labels(folder, about.get("ids"), "ids"),
        )
    except BadSource:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise BadSource(
            f"{folder} is damaged: {error!r} in its description; copy it again, or capture again"
        ) from error


def open_array_of(folder: Folder, name: str, owner: object = None) -> Chunked:
    """Open an array in a store: as plain files if possible, otherwise through Zarr.

    Parameters
    ----------
    folder : Folder
    name : str
        Key of the array in the group.
    owner : object, optional
        An object to keep alive as long as the array.
    """
    about = _array_metadata(folder, name)
    if folder.path is not None and all(about.get(key) == value for key, value in _PLAIN.items()):
        grid = about["chunk_grid"]["configuration"]["chunk_shape"]
        rows, columns = about["shape"]
        if len(grid) != 2 or min(rows, columns, *grid) < 1:
            raise BadSource(
                f"{folder} is damaged: {name} has shape {about['shape']}; copy it again, or "
                "capture again"
            )
        dtype = np.dtype(about["data_type"]).newbyteorder("<")
        return ChunkFiles(folder.path / name, (rows, columns), tuple(grid), dtype, owner)
    array = checked_array(folder, name)
    # Zarr reads a missing chunk as zeros. A capture writes all chunks, uncompressed; a later
    # compression may have left out chunks of zeros.
    if not array.compressors and array.nchunks_initialized < array.nchunks:
        raise BadSource(
            f"{folder} is damaged: {array.nchunks - array.nchunks_initialized} of "
            f"{array.nchunks} chunks of {name} are missing; copy it again, or capture again"
        )
    return ZarrChunks(array, owner)


def checked_array(folder: Folder, name: str, mode: Literal["r", "r+"] = "r") -> Any:
    """Open an array of a store through Zarr, which decodes it only if no codec can run code.

    Parameters
    ----------
    folder : Folder
    name : str
        Its key in the group.
    mode : {"r", "r+"}
        To read it only, or to write to it too.

    Raises
    ------
    BadSource
        If it is missing, is of Zarr format 2, or has a codec or a dtype that is not plain.
    """
    _array_metadata(folder, name)
    return need_zarr().open_array(f"{folder}/{name}", mode=mode, zarr_format=3)


def _array_metadata(folder: Folder, name: str) -> dict[str, Any]:
    """Return the metadata of an array that is safe to decode."""
    about = folder.read_json(f"{name}/zarr.json")
    if about is None:
        if folder.has(f"{name}/.zarray"):
            raise BadSource(
                f"{name} of {folder} is not read, because it is of Zarr format 2, whose codecs "
                "could run code; write it again with Zarr format 3"
            )
        raise BadSource(
            f"{folder} is damaged: there is no array {name}; copy it again, or capture again"
        )
    check_codecs(about, f"{name} of {folder}")
    return about


def read_labels(
    folder: Folder, coding: Mapping[str, Any] | None, name: Literal["labels", "ids"] = "labels"
) -> NDArray[Any] | None:
    """Return the labels or ids in a folder, or None if some rows have none.

    Parameters
    ----------
    folder : Folder
    coding : Mapping or None
        How to decode the labels: their dtype and, for labels that are words, the word that each
        number stands for. None if some rows have no label.
    """
    if coding is None:
        return None
    try:
        array = checked_array(folder, name)
        lost = array.nchunks_initialized < array.nchunks
        labels: NDArray[Any] = np.asarray(array[:])
    except BadSource:
        raise
    except (OSError, ValueError):
        lost = True
    if lost:
        raise BadSource(
            f"{folder} is damaged: its {name} are missing or truncated; copy it again, or capture "
            "again"
        )
    if coding["words"] is not None:
        labels = np.asarray(coding["words"])[labels]
    else:
        labels = labels.astype(coding["dtype"])
    return labels
