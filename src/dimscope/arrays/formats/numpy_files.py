"""NumPy's formats: ``.npy``, which is mapped into memory, and archives, ``.npz``."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dimscope.arrays.formats.base import Arrays, SavedArray, check_room, damaged
from dimscope.errors import BadSource, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOO_LONG", "list_npy", "list_npz", "map_npy"]


_OBJECTS = (
    "holds Python objects, which are pickled and therefore never read; save a plain numeric array"
)


TOO_LONG = (
    "holds more than the one array of its header: several arrays were saved in one file, or it is "
    "damaged; save each array in a file of its own"
)


def map_npy(path: Path) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only."""
    try:
        with np.errstate(over="raise"):  # the size of an absurd shape
            array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can raise almost anything
        raise _npy_trouble(path, error) from None
    if array.offset + array.nbytes < path.stat().st_size:
        raise BadSource(f"{path} {TOO_LONG}")
    return array


def _npy_trouble(path: Path, error: Exception) -> BadSource:
    text = str(error).lower()
    if "object" in text or "pickle" in text:
        return BadSource(f"{path} {_OBJECTS}")
    return BadSource(
        f"{path} is truncated or damaged: its size does not match its header; copy it again"
    )


def list_npy(path: Path) -> Arrays:
    """List the only array of a ``.npy`` file."""
    array = map_npy(path)
    is_numeric = array.dtype.kind in "biuf"
    return {"": SavedArray(array.shape, str(array.dtype), lambda: array, is_numeric)}


def list_npz(path: Path) -> Arrays:
    """List the arrays of a ``.npz`` archive, from their headers."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            members = archive.namelist()
            headers = {name: _header(archive, name) for name in names}
    except Exception as error:  # damaged bytes can raise almost anything
        raise damaged(path, first_line(error)) from None
    if any(name.endswith("/data.pkl") for name in members):
        raise BadSource(f"{path} is a file of torch.save; rename it to {path.stem}.pt")
    if not names:
        raise BadSource(f"{path} is a zip archive without arrays; write it with numpy.savez")
    if len(headers) < len(names):
        name = next(name for name in names if names.count(name) > 1).removesuffix(".npy")
        raise BadSource(
            f"{path} holds two arrays with the name {name}; write it again with numpy.savez"
        )
    keys = [name.removesuffix(".npy") for name in names]
    if {"format", "shape", "data"} <= set(keys):
        raise BadSource(
            f"{path} holds a sparse matrix; load it with scipy.sparse.load_npz, and give its "
            ".toarray()"
        )
    return {
        key: SavedArray(
            header.shape,
            str(header.dtype),
            _npz_reader(path, name, header),
            header.dtype.kind in "biuf",
        )
        for key, (name, header) in zip(keys, headers.items(), strict=True)
    }


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fits: bool  # whether as many bytes follow


def _header(archive: zipfile.ZipFile, name: str) -> _Header:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"{name} is of version {version} of the format .npy")
        shape, _, dtype = read(member)
        n_left = archive.getinfo(name).file_size - member.tell()
    return _Header(shape, dtype, dtype.hasobject or n_left == math.prod(shape) * dtype.itemsize)


def _npz_reader(path: Path, name: str, header: _Header) -> Callable[[], NDArray[Any]]:
    key = name.removesuffix(".npy")

    def read() -> NDArray[Any]:
        if header.dtype.hasobject:
            raise BadSource(f"{key} of {path} {_OBJECTS}")
        if not header.fits:
            raise damaged(path, f"the size of {key} does not match its header")
        check_room(path, math.prod(header.shape) * header.dtype.itemsize)
        try:
            # not numpy.load, for which a key may name the member of another key: a.npy, a.npy.npy
            with zipfile.ZipFile(path) as archive, archive.open(name) as member:
                array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        except Exception as error:  # damaged bytes can raise almost anything
            raise damaged(path, first_line(error)) from None
        return array

    return read
