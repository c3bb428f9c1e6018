"""Items: tell batches from single stimuli, and put single stimuli into batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from dimscope.errors import BadSource
from dimscope.networks.data.batches import is_graph
from dimscope.networks.data.inputs import Attempt, Inputs, is_number, plain, value_at
from dimscope.networks.data.readings import interpret, label_path
from dimscope.networks.data.signature import TARGETS, Signature
from dimscope.networks.options import CaptureOptions
from dimscope.networks.tensors import (
    describe_tensors,
    fields_of,
    is_named_tuple,
    shapes_differ,
    tensors_in,
    with_fields,
)

__all__ = ["PEEKED", "Ragged", "Rows", "collate", "is_scalar", "read_items", "read_ragged", "stack"]


PEEKED = 4
"""How many items are read to see whether they are batches or single stimuli."""

Rows = np.ndarray[Any, Any]
"""Numbers of rows."""


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

    def refuse(self, rows: Rows) -> Any:
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
    return isinstance(values[0], Tensor) and shapes_differ(values)


def _differing(columns: Sequence[Sequence[Any]]) -> str:
    values = next(column for column in columns if _differ(column))
    other = next(value for value in values if value.shape != values[0].shape)
    return f"the shapes are {tuple(values[0].shape)} and {tuple(other.shape)}"


def read_ragged(
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


def read_items(
    items: Iterator[Any],
    options: CaptureOptions,
    signature: Signature | None,
    attempt: Attempt | None,
    *,
    are_batches: bool | None,
    alone: bool,
) -> tuple[Inputs, Iterator[Any]]:
    """Read the first items; return how to split raw batches, and the raw batches.

    Parameters
    ----------
    items : iterator
    options, signature, attempt
        As in :func:`~dimscope.networks.data.readings.interpret`.
    are_batches : bool, optional
        Whether the items are known to be batches (True) or single stimuli (False).
    alone : bool
        Whether there is a single item.

    Raises
    ------
    BadSource
        If there are no items, or the network does not take them.
    """
    head = list(itertools.islice(items, 1))
    if not head:
        raise BadSource("batches is empty, or was already read; give at least one batch")
    plain(head[0])  # what cannot be read as a batch, such as a nested tensor, is no stimulus either
    evidence = _are_batches(head[0]) if are_batches is None else are_batches
    if evidence is None and alone:
        evidence = _n_axes(head[0]) > 1 or None
    if evidence:
        return interpret(head[0], options, signature, attempt), itertools.chain(head, items)
    if attempt is None:
        _check_batch(head[0])
        return interpret(head[0], options, signature), itertools.chain(head, items)
    return _grouped(head, items, options, signature, attempt, single=evidence is False)


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
    elif isinstance(item, tuple | list) and len(item) > 1 and not is_number(item[0]):
        first, label = plain(item[0]), item[1]
    else:
        return None
    if is_scalar(label) and not (isinstance(label, Tensor | np.ndarray) and label.ndim):
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
    label = None if path is None else plain(value_at(item, path))
    rows = next(iter(tensors_in(item)), None)
    if rows is None or not isinstance(label, Tensor) or label.ndim != 1:
        return False
    is_vector = rows.ndim == 3 and bool(((label == 0) | (label == 1)).all())
    return rows.ndim > 1 and len(rows) == len(label) and not is_vector


def is_scalar(value: Any) -> bool:
    """Return whether a value is a single number or word.

    Examples
    --------
    >>> is_scalar(np.zeros(1)), is_scalar("cat"), is_scalar([1])
    (True, True, False)
    """
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return (value.numel() if isinstance(value, Tensor) else value.size) == 1
    return isinstance(value, bool | int | float | str | bytes)


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
    head += itertools.islice(items, PEEKED - 1)
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
            return replace(inputs, text=text), map(stack, _groups(everything, size))
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


def stack(group: list[Any]) -> Any:
    """Stack items to a raw batch.

    Raises
    ------
    BadSource
        If their tensors differ in shape.

    Examples
    --------
    >>> stack([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
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
