"""Parquet: a table of numbers, or columns of lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.checks import ragged
from dimscope.arrays.formats.base import Arrays, SavedArray, check_room, damaged, saved_frame
from dimscope.arrays.frames import columns_of_lists
from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadPoints, BadSource, first_line
from dimscope.extras import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["list_parquet"]


def list_parquet(path: Path) -> Arrays:
    """List the table of a Parquet file, or each of its columns of lists."""
    with needed(str(path)):
        import pyarrow.parquet
    try:
        file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
        n_bytes = _parquet_bytes(file.metadata)
    except Exception as error:  # damaged bytes can raise almost anything
        raise damaged(path, first_line(error)) from None
    check_room(path, n_bytes)
    try:
        frame = file.read().to_pandas()  # as pandas.read_parquet, but columns may share a name
    except Exception as error:
        raise damaged(path, first_line(error)) from None
    lists = columns_of_lists(frame)
    if not lists:
        return {"": saved_frame(frame)}
    if frame.columns.has_duplicates:
        name = frame.columns[frame.columns.duplicated()][0]
        raise BadSource(f"{path} holds two columns with the name {name!r}; rename one of them")
    arrays = {name: _saved_lists(name, column) for name, column in lists.items()}
    others = frame.drop(columns=list(lists))
    numeric = others.select_dtypes(["number", "bool"])
    if numeric.shape[1] > 1:
        arrays[_OTHERS_KEY] = saved_frame(numeric)
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
        values = np.stack(rows)
        if values.dtype.kind not in "biuf":
            is_nested = isinstance(rows[0][0], np.ndarray | list)
            what = "lists of lists" if is_nested else "lists of text or of other objects"
            advice = "join them to one list of numbers in each row" if is_nested else "drop it"
            raise BadPoints(f"column {name!r} holds {what}, not of numbers; {advice}")
        return values

    return read
