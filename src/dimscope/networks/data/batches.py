"""Batches: the inputs of a network with the labels, masks and ids of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from dimscope.arrays.frames import is_frame
from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadSource
from dimscope.networks.data.signature import is_padding_mask, is_target
from dimscope.networks.tensors import fields_of, is_named_tuple, tensors_in, with_fields

__all__ = ["Batch", "InputRows", "as_tensor", "is_graph", "is_plain_tuple"]


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
    if is_frame(value) or isinstance(value, np.ma.MaskedArray):
        value = as_numpy(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        array = value if value.dtype.kind == "c" else as_numpy(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(
            np.ascontiguousarray(array) if array.flags.writeable else array.copy()
        )
    return value
