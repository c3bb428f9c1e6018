"""Tracing: record one forward pass as a graph of named values with their depths.

A torch function mode intercepts every operation on a tensor that depends on the input, and a pair
of hooks intercepts every module call. A :class:`Node` stands for one value. A reshaped tensor keeps
the node of the original. Nodes do not hold tensors, so tracing keeps no tensor in memory.

Once the graph is known, a pass can be *followed* instead: hooks report the calls of some modules by
their names, and functions run without being recorded. The function mode stays on, because modules
such as attention choose another path without it, whose values differ by rounding.
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
from dimscope.networks.tensors import main_tensor, padded, tensors_in

__all__ = ["Event", "Frame", "Node", "Tracer"]


@dataclass(eq=False, slots=True)
class Node:
    """One value that the network computes.

    Parameters
    ----------
    name : str
        Name of the module in which it was computed; the name of the function, if one computed it,
        is appended.
    op : str
        Plain name of the operation that computed it.
    parents : tuple of Node
        The values from which it was computed.
    depth, blocks : int
        Length of the longest path from the input, in layers and in attention blocks.
    order : int
        Position in the order of execution.
    shape : tuple of int
        Its original shape.
    reduced : tuple of int
        The axes over which a mean or maximum was taken.
    """

    name: str
    op: str
    parents: tuple[Node, ...]
    depth: int
    blocks: int
    order: int
    shape: torch.Size
    reduced: tuple[int, ...] = ()

    def ancestors(self) -> set[Node]:
        """Return all values from which this one was computed, including itself."""
        seen, todo = {self}, [self]
        while todo:
            for parent in todo.pop().parents:
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        return seen


@dataclass(slots=True)
class Frame:
    """A call of a module that has not returned yet."""

    site: Site
    name: str
    inputs: tuple[Node, ...]
    start: int
    inside: bool
    linears: int = 0
    attention: bool = False
    has_block: bool = False
    most: int | None = None  # greatest depth of a value computed inside one layer

    @property
    def covers(self) -> bool:
        """Whether the values computed inside this call cannot be checkpoints."""
        return self.inside or self.site.block or self.site.pooling

    @property
    def is_layer(self) -> bool:
        """Whether the call is one layer, whatever modules it has inside."""
        return self.site.wrapped or self.site.linear


@dataclass(slots=True)
class Event:
    """A module or function has returned a value.

    Parameters
    ----------
    name : str
        Unique name of this call.
    node, tensor : Node, Tensor
        The value.
    site : Site or None
        The module that returned it; None for a function.
    inputs : tuple of Node
        The arguments of the call.
    inside : bool
        Whether the call happened inside a block or a pooling module, so that its value is not a
        checkpoint.
    block, attends : bool
        Whether the module is a block; whether the block contains attention.
    fresh : bool
        Whether this call computed the value, rather than passing it through.
    start : int
        Position in the order of execution at which the call began.
    others : tuple of Node
        The other values that the call returned, such as the last state of a recurrent layer.
    mask : Tensor, optional
        For sequences of unequal length, which are padded in ``tensor``: True at real positions.
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
    start: int = 0
    others: tuple[Node, ...] = ()
    mask: Tensor | None = None


@dataclass
class Counts:
    """Numbers of layers executed, and of linear layers executed inside attention blocks."""

    layers: int = 0
    in_blocks: int = 0


class Tracer(TorchFunctionMode):
    """Trace forward passes, one at a time.

    Parameters
    ----------
    structure : Structure
        Modules of the network.

    Attributes
    ----------
    watch : callable
        Called with every :class:`Event`, in the order of execution.
    """

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.structure = structure
        self.watch: Callable[[Event], None] = lambda event: None
        self.counts = Counts()
        self._unchanged: list[bool] = []
        self.begin()

    def begin(self, needs: Callable[[str], bool] | None = None) -> None:
        """Discard the previous pass and prepare for a batch.

        Parameters
        ----------
        needs : callable, optional
            ``needs(name)`` says whether the call of a module with this name is an event; the pass
            is then followed, and no other call and no function is. By default, it is traced.
        """
        self._needs = needs
        # tensor -> its node and its version; a later version means that it was overwritten
        self._nodes: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        # a module named "output" or "input" must get another name than the network's own
        self._calls: Counter[str] = Counter(input=1, output=1)
        self._frames: list[Frame] = []
        self._order = 0
        self._poolings = 0
        self.counts = Counts()

    def enter(self, name: str, tensor: Tensor) -> Node:
        """Register ``tensor`` as an input of the network."""
        return self._make(tensor, name, "input", ())

    def node(self, tensor: Tensor) -> Node | None:
        """Return the node of a tensor, or None if the tensor does not depend on the input."""
        held = self._held(tensor)
        if held is None:
            return None
        node: Node = held[0]
        if held[1] != _version(tensor):
            # overwritten through a view or by an operation that was not traced
            return self._make(tensor, node.name, "overwrite", (node,))
        return node

    def output(self, tensor: Tensor) -> Node:
        """Return the node of an output of the network; create one if it was not traced."""
        node = self.node(tensor)
        if node is None:
            root = self.structure.sites.get(self.structure.model)
            layers = root.counted if root is not None and root.scripted else 0
            node = self._make(tensor, "output", "unknown", (), layers)
        return node

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Hook the modules until the context ends; remove the hooks even after an error."""
        with ExitStack() as stack:
            for module, site in self.structure.sites.items():
                # a scripted module refuses its own methods of these names, but obeys the hooks
                before = nn.Module.register_forward_pre_hook(
                    module, self._before(site), with_kwargs=True
                )
                stack.callback(before.remove)
                after = nn.Module.register_forward_hook(module, self._after(site), with_kwargs=True)
                stack.callback(after.remove)
            yield

    # Functions -----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and record its result."""
        kwargs = kwargs or {}
        name: str = getattr(func, "__name__", "")
        if self._needs is not None:
            if name in vocabulary.ATTENTIONS:
                self._mark_attention()
            return func(*args, **kwargs)
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
                self._mark_attention()
        self.counts.layers += layers
        first = next(tensors_in((args, kwargs)))
        held = self._held(first)
        same = held is not None and (
            op in vocabulary.RESHAPES or self._is_unchanged(op, first, outputs[0])
        )
        frame = self._frames[-1] if self._frames else None
        owner = self._owner(args, kwargs)
        origin = owner or sources[0].name
        in_leaf = frame is not None and frame.site.leaf
        listed = not in_leaf and not same and op not in vocabulary.SELECTIONS
        for tensor in outputs:
            if held is not None and tensor is first and _is_intact(op, tensor, held[1]):
                continue  # returned unchanged, as by dropout in eval mode
            if held is not None and same and (op == "dequantize" or _is_alike(tensor, first)):
                self._hold(tensor, held[0])
                continue
            if not (listed and (tensor.is_floating_point() or tensor.is_quantized)):
                label = frame.name if in_leaf and frame is not None else origin
                self._make(tensor, label, op, sources, layers)
                continue
            label = self._unique(owner or f"{origin}>{op}")
            node = self._make(tensor, label, op, sources, layers)
            if op in vocabulary.MEANS:
                node.reduced = _axes(first, args, kwargs)
            inside = frame is not None and frame.covers
            values, mask = padded(result, tensor) or (tensor, None)
            self.watch(Event(label, node, values, inputs=sources, inside=inside, mask=mask))
            listed = False  # of several outputs only the first is listed

    def _mark_attention(self) -> None:
        for frame in self._frames:
            frame.attention = True

    def _owner(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """Return the module of an exported network whose weight an operation uses."""
        if not self.structure.owners:
            return None
        owners = (self.structure.owners.get(id(t)) for t in tensors_in((args, kwargs)))
        return next(filter(None, owners), None)

    def _is_unchanged(self, op: str, before: Tensor, after: Tensor) -> bool:
        """Whether a pooling has no effect, such as a 7x7 adaptive pooling of a 7x7 map."""
        if op not in vocabulary.POOLINGS:
            return False
        is_same_shape = before.shape == after.shape
        if self._poolings == len(self._unchanged):  # decided once, in the first pass
            self._unchanged.append(is_same_shape and torch.equal(before, after))
        self._poolings += 1
        return is_same_shape and self._unchanged[self._poolings - 1]

    # Modules -------------------------------------------------------------------------------

    def _before(self, site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            with torch._C.DisableTorchFunction():
                outer = self._frames[-1] if self._frames else None
                inside = outer is not None and outer.covers
                name = self._unique(site.name) if site.name else ""
                inputs = self._inputs_of(name, (args, kwargs))
                frame = Frame(site, name, inputs, self._order, inside)
                frame.most = outer.most if outer is not None else None
                if frame.is_layer and frame.most is None:
                    frame.most = max((node.depth for node in inputs), default=0) + 1
                self._frames.append(frame)

        return hook

    def _inputs_of(self, name: str, values: Any) -> tuple[Node, ...]:
        if self._needs is None:
            return tuple(self._sources(values))
        if not self._needs(name):
            return ()
        # nodes of its arguments tell whether the module passes one of them through
        return tuple(
            self.node(tensor) or self._make(tensor, name, "unknown", ())
            for tensor in tensors_in(values)
        )

    def _after(self, site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            with torch._C.DisableTorchFunction():
                ended = self._frames.pop()
                while ended.site is not site:  # an inner call raised an exception that was caught
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
        if not frame.name or site.stub or not (self._needs is None or self._needs(frame.name)):
            return
        main, extras = main_tensor(output)
        returned = ([("", main)] if main is not None else []) + extras
        nodes = [
            self.node(tensor)
            or self._make(tensor, frame.name, "unknown", frame.inputs, site.counted)
            for _, tensor in returned
        ]
        others = tuple(nodes[1:])
        for (suffix, tensor), node in zip(returned, nodes, strict=True):
            fresh = node.order > frame.start
            if fresh and not suffix:
                node.name = frame.name
            if fresh and attends:
                base = max((node.blocks for node in frame.inputs), default=0)
                node.blocks = max(node.blocks, base + 1)
            values, mask = padded(output, tensor) or (tensor, None)
            self.watch(
                Event(
                    frame.name + suffix,
                    node,
                    values,
                    site,
                    frame.inputs,
                    inside=(frame.inside and not attends) or bool(suffix),
                    block=not suffix
                    and (
                        attends
                        or (site.block and not frame.has_block)
                        or (site.scripted and not frame.inside)
                    ),
                    attends=attends,
                    fresh=fresh,
                    start=frame.start,
                    others=() if suffix else others,
                    mask=mask,
                )
            )

    # Values --------------------------------------------------------------------------------

    def _make(
        self, tensor: Tensor, name: str, op: str, parents: tuple[Node, ...], layers: int = 0
    ) -> Node:
        self._order += 1
        depth = max((parent.depth for parent in parents), default=0) + layers
        if self._frames and (most := self._frames[-1].most) is not None:
            depth = min(depth, most)
        node = Node(
            name,
            op,
            parents,
            depth,
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
    # inference tensors have no version counter
    return -1 if tensor.is_inference() else tensor._version


def _is_intact(op: str, tensor: Tensor, version: int) -> bool:
    if tensor.is_inference():
        return op in vocabulary.RESHAPES or "dropout" in op
    return tensor._version == version


def _is_alike(tensor: Tensor, other: Tensor) -> bool:
    return tensor.numel() == other.numel() and tensor.dtype == other.dtype


def _axes(tensor: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the axes over which ``tensor`` is reduced."""
    axes = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    axes = range(tensor.ndim) if axes is None or axes == () else axes
    axes = axes if isinstance(axes, tuple | list | range) else (axes,)
    return tuple(sorted(a % max(tensor.ndim, 1) for a in axes if isinstance(a, int)))
