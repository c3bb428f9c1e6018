"""Layers: decide which values of a network are selected, and which are checkpoints.

Checkpoints are the layers chosen in the paper: the input, the outputs of pooling layers, fully
connected layers (after their activation), the blocks or stages of a residual network, and the
output. If a network has none of these between input and output, its convolutions (after their
activation) are checkpoints.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from dimscope.activations.activations import Layer
from dimscope.errors import BadSource
from dimscope.networks import operations as vocabulary
from dimscope.networks.capturing.options import Layers
from dimscope.networks.structure import Structure, clean_name
from dimscope.networks.tracing import Event, Node

__all__ = ["Checkpoint", "Checkpoints", "LayerKind", "Selection", "matches", "unknown_layer"]

LayerKind = Literal["checkpoints", "all", "last_hidden"]
_KINDS: tuple[LayerKind, ...] = get_args(LayerKind)


class Selection:
    """The option ``layers``, parsed into keywords, names and patterns, or a function.

    Parameters
    ----------
    layers : str, sequence of str, or callable
        As checked by :class:`~dimscope.networks.capturing.options.CaptureOptions`.
    """

    def __init__(self, layers: Layers) -> None:
        self.accept: Callable[[Layer], bool] | None = None
        self.kinds: set[LayerKind] = set()
        self.patterns: list[str] = []
        if callable(layers):
            self.accept = layers
            self.text: str | list[str] = getattr(layers, "__qualname__", repr(layers))
            return
        names = [layers] if isinstance(layers, str) else list(layers)
        self.text = layers if isinstance(layers, str) else names
        self.kinds = {kind for kind in _KINDS if kind in names}
        self.patterns = list(dict.fromkeys(clean_name(n) for n in names if n not in _KINDS))

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
        return any(matches(name, pattern) for pattern in self.patterns)

    def wants_output(self) -> bool:
        """Whether the output must be recorded in the first batch."""
        return self.everything or "checkpoints" in self.kinds or self.names("output")

    def wants_input(self) -> bool:
        """Whether the input must be recorded in the first batch."""
        return self.everything or "checkpoints" in self.kinds or self.names("input")


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards, so that it can match several names."""
    return bool(re.search(r"[*?]", pattern))


def matches(name: str, pattern: str) -> bool:
    """Whether a name equals or matches a pattern; brackets such as ``[1]`` are literal.

    >>> matches("layer1.0", "layer*"), matches("lstm[1]", "lstm[1]"), matches("fc", "f")
    (True, True, False)
    """
    return name == pattern or (is_glob(pattern) and fnmatchcase(name, pattern))


def unknown_layer(pattern: str, seen: Sequence[str], idle: Sequence[str]) -> BadSource:
    """Return the error for a name that no executed layer has.

    Parameters
    ----------
    pattern : str
        The name or pattern.
    seen : sequence of str
        Names of the layers that were executed.
    idle : sequence of str
        Names of all modules.
    """
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


CheckpointKind = Literal["block", "pooling", "linear", "convolution"]


@dataclass(eq=False)
class Checkpoint:
    """A value that is a checkpoint.

    ``label`` is the name that users see. ``raw`` is the value before the activation, for a linear
    layer or a convolution.
    """

    label: str
    node: Node
    kind: CheckpointKind
    raw: Node | None = None


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
        self._at: dict[Node, Checkpoint] = {}
        # outputs of linear layers, perhaps reshaped or normalised, whose activation may follow
        self._pending: dict[Node, Checkpoint] = {}

    def offer(self, event: Event) -> bool:
        """Register a value; return whether it becomes a checkpoint, judging by the pass so far."""
        node = event.node
        checkpoint = self._at.get(node)
        if checkpoint is not None:
            site = event.site
            if site is not None and site.simple and event.fresh and site.name:
                checkpoint.label = event.name  # prefer the module's name to that of the function
            return False
        if event.block:
            return event.fresh and self._add(event, "block")
        if event.inside or not event.fresh:
            return False
        if event.site.pooling if event.site is not None else _pools(node):
            return self._add(event, "pooling")
        if node.op in vocabulary.LINEARS or (event.site is not None and event.site.linear):
            return self._add(event, "linear")
        if node.op in vocabulary.CONVOLUTIONS and self._convolutions:
            return self._add(event, "convolution")
        return self._activates(event)

    def _add(self, event: Event, kind: CheckpointKind) -> bool:
        checkpoint = Checkpoint(event.name, event.node, kind)
        self._all.append(checkpoint)
        self._at[event.node] = checkpoint
        if kind in ("linear", "convolution"):
            checkpoint.raw = event.node
            self._pending[event.node] = checkpoint
        if kind in ("pooling", "block"):
            self._convolutions = False  # convolutions serve only where nothing else does
        return True

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
            checkpoint.node = node
            return True
        return False

    def between(self, inputs: list[Node], output: Node) -> list[Checkpoint]:
        """Return the checkpoints on the paths from the inputs to the output, without the ends."""
        on_the_way = output.ancestors()
        followed = any(node in on_the_way for node in inputs)
        between = [
            checkpoint
            for checkpoint in self._all
            if checkpoint.node is not output
            and (not followed or checkpoint.node in on_the_way)
            # the last linear layer is the output, even if a softmax or scaling follows
            and not (checkpoint.raw is not None and checkpoint.node.depth >= output.depth)
        ]
        return [checkpoint for checkpoint in between if checkpoint.kind != "convolution"] or between


def _pools(node: Node) -> bool:
    """Whether a function pools: by its name, or because it averages over feature map positions."""
    if node.op in vocabulary.POOLINGS:
        return True
    before = node.parents[0].shape
    if node.op not in vocabulary.MEANS or len(before) < 4 or node.shape[0] != before[0]:
        return False
    left = tuple(size for size in node.shape[1:] if size != 1)
    return left in ((before[1],), (before[-1],))  # channels first or last
