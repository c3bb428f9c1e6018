"""Batches: the inputs of a network with the labels, masks and ids of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.signature import is_padding_mask, is_target
from dimscope.networks.tensors import fields_of, is_named_tuple, tensors_in, with_fields

__all__ = [
    "Batch", "InputRows", "as_tensor", "is_graph", "padding_without_mask", "read_ids",
    "read_labels",
]  # fmt: skip


@dataclass(frozen=True)
class InputRows:
    """Where the rows of a batch lie in its inputs.

    Parameters
    ----------
    axis : int or Mapping of str to int
        The axis of rows of every tensor, or of the tensors by name (0 for others). One-dimensional
        tensors and padding masks have their rows on axis 0 unless named.
    names : tuple of str
        Names of the arguments, for inputs that are a tuple or a single value.
    lists : bool
        Whether a list holds one item for each row.
    graph : bool
        Whether a vector ``batch`` says to which row each node belongs.
    """

    axis: int | Mapping[str, int] = 0
    names: tuple[str, ...] = ()
    lists: bool = False
    graph: bool = False

    def axis_of(self, name: str, tensor: Any) -> int:
        """Return the axis of rows of a tensor."""
        if isinstance(self.axis, Mapping):
            axis = self.axis.get(name, 0)
        elif tensor.ndim < 2 or (tensor.ndim == 2 and is_padding_mask(name)):
            axis = 0
        else:
            axis = self.axis
        if tensor.ndim and not axis < tensor.ndim:
            raise BadSource(
                f"batch_axis is {axis}, but {name or 'the batch'} has shape {tuple(tensor.shape)}; "
                "give the axis that counts the stimuli"
            )
        return axis

    def named(self, inputs: Any) -> dict[Any, Any]:
        """Return the parts of the inputs by name."""
        if is_plain_tuple(inputs) and not (self.lists and len(self.names) == 1):
            names = self.names if len(self.names) == len(inputs) else range(len(inputs))
            return dict(zip(names, inputs, strict=True))
        if self.names and len(self.names) == 1:
            return {self.names[0]: inputs}
        fields = fields_of(inputs)
        return {"": inputs} if fields is None else fields

    def n_rows(self, inputs: Any) -> int | None:
        """Return the number of rows of the inputs, or None if they hold no tensor of stimuli."""
        if self.graph:
            return _n_graphs(self._graph_fields(inputs))
        counts = (self._count(str(name), value) for name, value in self.named(inputs).items())
        return next((count for count in counts if count is not None), None)

    def _count(self, name: str, value: Any) -> int | None:
        if isinstance(value, Tensor):
            return value.shape[self.axis_of(name, value)] if value.ndim else None
        if isinstance(value, PackedSequence):
            return int(value.batch_sizes[0])
        if isinstance(value, list | tuple) and not is_named_tuple(value):
            if self.lists and isinstance(value, list):
                return len(value)
            counts = (self._count(name, item) for item in value)
            return next((count for count in counts if count is not None), None)
        fields = fields_of(value) or {}
        counts = (self._count(str(key), item) for key, item in fields.items())
        return next((count for count in counts if count is not None), None)

    def _graph_fields(self, inputs: Any) -> dict[str, Any]:
        named = self.named(inputs)
        if "batch" in named:
            return named
        graphs = (fields_of(value) for value in named.values())
        return next(fields for fields in graphs if fields is not None and "batch" in fields)

    def take(self, inputs: Any, rows: Tensor, n_rows: int) -> Any:
        """Return some rows of the inputs, which may repeat."""
        if self.graph:
            return self._take_graphs(inputs, rows, n_rows)
        if is_plain_tuple(inputs) and not (self.lists and len(self.names) == 1):
            parts = self.named(inputs).items()
            return tuple(self._take(str(name), value, rows, n_rows) for name, value in parts)
        if len(self.names) == 1:
            return self._take(self.names[0], inputs, rows, n_rows)
        return self._take("", inputs, rows, n_rows)

    def _take(self, name: str, value: Any, rows: Tensor, n_rows: int) -> Any:
        if isinstance(value, Tensor):
            if value.is_nested:
                members = value.unbind()
                return torch.nested.nested_tensor(
                    [members[row] for row in rows.tolist()], layout=value.layout
                )
            if value.ndim == 0:
                return value
            axis = self.axis_of(name, value)
            follows = value.shape[axis] == n_rows
            return value.index_select(axis, rows.to(value.device)) if follows else value
        if isinstance(value, PackedSequence):
            parts = unpack_sequence(value)
            return pack_sequence([parts[row] for row in rows.tolist()], enforce_sorted=False)
        if isinstance(value, list | tuple) and not is_named_tuple(value):
            by_row = self.lists or not any(True for _ in tensors_in(value))
            if by_row and len(value) == n_rows:
                return type(value)(value[row] for row in rows.tolist())
            return type(value)(self._take(name, item, rows, n_rows) for item in value)
        if isinstance(value, np.ndarray):  # of words
            return value[rows.numpy()] if value.ndim and len(value) == n_rows else value
        fields = fields_of(value)
        if fields is None:
            return value
        return with_fields(
            value, {key: self._take(str(key), item, rows, n_rows) for key, item in fields.items()}
        )

    def _take_graphs(self, inputs: Any, rows: Tensor, n_rows: int) -> Any:
        named = self.named(inputs)
        if "batch" in named:
            taken = _some_graphs(named, rows, n_rows)
            if is_plain_tuple(inputs):
                return tuple(taken[name] for name in named)
            return with_fields(inputs, taken)
        changed = {
            name: value
            if (fields := fields_of(value)) is None or "batch" not in fields
            else _graphs_of(value, fields, rows, n_rows)
            for name, value in named.items()
        }
        return tuple(changed.values()) if is_plain_tuple(inputs) else next(iter(changed.values()))


def is_plain_tuple(value: Any) -> bool:
    """Return whether a value is a tuple of arguments, neither named nor a packed sequence."""
    return (
        isinstance(value, tuple)
        and not is_named_tuple(value)
        and not isinstance(value, PackedSequence)
    )


def is_graph(fields: Mapping[str, Any]) -> bool:
    """Return whether named fields hold graphs: edges between nodes."""
    edges = fields.get("edge_index", fields.get("adj_t"))
    return isinstance(edges, Tensor) and edges.ndim == 2


def _n_graphs(fields: Mapping[str, Any]) -> int:
    batch, n_graphs = fields["batch"], fields.get("num_graphs")
    if isinstance(n_graphs, int):
        return n_graphs
    pointers = fields.get("ptr")
    if isinstance(pointers, Tensor):
        return len(pointers) - 1
    return int(batch.max()) + 1 if len(batch) else 0


def _graphs_of(value: Any, fields: dict[str, Any], rows: Tensor, n_rows: int) -> Any:
    if type(value).__module__.startswith("torch_geometric") and hasattr(value, "get_example"):
        from torch_geometric.data import Batch as Graphs

        return Graphs.from_data_list([value.get_example(int(row)) for row in rows])
    return with_fields(value, _some_graphs(fields, rows, n_rows))


def _some_graphs(fields: Mapping[str, Any], rows: Tensor, n_rows: int) -> dict[str, Any]:
    """Return the nodes and edges of some graphs, numbered anew.

    A field belongs to the nodes, the edges or the graphs as its name says; one with another name
    belongs to those whose number it has.
    """
    batch, edges = fields["batch"], fields["edge_index"]
    nodes, kept, numbers, shift = [], [], [], 0
    edge_graph = batch[edges[0]]
    for graph in rows.tolist():
        members = torch.nonzero(batch == graph).flatten()
        inside = torch.nonzero(edge_graph == graph).flatten()
        place = torch.full((len(batch),), -1, dtype=edges.dtype, device=edges.device)
        place[members] = torch.arange(len(members), dtype=edges.dtype, device=edges.device) + shift
        nodes.append(members)
        kept.append(inside)
        numbers.append(place[edges[:, inside]])
        shift += len(members)
    node_rows, edge_rows = torch.cat(nodes), torch.cat(kept)
    sizes = torch.tensor([len(members) for members in nodes], device=batch.device)
    taken = dict(fields)
    for name, value in fields.items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            continue
        if name == "edge_index":
            taken[name] = torch.cat(numbers, dim=1)
        elif name == "batch":
            taken[name] = torch.repeat_interleave(
                torch.arange(len(rows), device=batch.device, dtype=batch.dtype), sizes
            )
        elif name == "ptr":
            taken[name] = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        elif name.startswith("edge_") and len(value) == edges.shape[1]:
            taken[name] = value[edge_rows]
        elif name in ("x", "pos", "z") or (
            len(value) == len(batch) and len({len(batch), n_rows}) == 2 and not is_target(name)
        ):
            taken[name] = value[node_rows]
        elif len(value) == n_rows:
            taken[name] = value[rows.to(value.device)]
        elif len(value) == len(batch):
            taken[name] = value[node_rows]
    return taken


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of the network and what belongs to their rows.

    Parameters
    ----------
    inputs : object
        What the call of the network takes: a tensor, a tuple of arguments, a dict of keywords, or
        any object.
    labels : array of shape (n_rows,) or None
    n_rows : int
        Number of stimuli.
    masks : Mapping of str to Tensor
        Name -> booleans of shape (n_rows, n_positions), True where a token is real.
    ids : array of shape (n_rows,), optional
    layout : InputRows
        Where the rows lie in the inputs.
    no_labels : str
        Why there are no labels, if the data have some that name no classes.
    """

    inputs: Any
    labels: np.ndarray[Any, Any] | None
    n_rows: int
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    ids: np.ndarray[Any, Any] | None = None
    layout: InputRows = InputRows()
    no_labels: str = ""

    @property
    def is_padded(self) -> bool:
        """Whether a mask leaves out any position."""
        return any(not bool(mask.all()) for mask in self.masks.values())

    @property
    def n_tokens(self) -> int | None:
        """Number of positions of the first mask; None without a mask."""
        return next((mask.shape[1] for mask in self.masks.values()), None)

    def take(self, rows: np.ndarray[Any, Any]) -> Batch:
        """Return a copy of some of the rows, which may repeat.

        Examples
        --------
        >>> Batch(torch.arange(3), None, 3).take(np.array([2, 2])).inputs.tolist()
        [2, 2]
        """
        index = torch.from_numpy(np.asarray(rows, np.int64))
        return Batch(
            self.layout.take(self.inputs, index, self.n_rows),
            None if self.labels is None else self.labels[rows],
            len(rows),
            {name: mask[index.to(mask.device)] for name, mask in self.masks.items()},
            None if self.ids is None else self.ids[rows],
            self.layout,
            self.no_labels,
        )


def as_tensor(value: Any) -> Any:
    """Convert an array or a frame of numbers to a tensor; return anything else unchanged.

    Raises
    ------
    BadPoints
        If the array is masked, or its numbers do not fit in float64.

    Examples
    --------
    >>> as_tensor(np.ones(2, ">f4"))
    tensor([1., 1.])
    """
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = np.asarray(value)
    is_frame = hasattr(value, "iloc") and hasattr(value, "columns")
    if is_frame or isinstance(value, np.ma.MaskedArray):
        value = as_numpy(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        array = value if value.dtype.kind == "c" else as_numpy(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(
            np.ascontiguousarray(array) if array.flags.writeable else array.copy()
        )
    return value


# Labels and ids ------------------------------------------------------------------------------


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


# Padding -------------------------------------------------------------------------------------


def padding_without_mask(batch: Batch) -> str | None:
    """Describe what looks like padding in a batch without masks; None if nothing does.

    Padding is an id that ends (or begins) rows in runs of differing lengths and hardly occurs
    elsewhere, or steps of zeros that do so in sequences of floats.

    Parameters
    ----------
    batch : Batch

    Examples
    --------
    >>> ids = torch.tensor([[5, 6, 7, 8], [3, 4, 0, 0], [9, 0, 0, 0], [8, 5, 3, 0]])
    >>> padding_without_mask(Batch(ids, None, 4))
    'rows end in runs of id 0 of differing lengths (0 to 3)'
    """
    if batch.masks:
        return None
    for name, value in batch.layout.named(batch.inputs).items():
        if not isinstance(value, Tensor) or value.is_nested or value.ndim not in (2, 3):
            continue
        if is_padding_mask(str(name)) or is_target(str(name)):
            continue
        rows = value.movedim(batch.layout.axis_of(str(name), value), 0)
        if rows.numel() == 0 or rows.shape[1] < 2 or len(rows) != batch.n_rows:
            continue
        for end, verb in ((-1, "end"), (0, "begin")):
            text = _padding(rows, end)
            if text is not None:
                return f"rows {verb} in {text}"
    return None


_IDS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _padding(rows: Tensor, end: int) -> str | None:
    if rows.ndim == 3 and rows.is_floating_point():
        is_pad, what = (rows == 0).all(dim=2), "steps of zeros"
        share = 0.05
    elif rows.ndim == 2 and rows.dtype in _IDS:
        pad = _repeated_at(rows, end)
        is_pad, what = rows == pad, f"id {pad}"
        share = 0.25
    else:
        return None
    is_pad = is_pad[~is_pad.all(dim=1)]  # a blank stimulus is not padded
    if not len(is_pad):
        return None
    runs = (is_pad.flip(1) if end else is_pad).long().cumprod(dim=1).sum(dim=1)
    inside = int(runs.sum())
    outside = int(is_pad.sum()) - inside
    others = is_pad.numel() - inside
    if others == 0 or int(runs.max()) < 2 or runs.min() == runs.max():
        return None
    rate = outside / others
    by_chance = len(is_pad) * rate / (1 - rate) if rate < 1 else float("inf")
    if inside <= 2 + 4 * by_chance or outside > share * inside:
        return None
    return f"runs of {what} of differing lengths ({int(runs.min())} to {int(runs.max())})"


def _repeated_at(rows: Tensor, end: int) -> int:
    """Return the id that most positions repeat at an end of their rows."""
    last = rows[:, end]
    same = rows == last[:, None]
    runs = (same.flip(1) if end else same).long().cumprod(dim=1).sum(dim=1) - 1
    ids, which = torch.unique(last, return_inverse=True)
    return int(ids[torch.zeros(len(ids), dtype=torch.long).index_add_(0, which, runs).argmax()])
