"""Formats: list the arrays in a file of each format, and read them safely.

Each format is one :class:`Format`. Its function lists the arrays of a file without reading them,
where the format allows it. No pickle is ever loaded.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.block_points import Blocks, H5Blocks
from dimscope.arrays.checks import check_dtype, ragged
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.arrays.numpy_points import as_numpy
from dimscope.arrays.tables import columns_of_lists, read_table, refuse_row_numbers
from dimscope.arrays.tensor_points import tensor_values
from dimscope.errors import BadPoints, BadSource, first_line
from dimscope.extras import needed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "FORMATS", "Format", "SavedArray", "format_of", "leaves", "list_arrays", "open_array",
    "read_within_budget", "table_in",
]  # fmt: skip


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
        The first bytes of its files.
    """

    name: str
    suffixes: tuple[str, ...]
    list_arrays: Callable[[Path], Arrays]
    magic: bytes = b""


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


def _start(path: Path, file_format: Format | None) -> bytes:
    """Return the first bytes of a file."""
    try:
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


def _check_start(path: Path, start: bytes, file_format: Format | None) -> None:
    """Refuse a file whose first bytes show that it is not of the format that its name states."""
    if not start:
        raise BadSource(f"{path} is empty; write it again")
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith(b"version https://git-lfs"):
        raise BadSource(f"{path} is a pointer of Git LFS, not the file itself; run git lfs pull")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise BadSource(f"{path} is a web page, not an array; download the file itself")
    # the length of the header, whose bytes mean nothing else
    if file_format is not None and file_format.name == _SAFETENSORS and start[8:9] == b"{":
        return
    if text.startswith((b"{", b"[")) and file_format is not None and not file_format.magic:
        raise BadSource(f"{path} is JSON, not {file_format.name}; save an array")
    if file_format is None:
        return
    if file_format.name == _TORCH:
        if not start.startswith((b"PK", b"\x80")):
            raise BadSource(f"{path} is not {_TORCH}; save the tensors with torch.save")
        return
    actual = next((each for each in FORMATS if each.magic and start.startswith(each.magic)), None)
    if actual is None or actual is file_format or (actual.magic == file_format.magic):
        if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise BadSource(
                f"{path} is a pickle, which is never read; save the array with numpy.save"
            )
        if file_format.magic and actual is None and file_format.name != _HDF5:
            raise BadSource(f"{path} is not {file_format.name}; {_AGAIN.get(file_format.name, '')}")
        return
    if actual.name == _NPZ:
        raise BadSource(
            f"{path} is a zip archive such as .npz, although its name ends in {path.suffix}; "
            "rename it, or save one array with numpy.save"
        )
    raise BadSource(
        f"{path} is {actual.name}, although its name ends in {path.suffix}; rename it to "
        f"{path.with_suffix(actual.suffixes[0]).name}"
    )


def _damaged(path: Path, why: str = "") -> BadSource:
    return BadSource(f"{path} is truncated or damaged{why and f' ({why})'}; copy it again")


# -- NumPy -------------------------------------------------------------------------------------

_OBJECTS = (
    "holds Python objects, which are pickled and therefore never read; save a plain numeric array"
)


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
    _check_start(path, _start(path, FORMATS[0]), FORMATS[0])
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


def _saved(array: NDArray[Any], said: str = "") -> SavedArray:
    return SavedArray(
        array.shape, str(array.dtype), lambda: array, array.dtype.kind in "biuf", said
    )


def _list_npy(path: Path) -> Arrays:
    return {"": _saved(open_array(path))}


def _list_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            members = archive.namelist()
            headers = {name: _header(archive, name) for name in names}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise _damaged(path, first_line(error)) from None
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
        _check_room(path, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        try:
            with np.load(path, allow_pickle=False) as archive:
                array: NDArray[Any] = archive[key]
        except Exception as error:  # damaged bytes can raise almost anything
            raise _damaged(path, first_line(error)) from None
        return array

    return read


def _check_room(path: Path, n_bytes: int) -> None:
    check_budget(n_bytes, budget_from(None), f"reading {path}, which cannot be mapped,")


# -- HDF5 --------------------------------------------------------------------------------------


def _list_hdf5(path: Path) -> Arrays:
    with needed(str(path)):
        import h5py
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = str(error)
        if "unable to lock" in reason:
            raise BadSource(
                f"{path} is locked by a program that writes to it; wait until it has closed it"
            ) from None
        if "signature not found" in reason:
            raise BadSource(f"{path} is not {_HDF5}; give it the suffix of its format") from None
        raise _damaged(path, first_line(error)) from None
    arrays: Arrays = {}
    _list_group(h5py, file, "", arrays, ())
    if not any(array.dtype not in (_SPARSE, _LINK) for array in arrays.values()):
        names = [name for name, array in arrays.items() if array.dtype == _SPARSE]
        why = f"only the sparse matrix {names[0]}; give its .toarray()" if names else "no array"
        raise BadSource(f"{path} holds {why}")
    return arrays


_SPARSE, _LINK = "sparse matrix", "link, not followed"


def _list_group(h5py: Any, group: Any, place: str, arrays: Arrays, above: tuple[Any, ...]) -> None:
    """List the arrays in a group and its groups; sparse matrices and links cannot be read."""
    # not visititems, which skips links and gives only one of the names of an array
    for key in group:
        name = f"{place}{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            arrays[name] = SavedArray((), _LINK, partial(_refuse_link, group, name), False)
            continue
        item = group[key]
        if isinstance(item, h5py.Dataset):
            shape = item.shape if item.shape is not None else (0,)
            is_numeric = item.dtype.kind in "biuf"
            dtype = "text" if h5py.check_string_dtype(item.dtype) else str(item.dtype)
            arrays[name] = SavedArray(shape, dtype, partial(_opened, item), is_numeric)
        elif not isinstance(item, h5py.Group) or item in (group, *above):
            continue  # a named type, or a group inside itself
        elif {"data", "indices", "indptr"} <= set(item):
            # counts as numbers, so that no other array is taken for the points without a word
            read = partial(_refuse_sparse, group, name)
            arrays[name] = SavedArray(_sparse_shape(item), _SPARSE, read)
        else:
            _list_group(h5py, item, f"{name}/", arrays, (group, *above))


def _sparse_shape(group: Any) -> tuple[int, ...]:
    stated = group.attrs.get("shape", group.get("shape"))
    if stated is None:
        return (max(0, len(group["indptr"]) - 1), 0)
    return tuple(int(n) for n in stated)


def _refuse_link(group: Any, name: str) -> Any:
    raise BadSource(
        f"{name} of {group.file.filename} is a link, which is not followed; name the array itself"
    )


def _refuse_sparse(group: Any, name: str) -> Any:
    raise BadSource(
        f"{name} of {group.file.filename} is a sparse matrix; give its .toarray(), or name other "
        "arrays"
    )


def _opened(dataset: Any) -> Any:
    if dataset.dtype.metadata and "vlen" in dataset.dtype.metadata and dataset.dtype.kind == "O":
        _refuse_ragged(dataset)
    if dataset.shape is None or dataset.ndim < 2 or dataset.dtype.kind not in "biuf":
        check_dtype(np.empty(0, dataset.dtype))
        return np.empty(0) if dataset.shape is None else np.asarray(dataset)
    return H5Blocks(dataset)


def _refuse_ragged(dataset: Any) -> None:
    """Refuse rows of differing lengths; text is refused as everywhere."""
    if dataset.dtype.metadata["vlen"] not in (str, bytes):
        raise BadPoints(
            "points are ragged (rows may differ in length); save an array of shape "
            "(n_points, n_features)"
        )


# -- safetensors -------------------------------------------------------------------------------

_SAFE_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?", "I8": "i1", "U8": "u1",
    "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
}  # fmt: skip


def _list_safetensors(path: Path) -> Arrays:
    with needed(str(path)):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise _damaged(path, first_line(error)) from None
    # the package has checked the file; it cannot make NumPy arrays of bfloat16
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    if not names:
        raise BadSource(f"{path} holds no array")
    return {
        name: SavedArray(
            tuple(header[name]["shape"]),
            _SAFE_NAMES.get(header[name]["dtype"], header[name]["dtype"]),
            _safe_reader(path, name, header[name], 8 + size),
            header[name]["dtype"] in _SAFE_DTYPES,
        )
        for name in names
    }


_SAFE_NAMES = {"BF16": "bfloat16"} | {
    name: str(np.dtype(dtype)) for name, dtype in _SAFE_DTYPES.items() if name != "BF16"
}


def _safe_reader(path: Path, name: str, about: Mapping[str, Any], start: int) -> Callable[[], Any]:
    def read() -> Any:
        code, shape = about["dtype"], tuple(about["shape"])
        if code not in _SAFE_DTYPES:
            raise BadSource(
                f"{name} of {path} is of type {code}, which is not read; save it as float32"
            )
        dtype = np.dtype(_SAFE_DTYPES[code])
        if 0 in shape:
            return np.empty(shape, dtype)
        mapped = np.memmap(path, dtype, "r", start + about["data_offsets"][0], shape)
        return Bfloat16Blocks(mapped) if code == "BF16" else mapped

    return read


class Bfloat16Blocks(Blocks):
    """A memory map of bfloat16 numbers, read as float32.

    Parameters
    ----------
    bits : memory map of uint16, of shape (n, ...)
    """

    has_near_rows = True

    def __init__(self, bits: NDArray[Any]) -> None:
        flat = bits.reshape(len(bits), -1) if bits.ndim else bits.reshape(1, 1)
        super().__init__((flat.shape[0], flat.shape[1]), np.dtype(np.float32))
        self._bits = flat

    def read(self, rows: Any, columns: slice) -> NDArray[Any]:
        """Read the given rows and columns into a new array."""
        wide = np.asarray(self._bits[:, columns][rows]).astype(np.uint32) << 16
        return wide.view(np.float32)


# -- torch -------------------------------------------------------------------------------------


def _list_torch(path: Path) -> Arrays:
    with needed(str(path)):
        import torch
    is_zip = zipfile.is_zipfile(path)
    if not is_zip:
        _check_room(path, path.stat().st_size)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except Exception as error:  # damaged bytes can raise almost anything
        text = str(error)
        if "weights_only" in text.lower() or "Unsupported" in text or "TorchScript" in text:
            raise BadSource(
                f"{path} holds Python objects other than tensors, which are never read; save the "
                "tensors, as with torch.save({'layer1': tensor}, path)"
            ) from None
        raise _damaged(path, first_line(error)) from None
    arrays = {
        name: SavedArray(
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            partial(tensor_values, tensor),
            not tensor.is_complex(),
        )
        for name, tensor in leaves(content, str(path)).items()
        if isinstance(tensor, torch.Tensor)
    }
    if not arrays:
        raise BadSource(f"{path} holds no tensor, but a {type(content).__name__}")
    return arrays


def leaves(content: Any, place: str) -> dict[str, Any]:
    """List the arrays, and other objects, in nested mappings, lists and tuples.

    Parameters
    ----------
    content : object
    place : str
        What holds the content, for messages.

    Returns
    -------
    dict of str to object
        Names are joined by slashes; the name is empty if ``content`` is no container.

    Raises
    ------
    BadSource
        If two arrays would have the same name.

    Examples
    --------
    >>> leaves({"a": [1, 2], "b": {"c": 3}}, "x")
    {'a/0': 1, 'a/1': 2, 'b/c': 3}
    >>> leaves({"a": [1], "a/0": 2}, "x")
    Traceback (most recent call last):
    dimscope.errors.BadSource: x holds two arrays with the name a/0; rename one of them
    """
    named: dict[str, Any] = {}
    for name, leaf in _walk(content, ""):
        if name in named:
            raise BadSource(f"{place} holds two arrays with the name {name}; rename one of them")
        named[name] = leaf
    return named


def _walk(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    is_array = hasattr(content, "shape")
    if not is_array and hasattr(content, "keys") and hasattr(content, "__getitem__"):
        items: Any = [(key, content[key]) for key in content.keys()]  # noqa: SIM118
    elif not is_array and isinstance(content, list | tuple):
        items = enumerate(content)
    else:
        yield name, content
        return
    for key, value in items:
        yield from _walk(value, f"{name}/{key}" if name else str(key))


# -- tables ------------------------------------------------------------------------------------

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def _list_text(path: Path) -> Arrays:
    opener = _OPENERS.get(path.suffix.lower(), open)
    try:
        with opener(path, "rb") as stream:
            data = read_within_budget(stream, str(path))
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise _damaged(path, first_line(error)) from None
    return table_in(io.BytesIO(data), str(path))


_STEP = 1 << 24  # bytes


def read_within_budget(stream: IO[bytes], path: str) -> bytes:
    """Read a stream to its end, unless it holds more bytes than the memory budget.

    Parameters
    ----------
    stream : binary file
    path : str
        Name of the file, for messages.

    Raises
    ------
    OverBudget

    Examples
    --------
    >>> read_within_budget(io.BytesIO(b"1,2"), "x.csv")
    b'1,2'
    """
    budget = budget_from(None)
    parts, n_bytes = [], 0
    while part := stream.read(min(_STEP, budget + 1)):
        parts.append(part)
        n_bytes += len(part)
        check_budget(n_bytes, budget, f"reading the first {n_bytes / 1e9:.3g} GB of {path}")
    return b"".join(parts)


def table_in(stream: IO[bytes], path: str) -> Arrays:
    """List the array in a table in text.

    Parameters
    ----------
    stream : binary file
    path : str
        Name of the file, for messages.
    """
    frame, said = read_table(stream, path)
    return {"": _saved_frame(frame, said)}


def _saved_frame(frame: pd.DataFrame, said: str = "") -> SavedArray:
    def read() -> NDArray[Any]:
        refuse_row_numbers(frame)
        return as_numpy(frame)

    return SavedArray(frame.shape, "table", read, said=said)


def _list_parquet(path: Path) -> Arrays:
    with needed(str(path)):
        import pyarrow.parquet
    import pandas as pd

    try:
        n_bytes = _parquet_bytes(pyarrow.parquet.ParquetFile(path).metadata)
    except Exception as error:  # damaged bytes can raise almost anything
        raise _damaged(path, first_line(error)) from None
    _check_room(path, n_bytes)
    try:
        frame = pd.read_parquet(path)
    except Exception as error:
        raise _damaged(path, first_line(error)) from None
    lists = columns_of_lists(frame)
    if not lists:
        return {"": _saved_frame(frame)}
    arrays = {name: _saved_lists(name, column) for name, column in lists.items()}
    others = frame.drop(columns=list(lists))
    numeric = others.select_dtypes(["number", "bool"])
    if numeric.shape[1] > 1:
        arrays[_OTHERS_KEY] = _saved_frame(numeric)
        others = others.drop(columns=numeric.columns)
    for name in others:
        kind = str(others[name].dtype)
        arrays[str(name)] = SavedArray(
            (len(frame),), kind, partial(as_numpy, others[[name]]), name in numeric
        )
    return arrays


_OTHERS_KEY = "columns of numbers"


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


def _parquet_bytes(metadata: Any) -> int:
    """Return the bytes that the values of a Parquet file take in memory, or a little less."""
    n_bytes = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            # repeated values are stored once, even before compression
            plain = column.num_values * _WIDTHS.get(column.physical_type, 0)
            n_bytes += max(plain, column.total_uncompressed_size)
    return n_bytes


def _saved_lists(name: str, column: Any) -> SavedArray:
    first = np.asarray(column.dropna().iloc[0])
    return SavedArray(
        (len(column), len(first)), "lists", _list_reader(name, column), first.dtype.kind in "biuf"
    )


def _list_reader(name: str, column: Any) -> Callable[[], NDArray[Any]]:
    def read() -> NDArray[Any]:
        missing = np.flatnonzero(column.isna())
        if len(missing):
            raise BadPoints(f"row {missing[0]} of column {name!r} holds no list; remove the row")
        rows = column.to_list()
        if len({len(row) for row in rows}) > 1:
            raise ragged(rows)
        return np.stack(rows)

    return read


_NPZ, _HDF5, _TORCH = "a NumPy archive", "an HDF5 file", "a file of torch.save"
_SAFETENSORS = "a safetensors file"
_AGAIN = {
    "a NumPy array file": "save the array with numpy.save",
    _NPZ: "write it with numpy.savez",
    "a Parquet file": "write it again, for example with DataFrame.to_parquet",
}
_TEXT = tuple(
    f"{suffix}{packed}" for suffix in (".csv", ".tsv", ".txt") for packed in ("", *_OPENERS)
)

FORMATS = (
    Format("a NumPy array file", (".npy",), _list_npy, b"\x93NUMPY"),
    Format(_NPZ, (".npz",), _list_npz, b"PK\x03\x04"),
    Format(_HDF5, (".h5", ".hdf5", ".hdf", ".h5ad"), _list_hdf5, b"\x89HDF\r\n\x1a\n"),
    Format("a table in text", _TEXT, _list_text),
    Format("a Parquet file", (".parquet",), _list_parquet, b"PAR1"),
    Format(_SAFETENSORS, (".safetensors",), _list_safetensors),
    Format(_TORCH, (".pt", ".pth"), _list_torch),
)
