"""Inputs: decide what the data of a capture are to the network, and split every batch that way.

What goes into the call, what is a target, what is a mask follows from the signature of the network
and the structure of the first batch. Where they leave several readings, each is attempted on a few
rows: the one that works is taken, several that work are refused with the call that settles it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.batches import (
    Batch,
    InputRows,
    as_tensor,
    is_graph,
    is_plain_tuple,
    read_ids,
    read_labels,
)
from dimscope.networks.capturing.options import CaptureOptions
from dimscope.networks.signature import (
    TARGETS,
    Parameter,
    Signature,
    is_padding_mask,
    is_target,
    marks_padding,
)
from dimscope.networks.tensors import (
    describe_tensors,
    fields_of,
    is_named_tuple,
    tensors_in,
    with_fields,
)

__all__ = ["Attempt", "Inputs", "interpret", "label_path", "plain"]


Path = tuple[Any, ...]
"""Where a value lies in a raw batch: the items and fields that lead to it."""

Call = Literal["one", "arguments", "keywords", "forward"]

Attempt = Callable[["Inputs", Batch], "str | None"]
"""Runs a few rows of a batch; returns None if the rows of the output follow those of the batch,
independently of each other, or else the reason why not."""

LABEL_KEYS = ("labels", "label")
"""Fields that a forward function does not get."""

REAL_IS_TRUE = (
    "attention_mask", "decoder_attention_mask", "encoder_attention_mask", "input_mask",
    "text_mask", "token_mask", "valid_mask",
)  # fmt: skip
"""Masks that are 1 where a token is real; what others mean is seen in their values."""


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
        form = _form(raw) if not self.is_list else self.form
        if self.form is not None and form != self.form:
            raise BadSource(
                f"batch {number} is {_described(form)}, but the first batch is "
                f"{_described(self.form)}; give all batches the same structure"
            )
        inputs = self._inputs(raw)
        n_rows = self._count(raw, inputs)
        labels, reason = None, ""
        if self.labels is not None:
            labels, reason = read_labels(_get(raw, self.labels), n_rows, _place(self.labels))
        masks = {}
        for name, path in self.masks:
            mask = _as_mask(name, _get(raw, path), n_rows, plainly=self.mask_is_named)
            if mask is not None:
                masks[name] = mask
        ids = None if self.ids is None else read_ids(_get(raw, self.ids), n_rows)
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
            inputs[self.mask_parameter] = _for(self.mask_parameter, next(iter(masks.values())))
        return Batch(inputs, labels, n_rows, masks, ids, self.layout, reason)

    @property
    def is_list(self) -> bool:
        """Whether a raw batch is a list with an item for each row."""
        return self.layout.lists and self.given[0][1] == ()

    def _inputs(self, raw: Any) -> Any:
        values = [_get(raw, path) for _, path in self.given]
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
            items += [_get(raw, path) for _, path in self.given]
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


# Structure -----------------------------------------------------------------------------------


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
        if value and all(_is_number(item) for item in value):
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


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (
        isinstance(value, np.generic) and value.dtype.kind in "biuf"
    )


def _table(rows: Sequence[Any]) -> Tensor | None:
    """Return nested lists of numbers as a tensor, or None if they are something else or ragged."""
    first = rows[0]
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not _is_number(first):
        return None
    try:
        array = np.asarray(rows)
    except ValueError:
        return None
    return torch.as_tensor(array) if array.dtype.kind in "biuf" else None


def _form(raw: Any) -> Any:
    """Return what must be equal in the structure of all batches."""
    if isinstance(raw, Mapping):
        return ("dict", tuple(sorted(map(str, raw))))
    if isinstance(raw, Tensor | PackedSequence):
        return (type(raw).__name__.replace("Parameter", "Tensor"),)
    if is_named_tuple(raw):
        return (type(raw).__name__, raw._fields)
    if isinstance(raw, list | tuple):
        return ("tuple", len(raw))
    return (type(raw).__name__,)


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else None


def _described(form: Any) -> str:
    kind, *rest = form
    if not rest:
        return f"a {kind}"
    if isinstance(rest[0], int):
        return f"a {kind} of {rest[0]}"
    return f"a {kind} of {', '.join(rest[0])}"


def _get(raw: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, int) or isinstance(raw, Mapping):
            raw = raw[step]
        else:
            fields = fields_of(raw)
            assert fields is not None  # as in the first batch
            raw = fields[step]
    return raw


def _place(path: Path) -> str:
    """Return the name of a place in a raw batch, for messages."""
    last = path[-1] if path else 0
    return f"item {last + 1}" if isinstance(last, int) else str(last)


# Masks ---------------------------------------------------------------------------------------


def _as_mask(name: str, value: Any, n_rows: int, *, plainly: bool) -> Tensor | None:
    """Return a padding mask as booleans, True where a token is real; None if it is none.

    Raises
    ------
    BadSource
        If neither the name nor the values tell which of its two values marks padding.
    """
    if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != n_rows:
        if plainly:
            raise BadSource(
                f"mask {name!r} must have shape (n_rows, n_positions); give one row for each "
                "stimulus, True where a token is real"
            )
        return None
    if value.is_floating_point() and bool((value < 0).any()):
        return value == 0  # added to the attention: 0 where real
    if bool(((value != 0) & (value != 1)).any()):
        return None
    mask = value.bool()
    if plainly or name in REAL_IS_TRUE:
        return mask
    if marks_padding(name):
        return ~mask
    whole = torch.cat([mask.all(dim=1), (~mask).all(dim=1)]).reshape(2, -1).any(dim=1)
    if whole[0] != whole[1]:  # a row without padding has one value
        return mask if whole[0] else ~mask
    for column in (0, -1):
        values = mask[:, column]
        if not whole.any() and bool(values.all() | (~values).all()):
            return mask if values[0] else ~mask
    raise BadSource(
        f"the values of {name!r} do not tell whether True marks padding; give mask=, with one row "
        "for each stimulus, True where a token is real"
    )


def _for(parameter: str, mask: Tensor) -> Tensor:
    """Return a mask, True where real, as a parameter of this name takes it."""
    return mask.logical_not() if marks_padding(parameter) else mask.long()


def _looks_like_mask(value: Any, first: Any) -> bool:
    """Whether a value has one 0 or 1 for each position of the first value, zeros at one end."""
    if not isinstance(value, Tensor) or not isinstance(first, Tensor):
        return False
    if value.ndim != 2 or first.ndim < 2 or value.shape != first.shape[:2] or not value.numel():
        return False
    if bool(((value != 0) & (value != 1)).any()):
        return False
    steps = value.to(torch.int8).diff(dim=1)
    return not (bool((steps > 0).any()) and bool((steps < 0).any()))


# Readings ------------------------------------------------------------------------------------


def interpret(
    raw: Any,
    options: CaptureOptions,
    signature: Signature | None = None,
    attempt: Attempt | None = None,
    *,
    strict: bool = False,
) -> Inputs:
    """Decide how the batches of the data are read, from the first one.

    Parameters
    ----------
    raw : object
        The first batch as the data give it.
    options : CaptureOptions
        Only ``forward``, ``mask``, ``ids`` and ``batch_axis`` are used.
    signature : Signature, optional
        Of the network; any call is possible without.
    attempt : callable, optional
        Decides between several readings; without it, the first one is taken.
    strict : bool
        Whether a single reading is attempted too.

    Raises
    ------
    BadSource
        If no reading suits the network, or several do that differ in meaning.

    Examples
    --------
    >>> from torch import nn
    >>> batch = {"input": torch.zeros(4, 3), "label": torch.arange(4), "idx": torch.arange(4)}
    >>> interpret(batch, CaptureOptions(), Signature.of(nn.Linear(3, 2))).text
    'inputs: input; labels: label; not used: idx'
    """
    raw = plain(raw)
    reader = _Reader(raw, options, signature or Signature())
    tiers = reader.tiers()
    readings = [reading for tier in tiers for reading in tier]
    if attempt is None or (len(readings) == 1 and not strict and not reader.hint):
        readings[0].split(raw)
        return readings[0]
    reasons = []
    for tier in tiers:
        passed = []
        for reading in tier:
            try:
                reason = attempt(reading, reading.split(raw))
            except BadSource as error:
                reason = str(error)
            if reason is None:
                passed.append(reading)
            else:
                reasons.append(reason)
        if len(passed) == 1:
            return passed[0]
        if passed:
            raise BadSource(_ambiguous(passed, reader.signature))
    if not strict and len(tiers[0]) == 1 and not reader.is_open:
        return tiers[0][0]  # the run says what is wrong
    raise BadSource(f"{reader.hint} ({reasons[0]})" if reader.hint else reasons[0])


def _ambiguous(readings: Sequence[Inputs], signature: Signature) -> str:
    ways = " or as ".join(f"({reading.text})" for reading in readings)
    calls = []
    for reading in readings:
        if reading.how == "one" and reading.given[0][1] in ((), (0,)) and reading.labels is None:
            continue
        names = [name for name, _ in reading.given]
        if signature.known and all(name.isidentifier() for name in names):
            names += ["labels"] * (reading.labels is not None)
            calls.append("{" + ", ".join(f"{name!r}: ..." for name in names) + "}")
    settle = (
        f"give a dict of named tensors, {' or '.join(calls)}, or forward="
        if calls
        else ("give forward=, a function of the network and the batch")
    )
    return f"the network runs on a batch as {ways}; {settle}"


def label_path(item: Any, signature: Signature | None) -> Path | None:
    """Return where the label lies in an item of a data set, by its structure alone.

    Examples
    --------
    >>> label_path((0.5, "cat"), None), label_path({"x": 1, "label": 2}, None)
    ((1,), ('label',))
    """
    fields = fields_of(item)
    if fields is not None:
        name = next((name for name in TARGETS if fields.get(name) is not None), None)
        return None if name is None else (name,)
    if not isinstance(item, tuple | list):
        return None
    n_inputs = max(1, len(signature.required)) if signature is not None else 1
    if n_inputs < len(item):
        return (n_inputs,)
    return None


class _Reader:
    """Lists the readings of a batch, in tiers: a later tier is for when an earlier one fails."""

    def __init__(self, raw: Any, options: CaptureOptions, signature: Signature) -> None:
        self.raw, self.options, self.signature = raw, options, signature
        self.is_open = False  # whether the first tier is no more than a guess
        self.hint = ""

    def tiers(self) -> list[list[Inputs]]:
        if self.options.forward is not None:
            return [[self._with_forward()]]
        return self._read(self.raw, (), None)

    def _read(self, value: Any, path: Path, labels: Path | None) -> list[list[Inputs]]:
        """List the readings of a value that lies at a place in the batch."""
        if fields_of(value) is not None:
            return self._by_name(value, path, labels)
        if isinstance(value, PackedSequence) or not isinstance(value, tuple | list):
            return [[self._one(path, labels)]]
        if self._takes_list() and value and _are_images(value):
            return [[self._one(path, labels, lists=True)]]
        if len(value) == 1:
            return self._read(value[0], (*path, 0), labels)
        first = value[0] if value else None
        nested = isinstance(first, tuple | list) or fields_of(first) is not None
        inner = len(first) if isinstance(first, tuple | list) else 0
        two = len(value) == 2 or self._takes_list() or inner == len(self.signature.required)
        if nested and two and not path and any(True for _ in tensors_in(first)):
            return self._read(first, (0,), (1,))
        if path and labels is not None:
            return self._nested(value, path, labels)
        return self._by_position(value, path)

    def _nested(self, value: Sequence[Any], path: Path, labels: Path | None) -> list[list[Inputs]]:
        """List the readings of several inputs apart from their labels."""
        required = len(self.signature.required)
        arguments = [(self._parameter_at(i), (*path, i)) for i in range(len(value))]
        if self.signature.known and required <= 1 and len(self._takeable()) < len(value):
            self.is_open = True
            whole = self._one(path, labels)
            return [[whole, self._one(path, labels, lists=True)] if _are_rows(value) else [whole]]
        names = {name for name, _ in arguments}
        graph = {"edge_index", "batch"} <= names
        return [[self._make("arguments", arguments, labels, graph=graph)]]

    # By name ---------------------------------------------------------------------------------

    def _by_name(self, value: Any, path: Path, labels: Path | None) -> list[list[Inputs]]:
        fields = fields_of(value) or {}
        signature, options = self.signature, self.options
        is_dict = isinstance(value, Mapping)
        if labels is None:
            name = next((name for name in TARGETS if fields.get(name) is not None), None)
            labels = None if name is None else (*path, name)
        named = {name for name in (options.mask, options.ids) if isinstance(name, str)}
        keys = [key for key, field in fields.items() if field is not None and isinstance(key, str)]
        has_tensor = {key for key in keys if any(True for _ in tensors_in(fields[key]))}
        must = {parameter.name for parameter in signature.required}
        if signature.known:
            matched = [
                key
                for key in keys
                if (key in signature and (signature[key].use != "target" or key in must))
                or (signature.keywords and _is_option(key, fields[key]))
            ]
        else:
            matched = [k for k in keys if not is_target(k) and k in has_tensor and k not in named]
        graph = is_graph(fields)
        if graph and "batch" not in fields and "ptr" not in fields:
            raise BadSource(
                "a batch holds the edges of a graph, but no vector `batch` that says to which "
                "graph each node belongs; give batches of graphs as torch_geometric makes them, "
                "or measure the nodes' features with dimscope.estimate"
            )
        takes_fields = must <= set(matched) and bool(has_tensor & set(matched))
        if graph and "batch" not in matched:
            takes_fields = False
        keywords = self._make(
            "keywords", [(key, (*path, key)) for key in matched], labels, graph=graph
        )
        takes_one = len(must) <= 1 and bool(self._takeable() or not signature.known)
        whole = self._one(path, labels, graph=graph, whole=True) if takes_one else keywords
        tiers: list[list[Inputs]] = []
        if takes_fields and (is_dict or not takes_one):
            tiers.append([keywords])
        elif takes_fields:
            tiers.append([whole, keywords])
        elif takes_one:
            tiers.append([whole])
        data = [k for k in keys if k in has_tensor and not is_target(k) and k not in named]
        if (
            takes_one
            and not takes_fields
            and len(data) == 1
            and not graph
            and not is_named_tuple(value)
        ):
            tiers[0].append(self._one((*path, data[0]), labels))
        if is_named_tuple(value) and not takes_fields and not must <= set(keys):
            try:
                tiers = [*tiers[:1], *self._by_position(value, path, labels)]
                tiers = [[reading for tier in tiers for reading in tier]]
            except BadSource:
                if not tiers:
                    raise
        if not tiers:
            missing = ", ".join(sorted(must - set(keys))) or "none of these"
            raise BadSource(
                f"a batch holds the fields {', '.join(keys)}, but {signature.called()} needs "
                f"{missing}; give a dict of tensors named as its parameters, or forward="
            )
        if takes_fields and signature.known:
            targets = [k for k in keys if k in signature and k not in matched and k in has_tensor]
            if targets:  # networks that make their inputs from the labels
                given = [(key, (*path, key)) for key in [*matched, *targets]]
                tiers.append([self._make("keywords", given, labels, graph=graph)])
            others = [k for k in data if k not in signature]
            if others and signature.keywords:
                given = [(key, (*path, key)) for key in [*matched, *others]]
                tiers.append([self._make("keywords", given, labels, graph=graph)])
            if others and is_dict and takes_one and not graph:
                tiers.append([whole])
        self.is_open = not takes_fields
        if not takes_fields and is_dict and signature.known:
            self.hint = (
                f"a batch holds the fields {', '.join(keys)}, which are not the parameters of "
                f"{signature.called()}, and the network does not take the batch whole; give a dict "
                "of tensors named as its parameters, or forward="
            )
        return tiers

    # By position -----------------------------------------------------------------------------

    def _by_position(
        self, items: Sequence[Any], path: Path, labels: Path | None = None
    ) -> list[list[Inputs]]:
        signature, n_required = self.signature, len(self.signature.required)
        if not signature.known:
            return self._by_any_position(items, path)
        if len(items) < n_required:
            names = ", ".join(parameter.name for parameter in signature.required)
            raise BadSource(
                f"a batch holds {len(items)} items, but {signature.called()} needs {names}; give "
                "a dict of tensors named as its parameters, or forward="
            )
        parameters = self._takeable()
        n_given = max(n_required, 1)
        steps: Sequence[Any] = range(len(items))
        if is_named_tuple(items):
            steps = [*(fields_of(items) or {})]
        given = [(self._parameter_at(i), (*path, steps[i])) for i in range(n_given)]
        graph = {"edge_index", "batch"} <= {name for name, _ in given}
        readings: list[tuple[list[tuple[str, Path]], int]] = [(given, n_given)]
        if not is_named_tuple(items) and n_required <= 1 and _are_images(items) and _differ(items):
            rows = {v.shape[0] for v in items if isinstance(v, Tensor)}
            if len({v.ndim for v in items}) == 1 and len(rows) <= 1:
                self.is_open = True
                return [[self._one(path, labels, lists=True), self._final(given, 1, items, path)]]
        done: list[Inputs] = []
        while readings:
            given, place = readings.pop()
            while place < len(items):
                item, taken = items[place], {name for name, _ in given}
                mask = signature.mask
                is_free = mask is not None and mask.name not in taken
                if mask is not None and is_free and _looks_like_mask(item, items[0]):
                    given, place = [*given, (mask.name, (*path, steps[place]))], place + 1
                    continue
                parameter = parameters[place] if place < len(parameters) else None
                if parameter is None and signature.more and signature.parameters[-1:]:
                    parameter = Parameter(f"item{place + 1}", "input", False)
                if parameter is None or parameter.name in taken or not _may_take(parameter, item):
                    break
                if parameter.use == "mask":
                    if _is_binary(item, items[0]):
                        raise BadSource(
                            f"item {place + 1} of a batch may be {parameter.name} or a target; "
                            f"give a dict of named tensors, {{'{given[0][0]}': ..., "
                            f"'{parameter.name}': ...}} or {{'{given[0][0]}': ..., 'labels': ...}}"
                        )
                    break
                readings.append(([*given, (parameter.name, (*path, steps[place]))], place + 1))
                break
            done.append(self._final(given, place, items, path, labels, graph=graph))
        self.is_open = len(done) > 1
        return [done]

    def _by_any_position(self, items: Sequence[Any], path: Path) -> list[list[Inputs]]:
        """List the readings for a network whose parameters are not known."""
        given = [(self._parameter_at(i), (*path, i)) for i in range(len(items))]
        alone = self._final(given[:1], 1, items, path)
        tensors = [item for item in items if isinstance(item, Tensor)]
        if len(tensors) < 2:
            return [[alone]]
        n_inputs = (
            len(tensors)
            if len(tensors) == len(items)
            else items.index(next(item for item in items if not isinstance(item, Tensor)))
        )
        readings = [self._final(given[:n], n, items, path) for n in range(1, n_inputs + 1)]
        self.is_open = True
        return [readings]

    def _final(
        self,
        given: list[tuple[str, Path]],
        place: int,
        items: Sequence[Any],
        path: Path,
        labels: Path | None = None,
        *,
        graph: bool = False,
    ) -> Inputs:
        if labels is None and place < len(items):
            labels = (*path, place)
        if labels is None:
            required = (p.name for p in self.signature.required if p.use == "target")
            name = next(required, None)
            labels = next((at for parameter, at in given if parameter == name), None)
        if len(given) == 1:
            return self._one(given[0][1], labels)
        in_order = [p.name for p in self.signature.positional[: len(given)]]
        names = [name for name, _ in given]
        by_position = not self.signature.known or names == in_order or self.signature.more
        return self._make("arguments" if by_position else "keywords", given, labels, graph=graph)

    # Making ----------------------------------------------------------------------------------

    def _takeable(self) -> tuple[Parameter, ...]:
        """Return the parameters that can be given tensors by position."""
        parameters = []
        for parameter in self.signature.positional:
            if not parameter.required and parameter.use in ("option", "target"):
                break
            parameters.append(parameter)
        return tuple(parameters)

    def _takes_list(self) -> bool:
        first = self.signature.positional[:1]
        return bool(first) and first[0].takes_list

    def _parameter_at(self, place: int) -> str:
        signature = self.signature
        keywords = (parameter for parameter in signature.required if not parameter.positional)
        parameters = [*signature.positional, *keywords]
        required = [parameter for parameter in parameters if parameter.required]
        if any(not parameter.positional for parameter in required):
            parameters = required  # arguments that only have a name come after the others
        return parameters[place].name if place < len(parameters) else f"item {place + 1}"

    def _one(
        self,
        path: Path,
        labels: Path | None,
        *,
        lists: bool = False,
        graph: bool = False,
        whole: bool = False,
    ) -> Inputs:
        required = self.signature.required
        if self.signature.known and len(required) > 1:
            names = ", ".join(parameter.name for parameter in required)
            raise BadSource(
                f"a batch is a single input, but {self.signature.called()} needs {names}; give a "
                "dict of tensors with these names, or forward="
            )
        name = self._parameter_at(0) if self.signature.known else "input"
        return self._make("one", [(name, path)], labels, lists=lists, graph=graph, whole=whole)

    def _with_forward(self) -> Inputs:
        """Read a batch for a forward function: labels are split off, the rest is handed on."""
        raw = self.raw
        path: Path = ()
        labels: Path | None = None
        if fields_of(raw) is not None:
            labels = label_path(raw, None)
        elif isinstance(raw, tuple | list) and not isinstance(raw, PackedSequence):
            if len(raw) == 2 and _is_target(*raw):
                path, labels = (0,), (1,)
            elif len(raw) == 1:
                path = (0,)
            inner = _get(raw, path)
            if labels is None and fields_of(inner) is not None:
                inside = label_path(inner, None)
                labels = None if inside is None else (*path, *inside)
        fields = fields_of(_get(raw, path)) or {}
        graph = is_graph(fields) and "batch" in fields
        reading = self._make("forward", [("forward=", path)], labels, graph=graph, whole=True)
        value = _get(raw, path)
        lists = isinstance(value, tuple | list) and _are_images(value) and _differ(value)
        return replace(
            reading,
            forward=self.options.forward,
            dropped=LABEL_KEYS if path == () else (),
            layout=replace(reading.layout, names=(), lists=bool(lists)),
        )

    def _make(
        self,
        how: Call,
        given: Iterable[tuple[str, Path]],
        labels: Path | None,
        *,
        lists: bool = False,
        graph: bool = False,
        whole: bool = False,
    ) -> Inputs:
        given, options = list(given), self.options
        raw = self.raw
        masks = [(name, path) for name, path in given if is_padding_mask(name) and how != "one"]
        fields = list(_all_fields(raw))
        if how in ("forward", "one") and given:
            base = given[0][1]
            inner = fields_of(_get(raw, base)) or {}
            masks += [(key, (*base, key)) for key in inner if is_padding_mask(str(key))]
        free = self.signature.mask
        if how == "forward" or whole or free is None or free.name in {name for name, _ in given}:
            free = None
        parameter, named = None, ""
        if isinstance(options.mask, str):
            path = self._field(options.mask, given, fields, "mask")
            masks, named = [(options.mask, path)], f"; mask: {options.mask}"
            parameter = free if path not in [path for _, path in given] else None
        elif options.mask is not None:
            masks, named = [], "; mask: one row for each stimulus"
            parameter = free
        elif not masks and fields_of(raw) is not None:
            # a field that can only be a mask says what is padding under any name
            unread = [path for path in fields if _is_plain_mask(path[-1], _get(raw, path))]
            if unread:
                masks, named = [(unread[0][-1], unread[0])], f"; mask: {unread[0][-1]}"
                parameter = free if free is not None and _is_plain(free.name) else None
        if parameter is not None:
            how = "keywords"
        ids = None
        if isinstance(options.ids, str):
            ids = self._field(options.ids, given, fields, "ids")
        used = [path for _, path in given]
        names = ", ".join(name for name, _ in given)
        if whole and how != "forward":
            kind = type(_get(raw, given[0][1])).__name__
            names = f"{names}, the whole {kind}"
        text = f"inputs: {names}" + (f", {parameter.name}" if parameter is not None else "")
        if labels is not None:
            text += f"; {self._label_text(labels)}"
        if ids is not None:
            text += f"; ids: {options.ids}"
        used += [path for path in (labels, ids, *(path for _, path in masks)) if path is not None]
        unused = [
            p for p in fields if not any(_covers(path, p) or _covers(p, path) for path in used)
        ]
        if unused:
            text += f"; not used: {', '.join(map(_place, unused))}"
        axis = options.batch_axis
        if axis:
            text += f"; rows on axis {axis}"
        layout = InputRows(
            axis, tuple(name for name, _ in given) if how in ("one", "arguments") else (),
            lists, graph,
        )  # fmt: skip
        return Inputs(
            text + named, how, tuple(given), labels, ids, tuple(masks), layout, _form(raw),
            None, (), _rows_of_mask(options.mask), _rows_of_ids(options.ids),
            None if parameter is None else parameter.name,
            isinstance(options.mask, str),
        )  # fmt: skip

    def _label_text(self, labels: Path) -> str:
        value = _get(self.raw, labels)
        is_flat = isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0
        n_rows = len(value) if hasattr(value, "__len__") and not is_flat else 1
        classes, reason = read_labels(value, n_rows, _place(labels))
        if classes is None:
            return f"no labels ({reason})"
        is_table = isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1
        return f"labels: {_place(labels)}{' (one-hot)' if is_table else ''}"

    def _field(
        self, name: str, given: Sequence[tuple[str, Path]], fields: Sequence[Path], option: str
    ) -> Path:
        places = {_place(path): path for path in fields}
        places.update({parameter: path for parameter, path in given if path})
        if name not in places:
            names = ", ".join(places) or "none"
            raise BadSource(
                f"{option}={name!r} names no field of the batches; their fields are {names}"
            )
        return places[name]


def _rows_of_mask(mask: Any) -> Tensor | None:
    if mask is None or isinstance(mask, str):
        return None
    tensor = as_tensor(mask)
    tensor = torch.as_tensor(np.asarray(tensor)) if not isinstance(tensor, Tensor) else tensor
    if tensor.ndim != 2 or bool(((tensor != 0) & (tensor != 1)).any()):
        raise BadPoints(
            f"mask has shape {tuple(tensor.shape)}; give one row for each stimulus with True, or "
            "1, for every real position and False, or 0, for padding"
        )
    return tensor.bool()


def _rows_of_ids(ids: Any) -> np.ndarray[Any, Any] | None:
    return None if ids is None or isinstance(ids, str) else read_ids(ids, len(ids))


def _all_fields(raw: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the place of every named field and item of a raw batch."""
    fields = fields_of(raw)
    if fields is not None:
        yield from ((*path, name) for name, value in fields.items() if value is not None)
    elif (
        isinstance(raw, list | tuple)
        and not isinstance(raw, PackedSequence)
        and (not path or fields_of(raw[0] if raw else None))
        and len(raw) < 10
    ):
        for place, item in enumerate(raw):
            inner = list(_all_fields(item, (*path, place))) if fields_of(item) else []
            yield from inner or [(*path, place)]


def _is_plain(name: Any) -> bool:
    """Whether a field or parameter of this name is a padding mask of known meaning."""
    return isinstance(name, str) and (name in REAL_IS_TRUE or marks_padding(name))


def _is_plain_mask(name: Any, value: Any) -> bool:
    return _is_plain(name) and isinstance(value, Tensor) and value.ndim == 2


def _covers(path: Path, other: Path) -> bool:
    return other[: len(path)] == path


def _is_option(name: str, value: Any) -> bool:
    """Whether a field is an option of the call, such as ``output_hidden_states=True``."""
    return isinstance(value, bool) and name.startswith(("output_", "return_", "use_"))


def _are_images(values: Any) -> bool:
    return all(isinstance(v, Tensor) and v.ndim >= 2 and v.is_floating_point() for v in values)


def _differ(values: Sequence[Any]) -> bool:
    return len({_shape(value) for value in values}) > 1


def _are_rows(values: Sequence[Any]) -> bool:
    return all(isinstance(value, Tensor) for value in values)


def _may_take(parameter: Parameter, item: Any) -> bool:
    """Whether an optional parameter may take an item of a batch."""
    if parameter.use in ("target", "option") or not isinstance(item, Tensor):
        return False
    return item.ndim >= 2 if parameter.takes_sequence else True


def _is_binary(value: Any, first: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and isinstance(first, Tensor)
        and value.ndim == 2
        and first.ndim >= 2
        and value.shape == first.shape[:2]
        and bool(((value == 0) | (value == 1)).all())
    )


def _is_target(inputs: Any, second: Any) -> bool:
    """Whether the second of two items is, for a forward function, a target rather than an input."""
    if not isinstance(second, Tensor):
        return not isinstance(second, tuple | Mapping) or _are_words(second)
    if isinstance(inputs, Tensor) and len(inputs) != len(second):
        return False
    # classes, masks and one number for each row are targets; more numbers may be inputs
    return not second.is_floating_point() or second.numel() == len(second)


def _are_words(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
