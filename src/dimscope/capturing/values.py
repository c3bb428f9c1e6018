"""Values of a running network: what was made, from what, how deep, and under which name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dimscope.capturing.structure import Site

__all__ = ["Event", "Frame", "Node"]


@dataclass(eq=False, slots=True)
class Node:
    """One value of the network.

    Parameters
    ----------
    name : str
        Its producer, to which the name of a following function is appended.
    op : str
        Plain name of the operation that made it.
    parents : tuple of Node
        The values it was made from.
    depth, blocks : int
        Longest path from the input counted in layers and in attention blocks.
    order : int
        Position in the order of execution.
    shape : tuple of int
        Shape when it was made.
    """

    name: str
    op: str
    parents: tuple[Node, ...]
    depth: int
    blocks: int
    order: int
    shape: torch.Size

    def ancestors(self) -> set[Node]:
        """All values it was made from, itself included."""
        seen, todo = {self}, [self]
        while todo:
            for parent in todo.pop().parents:
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        return seen


@dataclass(slots=True)
class Frame:
    """One call of a module that has not returned yet."""

    site: Site
    name: str
    inputs: tuple[Node, ...]
    start: int
    inside: bool
    linears: int = 0
    attention: bool = False
    has_block: bool = False

    @property
    def covers(self) -> bool:
        """Whether its contents are no checkpoints."""
        return self.inside or self.site.block or self.site.pooling


@dataclass(slots=True)
class Event:
    """A named value has just been made.

    Parameters
    ----------
    name : str
        Unique name of this call.
    node, tensor : Node, Tensor
        The value.
    site : Site or None
        The module that made it, None for a function.
    inputs : tuple of Node
        What the module or function was given.
    inside : bool
        It is inside a block or a pooling and so no checkpoint.
    block : bool
        It leaves a block; with ``attends``, a block with attention.
    fresh : bool
        It was made by this call, not passed through.
    """

    name: str
    node: Node
    tensor: Tensor
    site: Site | None = None
    inputs: tuple[Node, ...] = ()
    inside: bool = False
    block: bool = False
    attends: bool = False
    fresh: bool = True
