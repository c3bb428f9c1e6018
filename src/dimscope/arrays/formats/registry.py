"""All formats: which one a file has, by its name and its first bytes.

:data:`FORMATS` lists them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimscope.arrays.formats.base import Arrays, Format
from dimscope.arrays.formats.hdf5 import list_hdf5
from dimscope.arrays.formats.numpy_files import list_npy, list_npz, map_npy
from dimscope.arrays.formats.parquet import list_parquet
from dimscope.arrays.formats.tensors import list_safetensors, list_torch
from dimscope.arrays.formats.text import TEXT_SUFFIXES, list_text
from dimscope.errors import BadSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORMATS", "format_of", "list_arrays", "open_array", "refuse_zarr"]


def list_arrays(path: Path) -> Arrays:
    """List the arrays of a file.

    Raises
    ------
    BadSource
        If the file is missing, damaged, of an unknown format, or would have to run code; or if the
        package for its format is not installed.

    Examples
    --------
    >>> list_arrays(Path("nowhere.h5"))
    Traceback (most recent call last):
    dimscope.errors.BadSource: there is no file nowhere.h5
    """
    file_format = format_of(path)
    start = _start(path, file_format)
    _check_start(path, start, file_format)
    if file_format is None:
        raise BadSource(f"{path} is of no format that can be read; {_advice(path, start)}")
    return file_format.list_arrays(path)


def format_of(path: Path) -> Format | None:
    """Return the format that a file's name states; None if it states none.

    Examples
    --------
    >>> format_of(Path("a.csv.gz")).name, format_of(Path("a.xyz"))
    ('a table in text', None)
    """
    name = path.name.lower()
    return next(
        (each for each in FORMATS for suffix in each.suffixes if name.endswith(suffix)), None
    )


_OTHERS = {
    ".mat": "load it with scipy.io.loadmat, and give the array",
    ".pkl": "it would run code; save the array with numpy.save",
    ".pickle": "it would run code; save the array with numpy.save",
    ".joblib": "it would run code; save the array with numpy.save",
    ".xlsx": "save the sheet as .csv",
    ".xls": "save the sheet as .csv",
    ".gz": "decompress it first",
    ".bz2": "decompress it first",
    ".xz": "decompress it first",
    ".zst": "decompress it first",
    ".zip": "decompress it first",
    ".zarr": "open it with zarr.open_array, and give the array",
}


def _advice(path: Path, start: bytes) -> str:
    if path.suffix.lower() == ".mat" and start.startswith((b"MATLAB 7.3", b"\x89HDF")):
        return (
            "it is an HDF5 file, in which MATLAB's arrays are transposed; read it with h5py.File, "
            "and give the transposed array"
        )
    advice = _OTHERS.get(path.suffix.lower())
    suffixes = ", ".join(dict.fromkeys(each.suffixes[0] for each in FORMATS))
    return advice or f"give a file whose name ends in one of {suffixes}"


def refuse_zarr(path: Path) -> None:
    """Refuse a folder that is an array or a group of Zarr.

    Parameters
    ----------
    path : Path

    Examples
    --------
    >>> refuse_zarr(Path("points.npy"))
    """
    if path.is_dir() and any((path / name).is_file() for name in _OF_ZARR):
        raise BadSource(
            f"{path} is a folder of Zarr, in which no file can be read alone; open it with "
            "zarr.open (a store of capture: open_store), and give the array"
        )


_OF_ZARR = ("zarr.json", ".zarray", ".zgroup")


def _start(path: Path, file_format: Format | None) -> bytes:
    """Return the first bytes of a file."""
    if "\0" in str(path):
        raise BadSource(f"{str(path)!r} is no path of a file: it holds a null byte")
    try:
        refuse_zarr(path)
        if path.is_dir():
            expected = "a file" if file_format is None else f"a {file_format.suffixes[0]} file"
            raise BadSource(f"{path} is a folder, not {expected}; name a file in it")
        if path.exists() and not path.is_file():
            raise BadSource(f"{path} is a pipe or a device; pipe it into standard input, -")
        with path.open("rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise BadSource(f"there is no file {path}") from None
    except PermissionError:
        raise BadSource(f"{path} cannot be read: permission denied") from None
    except OSError as error:
        raise BadSource(f"{path} cannot be read: {error.strerror}") from None


_PACKED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00"}


def _is_text(start: bytes) -> bool:
    """Tell whether first bytes are text, and not those of a damaged file.

    >>> _is_text(b"1,2"), _is_text(bytes(9))
    (True, False)
    """
    return all(byte >= 32 or byte in b"\t\r\n" for byte in start) and start.isascii()


def _check_start(path: Path, start: bytes, file_format: Format | None) -> None:
    """Refuse a file whose first bytes show that it is not of the format that its name states."""
    if not start:
        raise BadSource(f"{path} is empty; write it again")
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith(b"version https://git-lfs"):
        raise BadSource(f"{path} is a pointer of Git LFS, not the file itself; run git lfs pull")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise BadSource(f"{path} is a web page, not an array; download the file itself")
    if file_format is None or file_format.can_begin(start):
        return
    if text.startswith((b"{", b"[")) and not file_format.magic:
        raise BadSource(f"{path} is JSON, not {file_format.name}; save an array")
    packing = next((end for end, magic in _PACKED.items() if start.startswith(magic)), None)
    stated = path.suffix.lower() if path.suffix.lower() in _PACKED else None
    if packing is not None and packing != stated and file_format.suffixes is TEXT_SUFFIXES:
        ending = path.suffix if stated is not None else ""
        name = f"{path.name.removesuffix(ending)}{packing}"
        raise BadSource(f"{path} is compressed; rename it to {name}")
    if stated is not None and packing is None and _is_text(start):
        raise BadSource(
            f"{path} is not compressed, although its name ends in {path.suffix}; rename it to "
            f"{path.stem}"
        )
    actual = next((each for each in FORMATS if each.magic and each.can_begin(start)), None)
    if actual is not None and actual.is_zip:
        raise BadSource(
            f"{path} is a zip archive such as .npz or a spreadsheet, although its name ends in "
            f"{path.suffix}; rename a .npz, export a spreadsheet as .csv, unpack any other archive"
        )
    if actual is not None:
        raise BadSource(
            f"{path} is {actual.name}, although its name ends in {path.suffix}; rename it to "
            f"{path.with_suffix(actual.suffixes[0]).name}"
        )
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise BadSource(f"{path} is a pickle, which is never read; save the array with numpy.save")
    if file_format.remedy:
        raise BadSource(f"{path} is not {file_format.name}; {file_format.remedy}")


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
    _check_start(path, _start(path, _NPY), _NPY)
    return map_npy(path)


_NPY = Format(
    "a NumPy array file",
    (".npy",),
    list_npy,
    magic=b"\x93NUMPY",
    remedy="save the array with numpy.save",
)

FORMATS = (
    _NPY,
    Format(
        "a NumPy archive",
        (".npz",),
        list_npz,
        magic=b"PK\x03\x04",
        remedy="write it with numpy.savez",
        is_zip=True,
    ),
    # no remedy: the bytes of a user may precede those of HDF5
    Format(
        "an HDF5 file", (".h5", ".hdf5", ".hdf", ".h5ad"), list_hdf5, magic=b"\x89HDF\r\n\x1a\n"
    ),
    Format("a table in text", TEXT_SUFFIXES, list_text),
    Format(
        "a Parquet file",
        (".parquet",),
        list_parquet,
        magic=b"PAR1",
        remedy="write it again, for example with DataFrame.to_parquet",
    ),
    Format(
        "a safetensors file",
        (".safetensors",),
        list_safetensors,
        # behind the length of the header, whose bytes may look like those of another format
        begins=lambda start: start[8:9] == b"{",
    ),
    Format(
        "a file of torch.save",
        (".pt", ".pth"),
        list_torch,
        begins=lambda start: start.startswith((b"PK", b"\x80")),  # a zip archive, or a pickle
        remedy="save the tensors with torch.save",
    ),
)
