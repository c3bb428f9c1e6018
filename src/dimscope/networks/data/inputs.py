"""Inputs: how a raw batch becomes a call of the network, and its labels, masks and ids.

A *raw* batch is one as the data give it. Where its parts lie is found in the first batch
(:mod:`dimscope.networks.data.readings`), and every later batch is split in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.data.batches import Batch, InputRows, as_tensor, is_plain_tuple
from dimscope.networks.data.labels import read_ids, read_labels
from dimscope.networks.data.masks import mask_for, read_mask
from dimscope.networks.tensors import describe_tensors, fields_of, is_named_tuple, with_fields

__all__ = [
    "Attempt", "Call", "Inputs", "Path", "form_of", "is_number", "place_name", "plain", "value_at",
]  # fmt: skip


Path = tuple[Any, ...]
"""Where a value lies in a raw batch: the items and fields that lead to it."""

Call = Literal["one", "arguments", "keywords", "forward"]

Attempt = Callable[["Inputs", Batch], "str | None"]
"""Runs a few rows of a batch; returns None if the rows of the output follow those of the batch,
independently of each other, or else the reason why not."""


@dataclass(frozen=True)
class Inputs:
    """How the data of a capture become calls of the network.

    Parameters
    ----------
    text : str
        One line: ``inputs: input_ids, attention_mask; labels: y; not used: idx``.
    how : {"one", "arguments", "keywords", "forward"}
        How the network is called.
    given : tuple of (str, Path)
        Each argument with its place in a raw batch.
    labels, ids : Path, optional
        Where the labels and ids lie in a raw batch.
    masks : tuple of (str, Path)
        Name and place of each padding mask.
    layout : InputRows
        Where the rows lie.
    form : object
        The structure that every batch must have.
    forward : callable, optional
        The forward function given by the user.
    dropped : tuple of str
        Fields that a forward function does not get.
    all_masks, all_ids : array, optional
        The mask and the id of every row of the data.
    mask_parameter : str, optional
        The parameter that gets the mask, if the data do not give it under this name.
    mask_is_named : bool
        Whether the user named the mask: it is True where a token is real.
    """

    text: str
    how: Call = "one"
    given: tuple[tuple[str, Path], ...] = ()
    labels: Path | None = None
    ids: Path | None = None
    masks: tuple[tuple[str, Path], ...] = ()
    layout: InputRows = field(default_factory=InputRows)
    form: Any = None
    forward: Callable[[Any, Any], Any] | None = None
    dropped: tuple[str, ...] = ()
    all_masks: Any = None
    all_ids: Any = None
    mask_parameter: str | None = None
    mask_is_named: bool = False

    def call(self, network: Any, inputs: Any) -> Any:
        """Call the network on the inputs of a batch."""
        if self.forward is not None:
            return self.forward(network, inputs)
        if self.how == "keywords":
            return network(**inputs)
        return network(*inputs) if self.how == "arguments" else network(inputs)

    def split(self, raw: Any, number: int = 1, rows: np.ndarray[Any, Any] | int = 0) -> Batch:
        """Split a raw batch into inputs, labels, masks and ids.

        Parameters
        ----------
        raw : object
            A batch as the data give it.
        number : int
            Its number in the data, from 1, for messages.
        rows : array of int, or int
            The numbers of its rows in the data, or of the first one, for masks and ids that are
            given for all rows.

        Raises
        ------
        BadSource
            If the batch differs in structure from the first one, or its parts in their rows.
        """
        raw = plain(raw)
        form = form_of(raw) if not self.is_list else self.form
        if self.form is not None and form != self.form:
            raise BadSource(
                f"batch {number} is {_described(form)}, but the first batch is "
                f"{_described(self.form)}; give all batches the same structure"
            )
        inputs = self._inputs(raw)
        n_rows = self._count(raw, inputs)
        labels, reason = None, ""
        if self.labels is not None:
            labels, reason = read_labels(
                value_at(raw, self.labels), n_rows, place_name(self.labels)
            )
        masks = {}
        for name, path in self.masks:
            mask = read_mask(name, value_at(raw, path), n_rows, plainly=self.mask_is_named)
            if mask is not None:
                masks[name] = mask
        ids = None if self.ids is None else read_ids(value_at(raw, self.ids), n_rows)
        numbers = np.arange(rows, rows + n_rows) if isinstance(rows, int) else rows
        for option, values in (("ids", self.all_ids), ("mask", self.all_masks)):
            if values is not None and numbers.size and numbers.max() >= len(values):
                raise BadPoints(
                    f"{option} has {len(values)} rows, but the data have more; give one row for "
                    "each stimulus"
                )
        if self.all_ids is not None:
            ids = self.all_ids[numbers]
        if self.all_masks is not None:
            mask = self.all_masks[torch.from_numpy(numbers)]
            masks = {"mask": mask}
        if self.mask_parameter is not None:
            inputs[self.mask_parameter] = mask_for(self.mask_parameter, next(iter(masks.values())))
        return Batch(inputs, labels, n_rows, masks, ids, self.layout, reason)

    @property
    def is_list(self) -> bool:
        """Whether a raw batch is a list with an item for each row."""
        return self.layout.lists and self.given[0][1] == ()

    def _inputs(self, raw: Any) -> Any:
        values = [value_at(raw, path) for _, path in self.given]
        if self.layout.lists:
            values = [list(v) if isinstance(v, tuple) and is_plain_tuple(v) else v for v in values]
        if self.how == "keywords":
            return dict(zip((name for name, _ in self.given), values, strict=True))
        if self.how == "arguments":
            return tuple(values)
        inputs = values[0]
        if self.dropped and isinstance(inputs, Mapping):
            return {key: value for key, value in inputs.items() if key not in self.dropped}
        if self.how == "forward" and isinstance(inputs, list) and not self.layout.lists:
            return tuple(inputs)
        return inputs

    def _count(self, raw: Any, inputs: Any) -> int:
        n_rows = self.layout.n_rows(inputs)
        if n_rows is None:
            raise BadSource(
                f"a batch is a {type(raw).__name__} without a tensor of stimuli; use a tensor, "
                "(inputs, labels), or a dict of tensors"
            )
        if self.layout.graph or self.layout.lists:
            return n_rows
        items = list(raw) if isinstance(raw, list | tuple) and not is_named_tuple(raw) else []
        if self.how == "arguments":
            items += [value_at(raw, path) for _, path in self.given]
        elif is_plain_tuple(inputs) or (isinstance(inputs, list) and inputs is not raw):
            items += inputs
        counts = {
            value.shape[self.layout.axis_of(self._name_at(i), value)]
            for i, value in enumerate(items)
            if isinstance(value, Tensor) and value.ndim
        }
        if counts - {n_rows} and not isinstance(raw, PackedSequence):
            raise BadSource(
                f"a batch holds {describe_tensors(raw)}, which differ in their numbers of rows; "
                "give inputs and labels with one row for each stimulus, and anything else in a "
                "forward function"
            )
        return n_rows

    def _name_at(self, item: int) -> str:
        return next((name for name, path in self.given if path[:1] == (item,)), "")


def plain(value: Any) -> Any:
    """Convert the arrays, and the lists of numbers, in a raw batch to tensors.

    Examples
    --------
    >>> plain({"x": [[1, 2], [3, 4]], "words": ["a", "b"]})
    {'x': tensor([[1, 2],
            [3, 4]]), 'words': ['a', 'b']}
    """
    if isinstance(value, Tensor):
        if value.is_nested:
            raise BadSource(
                "a batch is a nested tensor; give its tensors as batches of one, "
                "[part[None] for part in nested.unbind()], or a padded tensor with a mask"
            )
        # networks view integers, such as labels; floats keep their layout, which numbers depend on
        is_plain = value.is_floating_point() or value.layout != torch.strided
        return value if is_plain else value.contiguous()
    if isinstance(value, PackedSequence | str | bytes):
        return value
    if isinstance(value, list | tuple):
        if is_named_tuple(value):
            return with_fields(value, {k: plain(v) for k, v in (fields_of(value) or {}).items()})
        if value and all(is_number(item) for item in value):
            return torch.as_tensor(np.asarray(value))
        if value and all(isinstance(item, list | tuple) and item for item in value):
            table = _table(value)
            if table is not None:
                return table
        return type(value)(plain(item) for item in value)
    if isinstance(value, Mapping):
        changed = {key: plain(item) for key, item in value.items()}
        if all(changed[key] is item for key, item in value.items()):
            return value
        return with_fields(value, changed)
    return as_tensor(value)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, of Python or of NumPy.

    Examples
    --------
    >>> is_number(np.float32(1)), is_number("1")
    (True, False)
    """
    return isinstance(value, bool | int | float) or (
        isinstance(value, np.generic) and value.dtype.kind in "biuf"
    )


def _table(rows: Sequence[Any]) -> Tensor | None:
    """Return nested lists of numbers as a tensor, or None if they are something else or ragged."""
    first = rows[0]
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not is_number(first):
        return None
    try:
        array = np.asarray(rows)
    except ValueError:
        return None
    return torch.as_tensor(array) if array.dtype.kind in "biuf" else None


def form_of(raw: Any) -> Any:
    """Return what must be equal in the structure of all batches.

    Examples
    --------
    >>> form_of({"x": 1, "label": 2}), form_of((1, 2))
    (('dict', ('label', 'x')), ('tuple', 2))
    """
    if isinstance(raw, Mapping):
        return ("dict", tuple(sorted(map(str, raw))))
    if isinstance(raw, Tensor | PackedSequence):
        return (type(raw).__name__.replace("Parameter", "Tensor"),)
    if is_named_tuple(raw):
        return (type(raw).__name__, raw._fields)
    if isinstance(raw, list | tuple):
        return ("tuple", len(raw))
    return (type(raw).__name__,)


def _described(form: Any) -> str:
    kind, *rest = form
    if not rest:
        return f"a {kind}"
    if isinstance(rest[0], int):
        return f"a {kind} of {rest[0]}"
    return f"a {kind} of {', '.join(rest[0])}"


def value_at(raw: Any, path: Path) -> Any:
    """Return the value at a place in a raw batch.

    Examples
    --------
    >>> value_at(({"x": 1}, 2), (0, "x"))
    1
    """
    for step in path:
        if isinstance(step, int) or isinstance(raw, Mapping):
            raw = raw[step]
        else:
            fields = fields_of(raw)
            assert fields is not None  # as in the first batch
            raw = fields[step]
    return raw


def place_name(path: Path) -> str:
    """Return the name of a place in a raw batch, for messages.

    Examples
    --------
    >>> place_name((1,)), place_name((0, "label"))
    ('item 2', 'label')
    """
    last = path[-1] if path else 0
    return f"item {last + 1}" if isinstance(last, int) else str(last)
