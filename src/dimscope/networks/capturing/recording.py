"""Recording: select the layers in the first batch and collect their points in every batch.

In the first batch, every candidate is copied to its column as soon as it is computed, so that later
in-place operations cannot change it. At the end of the batch, when the whole graph is known, the
layers are selected and the other columns are dropped.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from torch import Tensor

from dimscope.activations.activations import Layer, Role
from dimscope.errors import BadPoints, BadSource, warn
from dimscope.networks.capturing.options import Readout
from dimscope.networks.capturing.readouts import Column
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

__all__ = ["Chosen", "Recorder", "failures_of"]


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
    """A name of a value; whether a module has this name, and whether it computed the value."""

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
        Turns a tensor into points.
    n_points : int, optional
        Expected number of rows.
    only : collection of str, optional
        Names of the selected layers to keep; all by default.
    """

    structure: Structure
    selection: Selection
    readout: Readout
    n_points: int | None = None
    only: Collection[str] | None = None
    n_rows: int = 0
    n_batches: int = 0
    again: bool = False  # whether the first batch must run again, to record finer values
    late: list[str] = field(default_factory=list)  # calls of modules not seen in the first batch
    chosen: list[Chosen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._finer: set[str] = set()
        self._start()

    def _start(self) -> None:
        self.checkpoints = Checkpoints(self.structure)
        self.columns: dict[str, Column] = {}
        self._total = 0
        self._keys: dict[Node, str] = {}
        self._seen: dict[Node, list[Sighting]] = {}
        self._by_name: dict[str, Node] = {}
        self._inputs: list[Node] = []

    # While the network runs ----------------------------------------------------------------

    def begin(self, n_rows: int) -> None:
        """Prepare for a batch of ``n_rows`` stimuli."""
        self.n_rows = n_rows

    def enter(self, tensor: Tensor, node: Node) -> None:
        """Record the input of the network."""
        explicit = "input" in self.selection.patterns
        if self.n_batches == 0:
            self._inputs.append(node)
            if not explicit and not (self.selection.wants_input() and tensor.is_floating_point()):
                self._by_name.setdefault("input", node)
                return
            self._note("input", node, module=False, maker=True)
            self._keep("input", node, tensor)
        elif "input" in self.columns:
            self.columns["input"].append(tensor, self.n_rows)

    def also(self, node: Node) -> None:
        """Register an additional input, such as a mask, which is not a layer."""
        if self.n_batches == 0:
            self._inputs.append(node)

    def watch(self, event: Event) -> None:
        """Record a value that has just been computed, if it is selected."""
        if self.n_batches:
            column = self.columns.get(event.name)
            if column is not None:
                column.append(event.tensor, self.n_rows)
            elif self._by_name and event.name not in self._by_name and self._is_late(event):
                self._by_name[event.name] = event.node
                self.late.append(event.name)
            return
        self._note(event.name, event.node, module=event.site is not None, maker=event.fresh)
        candidate = self.checkpoints.offer(event)
        if (
            self.selection.everything
            or (candidate and self.selection.checkpoints)
            or self.selection.names(event.name)
            or event.name in self._finer
        ):
            self._keep(event.name, event.node, event.tensor)

    def _is_late(self, event: Event) -> bool:
        """Whether a call that the first batch did not make could have been selected."""
        return event.site is not None and (
            self.selection.everything
            or (self.selection.checkpoints and could_be_checkpoint(event))
            or self.selection.names(event.name)
        )

    def leave(self, tensor: Tensor, node: Node, tracer: Tracer) -> None:
        """Record the output and, at the end of the first batch, select the layers."""
        if self.n_batches == 0:
            if self.selection.wants_output():
                self._keys.pop(node, None) if node not in self._inputs else None
                self._keep("output", node, tensor)
            self._by_name["output"] = node
            blocks = 2 * tracer.counts.in_blocks > tracer.counts.layers
            hidden = self.checkpoints.between(self._inputs, node, _blocks_of if blocks else None)
            finer = {c.event for c in hidden if c.node not in self._keys}
            self.again = self.selection.checkpoints and bool(finer - self._finer)
            if self.again:
                self._finer |= finer
                self._start()
                return
            self._choose(hidden, node, blocks=blocks)
        elif "output" in self.columns:
            self.columns["output"].append(tensor, self.n_rows)
        self._total += self.n_rows
        self.n_batches += 1
        for column in self.columns.values():
            if column.reason is None and column.used != self._total:
                column.fail(f"it was called in the first batch, but not in batch {self.n_batches}")

    def _note(self, name: str, node: Node, *, module: bool, maker: bool) -> None:
        self._seen.setdefault(node, []).append(Sighting(name, module, maker))
        self._by_name.setdefault(name, node)

    def _keep(self, name: str, node: Node, tensor: Tensor) -> None:
        key = self._keys.get(node)
        if key is not None and self.columns[key].reason is None:
            return  # another column holds the same points
        # room for one batch is enough until the layers are selected
        column = self.columns[name] = Column(name, self.readout)
        column.append(tensor, self.n_rows)
        self._keys[node] = name

    # After the first batch -----------------------------------------------------------------

    def _choose(self, hidden: list[Checkpoint], output: Node, *, blocks: bool) -> None:
        last = hidden[-1] if hidden else None
        if self.only is None:
            self._warn(self.checkpoints.longest_gap(hidden, output, _blocks_of if blocks else None))
        values = self._selected(hidden, last, output)
        has_last = last is not None and any(node is last.node for node in values.values())

        def describe(label: str, node: Node) -> Layer:
            depth, total = (node.blocks, output.blocks) if blocks else (node.depth, output.depth)
            role: Role = "hidden"
            if label == "output" or node is output:
                role = "output"
            elif label == "input":
                role = "input"
            elif last is not None and (node is last.node or (not has_last and label == last.label)):
                role = "last_hidden"
            key = self._keys.get(node)
            n_features = 0 if key is None else self.columns[key].n_features
            return Layer(label, role, depth, min(1.0, depth / total) if total else 0.0, n_features)

        layers = [(describe(label, node), node) for label, node in values.items()]
        if self.selection.accept is not None:
            layers = [pair for pair in layers if self.selection.accept(pair[0])]
            if not layers:
                raise BadSource("the function given as layers accepted none of the layers")
        ends = {"input": -1, "output": 1}
        layers.sort(key=lambda pair: (ends.get(pair[0].name, 0), pair[0].depth, pair[1].order))
        self.chosen = [Chosen(layer, self.columns[self._keys[node]]) for layer, node in layers]
        self.keep(self.only)

    def _warn(self, gap: Stretch | None) -> None:
        """Warn of layers that cannot be seen, and of a long stretch without checkpoints."""
        if self.structure.unseen is not None:
            warn(self.structure.unseen, UserWarning)
        elif gap is not None and "checkpoints" in self.selection.kinds:
            warn(str(gap), UserWarning)

    def warn_of_late_calls(self) -> None:
        """Warn of modules that were not called in the first batch, and so were not captured."""
        if self.late:
            names = ", ".join(self.late[:5])
            rest = f" and {len(self.late) - 5} more" if self.late[5:] else ""
            warn(
                f"not captured, because the first batch did not call them: {names}{rest}; put a "
                "batch that calls them first",
                UserWarning,
            )

    def keep(self, names: Collection[str] | None) -> None:
        """Keep the layers with these names, and drop all other columns."""
        self.chosen = [
            choice for choice in self.chosen if names is None or choice.layer.name in names
        ]
        kept = {id(choice.column) for choice in self.chosen}
        self.columns = {k: c for k, c in self.columns.items() if id(c) in kept}

    @property
    def widths(self) -> list[tuple[tuple[str, ...], int]]:
        """For each column, the names of its layers and the number of bytes per row."""
        widths: dict[int, tuple[tuple[str, ...], int]] = {}
        for choice in self.chosen:
            names, _ = widths.get(id(choice.column), ((), 0))
            widths[id(choice.column)] = (*names, choice.layer.name), choice.column.row_bytes
        return list(widths.values())

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
        self._total, self.n_batches = n_rows, n_batches

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

    def _add_pattern(self, pattern: str, labels: dict[Node, str], add: object) -> None:
        assert callable(add)
        if not is_glob(pattern) and pattern not in self._by_name:
            raise unknown_layer(
                pattern, list(self._by_name), self.structure.names, self.structure.hidden
            )
        if not is_glob(pattern):
            add(pattern, self._by_name[pattern], again=True)
            return
        names = [name for name in self._by_name if matches(name, pattern)]
        if not names:
            raise unknown_layer(
                pattern, list(self._by_name), self.structure.names, self.structure.hidden
            )
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
