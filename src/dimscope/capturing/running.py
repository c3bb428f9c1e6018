"""Running: one forward pass after the other, watched, and the network left as it was found."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dimscope.capturing.batches import Batch
from dimscope.capturing.randomness import PrivateRandom
from dimscope.capturing.recording import Recorder
from dimscope.capturing.tensors import describe_tensors, main_tensor, map_tensors, tensors_in
from dimscope.capturing.tracing import Tracer
from dimscope.capturing.values import Event
from dimscope.errors import BadSource, DimscopeError

__all__ = ["Run", "evaluating"]


class Run:
    """One forward pass after the other, watched: ``run(batch)``."""

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[nn.Module, Any], Any] | None,
        tracer: Tracer,
        recorder: Recorder,
        seed: int,
    ) -> None:
        self.network, self.tracer, self.recorder = network, tracer, recorder
        self.forward = forward or _call
        parameters = list(network.parameters())
        devices = {p.device for p in parameters}
        dtypes = {p.dtype for p in parameters if p.is_floating_point()}
        self.device = devices.pop() if len(devices) == 1 else None
        self.dtype = dtypes.pop() if len(dtypes) == 1 else None
        self.random = PrivateRandom(seed, self.device)

    def __call__(self, batch: Batch) -> None:
        """Run a batch; what it makes goes to the tracer and the recorder."""
        inputs = map_tensors(self._prepare, batch.inputs)
        self.tracer.begin(batch.n_rows)
        self.recorder.begin(batch.n_rows)
        main, others = main_tensor(inputs, batch.n_rows)
        assert main is not None  # a batch without a tensor was refused before
        self.recorder.enter(main, self.tracer.enter("input", main))
        for path, tensor in others:
            self.recorder.also(self.tracer.enter(f"input{path}", tensor))
        # no_grad rather than inference_mode: tensors that a network keeps for later
        # (caches, lazily made weights) stay usable in training.
        with torch.no_grad(), self.random, _eagerly(), self.tracer:
            output = self._run(inputs)
        found, extras = main_tensor(output, batch.n_rows)
        if found is None:
            raise BadSource(
                f"the network returned a {type(output).__name__} without a tensor in it; give a "
                "forward function that returns one"
            )
        for path, tensor in extras:
            node = self.tracer.output(tensor)
            self.recorder.watch(Event(f"output{path}", node, tensor, inside=True, fresh=False))
        self.recorder.leave(found, self.tracer.output(found), self.tracer)

    def unwatched(self, batch: Batch) -> None:
        """Run a batch and keep nothing."""
        with torch.no_grad(), self.random, _eagerly():
            self._run(map_tensors(self._prepare, batch.inputs))

    def _run(self, inputs: Any) -> Any:
        try:
            return self.forward(self.network, inputs)
        except DimscopeError:
            raise
        except Exception as error:
            first = next(iter(tensors_in(inputs)), None)
            whole = first is not None and not first.is_floating_point() and first.ndim > 2
            hint = "; if these are images give them as floating point, x / 255" if whole else ""
            raise BadSource(
                f"the network failed on batch {self.recorder.n_batches + 1}, of "
                f"{describe_tensors(inputs)}: {type(error).__name__}: {error}{hint}"
            ) from error

    def _prepare(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.to(device=self.device or tensor.device, dtype=dtype or tensor.dtype)


def _call(network: nn.Module, inputs: Any) -> Any:
    """Call a network the way its batches suggest."""
    if isinstance(inputs, dict):
        return network(**inputs)
    if not isinstance(inputs, tuple | list):
        return network(inputs)
    # Of several tensors the network gets as many as it must have; the rest are targets.
    try:
        required = [
            p
            for p in inspect.signature(network.forward).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        required = []
    return network(*inputs[: max(1, len(required))])


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode; every module's own flag is restored, whatever happens."""
    flags = [(module, module.training) for module in network.modules()]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def _eagerly() -> AbstractContextManager[Any]:
    """Run what was compiled as it was written, so that hooks and functions are seen."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
