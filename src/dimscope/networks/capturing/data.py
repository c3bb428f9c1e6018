"""Data: open arrays, data sets, folders and iterables of stimuli as one stream of batches.

If only some of the rows are requested, they are drawn at random, with the seed, from data that can
be indexed (arrays, data sets, folders). Of data that can only be iterated (a DataLoader, a
generator), the first rows are used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

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
    default_collate,
)

from dimscope.arrays.checks import check_container
from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.batches import (
    Batch,
    InputRows,
    as_tensor,
    is_graph,
    is_plain_tuple,
    read_labels,
)
from dimscope.networks.capturing.inputs import Attempt, Inputs, interpret, label_path, plain
from dimscope.networks.capturing.options import CaptureOptions
from dimscope.networks.preprocessing import image_folder, open_data
from dimscope.networks.signature import TARGETS, Signature
from dimscope.networks.tensors import (
    describe_tensors,
    fields_of,
    is_named_tuple,
    tensors_in,
    with_fields,
)

__all__ = ["Stream", "draw", "image_folder", "labels_of", "open_batches", "open_data"]


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
        return (None, "") if path is None else read_labels(data.tensors[path[0]], n, _item(path))
    for name in ("targets", "labels"):
        values = getattr(data, name, None)
        if values is not None and not callable(values) and np.ndim(values) and len(values) == n:
            labels, _ = read_labels(values, n, name)
            if labels is not None:
                return labels, ""
    values, path = [], None
    for i in range(n):
        item = data[i]
        path = label_path(item, signature)
        if path is None:
            return None, ""
        value = _value_at(item, path[0])
        values.append(value.item() if _is_scalar(value) and hasattr(value, "item") else value)
    return read_labels(values, n, _item(path))


def _item(path: Any) -> str:
    return f"item {path[0] + 1}" if isinstance(path[0], int) else str(path[0])


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return (value.numel() if isinstance(value, Tensor) else value.size) == 1
    return isinstance(value, bool | int | float | str | bytes)


_Rows = np.ndarray[Any, Any]

Drawn = Literal["all", "sample", "first"]


@dataclass
class Stream:
    """Batches of stimuli in a fixed order.

    Parameters
    ----------
    batches : iterable of Batch
        Iterated once.
    n_points : int or None
        Number of rows; None if it is unknown.
    drawn : {"all", "sample", "first"}
        Which rows of the data the batches hold: all, a random sample, or the first ones.
    inputs : Inputs
        How the batches are split, and how the network is called.
    class_names : tuple of str or None
        Names of classes 0, 1, ...
    parts : list of array of int
        The row numbers of each batch, for data that can be indexed.
    fetch : callable, optional
        Returns the batch with the given row numbers, for data that can be indexed.
    is_array : bool
        Whether the data are a single array, which is cheap to read completely.
    no_labels : str
        Why a batch read so far has no labels although its data have some.
    """

    batches: Iterable[Batch]
    n_points: int | None
    drawn: Drawn
    inputs: Inputs
    class_names: tuple[str, ...] | None = None
    parts: list[_Rows] = field(default_factory=list)
    fetch: Callable[[_Rows], Batch] | None = None
    is_array: bool = False
    no_labels: str = ""

    def __post_init__(self) -> None:
        self.batches = map(self._noted, self.batches)
        if self.fetch is not None:
            fetch = self.fetch
            self.fetch = lambda rows: self._noted(fetch(rows))

    def _noted(self, batch: Batch) -> Batch:
        self.no_labels = self.no_labels or batch.no_labels
        return batch

    def identifying(self, first: Batch) -> Iterator[Batch]:
        """Yield the batches whose values identify the data, starting with ``first``."""
        yield first
        if self.fetch is not None:
            yield from map(self.fetch, self.parts[1:] if self.is_array else self.parts[1:][-1:])

    def peek(self, n_rows: int) -> Batch:
        """Return the first rows of the first batch without removing them from the stream."""
        if self.fetch is not None:
            return self.fetch(self.parts[0][:n_rows])
        first = self.first()
        return first.take(np.arange(min(n_rows, first.n_rows)))

    def first(self) -> Batch:
        """Return the first batch without removing it from the stream."""
        if self.fetch is not None:
            return self.fetch(self.parts[0])
        batches = iter(self.batches)
        batch = next(batches)
        # a copy stays in the stream, so that in-place operations cannot change it
        self.batches = itertools.chain([batch.take(np.arange(batch.n_rows))], batches)
        return batch

    def after(self, n_batches: int) -> Iterable[Batch]:
        """Return the batches after the first ``n_batches``, without reading those if possible."""
        if self.fetch is not None and n_batches:
            return map(self.fetch, self.parts[n_batches:])
        return itertools.islice(self.batches, n_batches, None)


def open_batches(
    data: Any,
    options: CaptureOptions,
    signature: Signature | None = None,
    attempt: Attempt | None = None,
) -> Stream:
    """Open data as a stream of batches.

    Parameters
    ----------
    data : tensor, array, tuple or dict of them, Dataset, DataLoader, iterable of batches, or path
        A path is a folder of images with one folder for each class, or a ``.npy`` file.
    options : CaptureOptions
        Only ``n_points``, ``per_class``, ``seed``, ``batch_size``, ``forward``, ``mask``, ``ids``
        and ``batch_axis`` are used.
    signature : Signature, optional
        Of the network.
    attempt : callable, optional
        Runs a few rows, to decide where the structure of the data leaves several readings; without
        it, the first reading is taken.

    Raises
    ------
    BadSource
        If the data cannot be read, or several ways to read them suit the network.
    BadPoints
        If the data have fewer rows than requested.
    """
    if isinstance(data, str | Path):
        data = open_data(Path(data))
    names = _class_names(data)
    is_part = options.n_points is not None or options.per_class is not None
    source = _as_indexed(data, options, signature)
    stimuli = is_plain_tuple(data) and _are_stimuli(data, source, options, signature, attempt)
    if source is None or stimuli:
        inputs, numbered = _opened(data, options, signature, attempt, single=stimuli)
        split = _split_all(inputs, numbered)
        batches = _limit(split, options.n_points, options.per_class)
        return Stream(batches, None, "first" if is_part else "all", inputs, names)
    if source.n == 0:
        raise BadPoints("the data hold no rows; give at least three")
    for option in ("mask", "ids"):
        values = getattr(options, option)
        if values is not None and not isinstance(values, str) and len(values) != source.n:
            raise BadPoints(
                f"{option} has {len(values)} rows, but the data have {source.n}; give one for each "
                "row of the data"
            )
    rows = draw(source.n, options.n_points, options.per_class, options.seed, source.labels)
    size = options.batch_size
    raw = source.fetch(rows[:size])
    if isinstance(raw, Ragged):
        inputs, raw, size = _ragged(raw, options, signature, attempt)
    else:
        inputs = interpret(raw, options, signature, attempt)
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    numbers = {int(part[0]): number for number, part in enumerate(parts, 1)}
    read = {parts[0].tobytes(): raw}  # the first batch is read once

    def fetch(part: _Rows) -> Batch:
        raw = read.pop(part.tobytes(), None)
        raw = source.fetch(part) if raw is None else raw
        if isinstance(raw, Ragged):
            raw = raw.stimuli if inputs.layout.lists else raw.refuse(part)
        number = numbers.get(int(part[0]), 1)
        return inputs.split(raw, number, part)

    drawn: Drawn = "sample" if is_part else "all"
    return Stream(map(fetch, parts), len(rows), drawn, inputs, names, parts, fetch, source.is_array)


def _are_stimuli(
    data: tuple[Any, ...],
    source: _Indexed | None,
    options: CaptureOptions,
    signature: Signature | None,
    attempt: Attempt | None,
) -> bool:
    """Whether a tuple of equal arrays holds stimuli, as a list would, rather than columns."""
    first = data[0]
    if source is None or attempt is None or len({_shape_of(column) for column in data}) > 1:
        return False
    if not isinstance(as_tensor(first), Tensor) or not as_tensor(first).is_floating_point():
        return False
    options = replace(options, mask=None, ids=None)
    raw = source.fetch(np.arange(min(source.n, _PEEKED)))
    interpret(raw, options, signature)  # a structure that is refused stays so
    try:
        interpret(raw, options, signature, attempt, strict=True)
    except BadSource as columns:
        if "runs on a batch as" in str(columns):
            raise
        try:
            _opened(data, options, signature, attempt, single=True)
        except BadSource:
            return False
        return True
    return False


def _shape_of(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor | np.ndarray) else type(value)


def _split_all(inputs: Inputs, raws: Iterator[Any]) -> Iterator[Batch]:
    n_rows = 0
    for number, raw in enumerate(raws, 1):
        batch = inputs.split(raw, number, n_rows)
        n_rows += batch.n_rows
        yield batch


# Data that can be indexed --------------------------------------------------------------------


@dataclass(frozen=True)
class _Indexed:
    """Data that can be read at any rows, as raw batches."""

    n: int
    fetch: Callable[[_Rows], Any]
    labels: Callable[[], tuple[np.ndarray[Any, Any] | None, str]]
    is_array: bool = False


def _as_indexed(data: Any, options: CaptureOptions, signature: Signature | None) -> _Indexed | None:
    if _is_one_batch(data, signature):
        return None
    columns = _columns(data, options, signature)
    if columns is not None:
        return columns
    if isinstance(data, IterableDataset | DataLoader | list | tuple):
        return None
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return _Indexed(len(data), _items_of(data), lambda: labels_of(data, signature))
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


def _columns(data: Any, options: CaptureOptions, signature: Signature | None) -> _Indexed | None:
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
            column = columns[key] = (
                as_numpy(column)
                if hasattr(column, "iloc") and hasattr(column, "columns")
                else column
            )
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

    def fetch(rows: _Rows) -> Any:
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
        return read_labels(columns[path[0]], n, _item(path))

    return _Indexed(n, fetch, labels, is_array=not isinstance(data, Mapping))


def _is_array(value: Any) -> bool:
    if isinstance(value, PackedSequence):
        return False
    is_frame = hasattr(value, "iloc") and hasattr(value, "columns")
    return isinstance(value, np.ndarray | Tensor) or is_frame


def _check_kind(values: Any, *, words: bool = False) -> None:
    """Refuse sparse tensors, masked arrays and, in inputs, arrays of anything but numbers."""
    if isinstance(values, Tensor):
        if not values.is_nested and values.layout != torch.strided:
            raise BadPoints(f"the data are a {values.layout} tensor; give data.to_dense()")
        return
    check_container(values)
    if not words and values.dtype.kind not in "biufc":
        raise BadPoints(f"the data hold {values.dtype} values, not numbers; convert them first")


def _rows_of(column: Any, rows: _Rows, axis: int) -> Any:
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


# Items ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ragged:
    """Items that form no batch because their tensors differ in shape."""

    items: list[Any]
    reason: str

    @property
    def stimuli(self) -> Any:
        """The items as lists with one entry for each."""
        first = self.items[0]
        if isinstance(first, tuple | list) and not is_named_tuple(first):
            return tuple(list(column) for column in zip(*self.items, strict=True))
        return list(self.items)

    def refuse(self, rows: _Rows) -> Any:
        """Raise the error that names the rows and what to do.

        Raises
        ------
        BadSource
            Always.
        """
        is_text = isinstance(self.items[0], Mapping)
        hint = (
            "pad them: give a DataLoader with "
            "collate_fn=transformers.DataCollatorWithPadding(tokenizer)"
            if is_text
            else "give the data set a transform that returns tensors of equal shape"
        )
        raise BadSource(
            f"rows {rows[0]} to {rows[-1]} of the data set do not form a batch: {self.reason}; "
            f"{hint}"
        )


def _items_of(data: Any) -> Callable[[_Rows], Any]:
    def fetch(rows: _Rows) -> Any:
        items = [data[int(row)] for row in rows]
        try:
            return collate(items)
        except (TypeError, RuntimeError) as error:
            raise BadSource(
                f"rows {rows[0]} to {rows[-1]} of the data set do not form a batch: {error}; give "
                "the data set a transform that returns tensors of equal shape"
            ) from error

    return fetch


def collate(items: Sequence[Any]) -> Any:
    """Stack items to a raw batch; return :class:`Ragged` if their tensors differ in shape.

    Examples
    --------
    >>> collate([{"x": [1, 2], "word": "a"}, {"x": [3, 4], "word": "b"}])
    {'x': tensor([[1, 2],
            [3, 4]]), 'word': ['a', 'b']}
    """
    items = [_plain_item(item) for item in items]
    first = items[0]
    if _is_geometric(first):
        from torch_geometric.data import Batch as Graphs

        return Graphs.from_data_list(items)
    fields = fields_of(first)
    if fields is not None:
        columns = {key: [(fields_of(item) or {})[key] for item in items] for key in fields}
        ragged = [key for key, column in columns.items() if _differ(column)]
        if ragged:
            return Ragged(list(items), f"rows of {ragged[0]!r} differ in shape")
        return with_fields(first, {key: _column(column) for key, column in columns.items()})
    if isinstance(first, tuple | list):
        rows = [list(column) for column in zip(*items, strict=True)]
        if any(map(_differ, rows)):
            return Ragged(list(items), _differing(rows))
        return [default_collate(column) for column in rows]
    if _differ(items):
        return Ragged(list(items), _differing([items]))
    return default_collate(items)


def _is_geometric(item: Any) -> bool:
    return type(item).__module__.startswith("torch_geometric") and hasattr(item, "edge_index")


def _plain_item(item: Any) -> Any:
    if isinstance(item, tuple) and not is_named_tuple(item):
        return tuple(plain(value) for value in item)
    return plain(item)


def _column(values: list[Any]) -> Any:
    """Stack the values of one field; what does not stack stays a list, for it may not be used."""
    if isinstance(values[0], list | tuple | None) or fields_of(values[0]) is not None:
        return values
    try:
        return default_collate(values)
    except (TypeError, RuntimeError):
        return values


def _differ(values: Sequence[Any]) -> bool:
    return isinstance(values[0], Tensor) and len({v.shape for v in values}) > 1


def _differing(columns: Sequence[Sequence[Any]]) -> str:
    values = next(column for column in columns if _differ(column))
    other = next(value for value in values if value.shape != values[0].shape)
    return f"the shapes are {tuple(values[0].shape)} and {tuple(other.shape)}"


def _ragged(
    ragged: Ragged, options: CaptureOptions, signature: Signature | None, attempt: Attempt | None
) -> tuple[Inputs, Any, int]:
    """Read items of differing shapes as a list, as detectors take them, or one at a time."""
    if attempt is None:
        ragged.refuse(np.arange(len(ragged.items)))
    if not isinstance(ragged.items[0], Mapping):
        try:
            inputs = interpret(ragged.stimuli, options, signature, attempt, strict=True)
        except BadSource:
            pass
        else:
            return inputs, ragged.stimuli, options.batch_size
    raw = collate(ragged.items[:1])
    inputs = interpret(raw, options, signature, attempt)
    return replace(inputs, text=f"{inputs.text}; one at a time"), raw, 1


# Data that can only be iterated ----------------------------------------------------------------


def _opened(
    data: Any,
    options: CaptureOptions,
    signature: Signature | None,
    attempt: Attempt | None,
    *,
    single: bool = False,
) -> tuple[Inputs, Iterator[Any]]:
    """Read the first items of an iterable, and return how to split its batches."""
    are_batches = _is_one_batch(data, signature)
    if are_batches:
        data = [data]
    elif isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=options.batch_size, collate_fn=_stack)
        are_batches = True
    elif isinstance(data, DataLoader):
        are_batches = data.batch_size is not None or data.batch_sampler is not None
    if not isinstance(data, Iterable) or isinstance(data, Mapping):
        raise BadSource(
            f"batches is a {type(data).__name__}; use a tensor, an array, a Dataset, a "
            "DataLoader, an iterable of batches, an image folder or a .npy file"
        )
    items = _apart(data) if isinstance(data, DataLoader) else iter(data)
    head = list(itertools.islice(items, 1))
    if not head:
        raise BadSource("batches is empty, or was already read; give at least one batch")
    plain(head[0])  # what cannot be read as a batch, such as a nested tensor, is no stimulus either
    evidence = False if single else True if are_batches else _are_batches(head[0])
    if evidence is None and isinstance(data, list | tuple) and len(data) == 1:
        evidence = _n_axes(head[0]) > 1 or None
    if evidence:
        return interpret(head[0], options, signature, attempt), itertools.chain(head, items)
    if attempt is None:
        _check_batch(head[0])
        return interpret(head[0], options, signature), itertools.chain(head, items)
    return _grouped(head, items, options, signature, attempt, single=evidence is False)


_PEEKED = 4  # items that are read to see whether they are batches or stimuli


def _are_batches(item: Any) -> bool | None:
    """Return whether an item is a batch or a single stimulus, or None if it may be either.

    Labels tell: there is one for each row of a batch, and a single one for a stimulus.
    """
    fields = fields_of(item)
    if fields is not None:
        if is_graph(fields):
            one = _is_geometric(item) and "batch" not in fields and "ptr" not in fields
            return not one
        label = next((fields[name] for name in TARGETS if fields.get(name) is not None), None)
        first = next(iter(tensors_in(plain(item))), None)
    elif isinstance(item, tuple | list) and len(item) > 1 and not _is_number(item[0]):
        first, label = plain(item[0]), item[1]
    else:
        return None
    if _is_scalar(label) and not (isinstance(label, Tensor | np.ndarray) and label.ndim):
        return False
    rows = next(iter(tensors_in(first)), None)
    if rows is None:
        return True if fields_of(first) is None and not isinstance(first, list | tuple) else None
    if isinstance(first, list | tuple):
        return True  # stimuli beside their targets
    label = plain(label)
    # words cannot be a vector that describes one stimulus; numbers, as one-hot classes, can
    words = isinstance(label, list | tuple) and len(label) == len(rows)
    return True if words and rows.ndim > 1 else None


def _labels_agree(item: Any) -> bool:
    """Whether an item holds a label for each row of its first tensor.

    Zeros and ones may as well describe one stimulus, as many as it has channels.
    """
    item = plain(item)
    path = label_path(item, None)
    label = None if path is None else plain(_value_at(item, path[0]))
    rows = next(iter(tensors_in(item)), None)
    if rows is None or not isinstance(label, Tensor) or label.ndim != 1:
        return False
    is_vector = rows.ndim == 3 and bool(((label == 0) | (label == 1)).all())
    return rows.ndim > 1 and len(rows) == len(label) and not is_vector


def _value_at(item: Any, step: Any) -> Any:
    return item[step] if isinstance(step, int) else (fields_of(item) or {})[step]


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.generic)


def _n_axes(item: Any) -> int:
    return max((tensor.ndim for tensor in tensors_in(plain(item))), default=0)


def _grouped(
    head: list[Any],
    items: Iterator[Any],
    options: CaptureOptions,
    signature: Signature | None,
    attempt: Attempt,
    *,
    single: bool,
) -> tuple[Inputs, Iterator[Any]]:
    """Decide by attempts whether items are batches, or stimuli to be put into batches."""
    size, reasons = options.batch_size, []

    def tried(raw: Any) -> Inputs | None:
        try:
            return interpret(raw, options, signature, attempt, strict=True)
        except BadSource as error:
            reasons.append(error)
            return None

    as_batches = None if single else tried(head[0])
    n_axes = _n_axes(head[0])
    certain = n_axes < 3 or _labels_agree(head[0])
    if as_batches is not None and (certain or as_batches.layout.lists):
        return as_batches, itertools.chain(head, items)
    head += itertools.islice(items, _PEEKED - 1)
    everything = itertools.chain(head, items)
    if as_batches is not None and len(head) == 1:
        return as_batches, everything
    try:
        stacked = collate(head)
    except (TypeError, RuntimeError, ValueError):
        stacked = None
    if isinstance(stacked, Ragged):
        if as_batches is not None:
            return as_batches, everything
        inputs = None if isinstance(head[0], Mapping) else tried(stacked.stimuli)
        if inputs is not None:
            groups = (Ragged(group, "").stimuli for group in _groups(everything, size))
            return inputs, groups
        one = collate(head[:1])
        inputs = tried(one)
        if inputs is not None:
            text = f"{inputs.text}; one at a time"
            return replace(inputs, text=text), (collate([item]) for item in everything)
    elif stacked is not None:
        inputs = tried(stacked)
        if inputs is not None and as_batches is not None:
            shape = tuple(next(tensors_in(plain(head[0]))).shape)
            raise BadSource(
                f"the items of the data have shape {shape}, and the network takes them as batches "
                f"of {shape[0]} and as single stimuli; give torch.cat(data) if they are batches, "
                "torch.stack(data) if each is one stimulus, or [batch] for a single batch"
            )
        if inputs is not None:
            text = f"{inputs.text}; stacked in batches of {size}"
            return replace(inputs, text=text), map(_stack, _groups(everything, size))
    if as_batches is not None:
        return as_batches, everything
    _check_batch(head[0])
    if single:
        raise reasons[0] if reasons else _no_batch(head)
    return interpret(head[0], options, signature), everything  # the run says what is wrong


def _groups(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _stack(group: list[Any]) -> Any:
    raw = collate(group)
    return raw.refuse(np.arange(len(group))) if isinstance(raw, Ragged) else raw


def _no_batch(head: Sequence[Any]) -> BadSource:
    return BadSource(
        f"the items of the data are single stimuli ({describe_tensors(head[0])}) that form no "
        "batch; give a tensor, torch.stack(data), or batches, [batch]"
    )


def _check_batch(first: Any) -> None:
    """Refuse single stimuli given as batches: each of their values would become a row."""
    values = first[0] if isinstance(first, tuple | list) and first else first
    if not isinstance(values, Tensor | np.ndarray) or values.ndim != 1:
        return
    if values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f":
        raise BadSource(
            f"the first batch has shape {tuple(values.shape)}, one number for each stimulus; if "
            "each item of data is one stimulus, give them as one tensor: torch.stack(data)"
        )


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


def _limit(
    batches: Iterable[Batch], n_points: int | None, per_class: int | None
) -> Iterator[Batch]:
    """Yield the first rows, in total or of each class."""
    left = n_points
    taken: dict[Any, int] = {}
    n_rows = 0
    for batch in batches:
        if batch.n_rows == 0:
            continue
        n_rows += batch.n_rows
        if per_class is not None:
            if batch.labels is None:
                reason = batch.no_labels or "the batches have none"
                raise BadPoints(f"per_class needs labels, but {reason}")
            rows = []
            for row, label in enumerate(batch.labels.tolist()):
                taken[label] = taken.get(label, 0) + 1
                if taken[label] <= per_class:
                    rows.append(row)
            if rows:
                yield batch.take(np.asarray(rows))
        elif left is None:
            yield batch
        else:
            yield batch if batch.n_rows <= left else batch.take(np.arange(left))
            left -= batch.n_rows
            if left <= 0:
                return
    if left is not None and n_rows:
        raise BadPoints(f"n_points is {n_points}, but the data have {n_rows} rows; ask for fewer")
    for label, count in taken.items():
        if per_class is not None and count < per_class:
            raise BadPoints(
                f"class {label} has {count} rows but per_class is {per_class}; ask for fewer"
            )


def _class_names(data: Any) -> tuple[str, ...] | None:
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return tuple(names)
        data = getattr(data, "dataset", None)  # of a DataLoader, a Subset
    return None
