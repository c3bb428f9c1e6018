"""Session: run a network batch by batch in eval mode, traced, and with its own random state."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dimscope.activations.store import has_zarr
from dimscope.errors import BadSource, DimscopeError
from dimscope.files import free_disk
from dimscope.networks.capturing.batches import Batch
from dimscope.networks.capturing.data import open_batches
from dimscope.networks.capturing.identity import (
    architecture_sha256,
    batch_sha256,
    function_of,
    weights_sha256,
)
from dimscope.networks.capturing.inputs import Inputs
from dimscope.networks.capturing.options import CaptureOptions
from dimscope.networks.capturing.plan import Plan
from dimscope.networks.capturing.readouts import as_readout
from dimscope.networks.capturing.recording import Recorder
from dimscope.networks.capturing.store_writer import Writer
from dimscope.networks.layers import Selection
from dimscope.networks.signature import Signature
from dimscope.networks.structure import Structure, unwrap
from dimscope.networks.tensors import describe_tensors, main_tensor, map_tensors, tensors_in
from dimscope.networks.tracing import Event, Tracer
from dimscope.provenance import Provenance, versions

__all__ = ["PrivateRandom", "Run", "Session", "evaluating"]


class PrivateRandom:
    """Random numbers for the network only; the caller's random state does not advance."""

    def __init__(self, seed: int, device: torch.device | None) -> None:
        self._devices = [device] if device is not None and device.type == "cuda" else []
        self._states: tuple[Tensor, list[Tensor]] | None = None
        self._seed = seed
        self._fork: AbstractContextManager[None] = nullcontext()

    def _read(self) -> tuple[Tensor, list[Tensor]]:
        return torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in self._devices]

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=self._devices)
        self._fork.__enter__()
        if self._states is None:
            torch.default_generator.manual_seed(self._seed)
            for device in self._devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(self._seed)
            return
        torch.set_rng_state(self._states[0])
        for device, state in zip(self._devices, self._states[1], strict=True):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: Any) -> None:
        self._states = self._read()
        self._fork.__exit__(None, None, None)

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
    """Run batches through a network with ``run(batch)``, tracing and recording its values."""

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[nn.Module, Any], Any],
        tracer: Tracer,
        recorder: Recorder,
        seed: int,
    ) -> None:
        self.network, self.tracer, self.recorder = network, tracer, recorder
        self.forward = forward
        parameters = list(network.parameters())
        devices = {p.device for p in parameters}
        dtypes = {p.dtype for p in parameters if p.is_floating_point()}
        self.device = devices.pop() if len(devices) == 1 else None
        self.dtype = dtypes.pop() if len(dtypes) == 1 else None
        self.random = PrivateRandom(seed, self.device)

    def __call__(self, batch: Batch) -> None:
        """Run a batch, tracing and recording the values that the network computes."""
        inputs = map_tensors(self._prepare, batch.inputs)
        self.tracer.begin(batch.n_rows)
        self.recorder.begin(batch.n_rows)
        main, others = main_tensor(inputs, batch.n_rows)
        assert main is not None  # as_batch refuses a batch without a tensor
        self.recorder.enter(main, self.tracer.enter("input", main))
        for path, tensor in others:
            self.recorder.also(self.tracer.enter(f"input{path}", tensor))
        # no_grad rather than inference_mode: tensors that a network keeps for later
        # (caches, lazily made weights) stay usable in training.
        with torch.no_grad(), self.random, _eagerly(), self.tracer:
            output = self._run(inputs)
        main, extras = main_tensor(output, batch.n_rows)
        if main is None:
            raise BadSource(
                f"the network returned a {type(output).__name__}, which holds no tensor; give a "
                "forward function that returns one"
            )
        for path, tensor in extras:
            node = self.tracer.output(tensor)
            self.recorder.watch(Event(f"output{path}", node, tensor, inside=True, fresh=False))
        self.recorder.leave(main, self.tracer.output(main), self.tracer)

    def unwatched(self, batch: Batch) -> None:
        """Run a batch and record nothing."""
        with torch.no_grad(), self.random, _eagerly():
            self._run(map_tensors(self._prepare, batch.inputs))

    def _run(self, inputs: Any) -> Any:
        try:
            return self.forward(self.network, inputs)
        except DimscopeError:
            raise
        except Exception as error:
            first = next(iter(tensors_in(inputs)), None)
            integers = first is not None and not first.is_floating_point() and first.ndim > 2
            hint = "; if these are images, give them as floating point: x / 255" if integers else ""
            raise BadSource(
                f"the network failed on batch {self.recorder.n_batches + 1}, of "
                f"{describe_tensors(inputs)}: {type(error).__name__}: {error}{hint}"
            ) from error

    def _prepare(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.to(device=self.device or tensor.device, dtype=dtype or tensor.dtype)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put all modules in eval mode; restore each module's mode at the end, even after an error."""
    flags = [(module, module.training) for module in network.modules()]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def attempt_on(network: nn.Module) -> Callable[[Inputs, Batch], str | None]:
    """Return a function that runs two and four rows of a batch and says what fails."""
    parameters = list(network.parameters())
    kind = next((p for p in parameters if p.is_floating_point() and not is_lazy(p)), None)

    def prepare(tensor: Tensor) -> Tensor:
        if kind is None:
            return tensor
        return tensor.to(kind.device, kind.dtype if tensor.is_floating_point() else None)

    def attempt(inputs: Inputs, batch: Batch) -> str | None:
        rows = np.arange(4) % batch.n_rows
        outputs = []
        with evaluating(network), torch.no_grad(), PrivateRandom(0, None), _eagerly():
            try:
                for order in (rows[:2], rows[[2, 3, 1, 0]]):
                    taken = map_tensors(prepare, batch.take(order).inputs)
                    outputs.append(main_tensor(inputs.call(network, taken), len(order))[0])
            except Exception as error:
                return f"the network failed: {type(error).__name__}: {error}"
        first, second = outputs
        if first is None or second is None or first.is_nested:
            return None if inputs.layout.lists or first is not None else "no tensor is returned"
        for axis in range(first.ndim):
            if (first.shape[axis], second.shape[axis]) == (2, 4):
                if first.numel() * 2 != second.numel():
                    return "the rows of the output do not follow those of the batch"
                same = second.index_select(axis, torch.tensor([3, 2], device=second.device))
                close = torch.allclose(same.double(), first.double(), rtol=1e-3, atol=1e-5)
                return None if close else "the rows of the output depend on each other"
        lists = inputs.layout.lists  # detectors return as many boxes as they see
        return None if lists else "the rows of the output do not follow those of the batch"

    return attempt


def _eagerly() -> AbstractContextManager[Any]:
    """Run compiled code eagerly, so that hooks and function modes see every operation."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


class Session:
    """A capture: a network, its data and the options.

    Parameters
    ----------
    model : torch.nn.Module
    batches : tensor, array, Dataset, iterable of batches, or path
    options : CaptureOptions
    only : collection of str, optional
        Names of the layers to keep among those that the options select; all by default.

    Raises
    ------
    BadSource, BadPoints
        As :func:`dimscope.capture`.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Any,
        options: CaptureOptions,
        only: Collection[str] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise BadSource(f"model is a {type(model).__name__}; give a torch.nn.Module")
        selection = Selection(options.layers)
        self.options = options
        self.readout = as_readout(options.readout)
        self.network = unwrap(model)
        signature, attempt = Signature.of(self.network), attempt_on(self.network)
        self.stream = open_batches(batches, options, signature, attempt)
        self.name = options.name or type(self.network).__name__
        structure = Structure(self.network)
        self.recorder = Recorder(structure, selection, self.readout, self.stream.n_points, only)
        self._tracer = Tracer(structure, self.recorder.watch)
        self.run = Run(
            self.network, self.stream.inputs.call, self._tracer, self.recorder, options.seed
        )
        self._described = {
            "layers": selection.text,
            "readout": options.readout
            if isinstance(options.readout, str)
            else _name_of(options.readout),
            "forward": None if options.forward is None else _name_of(options.forward),
            "per_class": options.per_class,
            "seed": options.seed,
        }
        self._functions: dict[str, Any] = {"readout": options.readout, "forward": options.forward}
        if callable(options.layers):
            self._functions["layers"] = options.layers

    def ready(self) -> ExitStack:
        """Return a context with the network in eval mode and hooks attached."""
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.network))
            stack.enter_context(self._tracer.hooked())
            return stack.pop_all()

    def resume(self, writer: Writer) -> None:
        """Continue after the batches that a store already holds."""
        if any(is_lazy(parameter) for parameter in self.network.parameters()):
            # the first batch initialises the weights, from the seed
            with evaluating(self.network):
                self.run.unwatched(self.stream.first())
        writer.resume(self.recorder, self.readout)
        self.run.random.load(writer.random)
        if writer.stream:
            self.run.random.branch(writer.stream)

    def plan(
        self, budget: int, n_rows: int, seconds: float | None = None, *, to_store: bool = False
    ) -> Plan:
        """Plan the capture from its first batch, which had ``n_rows`` rows and took ``seconds``."""
        total = self.stream.n_points
        if seconds is not None:
            seconds = None if total is None else seconds * -(-total // n_rows)
        return Plan.of(
            self.recorder.row_bytes, total, budget, seconds=seconds, out=to_store,
            room=free_disk() if has_zarr() else 0, widths=self.recorder.widths,
        )  # fmt: skip

    def provenance(self, n_points: int) -> Provenance:
        """Return the provenance of the activations."""
        parameters = {
            **self._described,
            "n_points": n_points,
            "drawn": self.stream.drawn,
            "batches": len(self.stream.parts) or self.recorder.n_batches,
            "weights_sha256": weights_sha256(self.network),
            "inputs": self.stream.inputs.text,
        }
        if self.stream.no_labels:
            parameters["no_labels"] = self.stream.no_labels
        return Provenance("capture", parameters, versions("torch", "torchvision"))

    def identity(self) -> dict[str, Any]:
        """Describe the capture in JSON values; only a capture with the same values resumes a store.

        For arrays, all values are hashed; for other data, the rows drawn and the first and last
        batch.
        """
        first = self.stream.first()
        hashes = [batch_sha256(batch) for batch in self.stream.identifying(first)]
        rows = np.concatenate([np.empty(0, np.int64), *self.stream.parts]).astype("<i8")
        functions = {key: function_of(value) for key, value in self._functions.items()}
        identity = {
            **self._described,
            **functions,
            "n_points": self.options.n_points,
            "weights": weights_sha256(self.network),
            "architecture": architecture_sha256(self.network),
            "batch size": first.n_rows,
            "rows of the data": [self.stream.n_points, hashlib.sha256(rows.tobytes()).hexdigest()],
            "values of the data": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        }
        # as it will be read back from the file: tuples are lists, NumPy integers are integers
        plain: dict[str, Any] = json.loads(json.dumps(identity, default=int))
        return plain


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))
