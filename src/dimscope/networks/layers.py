"""Layers: decide which values of a network are selected, and which are checkpoints.

Checkpoints are the layers chosen in the paper: the input, the outputs of pooling layers, fully
connected layers (after their activation), the blocks or stages of a residual network, and the
output. Recurrent layers and attention layers outside blocks are checkpoints too. If a network has
none of these between input and output, its convolutions (after their activation) are checkpoints.

If no checkpoint lies in the last half of the network, or many layers follow the last one, *finer*
values are checkpoints too: small modules that contain several layers, and single layers after
their activation. The layers of a U-Net are found in this way.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from torch import nn

from dimscope.activations.activations import Layer
from dimscope.errors import BadSource
from dimscope.networks import operations as vocabulary
from dimscope.networks.options import Layers
from dimscope.networks.structure import Site, Structure, clean_name
from dimscope.networks.tracing import Event, Node

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "LayerKind",
    "Selection",
    "Stretch",
    "could_be_checkpoint",
    "is_glob",
    "matches",
    "prefix_of",
    "unknown_layer",
]

LayerKind = Literal["checkpoints", "all", "last_hidden"]
_KINDS: tuple[LayerKind, ...] = get_args(LayerKind)


class Selection:
    """The option ``layers``, parsed into keywords, names and patterns, or a function.

    Parameters
    ----------
    layers : str, sequence of str, or callable
        As checked by :class:`~dimscope.networks.options.CaptureOptions`.
    prefix : str
        What the names may begin with in a larger network, of which this one is a part.
    """

    def __init__(self, layers: Layers, prefix: str = "") -> None:
        self.accept: Callable[[Layer], bool] | None = None
        self.kinds: set[LayerKind] = set()
        self.patterns: list[str] = []
        self._globs: list[str] = []
        if callable(layers):
            self.accept = layers
            self.text: str | list[str] = getattr(layers, "__qualname__", repr(layers))
            return
        names = [layers] if isinstance(layers, str) else list(layers)
        self.text = layers if isinstance(layers, str) else names
        self.kinds = {kind for kind in _KINDS if kind in names}
        self.patterns = list(
            dict.fromkeys(clean_name(n).removeprefix(prefix) for n in names if n not in _KINDS)
        )
        self._globs = [pattern for pattern in self.patterns if is_glob(pattern)]

    @property
    def everything(self) -> bool:
        """Whether every value in the first batch must be recorded."""
        return self.accept is not None or "all" in self.kinds

    @property
    def checkpoints(self) -> bool:
        """Whether every checkpoint in the first batch must be recorded."""
        return "checkpoints" in self.kinds or "last_hidden" in self.kinds

    def names(self, name: str) -> bool:
        """Whether ``name`` matches one of the names or patterns."""
        return name in self.patterns or any(fnmatchcase(name, glob) for glob in self._globs)

    def wants_output(self) -> bool:
        """Whether the output must be recorded in the first batch."""
        return self.everything or "checkpoints" in self.kinds or self.names("output")

    def wants_input(self) -> bool:
        """Whether the input must be recorded in the first batch."""
        return self.everything or "checkpoints" in self.kinds or self.names("input")


def prefix_of(network: nn.Module) -> str:
    """Return what transformers puts before the names of a network inside the same one with a head.

    Examples
    --------
    >>> prefix_of(nn.Linear(2, 2))
    ''
    """
    prefix: Any = getattr(network, "base_model_prefix", "")
    is_base = isinstance(prefix, str) and prefix != "" and not hasattr(network, prefix)
    return f"{prefix}." if is_base else ""


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards, so that it can match several names."""
    return bool(re.search(r"[*?]", pattern))


def matches(name: str, pattern: str) -> bool:
    """Whether a name equals or matches a pattern; brackets such as ``[1]`` are literal.

    Examples
    --------
    >>> matches("layer1.0", "layer*"), matches("lstm[1]", "lstm[1]"), matches("fc", "f")
    (True, True, False)
    """
    return name == pattern or (is_glob(pattern) and fnmatchcase(name, pattern))


def unknown_layer(
    pattern: str, seen: Sequence[str], idle: Sequence[str], hidden: Container[str] = ()
) -> BadSource:
    """Return the error for a name that no executed layer has.

    Parameters
    ----------
    pattern : str
        The name or pattern.
    seen : sequence of str
        Names of the layers that were executed.
    idle : sequence of str
        Names of all modules.
    hidden : container of str
        Names of the modules inside scripted ones.
    """
    if pattern in hidden:
        return BadSource(
            f"module {pattern!r} is inside a scripted or traced network, where no layer can be "
            "seen; give the original nn.Module"
        )
    if pattern in idle:
        return BadSource(
            f"module {pattern!r} exists but was not called, so it has no points; "
            f"use one of {_listing(seen)}"
        )
    near = difflib.get_close_matches(pattern, seen, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return BadSource(f"no layer {pattern!r} was executed.{hint} Use one of {_listing(seen)}")


def _listing(names: Sequence[str], most: int = 40) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


CheckpointKind = Literal[
    "block", "pooling", "linear", "convolution", "recurrent", "attention", "composite"
]


@dataclass(eq=False)
class Checkpoint:
    """A value that is a checkpoint, or may become one.

    Parameters
    ----------
    label : str
        The name that users see.
    node : Node
        The value; for a single layer, after its activation.
    kind : str
    event : str
        Name of the call that returned the value.
    raw : Node, optional
        The value of a single layer before its activation.
    site : Site, optional
        The module that computed it; None for a function.
    inputs, others : tuple of Node
        The arguments of the call, and the other values that it returned.
    start : int
        Position in the order of execution at which the call began.
    """

    label: str
    node: Node
    kind: CheckpointKind
    event: str
    raw: Node | None = None
    site: Site | None = None
    inputs: tuple[Node, ...] = ()
    others: tuple[Node, ...] = ()
    start: int = 0

    def holds(self, other: Checkpoint) -> bool:
        """Whether another value was computed inside this call."""
        node = other.raw or other.node
        return other is not self and self.start < node.order <= self.node.order


@dataclass(frozen=True)
class Stretch:
    """A stretch of layers without a checkpoint, from depth ``low`` to ``high`` of ``total``."""

    low: int
    high: int
    total: int

    def __str__(self) -> str:
        return (
            f"no checkpoint between depth {self.low} and {self.high} of {self.total}; to capture "
            "layers there, use layers='all' or their names"
        )


Measure = Callable[[Node], int]


class Checkpoints:
    """Find the checkpoints while the network runs.

    Parameters
    ----------
    structure : Structure
        Names and kinds of the network's modules.
    """

    def __init__(self, structure: Structure) -> None:
        self._convolutions = structure.plain
        self._all: list[Checkpoint] = []
        self._fine: list[Checkpoint] = []  # single layers that are no checkpoints
        self._composites: list[Checkpoint] = []
        self._at: dict[Node, Checkpoint] = {}
        # outputs of single layers, perhaps reshaped or normalised, whose activation may follow
        self._pending: dict[Node, Checkpoint] = {}
        self._outer: dict[Node, list[Checkpoint]] = {}  # composites that returned these outputs

    def offer(self, event: Event) -> bool:
        """Register a value; return whether it becomes a checkpoint, judging by the pass so far."""
        node, site = event.node, event.site
        if site is not None and site.wrapped and event.fresh and not event.name.endswith("]"):
            self._forget(event.start)  # the parts of one layer are no layers
        checkpoint = self._at.get(node)
        if checkpoint is not None and site is not None and event.fresh and site.name:
            if site.simple:
                checkpoint.label = event.name  # prefer the module's name to that of the function
            if site.composite:
                self._add_composite(event)
        elif site is not None and site.composite and event.fresh:
            self._add_composite(event)
        if checkpoint in self._all:
            return False
        if event.block:
            return event.fresh and self._add(event, "block")
        if not event.fresh:
            return False
        kind = _kind_of(event)
        if event.inside or kind == "convolution":
            if kind == "convolution" and self._convolutions and not event.inside:
                return self._add(event, "convolution")
            if kind is not None and kind != "pooling" and checkpoint is None:
                self._add(event, kind, fine=True)
                return False
            return kind is None and self._activates(event)
        if kind is not None:
            return self._add(event, kind)
        return self._activates(event)

    def _add(self, event: Event, kind: CheckpointKind, *, fine: bool = False) -> bool:
        checkpoint = _checkpoint(event, kind)
        (self._fine if fine else self._all).append(checkpoint)
        self._at[event.node] = checkpoint
        if kind in ("linear", "convolution"):
            checkpoint.raw = event.node
            self._pending[event.node] = checkpoint
        if kind in ("pooling", "block"):
            self._convolutions = False  # convolutions serve only where nothing else does
        return True

    def _add_composite(self, event: Event) -> None:
        composite = _checkpoint(event, "composite")
        self._composites.append(composite)
        self._outer.setdefault(event.node, []).append(composite)

    def _forget(self, start: int) -> None:
        """Drop what was computed since ``start``."""
        for checkpoints in (self._all, self._fine, self._composites):
            checkpoints[:] = [c for c in checkpoints if (c.raw or c.node).order <= start]
        for mapping in (self._at, self._pending):
            for node in [node for node in reversed(mapping) if node.order > start]:
                del mapping[node]

    def _activates(self, event: Event) -> bool:
        node = event.node
        is_module = event.site is not None and event.site.activation
        source = (event.inputs if is_module else node.parents)[:1]
        checkpoint = self._pending.get(source[0]) if source else None
        if checkpoint is None:
            return False
        if node.op in vocabulary.NORMS:
            self._pending[node] = checkpoint
            return False
        first = checkpoint.node is checkpoint.raw
        gate = node.op == "mul" and set(node.parents) == {checkpoint.raw, checkpoint.node}
        if (first and (is_module or node.op in vocabulary.ACTIVATIONS)) or (gate and not first):
            self._at[node] = checkpoint
            checkpoint.node, checkpoint.event = node, event.name
            for composite in self._outer.pop(source[0], []):
                composite.node, composite.event = node, event.name
            return checkpoint in self._all
        return False

    # After the pass ------------------------------------------------------------------------

    def between(
        self, inputs: list[Node], output: Node, depth: Measure | None = None
    ) -> list[Checkpoint]:
        """Return the checkpoints on the paths from the inputs to the output, without the ends.

        Parameters
        ----------
        inputs : list of Node
        output : Node
        depth : callable, optional
            Depth of a value where it is not counted in layers; then there are no finer values.
        """
        way = output.ancestors()
        followed = any(node in way for node in inputs)

        def leads(checkpoint: Checkpoint) -> bool:
            return not followed or not way.isdisjoint((checkpoint.node, *checkpoint.others))

        coarse = [
            checkpoint
            for checkpoint in self._all
            if checkpoint.node is not output
            and leads(checkpoint)
            # the last linear layer is the output, even if a softmax or scaling follows
            and not (
                (checkpoint.raw is not None or checkpoint.kind in ("recurrent", "attention"))
                and checkpoint.node.depth >= output.depth
            )
        ]
        firm = [c for c in coarse if c.kind in ("block", "pooling", "linear")]
        if firm:  # convolutions serve only where nothing else does
            coarse = [c for c in coarse if c.kind != "convolution"]
        coarse = _last_calls(coarse)
        if depth is not None:
            return coarse
        total, last = output.depth, max((c.node.depth for c in coarse), default=0)
        late = 2 * last > total
        ends_in_block = any(c.kind == "block" and c.node is output for c in self._all)
        if total - last < (3 if late else 2) or (late and ends_in_block):
            return coarse
        fine = self._finer(output, leads)
        if late and (not firm or 2 * max(c.node.depth for c in firm) > total):
            added = [c for c in fine if c.node.depth > last]
        else:
            added, held = fine, [c for c in fine if c.kind == "composite"]
            coarse = [c for c in coarse if not any(composite.holds(c) for composite in held)]
        taken = {c.node for c in coarse}
        joined = coarse + [c for c in added if c.node not in taken]
        return sorted(joined, key=lambda c: c.node.order)

    def _finer(self, output: Node, leads: Callable[[Checkpoint], bool]) -> list[Checkpoint]:
        """Return small modules of several layers, and the single layers outside them."""

        def is_within(checkpoint: Checkpoint) -> bool:
            return (
                checkpoint.node is not output
                and checkpoint.node.depth < output.depth
                and leads(checkpoint)
            )

        chosen: list[Checkpoint] = []
        outermost = sorted(enumerate(self._composites), key=lambda pair: (pair[1].start, -pair[0]))
        for _, composite in outermost:
            span = composite.node.depth - _depth_of(composite.inputs)
            if (
                is_within(composite)
                and 0 < span <= max(1, output.depth / 3)
                and not any(other.holds(composite) for other in chosen)
            ):
                chosen.append(composite)
        single = [
            layer
            for layer in (*self._fine, *(c for c in self._all if c.kind == "convolution"))
            if is_within(layer) and not any(composite.holds(layer) for composite in chosen)
        ]
        return _last_calls(chosen + single)

    def longest_gap(
        self, hidden: list[Checkpoint], output: Node, depth: Measure | None = None
    ) -> Stretch | None:
        """Return the longest stretch without a checkpoint, if it is over half of the depth.

        What lies inside a stage of a residual network, or inside a recurrent loop, is not counted:
        its output is the checkpoint of all its layers.
        """
        measure = depth or (lambda node: node.depth)
        total = measure(output)
        ends = [c for c in self._all if c.node is output] or [
            Checkpoint("output", output, "pooling", "output")
        ]
        longest, gap, before = 0, None, 0
        for checkpoint in sorted((*hidden, *ends), key=lambda c: measure(c.node)):
            high = end = measure(checkpoint.node)
            if checkpoint.kind == "recurrent" or (
                checkpoint.site is not None and checkpoint.site.stage
            ):
                end = max((measure(node) for node in checkpoint.inputs), default=0) + 1
            if end - before - 1 > longest:
                longest, gap = end - before - 1, Stretch(before, min(high, end), total)
            before = max(before, high)
        return gap if 2 * longest > total else None


def _checkpoint(event: Event, kind: CheckpointKind) -> Checkpoint:
    return Checkpoint(
        event.name,
        event.node,
        kind,
        event.name,
        site=event.site,
        inputs=event.inputs,
        others=event.others if kind == "recurrent" else (),
        start=event.start,
    )


def _depth_of(nodes: Sequence[Node]) -> int:
    return max((node.depth for node in nodes), default=0)


def _kind_of(event: Event) -> CheckpointKind | None:
    """Return the kind of a pooling or a single layer; None for all other values."""
    node, site = event.node, event.site
    if site.pooling if site is not None else _pools(node):
        return "pooling"
    if node.op in vocabulary.LINEARS or (site is not None and site.linear):
        return "linear"
    if site.recurrent if site is not None else node.op in vocabulary.RECURRENT:
        return "recurrent"
    if site is not None and site.attention:
        return "attention"
    if node.op in vocabulary.CONVOLUTIONS or (site is not None and site.wrapped):
        return "convolution"
    return None


def could_be_checkpoint(event: Event) -> bool:
    """Whether a value is of a kind that can be a checkpoint, wherever the others are."""
    return event.fresh and (event.block or (not event.inside and _kind_of(event) is not None))


def _last_calls(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Keep the last call of a recurrent layer that is called in a loop on its own values."""
    calls: dict[object, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        if checkpoint.kind == "recurrent":
            calls.setdefault(checkpoint.site or checkpoint, []).append(checkpoint)
    inner: set[Checkpoint] = set()
    for loop in calls.values():
        while len(loop) > 1:
            last = loop.pop()
            before = last.node.ancestors()
            steps = [c for c in loop if not before.isdisjoint((c.node, *c.others))]
            if steps:
                last.inputs = steps[0].inputs
            inner.update(steps)
            loop = [c for c in loop if c not in inner]
    return [c for c in checkpoints if c not in inner]


def _pools(node: Node) -> bool:
    """Whether a function pools: by its name, or because it averages over feature map positions."""
    if node.op in vocabulary.POOLINGS:
        return True
    before = node.parents[0].shape
    if node.op not in vocabulary.MEANS or len(before) < 4:
        return False
    if 0 in node.reduced:  # then the rows lie on another axis, behind the positions
        kept = tuple(size for size in node.shape if size != 1)
        return node.reduced == tuple(range(len(before) - 2)) and kept == before[-2:]
    if node.shape[0] != before[0]:
        return False
    left = tuple(size for size in node.shape[1:] if size != 1)
    return left in ((before[1],), (before[-1],))  # channels first or last
