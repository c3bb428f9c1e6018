"""Recording: keep the selected values, choosing in the first batch.

In the first batch every candidate is written to its column as soon as it exists, so that nothing
done in place later can change it. When the batch has ended the whole graph is known: the layers
are chosen, and the columns of the others are dropped.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from torch import Tensor

from dimscope.activations.activations import Layer, Role
from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.columns import Column
from dimscope.networks.capturing.options import Readout
from dimscope.networks.layers import (
    Checkpoint,
    Checkpoints,
    Selection,
    is_glob,
    matches,
    unknown_layer,
)
from dimscope.networks.structure import Structure
from dimscope.networks.tracing import Event, Node, Tracer

__all__ = ["Chosen", "Recorder", "failures_of"]


@dataclass(frozen=True)
class Chosen:
    """One layer of the result: what is known of it and where its points are."""

    layer: Layer
    column: Column

    def described(self) -> Layer:
        """Return the layer with the number of units that it has in the end."""
        return replace(self.layer, n_features=self.column.n_features)


@dataclass
class Sighting:
    """A name under which a value was seen; ``maker`` if that module made it."""

    name: str
    module: bool
    maker: bool


@dataclass
class Recorder:
    """Collect the points of the selected layers.

    Parameters
    ----------
    structure : Structure
        Anatomy of the network.
    selection : Selection
        What is wanted.
    readout : callable
        Tensor to points.
    n_points : int, optional
        How many rows will come.
    only : collection of str, optional
        Names of the layers to keep of those that are selected.
    """

    structure: Structure
    selection: Selection
    readout: Readout
    n_points: int | None = None
    only: Collection[str] | None = None
    n_rows: int = 0
    n_batches: int = 0
    chosen: list[Chosen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checkpoints = Checkpoints(self.structure)
        self.columns: dict[str, Column] = {}
        self._total = 0
        self._keys: dict[Node, str] = {}
        self._seen: dict[Node, list[Sighting]] = {}
        self._by_name: dict[str, Node] = {}
        self._inputs: list[Node] = []

    # While the network runs ----------------------------------------------------------------

    def begin(self, n_rows: int) -> None:
        """Expect a batch of ``n_rows`` stimuli."""
        self.n_rows = n_rows

    def enter(self, tensor: Tensor, node: Node) -> None:
        """Take the input that the network is about to see."""
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
        """Note a further input, such as a mask: not a layer, but a way into the network."""
        if self.n_batches == 0:
            self._inputs.append(node)

    def watch(self, event: Event) -> None:
        """Take a value that has just been made, if it is wanted."""
        if self.n_batches:
            column = self.columns.get(event.name)
            if column is not None:
                column.append(event.tensor, self.n_rows)
            return
        self._note(event.name, event.node, module=event.site is not None, maker=event.fresh)
        candidate = self.checkpoints.offer(event)
        if (
            self.selection.everything
            or (candidate and self.selection.checkpoints)
            or self.selection.names(event.name)
        ):
            self._keep(event.name, event.node, event.tensor)

    def leave(self, tensor: Tensor, node: Node, tracer: Tracer) -> None:
        """Take the output, and after the first batch make the choice."""
        self._total += self.n_rows
        if self.n_batches == 0:
            if self.selection.wants_output():
                self._keys.pop(node, None) if node not in self._inputs else None
                self._keep("output", node, tensor)
            self._by_name["output"] = node
            self._choose(node, tracer)
        elif "output" in self.columns:
            self.columns["output"].append(tensor, self.n_rows)
        self.n_batches += 1
        for column in self.columns.values():
            if column.reason is None and column.used != self._total:
                column.fail(f"it was not called in batch {self.n_batches}, as it was in the first")

    def _note(self, name: str, node: Node, *, module: bool, maker: bool) -> None:
        self._seen.setdefault(node, []).append(Sighting(name, module, maker))
        self._by_name.setdefault(name, node)

    def _keep(self, name: str, node: Node, tensor: Tensor) -> None:
        key = self._keys.get(node)
        if key is not None and self.columns[key].reason is None:
            return  # the same points are there already
        # Room for one batch is enough until it is known what is kept, and where.
        column = self.columns[name] = Column(name, self.readout)
        column.append(tensor, self.n_rows)
        self._keys[node] = name

    # After the first batch -----------------------------------------------------------------

    def _choose(self, output: Node, tracer: Tracer) -> None:
        hidden = self.checkpoints.between(self._inputs, output)
        last = hidden[-1] if hidden else None
        blocks = 2 * tracer.counts.in_blocks > tracer.counts.layers
        wanted = self._wanted(hidden, last, output)
        has_last = last is not None and any(node is last.node for node in wanted.values())

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

        layers = [(describe(label, node), node) for label, node in wanted.items()]
        if self.selection.accept is not None:
            layers = [pair for pair in layers if self.selection.accept(pair[0])]
            if not layers:
                raise BadSource("the function given as layers accepted none of the layers")
        ends = {"input": -1, "output": 1}
        layers.sort(key=lambda pair: (ends.get(pair[0].name, 0), pair[0].depth, pair[1].order))
        self.chosen = [Chosen(layer, self.columns[self._keys[node]]) for layer, node in layers]
        self.keep(self.only)

    def keep(self, names: Collection[str] | None) -> None:
        """Drop the columns of all other layers."""
        self.chosen = [one for one in self.chosen if names is None or one.layer.name in names]
        kept = {id(one.column) for one in self.chosen}
        self.columns = {k: c for k, c in self.columns.items() if id(c) in kept}

    @property
    def widths(self) -> list[tuple[tuple[str, ...], int]]:
        """Names of the chosen layers that share a column, and the bytes of a row of it."""
        found: dict[int, tuple[tuple[str, ...], int]] = {}
        for one in self.chosen:
            names, _ = found.get(id(one.column), ((), 0))
            found[id(one.column)] = (*names, one.layer.name), one.column.row_bytes
        return list(found.values())

    def reserve(self) -> None:
        """Make room for all rows, where their number is known."""
        if self.n_points is not None:
            for column in self.columns.values():
                column.reserve(self.n_points)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of all chosen layers."""
        return sum(column.row_bytes for column in self.columns.values())

    def resume(
        self, chosen: list[Chosen], columns: dict[str, Column], n_rows: int, n_batches: int
    ) -> None:
        """Go on after some batches, with the choice that was made then."""
        self.chosen, self.columns = chosen, columns
        self._total, self.n_batches = n_rows, n_batches

    def _wanted(
        self, hidden: list[Checkpoint], last: Checkpoint | None, output: Node
    ) -> dict[str, Node]:
        """Label -> value, in the order of execution."""
        wanted: dict[str, Node] = {}
        chosen: set[Node] = set()

        def add(label: str, node: Node, again: bool = False) -> None:
            if label not in wanted and node in self._keys and (again or node not in chosen):
                wanted[label] = node
                chosen.add(node)

        kinds = self.selection.kinds
        ends = bool(kinds & {"checkpoints", "all"}) or self.selection.accept is not None
        if ends:
            add("input", self._inputs[0])
        if ends:  # before its other names, after the input in case nothing was done
            add("output", output, again=True)
        if "checkpoints" in kinds:
            for one in hidden:
                add(one.label, one.node)
        if "last_hidden" in kinds:
            if last is None:
                raise BadSource(
                    "the network has no checkpoint between input and output, so no last hidden "
                    "layer; name the layer that you mean"
                )
            add(last.label, last.node)
        own = {one.node: one.label for one in hidden if one.raw in (None, one.node)}
        if self.selection.everything:
            for node, sightings in self._seen.items():
                add(own.get(node) or _best_name(sightings), node)
        # names before patterns, so that a pattern does not take a value under another name
        for pattern in sorted(self.selection.patterns, key=is_glob):
            self._add_pattern(pattern, own, add)
        return wanted

    def _add_pattern(self, pattern: str, own: dict[Node, str], add: object) -> None:
        assert callable(add)
        if not is_glob(pattern) and pattern not in self._by_name:
            raise unknown_layer(pattern, list(self._by_name), self.structure.names)
        if not is_glob(pattern):
            add(pattern, self._by_name[pattern], again=True)
            return
        found = [name for name in self._by_name if matches(name, pattern)]
        if not found:
            raise unknown_layer(pattern, list(self._by_name), self.structure.names)
        for name in sorted(found, key="output".__ne__):
            node = self._by_name[name]
            if name in ("input", "output"):
                add(name, node)
                continue
            label = own.get(node) or _best_name(self._seen[node])
            add(label if matches(label, pattern) else name, node)


def _best_name(sightings: list[Sighting]) -> str:
    """Return the outermost module that made a value, else the first name it had."""
    best = sightings[0]
    for other in sightings[1:]:
        if (
            other.module
            and other.maker
            and (not best.module or best.name.startswith(f"{other.name}."))
        ):
            best = other
    return best.name


def failures_of(chosen: list[Chosen]) -> dict[str, str]:
    """Layers that have no points, and why.

    Raises
    ------
    BadPoints
        If that is all of them.
    """
    failures = {
        one.layer.name: one.column.reason for one in chosen if one.column.reason is not None
    }
    if len(failures) == len(chosen):
        first = next(iter(failures), None)
        reason = f"; {first!r}: {failures[first]}" if first is not None else ""
        raise BadPoints(f"none of the {len(failures)} selected layers has points{reason}")
    return failures
