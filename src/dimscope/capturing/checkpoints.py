"""The choice of the paper: which values of a network are checkpoints.

The input, the poolings, the fully connected layers after their activation, the
blocks or the stages of a residual network, and the output. A network that has
none of these in between falls back on its convolutions after their activation.
"""

from __future__ import annotations

from dataclasses import dataclass

from dimscope.capturing import vocabulary
from dimscope.capturing.structure import Structure
from dimscope.capturing.values import Event, Node

__all__ = ["Checkpoint", "Checkpoints"]


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
