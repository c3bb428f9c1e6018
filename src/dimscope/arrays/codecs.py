"""Codecs: recognise from its metadata alone whether a Zarr array is safe to decode.

A file names the codecs that decode it, and a codec is code: that of pickles, for example, executes
any code stored in the file. So an array is decoded only if its values are plain numbers and all its
codecs are on a short list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from dimscope.errors import BadSource

__all__ = ["check_codecs", "check_zarr_array"]


_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


_CODECS = ("bytes", "blosc", "zstd", "gzip", "crc32c", "transpose", "sharding_indexed")


_CODECS_OF_FORMAT_2 = ("blosc", "zstd", "gzip", "zlib", "lz4", "crc32c", "shuffle", "delta")


def check_codecs(about: Mapping[str, Any], where: str) -> None:
    """Refuse a Zarr array of format 3 whose codecs or values are not on the list.

    Parameters
    ----------
    about : Mapping
        The content of its ``zarr.json``.
    where : str
        Name of the array, for messages.

    Raises
    ------
    BadSource

    Examples
    --------
    >>> check_codecs({"data_type": "int64", "codecs": [{"name": "bytes"}]}, "labels")
    >>> check_codecs({"data_type": "int64", "codecs": [{"name": "pickle"}]}, "labels")
    Traceback (most recent call last):
    dimscope.errors.BadSource: labels is not read, because its codec 'pickle' could run code; \
write it again with Zarr format 3 and one of bytes, blosc, zstd, gzip, crc32c, transpose, \
sharding_indexed
    """
    _check_dtype(about.get("data_type"), about.get("data_type") in _DTYPES, where)
    names = [*_names(about.get("codecs")), *_names(about.get("storage_transformers") or [])]
    _check_names(names, _CODECS, where)


def check_zarr_array(array: Any) -> None:
    """Refuse a Zarr array (format 2 or 3) if reading it could run code contained in its file.

    Anything else is let through.

    Examples
    --------
    >>> check_zarr_array([[1.0, 2.0]])
    """
    zarr = sys.modules.get("zarr")
    if zarr is None or not isinstance(array, zarr.Array):
        return
    where = "the Zarr array"
    about = array.metadata.to_dict()
    if array.metadata.zarr_format == 3:
        check_codecs(about, where)
        return
    _check_dtype(array.dtype, array.dtype.kind in "biufc", where)
    codecs = [*(array.metadata.filters or ()), array.metadata.compressor]
    names = [codec.get_config()["id"] for codec in codecs if codec is not None]
    _check_names(names, _CODECS_OF_FORMAT_2, where)


def _names(codecs: Any) -> Iterator[object]:
    """Yield the names of codecs and, of shards, of the codecs inside."""
    if not isinstance(codecs, list | tuple):
        yield codecs
        return
    for codec in codecs:
        if not isinstance(codec, Mapping):  # format 3 also allows a bare name
            yield codec
            continue
        yield codec.get("name")
        inside = codec.get("configuration")
        if isinstance(inside, Mapping):
            for key in ("codecs", "index_codecs"):
                if key in inside:
                    yield from _names(inside[key])


def _check_dtype(dtype: object, is_plain: bool, where: str) -> None:
    if not is_plain:
        raise BadSource(
            f"{where} is not read, because it holds {dtype} values; write it again as plain "
            "numbers, such as float32"
        )


def _check_names(names: list[object], allowed: tuple[str, ...], where: str) -> None:
    for name in names:
        if name not in allowed:
            raise BadSource(
                f"{where} is not read, because its codec {name!r} could run code; write it again "
                f"with Zarr format 3 and one of {', '.join(_CODECS)}"
            )
