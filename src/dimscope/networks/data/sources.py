"""Sources: open arrays, data sets and iterables, which give raw batches.

Arrays and data sets can be read at any rows (:func:`open_indexed`); a DataLoader or a generator can
only be iterated (:func:`open_iterable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    TensorDataset,
)

from dimscope.arrays.checks import check_container
from dimscope.arrays.frames import is_frame
from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.data.batches import InputRows, is_graph, is_plain_tuple
from dimscope.networks.data.inputs import Attempt, Inputs, place_name, plain, value_at
from dimscope.networks.data.items import Ragged, Rows, collate, is_scalar, read_items, stack
from dimscope.networks.data.labels import read_labels
from dimscope.networks.data.readings import label_path
from dimscope.networks.data.signature import Signature
from dimscope.networks.data.texts import Tokens
from dimscope.networks.options import CaptureOptions
from dimscope.networks.tensors import fields_of, is_named_tuple, with_fields

__all__ = ["Indexed", "draw", "labels_of", "open_indexed", "open_iterable"]


def draw(
    n: int,
    n_points: int | None,
    per_class: int | None,
    seed: int,
    find_labels: Callable[[], tuple[np.ndarray[Any, Any] | None, str]],
) -> np.ndarray[Any, Any]:
    """Draw rows without replacement and return their numbers in ascending order.

    Parameters
    ----------
    n : int
        Number of rows in the data.
    n_points, per_class : int, optional
        How many rows to draw, in total or from each class; all rows by default.
    seed : int
    find_labels : callable
        Returns the labels of all rows, or None and the reason why there are none; called only if
        ``per_class`` is given.

    Raises
    ------
    BadPoints
        If there are too few rows, or ``per_class`` is given but there are no labels.

    Examples
    --------
    >>> draw(6, None, 1, 0, lambda: (np.array([0, 0, 0, 1, 1, 1]), "")).shape
    (2,)
    """
    generator = np.random.default_rng(seed)
    if n_points is not None:
        if n_points > n:
            raise BadPoints(f"n_points is {n_points} but the data hold {n} rows; ask for fewer")
        return np.sort(generator.choice(n, n_points, replace=False))
    if per_class is None:
        return np.arange(n)
    labels, reason = find_labels()
    if labels is None:
        raise BadPoints(
            f"per_class needs labels, but {reason or 'the data have none'}; give (inputs, labels), "
            "a data set with labels, or use n_points"
        )
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise BadPoints(
                f"class {label} has {len(rows)} rows but per_class is {per_class}; ask for fewer"
            )
        drawn.append(generator.choice(rows, per_class, replace=False))
    return np.sort(np.concatenate(drawn))


def labels_of(
    data: Any, signature: Signature | None = None
) -> tuple[np.ndarray[Any, Any] | None, str]:
    """Return the labels of a data set, from its attributes if possible, else from each item.

    Returns
    -------
    labels : array or None
    reason : str
        Why there are no labels, if the data have some that name no classes.
    """
    if isinstance(data, Subset):
        inner, reason = labels_of(data.dataset, signature)
        return None if inner is None else inner[np.asarray(data.indices)], reason
    if isinstance(data, ConcatDataset):
        parts = [labels_of(part, signature) for part in data.datasets]
        labelled = [labels for labels, _ in parts if labels is not None]
        if len(labelled) == len(parts):
            return np.concatenate(labelled), ""
        return None, next((reason for labels, reason in parts if labels is None), "")
    n = len(data)
    if isinstance(data, TensorDataset):
        path = label_path(data.tensors, signature)
        if path is None:
            return None, ""
        return read_labels(data.tensors[path[0]], n, place_name(path))
    for name in ("targets", "labels"):
        values = getattr(data, name, None)
        if values is not None and not callable(values) and np.ndim(values) and len(values) == n:
            labels, _ = read_labels(values, n, name)
            if labels is not None:
                return labels, ""
    values, name = [], ""
    for i in range(n):
        item = data[i]
        path = label_path(item, signature)
        if path is None:
            return None, ""
        value, name = value_at(item, path), place_name(path)
        values.append(value.item() if is_scalar(value) and hasattr(value, "item") else value)
    return read_labels(values, n, name)


@dataclass(frozen=True)
class Indexed:
    """Data that can be read at any rows, as raw batches."""

    n: int
    fetch: Callable[[Rows], Any]
    labels: Callable[[], tuple[np.ndarray[Any, Any] | None, str]]
    is_array: bool = False


def open_indexed(data: Any, options: CaptureOptions, signature: Signature | None) -> Indexed | None:
    """Open data that can be read at any rows; return None if they can only be iterated.

    Parameters
    ----------
    data, options, signature
        As in :func:`~dimscope.networks.data.stream.open_batches`.

    Raises
    ------
    BadSource, BadPoints
        If arrays differ in their numbers of rows, or hold no numbers.
    """
    if isinstance(data, Tokens):
        return Indexed(len(data), data.batch, lambda: (None, ""), is_array=True)
    if _is_one_batch(data, signature):
        return None
    columns = _columns(data, options, signature)
    if columns is not None:
        return columns
    if isinstance(data, IterableDataset | DataLoader | list | tuple):
        return None
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return Indexed(len(data), _items_of(data), lambda: labels_of(data, signature))
    return None


def _is_one_batch(data: Any, signature: Signature | None) -> bool:
    """Whether the data are one batch whose parts differ in their numbers of rows: graphs."""
    fields = fields_of(data)
    if fields is not None:
        return is_graph(fields)
    if not is_plain_tuple(data) or signature is None:
        return False
    names = [parameter.name for parameter in signature.positional[: len(data)]]
    return "edge_index" in names and isinstance(data[0], Tensor)


def _columns(data: Any, options: CaptureOptions, signature: Signature | None) -> Indexed | None:
    """Open arrays with one row for each stimulus: one, a tuple of several, or several by name."""
    layout = InputRows(options.batch_axis)
    parameters = [] if signature is None else [p.name for p in signature.positional]
    columns: dict[Any, Any]
    if _is_array(data) or isinstance(data, PackedSequence):
        columns = {(parameters or [""])[0]: data}
    elif is_named_tuple(data) or (isinstance(data, Mapping) and data):
        columns = fields_of(data) or {}
    elif is_plain_tuple(data) and len(data) > 1 and _is_array(data[0]):
        columns = dict(enumerate(data))
    else:
        return None

    def name_of(key: Any) -> str:
        is_place = isinstance(key, int)
        return str(key) if not is_place else parameters[key] if key < len(parameters) else ""

    axes: dict[Any, int] = {}
    counts: dict[Any, int] = {}
    for key, column in columns.items():
        if _is_array(column):
            column = columns[key] = as_numpy(column) if is_frame(column) else column
            _check_kind(column, words=bool(key) and is_plain_tuple(data))
            if column.ndim == 0:
                if isinstance(data, Mapping):
                    continue
                raise BadPoints(
                    "the data are a single number; give an array with one row for each stimulus"
                )
            plain(column)  # a nested tensor has no shape, and is refused
            axes[key] = layout.axis_of(name_of(key), column)
            counts[key] = column.shape[axes[key]]
        elif isinstance(column, PackedSequence):
            counts[key] = int(column.batch_sizes[0])
        elif hasattr(column, "__len__") and not isinstance(column, str | bytes):
            counts[key] = len(column)
    if not counts:
        return None
    n = next(iter(counts.values()))
    if len(set(counts.values())) > 1:
        if isinstance(data, Mapping) or is_named_tuple(data):
            text = ", ".join(f"{key}: {count}" for key, count in counts.items())
            raise BadSource(
                f"the fields of the data differ in their numbers of rows ({text}); give one row "
                "for each stimulus in every field, or a list of batches, [batch]"
            )
        raise _not_labelled(data)
    keys = list(counts)

    def fetch(rows: Rows) -> Any:
        parts = {
            key: _rows_of(column, rows, axes.get(key, 0)) if key in counts else column
            for key, column in columns.items()
        }
        if isinstance(data, Mapping) or is_named_tuple(data):
            ragged = [key for key in keys if _is_ragged(parts[key])]
            if ragged:
                items = [{key: parts[key][i] for key in keys} for i in range(len(rows))]
                return Ragged(items, f"rows of {ragged[0]!r} differ in length")
            return with_fields(data, parts)
        return tuple(parts.values()) if is_plain_tuple(data) else next(iter(parts.values()))

    def labels() -> tuple[np.ndarray[Any, Any] | None, str]:
        path = label_path(data, signature) if keys != [""] else None
        if path is None or path[0] not in counts:
            return None, ""
        return read_labels(columns[path[0]], n, place_name(path))

    return Indexed(n, fetch, labels, is_array=not isinstance(data, Mapping))


def _is_array(value: Any) -> bool:
    if isinstance(value, PackedSequence):
        return False
    return isinstance(value, np.ndarray | Tensor) or is_frame(value)


def _check_kind(values: Any, *, words: bool = False) -> None:
    """Refuse sparse tensors, masked arrays and, in inputs, arrays of anything but numbers."""
    if isinstance(values, Tensor):
        if not values.is_nested and values.layout != torch.strided:
            raise BadPoints(f"the data are a {values.layout} tensor; give data.to_dense()")
        return
    check_container(values)
    if not words and values.dtype.kind not in "biufc":
        raise BadPoints(f"the data hold {values.dtype} values, not numbers; convert them first")


def _rows_of(column: Any, rows: Rows, axis: int) -> Any:
    """Return a copy of some rows: the network may change its inputs in place."""
    if isinstance(column, Tensor) and not column.is_nested:
        index = torch.from_numpy(rows).to(column.device)
        return column.index_select(axis, index) if axis else column[index]
    if isinstance(column, Tensor | PackedSequence):
        n_rows = column.size(0) if isinstance(column, Tensor) else int(column.batch_sizes[0])
        return InputRows(names=("x",)).take(column, torch.from_numpy(rows), n_rows)
    if isinstance(column, np.ndarray):
        return np.take(column, rows, axis=axis) if axis else column[rows]
    if hasattr(column, "iloc"):
        return column.iloc[rows].to_numpy()
    return [column[int(row)] for row in rows]


def _is_ragged(values: Any) -> bool:
    """Whether a list holds rows of numbers of differing lengths."""
    if not isinstance(values, list) or not values:
        return False
    return isinstance(plain(values), list) and all(
        isinstance(v, list | tuple | np.ndarray | Tensor) and not isinstance(plain(v), list | tuple)
        for v in values
    )


def _items_of(data: Any) -> Callable[[Rows], Any]:
    def fetch(rows: Rows) -> Any:
        items = [data[int(row)] for row in rows]
        try:
            return collate(items)
        except (TypeError, RuntimeError) as error:
            raise BadSource(
                f"rows {rows[0]} to {rows[-1]} of the data set do not form a batch: {error}; give "
                "the data set a transform that returns tensors of equal shape"
            ) from error

    return fetch


def _not_labelled(data: tuple[Any, ...]) -> BadSource:
    kinds = [
        f"shape {tuple(part.shape)}" if hasattr(part, "shape") else f"type {type(part).__name__}"
        for part in data
    ]
    return BadSource(
        f"the data are a tuple of {' and '.join(kinds)}, which is not (inputs, labels) with one "
        "label for each row; give such a tuple or, for a network with two inputs, a list of "
        "batches such as [(first, second)]"
    )


def open_iterable(
    data: Any,
    options: CaptureOptions,
    signature: Signature | None,
    attempt: Attempt | None,
    *,
    single: bool = False,
) -> tuple[Inputs, Iterator[Any]]:
    """Read the first items of an iterable; return how to split its raw batches, and these.

    Parameters
    ----------
    data, options, signature, attempt
        As in :func:`~dimscope.networks.data.stream.open_batches`.
    single : bool
        Whether the items are known to be single stimuli.

    Raises
    ------
    BadSource
        If the data cannot be iterated, or the network does not take their items.
    """
    are_batches = _is_one_batch(data, signature)
    if are_batches:
        data = [data]
    elif isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=options.batch_size, collate_fn=stack)
        are_batches = True
    elif isinstance(data, DataLoader):
        are_batches = data.batch_size is not None or data.batch_sampler is not None
    if not isinstance(data, Iterable) or isinstance(data, Mapping):
        raise BadSource(
            f"batches is a {type(data).__name__}; use a tensor, an array, a Dataset, a "
            "DataLoader, an iterable of batches, an image folder or a .npy file"
        )
    items = _apart(data) if isinstance(data, DataLoader) else iter(data)
    known = False if single else are_batches or None
    alone = isinstance(data, list | tuple) and len(data) == 1
    return read_items(items, options, signature, attempt, are_batches=known, alone=alone)


def _apart(loader: Iterable[Any]) -> Iterator[Any]:
    """Iterate a loader from torch's present random state, which does not advance for the caller."""
    state = torch.get_rng_state()
    batches: Iterator[Any] | None = None
    while True:
        before = torch.get_rng_state()
        torch.set_rng_state(state)
        try:
            batches = iter(loader) if batches is None else batches
            batch = next(batches)
        except StopIteration:
            return
        finally:
            state = torch.get_rng_state()
            torch.set_rng_state(before)
        yield batch
