"""Layers: which values of a network are selected, and which are checkpoints.

Checkpoints are the paper's choice: the input, poolings, fully connected layers after their
activation, the blocks or stages of a residual network, and the output. A network that has none of
these in between falls back on its convolutions after their activation.
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
    """The option ``layers``, taken apart into kinds, names and patterns, or a function.

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
        """Whether every value has to be kept at first."""
        return self.accept is not None or "all" in self.kinds

    @property
    def checkpoints(self) -> bool:
        """Whether the values of checkpoints have to be kept at first."""
        return "checkpoints" in self.kinds or "last_hidden" in self.kinds

    def names(self, name: str) -> bool:
        """Whether a pattern or a name of the caller's matches."""
        return any(matches(name, pattern) for pattern in self.patterns)

    def wants_output(self) -> bool:
        """Whether the output has to be kept at first."""
        return self.everything or "checkpoints" in self.kinds or self.names("output")

    def wants_input(self) -> bool:
        """Whether the input has to be kept at first."""
        return self.everything or "checkpoints" in self.kinds or self.names("input")


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match several names."""
    return bool(re.search(r"[*?]", pattern))


def matches(name: str, pattern: str) -> bool:
    """Whether a name is, or is matched by, a pattern. ``[1]`` in a plain name is meant literally.

    >>> matches("layer1.0", "layer*"), matches("lstm[1]", "lstm[1]"), matches("fc", "f")
    (True, True, False)
    """
    return name == pattern or (is_glob(pattern) and fnmatchcase(name, pattern))


def unknown_layer(pattern: str, seen: Sequence[str], idle: Sequence[str]) -> BadSource:
    """Error for a name that no executed layer has.

    Parameters
    ----------
    pattern : str
        What was asked for.
    seen : sequence of str
        Names of what was executed.
    idle : sequence of str
        Names of modules that exist but did not run.
    """
    if pattern in idle:
        return BadSource(
            f"module {pattern!r} exists but was not called, so it has no points; "
            f"there are {_listing(seen)}"
        )
    near = difflib.get_close_matches(pattern, seen, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return BadSource(f"no layer {pattern!r} was executed.{hint} There are {_listing(seen)}")


def _listing(names: Sequence[str], most: int = 40) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(eq=False)
class Checkpoint:
    """A value found on the way.

    ``label`` is the name shown. ``raw`` is, for a linear layer, the value before its activation.
    """

    label: str
    node: Node
    kind: str
    raw: Node | None = None


class Checkpoints:
    """Find the checkpoints while the network runs.

    Parameters
    ----------
    structure : Structure
        Anatomy of the network.
    """

    def __init__(self, structure: Structure) -> None:
        self._convolutions = structure.plain
        self.found: list[Checkpoint] = []
        self._at: dict[Node, Checkpoint] = {}
        # Values that are a linear layer up to reshaping and norms, and await an activation.
        self._pending: dict[Node, Checkpoint] = {}

    def offer(self, event: Event) -> bool:
        """Consider a value; True if it is a checkpoint as far as is known now."""
        node = event.node
        known = self._at.get(node)
        if known is not None:
            site = event.site
            if site is not None and site.simple and event.fresh and site.name:
                known.label = event.name  # a layer written with functions: its own name is better
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

    def _add(self, event: Event, kind: str) -> bool:
        checkpoint = Checkpoint(event.name, event.node, kind)
        self.found.append(checkpoint)
        self._at[event.node] = checkpoint
        if kind in ("linear", "convolution"):
            checkpoint.raw = event.node
            self._pending[event.node] = checkpoint
        if kind in ("pooling", "block"):
            self._convolutions = False  # there are real checkpoints, so no stopgaps
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
        """Return the checkpoints on the way from the inputs to the output, both excluded."""
        on_the_way = output.ancestors()
        followed = any(node in on_the_way for node in inputs)
        found = [
            one
            for one in self.found
            if one.node is not output
            and (not followed or one.node in on_the_way)
            # the last linear layer is the output, whatever softmax or scaling follows
            and not (one.raw is not None and one.node.depth >= output.depth)
        ]
        return [one for one in found if one.kind != "convolution"] or found


def _pools(node: Node) -> bool:
    """Whether a function pools: by name, or a mean over the places of a feature map."""
    if node.op in vocabulary.POOLINGS:
        return True
    before = node.parents[0].shape
    if node.op not in vocabulary.MEANS or len(before) < 4 or node.shape[0] != before[0]:
        return False
    left = tuple(size for size in node.shape[1:] if size != 1)
    return left in ((before[1],), (before[-1],))  # channels first or last
