"""NumPy's formats: ``.npy``, which is mapped into memory, and archives, ``.npz``."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.formats.base import Arrays, SavedArray, check_room, damaged
from dimscope.errors import BadSource, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["list_npy", "list_npz", "map_npy"]


_OBJECTS = (
    "holds Python objects, which are pickled and therefore never read; save a plain numeric array"
)


def map_npy(path: Path) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can raise almost anything
        raise _npy_trouble(path, error) from None
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
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise damaged(path, first_line(error)) from None
    if any(name.endswith("/data.pkl") for name in members):
        raise BadSource(f"{path} is a file of torch.save; rename it to {path.stem}.pt")
    if not names:
        raise BadSource(f"{path} is a zip archive without arrays; write it with numpy.savez")
    keys = [name.removesuffix(".npy") for name in names]
    if {"format", "shape", "data"} <= set(keys):
        raise BadSource(
            f"{path} holds a sparse matrix; load it with scipy.sparse.load_npz, and give its "
            ".toarray()"
        )
    return {
        key: SavedArray(
            shape, str(dtype), _npz_reader(path, key, shape, dtype), dtype.kind in "biuf"
        )
        for key, (shape, dtype) in zip(keys, headers.values(), strict=True)
    }


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"{name} is of version {version} of the format .npy")
        shape, _, dtype = read(member)
    return shape, dtype


def _npz_reader(
    path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Callable[[], NDArray[Any]]:
    def read() -> NDArray[Any]:
        if dtype.hasobject:
            raise BadSource(f"{key} of {path} {_OBJECTS}")
        check_room(path, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        try:
            with np.load(path, allow_pickle=False) as archive:
                array: NDArray[Any] = archive[key]
        except Exception as error:  # damaged bytes can raise almost anything
            raise damaged(path, first_line(error)) from None
        return array

    return read
