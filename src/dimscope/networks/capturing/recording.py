"""Recording: select the layers in the first batch and collect their points in every batch.

In the first batch, every candidate is copied to its column as soon as it is computed, so that later
in-place operations cannot change it. At the end of the batch, when the whole graph is known, the
layers are selected and the other columns are dropped.

The axis of the stimuli in each tensor is already known from a few rows
(:mod:`dimscope.networks.capturing.evidence`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.activations.activations import Layer, Role
from dimscope.arrays.tensor_points import room_on
from dimscope.errors import BadPoints, BadSource, CaptureWarning, warn
from dimscope.networks.capturing.readouts import READOUTS, Column, MaskedReadout
from dimscope.networks.capturing.rows import Layout
from dimscope.networks.data.batches import Batch
from dimscope.networks.layers import (
    Checkpoint,
    Checkpoints,
    Selection,
    Stretch,
    could_be_checkpoint,
    is_glob,
    matches,
    unknown_layer,
)
from dimscope.networks.structure import Structure
from dimscope.networks.tracing import Event, Node, Tracer

__all__ = ["Candidates", "Chosen", "Recorder", "failures_of"]

# The candidates of the first batch may take this fraction of the free memory of a device.
_CANDIDATES = 4


class Candidates:
    """Decide during one pass which values may become layers.

    Parameters
    ----------
    structure : Structure
    selection : Selection
    finer : collection of str
        Names of values that proved to be checkpoints only at the end of an earlier pass.
    """

    def __init__(
        self, structure: Structure, selection: Selection, finer: Collection[str] = ()
    ) -> None:
        self.selection = selection
        self.finer = finer
        self.checkpoints = Checkpoints(structure)

    def accept(self, event: Event) -> bool:
        """Whether to keep the value of an event, judging by the pass so far."""
        candidate = self.checkpoints.offer(event)
        return (
            self.selection.everything
            or (candidate and self.selection.checkpoints)
            or self.selection.names(event.name)
            or event.name in self.finer
        )

    def accept_input(self, tensor: Tensor) -> bool:
        """Whether to keep the input of the network."""
        if "input" in self.selection.patterns:
            return True
        return self.selection.wants_input() and tensor.is_floating_point()

    def between(self, inputs: list[Node], output: Node, tracer: Tracer) -> list[Checkpoint]:
        """Return the checkpoints between the inputs and the output, at the end of the pass."""
        return self.checkpoints.between(inputs, output, depth_measure(tracer))


def depth_measure(tracer: Tracer) -> Callable[[Node], int] | None:
    """Return the measure of depth for a network of attention blocks; None to count layers."""
    return _blocks_of if 2 * tracer.counts.in_blocks > tracer.counts.layers else None


@dataclass(frozen=True)
class Chosen:
    """A selected layer and the column that holds its points."""

    layer: Layer
    column: Column

    def described(self) -> Layer:
        """Return the layer with its final number of units."""
        return replace(self.layer, n_features=self.column.n_features)


@dataclass
class Sighting:
    """A name under which a value was seen.

    ``module`` is whether the name is that of a module; ``maker``, whether the call with this name
    computed the value.
    """

    name: str
    module: bool
    maker: bool


@dataclass
class Recorder:
    """Collect the points of the selected layers.

    Parameters
    ----------
    structure : Structure
        Names and kinds of the network's modules.
    selection : Selection
    readout : callable
        Turns a tensor and its mask into points.
    n_points : int, optional
        Expected number of points.
    only : collection of str, optional
        Names of the selected layers to keep; all by default.
    device : torch.device, optional
        Where to collect the points, as far as there is room; in memory by default.
    """

    structure: Structure
    selection: Selection
    readout: MaskedReadout
    n_points: int | None = None
    only: Collection[str] | None = None
    device: torch.device | None = None
    n_batches: int = 0
    late: list[str] = field(default_factory=list)  # calls of modules not seen in the first batch
    chosen: list[Chosen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.finer: Collection[str] = ()
        self.layouts: Mapping[str, Layout | str] = {}
        self.columns: dict[str, Column] = {}
        self.n_recorded = 0
        self._selecting = True
        self._keys: dict[Node, str] = {}
        self._node_of: dict[str, Node] = {}
        self._seen: dict[Node, list[Sighting]] = {}
        self._by_name: dict[str, Node] = {}
        self._inputs: list[Node] = []

    # While the network runs ----------------------------------------------------------------

    def begin(self, batch: Batch) -> Callable[[str], bool] | None:
        """Prepare for a batch; once the layers are selected, say which modules they are."""
        self._batch = batch
        if self._selecting:
            self._candidates = Candidates(self.structure, self.selection, self.finer)
            self._room = 0 if self.device is None else room_on(self.device) // _CANDIDATES
            return None
        # functions are named by the graph, as are the modules of an exported network
        if self.structure.owners or any(">" in name for name in self.columns):
            return None
        modules = {*self.columns, *(name.split("[")[0] for name in self.columns)}
        return lambda name: name in modules or (bool(self._by_name) and name not in self._by_name)

    def enter(self, tensor: Tensor, node: Node, mask: Tensor | None) -> None:
        """Record the input of the network."""
        if not self._selecting:
            self.add("input", tensor, mask)
            return
        self._inputs.append(node)
        if not self._candidates.accept_input(tensor):
            self._by_name.setdefault("input", node)
            return
        self._note("input", node, module=False, maker=True)
        self._keep("input", node, tensor, mask)

    def also(self, node: Node) -> None:
        """Register an additional input, such as a mask, which is not a layer."""
        if self._selecting:
            self._inputs.append(node)

    def watch(self, event: Event) -> None:
        """Record a value that has just been computed, if it is selected."""
        if self._selecting:
            self._note(event.name, event.node, module=event.site is not None, maker=event.fresh)
            if self._candidates.accept(event):
                self._keep(event.name, event.node, event.tensor, event.mask)
        elif event.name in self.columns:
            self.add(event.name, event.tensor, event.mask)
        elif self._by_name and event.name not in self._by_name and self._is_late(event):
            self._by_name[event.name] = event.node
            self.late.append(event.name)

    def _is_late(self, event: Event) -> bool:
        """Whether a call that the first batch did not make could have been selected."""
        return event.site is not None and (
            self.selection.everything
            or (self.selection.checkpoints and could_be_checkpoint(event))
            or self.selection.names(event.name)
        )

    def leave(self, tensor: Tensor, node: Node, tracer: Tracer) -> None:
        """Record the output and, at the end of the first batch, select the layers."""
        if not self._selecting:
            self.add("output", tensor)
        else:
            if self.selection.wants_output():
                self._keep_output(tensor, node)
            self._by_name["output"] = node
            hidden = self._candidates.between(self._inputs, node, tracer)
            self._choose(hidden, node, depth_measure(tracer))
            self._selecting = False
        self.end()

    def _keep_output(self, tensor: Tensor, node: Node) -> None:
        """Record the output under its own name, instead of that of the module that returned it."""
        key = self._keys.pop(node, None) if node not in self._inputs else None
        self._keep("output", node, tensor, None)
        if key is None:
            return
        first, output = self.columns[key], self.columns["output"]
        if first.reason is None and output.reason is None and first.equals(output):
            del self.columns[key], self._node_of[key]  # the same points are stored once

    def add(self, name: str, tensor: Tensor, mask: Tensor | None = None) -> None:
        """Add a value of a batch after the first to the column of that name, if there is one."""
        column = self.columns.get(name)
        if column is not None:
            column.append(tensor, self._batch, mask)

    def end(self) -> None:
        """Check at the end of a batch that every column has points of every stimulus."""
        self.n_batches += 1
        total = self.n_recorded + int(self.points_per_stimulus().sum())
        for column in self.columns.values():
            if column.reason is None and column.used != total:
                self._fail(column, total)
        self.n_recorded = total

    def points_per_stimulus(self) -> np.ndarray[Any, Any]:
        """Return the number of points that each stimulus of the last batch has in every layer."""
        n_rows = self._batch.n_rows
        if self.readout is not READOUTS["tokens"]:
            return np.ones(n_rows, int)
        mask = next(iter(self._batch.masks.values()), None)
        if mask is not None:
            return mask.sum(dim=1).cpu().numpy()
        added = Counter(
            column.used - self.n_recorded
            for column in self.columns.values()
            if column.reason is None and column.used > self.n_recorded
        )
        count = added.most_common(1)[0][0] if added else 0
        return np.full(n_rows, count // n_rows)

    def _fail(self, column: Column, total: int) -> None:
        if column.used == self.n_recorded:
            column.fail(f"it was called in the first batch, but not in batch {self.n_batches}")
            return
        added, others = column.used - self.n_recorded, total - self.n_recorded
        column.fail(
            f"it has {added} rows in batch {self.n_batches}, but the other layers have {others}"
        )

    def _note(self, name: str, node: Node, *, module: bool, maker: bool) -> None:
        self._seen.setdefault(node, []).append(Sighting(name, module, maker))
        self._by_name.setdefault(name, node)

    def _keep(self, name: str, node: Node, tensor: Tensor, mask: Tensor | None) -> None:
        key = self._keys.get(node)
        fits = tensor.nbytes <= self._room
        column = Column(name, self.readout, self.layout(name), device=self.device if fits else None)
        self._room -= tensor.nbytes if fits else 0
        # room for one batch is enough until the layers are selected
        column.append(tensor, self._batch, mask)
        if key is None or self.columns[key].reason is not None:
            self._keys[node] = name
        elif self.columns[key].equals(column):
            return  # another column holds the same points
        self.columns[name] = column
        self._node_of[name] = node

    def _column_of(self, name: str, node: Node) -> Column:
        """Return the column with the points of a layer, its own if its units are in another order.

        Values that are reshaped or transposed share a node, and usually a column.
        """
        return self.columns[name if self._node_of.get(name) is node else self._keys[node]]

    def layout(self, name: str) -> Layout | str:
        """Return where the tensors of a layer hold the stimuli, or why they hold none."""
        return self.layouts.get(
            name, "it was not called when the network ran on a few of the first stimuli"
        )

    def refresh(self) -> None:
        """Update the columns after layouts have changed."""
        for name, column in self.columns.items():
            column.layout = self.layout(name)

    # After the first batch -----------------------------------------------------------------

    def _choose(
        self, hidden: list[Checkpoint], output: Node, measure: Callable[[Node], int] | None
    ) -> None:
        last = hidden[-1] if hidden else None
        if self.only is None:
            self._warn(self._candidates.checkpoints.longest_gap(hidden, output, measure))
        values = self._selected(hidden, last, output)
        has_last = last is not None and any(node is last.node for node in values.values())

        def describe(label: str, node: Node) -> Layer:
            depth, total = (measure(end) if measure else end.depth for end in (node, output))
            role: Role = "hidden"
            if label == "output" or node is output:
                role = "output"
            elif label == "input":
                role = "input"
            elif last is not None and (node is last.node or (not has_last and label == last.label)):
                role = "last_hidden"
            n_features = self._column_of(label, node).n_features
            return Layer(label, role, depth, min(1.0, depth / total) if total else 0.0, n_features)

        layers = [(describe(label, node), node) for label, node in values.items()]
        if self.selection.accept is not None:
            layers = [pair for pair in layers if self.selection.accept(pair[0])]
            if not layers:
                raise BadSource("the function given as layers accepted none of the layers")
        ends = {"input": -1, "output": 1}
        layers.sort(key=lambda pair: (ends.get(pair[0].name, 0), pair[0].depth, pair[1].order))
        self.chosen = [Chosen(layer, self._column_of(layer.name, node)) for layer, node in layers]
        self.keep(self.only)

    def _warn(self, gap: Stretch | None) -> None:
        """Warn about layers that cannot be seen, and about a long stretch without checkpoints."""
        if self.structure.unseen is not None:
            warn(self.structure.unseen, CaptureWarning)
        elif gap is not None and "checkpoints" in self.selection.kinds:
            warn(str(gap), CaptureWarning)

    def warn_of_late_calls(self) -> None:
        """Warn about modules that the first batch did not call, and that were not captured."""
        if self.late:
            names = ", ".join(self.late[:5])
            rest = f" and {len(self.late) - 5} more" if self.late[5:] else ""
            warn(
                f"not captured, because the first batch did not call them: {names}{rest}; put a "
                "batch that calls them first",
                CaptureWarning,
            )

    def keep(self, names: Collection[str] | None) -> None:
        """Keep the layers with these names, and drop all other columns."""
        self.chosen = [
            choice for choice in self.chosen if names is None or choice.layer.name in names
        ]
        kept = {id(choice.column) for choice in self.chosen}
        self.columns = {k: c for k, c in self.columns.items() if id(c) in kept}

    def again(self) -> None:
        """Forget all points but keep the selected layers, for the same batches once more."""
        fresh: dict[int, Column] = {}
        for column in self.columns.values():
            fresh[id(column)] = empty = Column(column.name, self.readout, column.layout)
            if column.reason is not None:
                empty.fail(column.reason)
        self.chosen = [replace(choice, column=fresh[id(choice.column)]) for choice in self.chosen]
        self.columns = {name: fresh[id(column)] for name, column in self.columns.items()}
        self.n_recorded = self.n_batches = 0

    @property
    def selecting(self) -> bool:
        """Whether the layers are still to be selected."""
        return self._selecting

    @property
    def widths(self) -> list[tuple[tuple[str, ...], int]]:
        """For each column, the names of its layers and the number of bytes per row."""
        widths: dict[int, tuple[tuple[str, ...], int]] = {}
        for choice in self.chosen:
            names, _ = widths.get(id(choice.column), ((), 0))
            widths[id(choice.column)] = (*names, choice.layer.name), choice.column.row_bytes
        return list(widths.values())

    def move(self, device: torch.device | None) -> None:
        """Collect the points on a device from now on, or in memory."""
        self.device = device
        for column in self.columns.values():
            column.move(device)

    def reserve(self) -> None:
        """Allocate memory for all rows, if their number is known."""
        if self.n_points is not None:
            for column in self.columns.values():
                column.reserve(self.n_points)

    @property
    def row_bytes(self) -> int:
        """Number of bytes per row, summed over the columns."""
        return sum(column.row_bytes for column in self.columns.values())

    def resume(
        self, chosen: list[Chosen], columns: dict[str, Column], n_rows: int, n_batches: int
    ) -> None:
        """Continue after ``n_batches`` batches, with the layers selected in the first one."""
        self.chosen, self.columns = chosen, columns
        self.n_recorded, self.n_batches = n_rows, n_batches
        self._selecting = False

    def restart(self, names: Collection[str]) -> None:
        """Forget the points of the first batch, which runs again; keep the layers selected in it.

        Parameters
        ----------
        names : collection of str
            The names under which :meth:`add` will be called; a layer without one of them fails.
        """
        renamed: dict[int, Column] = {}
        nodes = {key: node for node, key in self._keys.items()}
        for key, column in self.columns.items():
            sightings = self._seen.get(nodes[key], []) if key in nodes else []
            aliases = [key, *(sighting.name for sighting in sightings)]
            name = next((alias for alias in aliases if alias in names), key)
            renamed[id(column)] = Column(
                name, self.readout, self.layout(name), device=column.device
            )
            if name not in names:
                renamed[id(column)].fail(
                    "its values can only be seen with hooks, which change what the network computes"
                )
        self.chosen = [replace(choice, column=renamed[id(choice.column)]) for choice in self.chosen]
        self.columns = {column.name: column for column in renamed.values()}
        self.n_recorded = self.n_batches = 0

    def _selected(
        self, hidden: list[Checkpoint], last: Checkpoint | None, output: Node
    ) -> dict[str, Node]:
        """Return the selected values and their labels, in the order of execution."""
        values: dict[str, Node] = {}
        chosen: set[Node] = set()

        def add(label: str, node: Node, again: bool = False) -> None:
            if label not in values and node in self._keys and (again or node not in chosen):
                values[label] = node
                chosen.add(node)

        kinds = self.selection.kinds
        ends = bool(kinds & {"checkpoints", "all"}) or self.selection.accept is not None
        if ends:
            add("input", self._inputs[0])
        if ends:  # before its other names; after the input, which may be the same value
            add("output", output, again=True)
        if "checkpoints" in kinds:
            for checkpoint in hidden:
                add(checkpoint.label, checkpoint.node)
        if "last_hidden" in kinds:
            if last is None:
                raise BadSource(
                    "the network has no checkpoint between input and output, and so no last "
                    "hidden layer; name a layer instead"
                )
            add(last.label, last.node)
        labels = {
            checkpoint.node: checkpoint.label
            for checkpoint in hidden
            if checkpoint.raw in (None, checkpoint.node)
        }
        if self.selection.everything:
            for node, sightings in self._seen.items():
                add(labels.get(node) or _best_name(sightings), node)
        # names come before patterns, so that a pattern does not add the value under another name
        for pattern in sorted(self.selection.patterns, key=is_glob):
            self._add_pattern(pattern, labels, add)
        return values

    def _add_pattern(self, pattern: str, labels: dict[Node, str], add: Callable[..., None]) -> None:
        names = [name for name in self._by_name if matches(name, pattern)]
        if not names:
            raise unknown_layer(
                pattern, list(self._by_name), self.structure.names, self.structure.hidden
            )
        if not is_glob(pattern):
            add(pattern, self._by_name[pattern], again=True)
            return
        for name in sorted(names, key="output".__ne__):
            node = self._by_name[name]
            if name in ("input", "output"):
                add(name, node)
                continue
            label = labels.get(node) or _best_name(self._seen[node])
            add(label if matches(label, pattern) else name, node)


def _best_name(sightings: list[Sighting]) -> str:
    """Return the name of the outermost module that computed a value, else its first name."""
    best = sightings[0]
    for other in sightings[1:]:
        if (
            other.module
            and other.maker
            and (not best.module or best.name.startswith(f"{other.name}."))
        ):
            best = other
    return best.name


def _blocks_of(node: Node) -> int:
    return node.blocks


def failures_of(chosen: list[Chosen]) -> dict[str, str]:
    """Return the layers that have no points, each with the reason.

    Raises
    ------
    BadPoints
        If no layer has points.
    """
    failures = {
        choice.layer.name: choice.column.reason
        for choice in chosen
        if choice.column.reason is not None
    }
    if len(failures) == len(chosen):
        first = next(iter(failures), None)
        reason = f"; {first!r}: {failures[first]}" if first is not None else ""
        raise BadPoints(f"none of the {len(failures)} selected layers has points{reason}")
    return failures
