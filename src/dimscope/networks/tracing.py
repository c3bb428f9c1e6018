"""Tracing: the graph of named values that a network computes, with their depth.

A torch function mode sees every operation on a tensor that comes from the input; a pair of hooks
sees every module. A :class:`Node` stands for one value. A reshaped tensor carries the node of the
value it was made from. Nodes hold no tensors, so tracing keeps nothing alive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from dimscope.networks import operations as vocabulary
from dimscope.networks.structure import Site, Structure
from dimscope.networks.tensors import main_tensor, tensors_in

__all__ = ["Event", "Frame", "Node", "Tracer"]


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


@dataclass
class Counts:
    """How many layers were run, and how many of them were linear ones in attention blocks."""

    layers: int = 0
    in_blocks: int = 0


class Tracer(TorchFunctionMode):
    """Follow one forward pass after the other.

    Parameters
    ----------
    structure : Structure
        Anatomy of the network.
    watch : callable
        Called with every :class:`Event`, in the order of execution.
    """

    def __init__(self, structure: Structure, watch: Callable[[Event], None]) -> None:
        super().__init__()
        self.structure = structure
        self.watch = watch
        self.counts = Counts()
        self._unchanged: list[bool] = []
        self.begin()

    def begin(self, n_rows: int | None = None) -> None:
        """Forget the last pass and expect a batch of ``n_rows`` stimuli."""
        self._n_rows = n_rows
        # tensor -> its node, and the tensor's version then: another one means overwritten
        self._nodes: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        # A module named "output" (or "input") must not pass for the network's.
        self._calls: Counter[str] = Counter(input=1, output=1)
        self._frames: list[Frame] = []
        self._order = 0
        self._poolings = 0
        self.counts = Counts()

    def enter(self, name: str, tensor: Tensor) -> Node:
        """Make ``tensor`` an input of the network."""
        return self._make(tensor, name, "input", ())

    def node(self, tensor: Tensor) -> Node | None:
        """Return the value that a tensor holds; None if it does not come from the input."""
        held = self._held(tensor)
        if held is None:
            return None
        node: Node = held[0]
        if held[1] != _version(tensor):
            # Overwritten through a view or by an operation that was not seen.
            return self._make(tensor, node.name, "overwrite", (node,))
        return node

    def output(self, tensor: Tensor) -> Node:
        """Return the value that the network returns, however it was made."""
        node = self.node(tensor)
        if node is None:
            node = self._make(tensor, "output", "unknown", ())
        return node

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch the modules; the hooks are removed on the way out, whatever happens."""
        with ExitStack() as stack:
            for module, site in self.structure.sites.items():
                before = module.register_forward_pre_hook(self._before(site), with_kwargs=True)
                stack.callback(before.remove)
                after = module.register_forward_hook(self._after(site), with_kwargs=True)
                stack.callback(after.remove)
            yield

    # Functions -----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and note what it made."""
        kwargs = kwargs or {}
        name: str = getattr(func, "__name__", "")
        if name in vocabulary.SILENT:
            return func(*args, **kwargs)
        if name == "__get__":  # an attribute: x.shape, x.T
            result = func(*args, **kwargs)
            if isinstance(result, Tensor) and (held := self._held(args[0])) is not None:
                self._hold(result, held[0])
            return result
        sources = tuple(self._sources((args, kwargs)))
        result = func(*args, **kwargs)
        if sources:
            self._note(vocabulary.plain_name(name), name, args, kwargs, sources, result)
        return result

    def _sources(self, values: Any) -> Iterator[Node]:
        for tensor in tensors_in(values):
            held = self._held(tensor)
            if held is not None:
                yield held[0]

    def _note(
        self,
        op: str,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        sources: tuple[Node, ...],
        result: Any,
    ) -> None:
        if op == "setitem":
            result = args[0]
        outputs = [result] if isinstance(result, Tensor) else list(tensors_in(result))
        if not outputs:
            return
        layers = vocabulary.COUNTED.get(op, 0)
        if op in vocabulary.PRODUCTS and len(list(tensors_in((args, kwargs)))) > len(sources):
            layers, op = 1, "linear"
        if self._frames:
            self._frames[-1].linears += layers if op not in vocabulary.CONVOLUTIONS else 0
            if op in vocabulary.ATTENTIONS:
                for outer in self._frames:
                    outer.attention = True
        self.counts.layers += layers
        first = next(tensors_in((args, kwargs)))
        held = self._held(first)
        same = held is not None and (
            op in vocabulary.RESHAPES or self._is_unchanged(op, first, outputs[0])
        )
        frame = self._frames[-1] if self._frames else None
        own = frame is not None and frame.site.leaf
        listed = not own and not same and op not in vocabulary.SELECTIONS
        for tensor in outputs:
            if held is not None and tensor is first and _is_intact(op, tensor, held[1]):
                continue  # handed back as it was, as dropout does in eval mode
            if held is not None and same and _is_alike(tensor, first):
                self._hold(tensor, held[0])
                continue
            if not (listed and tensor.is_floating_point()):
                label = frame.name if own and frame is not None else sources[0].name
                self._make(tensor, label, op, sources, layers)
                continue
            label = self._unique(f"{sources[0].name}>{op}")
            node = self._make(tensor, label, op, sources, layers)
            inside = frame is not None and frame.covers
            self.watch(Event(label, node, tensor, inputs=sources, inside=inside))
            listed = False  # the first of several outputs stands for the function

    def _is_unchanged(self, op: str, before: Tensor, after: Tensor) -> bool:
        """Whether a pooling does nothing, as a 7x7 adaptive pooling on a 7x7 map."""
        if op not in vocabulary.POOLINGS or before.shape != after.shape:
            return False
        if self._poolings == len(self._unchanged):  # decided once, in the first pass
            self._unchanged.append(torch.equal(before, after))
        self._poolings += 1
        return self._unchanged[self._poolings - 1]

    # Modules -------------------------------------------------------------------------------

    def _before(self, site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            with torch._C.DisableTorchFunction():
                outer = self._frames[-1] if self._frames else None
                inside = outer is not None and outer.covers
                name = self._unique(site.name) if site.name else ""
                inputs = tuple(self._sources((args, kwargs)))
                self._frames.append(Frame(site, name, inputs, self._order, inside))

        return hook

    def _after(self, site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            with torch._C.DisableTorchFunction():
                ended = self._frames.pop()
                while ended.site is not site:  # a call in between ended in a caught exception
                    ended = self._frames.pop()
                self._leave(ended, output)

        return hook

    def _leave(self, frame: Frame, output: Any) -> None:
        site = frame.site
        attends = site.repeated and not frame.has_block and (site.attends or frame.attention)
        outer = self._frames[-1] if self._frames else None
        if attends:
            self.counts.in_blocks += frame.linears
        if outer is not None:
            outer.has_block |= attends or frame.has_block
            outer.linears += 0 if attends else frame.linears
        if not frame.name:
            return
        main, extras = main_tensor(output, self._n_rows)
        for suffix, tensor in ([("", main)] if main is not None else []) + extras:
            node = self.node(tensor)
            if node is None:
                node = self._make(tensor, frame.name, "unknown", frame.inputs, site.counted)
            fresh = node.order > frame.start
            if fresh and not suffix:
                node.name = frame.name
            if fresh and attends:
                base = max((one.blocks for one in frame.inputs), default=0)
                node.blocks = max(node.blocks, base + 1)
            self.watch(
                Event(
                    frame.name + suffix,
                    node,
                    tensor,
                    site,
                    frame.inputs,
                    inside=(frame.inside and not attends) or bool(suffix),
                    block=not suffix and (attends or (site.block and not frame.has_block)),
                    attends=attends,
                    fresh=fresh,
                )
            )

    # Values --------------------------------------------------------------------------------

    def _make(
        self, tensor: Tensor, name: str, op: str, parents: tuple[Node, ...], layers: int = 0
    ) -> Node:
        self._order += 1
        node = Node(
            name,
            op,
            parents,
            max((parent.depth for parent in parents), default=0) + layers,
            max((parent.blocks for parent in parents), default=0),
            self._order,
            tensor.shape,
        )
        self._hold(tensor, node)
        return node

    def _held(self, tensor: Tensor) -> tuple[Node, int] | None:
        held: tuple[Node, int] | None = self._nodes.get(tensor)
        return held

    def _hold(self, tensor: Tensor, node: Node) -> None:
        self._nodes[tensor] = (node, _version(tensor))

    def _unique(self, name: str) -> str:
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"


def _version(tensor: Tensor) -> int:
    # Inference tensors count no versions.
    return -1 if tensor.is_inference() else tensor._version


def _is_intact(op: str, tensor: Tensor, version: int) -> bool:
    if tensor.is_inference():
        return op in vocabulary.RESHAPES or "dropout" in op
    return tensor._version == version


def _is_alike(tensor: Tensor, other: Tensor) -> bool:
    return tensor.numel() == other.numel() and tensor.dtype == other.dtype
