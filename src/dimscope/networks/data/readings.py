"""Readings: decide what the data of a capture are to the network.

What goes into the call, what is a target, what is a mask follows from the signature of the network
and the structure of the first batch. Where they leave several readings, each is attempted on a few
rows: the one that works is taken, several that work are refused with the call that settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from dimscope.errors import BadSource
from dimscope.networks.data.batches import InputRows, is_graph
from dimscope.networks.data.inputs import (
    Attempt,
    Call,
    Inputs,
    Path,
    form_of,
    place_name,
    plain,
    value_at,
)
from dimscope.networks.data.labels import read_ids, read_labels
from dimscope.networks.data.masks import (
    has_known_meaning,
    is_known_mask,
    looks_like_mask,
    mask_of_all_rows,
    may_be_mask,
)
from dimscope.networks.data.signature import (
    OPTION_PREFIXES,
    TARGETS,
    Parameter,
    Signature,
    is_padding_mask,
    is_target,
)
from dimscope.networks.options import CaptureOptions
from dimscope.networks.tensors import fields_of, is_named_tuple, shapes_differ, tensors_in

__all__ = ["interpret", "label_path"]


LABEL_KEYS = ("labels", "label")
"""Fields that a forward function does not get."""


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
    >>> import torch
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
        if (
            not is_named_tuple(items)
            and n_required <= 1
            and _are_images(items)
            and shapes_differ(items)
        ):
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
                if mask is not None and is_free and looks_like_mask(item, items[0]):
                    given, place = [*given, (mask.name, (*path, steps[place]))], place + 1
                    continue
                parameter = parameters[place] if place < len(parameters) else None
                if parameter is None and signature.more and signature.parameters[-1:]:
                    parameter = Parameter(f"item{place + 1}", "input", False)
                if parameter is None or parameter.name in taken or not _may_take(parameter, item):
                    break
                if parameter.use == "mask":
                    if may_be_mask(item, items[0]):
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
            inner = value_at(raw, path)
            if labels is None and fields_of(inner) is not None:
                inside = label_path(inner, None)
                labels = None if inside is None else (*path, *inside)
        fields = fields_of(value_at(raw, path)) or {}
        graph = is_graph(fields) and "batch" in fields
        reading = self._make("forward", [("forward=", path)], labels, graph=graph, whole=True)
        value = value_at(raw, path)
        lists = isinstance(value, tuple | list) and _are_images(value) and shapes_differ(value)
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
            inner = fields_of(value_at(raw, base)) or {}
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
            unread = [path for path in fields if is_known_mask(path[-1], value_at(raw, path))]
            if unread:
                masks, named = [(unread[0][-1], unread[0])], f"; mask: {unread[0][-1]}"
                parameter = free if free is not None and has_known_meaning(free.name) else None
        if parameter is not None:
            how = "keywords"
        ids = None
        if isinstance(options.ids, str):
            ids = self._field(options.ids, given, fields, "ids")
        used = [path for _, path in given]
        names = ", ".join(name for name, _ in given)
        if whole and how != "forward":
            kind = type(value_at(raw, given[0][1])).__name__
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
            text += f"; not used: {', '.join(map(place_name, unused))}"
        axis = options.batch_axis
        if axis:
            text += f"; rows on axis {axis}"
        layout = InputRows(
            axis, tuple(name for name, _ in given) if how in ("one", "arguments") else (),
            lists, graph,
        )  # fmt: skip
        return Inputs(
            text + named, how, tuple(given), labels, ids, tuple(masks), layout, form_of(raw),
            None, (), mask_of_all_rows(options.mask), _rows_of_ids(options.ids),
            None if parameter is None else parameter.name,
            isinstance(options.mask, str),
        )  # fmt: skip

    def _label_text(self, labels: Path) -> str:
        value = value_at(self.raw, labels)
        is_flat = isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0
        n_rows = len(value) if hasattr(value, "__len__") and not is_flat else 1
        classes, reason = read_labels(value, n_rows, place_name(labels))
        if classes is None:
            return f"no labels ({reason})"
        is_table = isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1
        return f"labels: {place_name(labels)}{' (one-hot)' if is_table else ''}"

    def _field(
        self, name: str, given: Sequence[tuple[str, Path]], fields: Sequence[Path], option: str
    ) -> Path:
        places = {place_name(path): path for path in fields}
        places.update({parameter: path for parameter, path in given if path})
        if name not in places:
            names = ", ".join(places) or "none"
            raise BadSource(
                f"{option}={name!r} names no field of the batches; their fields are {names}"
            )
        return places[name]


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


def _covers(path: Path, other: Path) -> bool:
    return other[: len(path)] == path


def _is_option(name: str, value: Any) -> bool:
    """Whether a field is an option of the call, such as ``output_hidden_states=True``."""
    return isinstance(value, bool) and name.startswith(OPTION_PREFIXES)


def _are_images(values: Any) -> bool:
    return all(isinstance(v, Tensor) and v.ndim >= 2 and v.is_floating_point() for v in values)


def _are_rows(values: Sequence[Any]) -> bool:
    return all(isinstance(value, Tensor) for value in values)


def _may_take(parameter: Parameter, item: Any) -> bool:
    """Whether an optional parameter may take an item of a batch."""
    if parameter.use in ("target", "option") or not isinstance(item, Tensor):
        return False
    return item.ndim >= 2 if parameter.takes_sequence else True


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
