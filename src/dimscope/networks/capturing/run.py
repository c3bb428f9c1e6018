"""Run: run a network on batches in eval mode, observed or not, with its own random state.

There are two ways to observe. In a traced run, hooks on the modules and a torch function mode see
every value and how it was computed. A few modules compute something else when they are hooked or
traced: the transformer layers of PyTorch, for example, set padding to zero only when they are not.
For such networks, each module's ``forward`` is replaced by a function that reports its result.
PyTorch does not check for this, but functions outside modules are not seen.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dimscope.errors import BadSource, DimscopeError
from dimscope.networks.data.batches import Batch
from dimscope.networks.placement import is_dispatched
from dimscope.networks.structure import Site, Structure
from dimscope.networks.tensors import (
    describe_tensors,
    main_tensor,
    map_tensors,
    padded,
    tensors_in,
)
from dimscope.networks.tracing import Event, Node, Tracer

__all__ = ["Observer", "PrivateRandom", "Run", "evaluating"]


class Observer(Protocol):
    """Receive the inputs of a batch, the values that the network computes, and its output."""

    def begin(self, batch: Batch) -> Callable[[str], bool] | None:
        """Prepare for a batch; return which calls of modules are needed, by name; None for all."""

    def enter(self, tensor: Tensor, node: Node, mask: Tensor | None) -> None:
        """Take the main input; the mask is that of sequences of unequal length."""

    def also(self, node: Node) -> None:
        """Take another input."""

    def watch(self, event: Event) -> None:
        """Take a value of a traced run."""

    def leave(self, tensor: Tensor, node: Node, tracer: Tracer) -> None:
        """Take the main output of a traced run."""

    def add(self, name: str, tensor: Tensor, mask: Tensor | None = None) -> None:
        """Take a value, the input and the output among them, of a run that is not traced."""

    def end(self) -> None:
        """Take the end of a run that is not traced."""


class PrivateRandom:
    """Give the network random numbers of its own; the caller's random state does not advance.

    Parameters
    ----------
    seed : int
    device : torch.device or None
        The device of the network, whose random numbers are private too if it is a CUDA device.

    Attributes
    ----------
    used : bool
        Whether the network has drawn random numbers.
    """

    def __init__(self, seed: int, device: torch.device | None) -> None:
        self._devices = [device] if device is not None and device.type == "cuda" else []
        self._states: tuple[Tensor, list[Tensor]] | None = None
        self._seed = seed
        self._forked = ExitStack()
        self.used = False

    def _read(self) -> tuple[Tensor, list[Tensor]]:
        return torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in self._devices]

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=self._devices))
            self._start()
            self._forked = stack.pop_all()  # from here on, __exit__ restores the caller's state

    def _start(self) -> None:
        if self._states is None:
            torch.default_generator.manual_seed(self._seed)
            for device in self._devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(self._seed)
            self._states = self._read()
            return
        torch.set_rng_state(self._states[0])
        for device, state in zip(self._devices, self._states[1], strict=True):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: Any) -> None:
        with self._forked:
            before, self._states = self._states, self._read()
            assert before is not None
            pairs = zip((before[0], *before[1]), (self._states[0], *self._states[1]), strict=True)
            self.used = self.used or any(not torch.equal(*pair) for pair in pairs)

    def branch(self, number: int) -> None:
        """Start the random stream of rank ``number`` (from 1), seeded from the seed of rank 0."""
        seeds = torch.Generator().manual_seed(self._seed)
        self._seed = int(torch.randint(1 << 62, (number,), generator=seeds)[-1])
        self._states = None

    def save(self) -> list[str]:
        """Return the random state as text."""
        cpu, others = self._states or self._read()
        return [bytes(state.cpu().numpy()).hex() for state in (cpu, *others)]

    def load(self, states: list[str]) -> None:
        """Restore a random state that :meth:`save` returned."""
        cpu, *others = (torch.frombuffer(bytearray.fromhex(s), dtype=torch.uint8) for s in states)
        self._states = cpu, others


class Run:
    """Run batches through a network.

    Parameters
    ----------
    network : torch.nn.Module
    structure : Structure
    tracer : Tracer
    seed : int

    Attributes
    ----------
    call : callable
        ``call(network, inputs) -> output``.
    untraced : bool
        Whether to observe by replaced functions instead of by the tracer.
    n_batches : int
        Number of batches that have run, for messages.
    device, dtype : torch.device, torch.dtype
        Those of the network's parameters, to which the inputs are converted; None if the parameters
        differ in them, or there are none.
    gives_positions : bool
        Whether to give the network the positions of the tokens, counted from the mask.
    overwrites : bool
        Whether the network has changed its inputs in a run; it then gets copies of the data.
    random : PrivateRandom
        The random numbers for the batches; trial runs start again from the same seed.
    """

    def __init__(
        self,
        network: nn.Module,
        structure: Structure,
        tracer: Tracer,
        seed: int,
    ) -> None:
        self.network, self.tracer = network, tracer
        self.call: Callable[[nn.Module, Any], Any] = lambda network, inputs: network(inputs)
        self.untraced = False
        self.gives_positions = False
        self.overwrites = False
        self.n_batches = 0
        self._structure, self._seed = structure, seed
        self.device: torch.device | None
        self.dtype: torch.dtype | None
        self.random: PrivateRandom
        self.restart()

    def restart(self) -> None:
        """Start again from the seed, where the network is now."""
        parameters = list(self.network.parameters())
        # a network that accelerate has spread brings its inputs where they are needed
        devices = set() if is_dispatched(self.network) else {p.device for p in parameters}
        dtypes = {p.dtype for p in parameters if p.is_floating_point()}
        self.device = devices.pop() if len(devices) == 1 else None
        self.dtype = dtypes.pop() if len(dtypes) == 1 else None
        self.random = self.fresh_random()

    def fresh_random(self) -> PrivateRandom:
        """Return random numbers that start again from the seed."""
        return PrivateRandom(self._seed, self.device)

    def observed(
        self, batch: Batch, observer: Observer, random: PrivateRandom | None = None
    ) -> Any:
        """Run a batch, pass its values to the observer, and return the output."""
        if self.untraced:
            return self._untraced(batch, observer, random or self.random)
        return self.traced(batch, observer, random)

    def traced(self, batch: Batch, observer: Observer, random: PrivateRandom | None = None) -> Any:
        """Run a batch through the hooked network, as :meth:`observed` does."""
        inputs = self._inputs(batch)
        self.tracer.watch = observer.watch
        self.tracer.begin(observer.begin(batch))
        main, others = main_tensor(inputs)
        assert main is not None  # as_batch refuses a batch without a tensor
        values, mask = padded(inputs, main) or (main, None)
        observer.enter(values, self.tracer.enter("input", main), mask)
        for path, tensor in others:
            observer.also(self.tracer.enter(f"input{path}", tensor))
        # no_grad rather than inference_mode: tensors that a network keeps for later
        # (caches, lazily made weights) stay usable in training.
        with torch.no_grad(), random or self.random, _eagerly(), self.tracer:
            output = self._call(inputs)
        main, extras = self._main(output)
        for path, tensor in extras:
            node = self.tracer.output(tensor)
            observer.watch(Event(f"output{path}", node, tensor, inside=True, fresh=False))
        observer.leave(main, self.tracer.output(main), self.tracer)
        return output

    def _untraced(self, batch: Batch, observer: Observer, random: PrivateRandom) -> Any:
        inputs = self._inputs(batch)
        observer.begin(batch)
        main, _ = main_tensor(inputs)
        assert main is not None
        observer.add("input", *(padded(inputs, main) or (main, None)))
        with torch.no_grad(), random, _eagerly(), _reporting(self._structure, observer.add):
            output = self._call(inputs)
        main, extras = self._main(output)
        for path, tensor in extras:
            observer.add(f"output{path}", tensor)
        observer.add("output", main)
        observer.end()
        return output

    def plain(self, batch: Batch) -> Any:
        """Run a batch unobserved, from the seed, and return the output."""
        with torch.no_grad(), self.fresh_random(), _eagerly():
            return self._call(self._inputs(batch))

    def _main(self, output: Any) -> tuple[Tensor, list[tuple[str, Tensor]]]:
        main, extras = main_tensor(output)
        if main is None:
            raise BadSource(
                f"the network returned a {type(output).__name__}, which holds no tensor; give a "
                "forward function that returns one"
            )
        return main, extras

    def _call(self, inputs: Any) -> Any:
        given = [(t, t._version) for t in tensors_in(inputs) if not t.is_inference()]
        try:
            output = self.call(self.network, inputs)
            self.overwrites |= any(t._version != version for t, version in given)
            return output
        except DimscopeError:
            raise
        except Exception as error:
            first = next(iter(tensors_in(inputs)), None)
            integers = first is not None and not first.is_floating_point() and first.ndim > 2
            hint = (
                "if these are images, give them as floating point: x / 255"
                if integers
                else "give data of the shape and type that the network takes"
            )
            raise BadSource(
                f"the network failed on batch {self.n_batches + 1}, of "
                f"{describe_tensors(inputs)}: {type(error).__name__}: {error}; {hint}"
            ) from error

    def _inputs(self, batch: Batch) -> Any:
        """Return the inputs of a batch on the device and with the precision of the network."""
        inputs = batch.inputs
        if self.gives_positions and isinstance(inputs, dict) and "position_ids" not in inputs:
            mask = batch.masks.get("attention_mask", inputs["attention_mask"]).long()
            inputs = {**inputs, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}
        return map_tensors(self._prepare, inputs)

    def _prepare(self, tensor: Tensor) -> Tensor:
        if tensor.is_quantized:
            raise BadSource(
                f"the inputs are a quantised tensor ({tensor.dtype}); give inputs.dequantize()"
            )
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.to(
            device=self.device or tensor.device,
            dtype=dtype or tensor.dtype,
            copy=self.overwrites,
        )


@contextmanager
def _reporting(
    structure: Structure, report: Callable[[str, Tensor, Tensor | None], None]
) -> Iterator[None]:
    """Report the result of every module, by functions in place of ``forward``."""
    calls: Counter[str] = Counter(input=1, output=1)

    def reporting(site: Site, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def replaced(*args: Any, **kwargs: Any) -> Any:
            calls[site.name] += 1
            name = site.name if calls[site.name] == 1 else f"{site.name}#{calls[site.name]}"
            output = forward(*args, **kwargs)
            main, extras = main_tensor(output)
            for suffix, tensor in ([("", main)] if main is not None else []) + extras:
                report(name + suffix, *(padded(output, tensor) or (tensor, None)))
            return output

        return replaced

    with ExitStack() as stack:
        for module, site in structure.sites.items():
            if not site.name or isinstance(module, torch.jit.ScriptModule):
                continue  # a scripted module does not look its forward up
            before = module.__dict__.get("forward")  # set by others, such as accelerate
            stack.callback(_restore, module, before)  # first, in case of an interrupt
            module.forward = reporting(site, module.forward)
        yield


def _restore(module: nn.Module, forward: Any) -> None:
    if forward is None:
        module.__dict__.pop("forward", None)
    else:
        module.forward = forward


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put all modules in eval mode; restore each module's mode at the end, even after an error."""
    # a frozen scripted module has no mode
    flags = [(m, m.training) for m in network.modules() if hasattr(m, "training")]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def _eagerly() -> AbstractContextManager[Any]:
    """Run compiled code eagerly, so that hooks and function modes see every operation."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
