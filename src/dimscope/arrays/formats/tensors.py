"""Tensors: safetensors, and files of ``torch.save``."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.block_points import Blocks
from dimscope.arrays.formats.base import Arrays, SavedArray, check_room, damaged
from dimscope.arrays.tensor_points import tensor_values
from dimscope.errors import BadSource, first_line
from dimscope.extras import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Bfloat16Blocks", "leaves", "list_safetensors", "list_torch"]


_SAFE_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?", "I8": "i1", "U8": "u1",
    "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
}  # fmt: skip


def list_safetensors(path: Path) -> Arrays:
    """List the arrays of a safetensors file; they are mapped into memory."""
    with needed(str(path)):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise damaged(path, first_line(error)) from None
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


def list_torch(path: Path) -> Arrays:
    """List the tensors of a file of ``torch.save``; whatever else it holds is never read."""
    with needed(str(path)):
        import torch
    try:
        is_zip = zipfile.is_zipfile(path)
    except zipfile.BadZipFile as error:
        raise damaged(path, first_line(error)) from None
    if not is_zip:
        check_room(path, path.stat().st_size)
    try:
        with warnings.catch_warnings():  # of how the file was written; its values are checked
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except Exception as error:  # damaged bytes can raise almost anything
        text = str(error)
        if "weights_only" in text.lower() or "Unsupported" in text or "TorchScript" in text:
            raise BadSource(
                f"{path} holds Python objects other than tensors, which are never read; save the "
                "tensors, as with torch.save({'layer1': tensor}, path)"
            ) from None
        raise damaged(path, first_line(error)) from None
    tensors = {
        name: tensor
        for name, tensor in leaves(content, str(path)).items()
        if isinstance(tensor, torch.Tensor)
    }
    nested = [name or "the tensor" for name, tensor in tensors.items() if tensor.is_nested]
    if nested:
        raise BadSource(
            f"{path}: {nested[0]} is a nested tensor, whose rows differ in length; save one row of "
            "numbers for each point"
        )
    arrays = {
        name: SavedArray(
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            partial(tensor_values, tensor),
            not tensor.is_complex(),
        )
        for name, tensor in tensors.items()
    }
    if not arrays:
        raise BadSource(
            f"{path} holds no tensor, but a {type(content).__name__}; save a tensor, or a dict of "
            "tensors"
        )
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
    try:
        is_array = hasattr(content, "shape")
    except RuntimeError:  # a nested tensor
        is_array = True
    if not is_array and hasattr(content, "keys") and hasattr(content, "__getitem__"):
        items: Any = [(key, content[key]) for key in content.keys()]  # noqa: SIM118
    elif not is_array and isinstance(content, list | tuple):
        items = enumerate(content)
    else:
        yield name, content
        return
    for key, value in items:
        yield from _walk(value, f"{name}/{key}" if name else str(key))
