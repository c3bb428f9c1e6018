"""Labels: read the labels and ids of a batch as one integer or word for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.tensors import fields_of

__all__ = ["read_ids", "read_labels"]


def read_labels(
    values: Any, n_rows: int, name: str = "labels"
) -> tuple[np.ndarray[Any, Any] | None, str]:
    """Return one integer or word for each row, or None and the reason why not.

    Floating-point labels that are whole numbers become integers, bytes become words, a column (n,
    1) is flattened, and a row with exactly one 1 among zeros is the class of that column.

    Parameters
    ----------
    values : array-like
    n_rows : int
    name : str
        What to call the labels in the reason.

    Raises
    ------
    BadSource
        If there are more or fewer labels than rows.

    Examples
    --------
    >>> read_labels([1.0, 2.0], 2)[0].tolist(), read_labels([0.5, 1.0], 2)[1]
    ([1, 2], 'labels holds floats such as 0.5: no classes')
    """
    array = _array_of(values)
    if array is None:
        return None, f"{name} is a {type(values).__name__}: no classes"
    if array.ndim == 0 and n_rows == 1:
        array = array.reshape(1)
    if array.ndim and len(array) != n_rows:
        raise BadSource(
            f"a batch has {n_rows} inputs but labels of shape {array.shape}; give one label for "
            "each input"
        )
    if array.ndim > 1 and array.size == n_rows:
        array = array.reshape(n_rows)
    shape = f"({', '.join(['n', *map(str, array.shape[1:])])})"
    if array.ndim == 2 and array.dtype.kind in "iubf":
        ones = (array == 1).sum(axis=1)
        if ((array == 0) | (array == 1)).all():
            if (ones == 1).all():
                return array.argmax(axis=1), ""
            return None, (
                f"{name} of shape {shape} has rows with {ones.max()} ones: no single class"
            )
    if array.ndim != 1:
        return None, f"{name} has shape {shape}: no class for each row"
    return _classes(array, name)


def _array_of(values: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values.numpy())
    if isinstance(values, Mapping) or fields_of(values) is not None:
        return None
    if isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
        if any(item.numel() != 1 for item in values):
            return None
        values = [item.item() for item in values]
    try:
        return np.asarray(values)
    except ValueError:  # ragged
        return None


def _classes(array: np.ndarray[Any, Any], name: str) -> tuple[np.ndarray[Any, Any] | None, str]:
    kind = array.dtype.kind
    if kind == "O":
        kinds = {type(value) for value in array.tolist()}
        if kinds <= {str, np.str_}:
            return array.astype(str), ""
        if kinds <= {bytes, np.bytes_}:
            return _decoded(array.tolist(), name)
        if kinds <= {int, bool, np.int64, np.int32}:
            return array.astype(np.int64), ""
        missing = [value for value in array.tolist() if value is None or value != value]
        if missing:
            return None, f"{name} holds {missing[0]!r}, a missing value: no class for each row"
        words = " and ".join(sorted(kind.__name__ for kind in kinds))
        return None, f"{name} holds Python objects of type {words}: no classes"
    if kind == "S":
        return _decoded(array.tolist(), name)
    if kind == "f":
        bad = array[~np.isfinite(array)]
        if len(bad):
            return None, f"{name} holds {bad[0]}, a missing value: no class for each row"
        fractions = array[array != np.round(array)]
        if len(fractions):
            return None, f"{name} holds floats such as {fractions[0]:.4g}: no classes"
        return array.astype(np.int64), ""
    if kind not in "iubU":
        return None, f"{name} holds {array.dtype} values: no classes"
    return array.astype(array.dtype.newbyteorder("="), copy=False), ""


def _decoded(values: list[bytes], name: str) -> tuple[np.ndarray[Any, Any] | None, str]:
    try:
        return np.array([value.decode() for value in values], dtype=str), ""
    except UnicodeDecodeError:
        return None, f"{name} holds bytes that are not text: no classes"


def read_ids(values: Any, n_rows: int) -> np.ndarray[Any, Any]:
    """Return one integer or word for each row.

    Raises
    ------
    BadPoints
        If there is not exactly one for each row.

    Examples
    --------
    >>> read_ids(["a", "b"], 2).tolist()
    ['a', 'b']
    """
    array = _array_of(values)
    count = None if array is None else array.size
    if array is None or count != n_rows:
        raise BadPoints(f"ids has {count} values for {n_rows} rows; give one for each row")
    ids, reason = _classes(array.reshape(n_rows), "ids")
    if ids is None:
        raise BadPoints(f"{reason.split(': no')[0]}; give a whole number or a word for each row")
    return ids
