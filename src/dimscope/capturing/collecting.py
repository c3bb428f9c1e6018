"""capture: run a network once over the data and keep the points of its layers."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dimscope.activations import Activations
from dimscope.capturing.allocator import reused_memory
from dimscope.capturing.batches import Batch
from dimscope.capturing.fingerprints import weights_sha256
from dimscope.capturing.randomness import PrivateRandom
from dimscope.capturing.readout import Readout, as_readout
from dimscope.capturing.recording import Recorder
from dimscope.capturing.selection import Layers, Selection
from dimscope.capturing.streams import open_batches
from dimscope.capturing.structure import Structure, unwrap
from dimscope.capturing.tensors import describe_tensors, main_tensor, map_tensors
from dimscope.capturing.tracing import Tracer
from dimscope.capturing.values import Event
from dimscope.errors import BadPoints, BadSource, DimscopeError
from dimscope.provenance import Provenance, versions

__all__ = ["capture"]


def capture(
    model: nn.Module,
    batches: Any,
    layers: Layers = "checkpoints",
    *,
    readout: str | Readout = "flatten",
    forward: Callable[[nn.Module, Any], Any] | None = None,
    n_points: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    name: str | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> Activations:
    """Run a network over the data, once, and return the points of its layers.

    Parameters
    ----------
    model : torch.nn.Module
        The network. It runs in eval mode and is left as it was found.
    batches : tensor, array, (array, labels), Dataset, DataLoader, iterable of batches, or path
        The stimuli. A batch is a tensor, (inputs, labels) or a dict of tensors. A path is an
        image folder with one folder for each class, or a ``.npy`` file.
    layers : str, sequence of str, or callable
        ``"checkpoints"`` (the input, poolings, linear layers after their activation, blocks
        or stages, the output), ``"all"``, ``"last_hidden"``, names, patterns such as
        ``"layer*"``, or a function of a :class:`~dimscope.activations.Layer`. A linear layer
        that is asked for by its name is returned as the module returned it, before any
        activation; as a checkpoint it comes after the activation that follows.
    readout : {"flatten", "mean", "first", "last"} or callable
        How a tensor becomes points, see :func:`~dimscope.capturing.readout.as_readout`.
    forward : callable, optional
        ``forward(model, inputs) -> output``, for networks that are not called as
        ``model(inputs)`` (``model(**inputs)`` for a dict).
    n_points, per_class : int, optional
        How many stimuli in all, or of each class: drawn with the seed from what can be
        indexed, the first ones of what can only be iterated.
    seed : int
        Of the draw, and of the network should it use random numbers.
    batch_size : int
        For data that do not come in batches.
    name : str, optional
        Name of the network; its class by default.
    progress : callable, optional
        ``progress(done, total)``, called after every batch; ``total`` may be None.

    Returns
    -------
    Activations
        float16, float32 and float64 are kept; bfloat16 is returned, exactly, in float32.

    Raises
    ------
    BadSource
        If the model, the data or the layers are not what they should be.
    BadPoints
        If there are too few rows, or none of the layers has points.

    Notes
    -----
    The choice is made while the first batch runs: every candidate is copied the moment it
    exists, so operations in place do not change it, and what is not selected is dropped.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> activations = capture(net, torch.zeros(5, 4))
    >>> [(layer.name, layer.role, layer.depth) for layer in activations.layers]
    [('input', 'input', 0), ('0', 'last_hidden', 1), ('output', 'output', 2)]
    """
    if not isinstance(model, nn.Module):
        raise BadSource(f"model is a {type(model).__name__}; give a torch.nn.Module")
    selection = Selection(layers)
    reader = as_readout(readout)
    stream = open_batches(
        batches, n_points=n_points, per_class=per_class, seed=seed, batch_size=batch_size
    )
    network = unwrap(model)
    structure = Structure(network)
    recorder = Recorder(structure, selection, reader, stream.n_points)
    tracer = Tracer(structure, recorder.watch)
    run = _Run(network, forward, tracer, recorder, seed)
    labels: list[np.ndarray[Any, Any] | None] = []
    done = 0
    with _evaluating(network), tracer.hooked(), reused_memory():
        for batch in stream.batches:
            run(batch)
            labels.append(batch.labels)
            done += batch.n_rows
            if progress is not None:
                progress(done, stream.n_points)
    return _result(
        recorder,
        labels,
        stream.class_names,
        name or type(network).__name__,
        {
            "layers": selection.text,
            "readout": readout if isinstance(readout, str) else _name_of(readout),
            "forward": None if forward is None else _name_of(forward),
            "n_points": done,
            "per_class": per_class,
            "seed": seed,
            "drawn": stream.drawn,
            "batches": recorder.n_batches,
            "weights_sha256": weights_sha256(network),
        },
    )


class _Run:
    """One forward pass after the other, watched."""

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

    def _run(self, inputs: Any) -> Any:
        try:
            return self.forward(self.network, inputs)
        except DimscopeError:
            raise
        except Exception as error:
            raise BadSource(
                f"the network failed on batch {self.recorder.n_batches + 1}, of "
                f"{describe_tensors(inputs)}: {type(error).__name__}: {error}"
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
def _evaluating(network: nn.Module) -> Iterator[None]:
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


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def _result(
    recorder: Recorder,
    labels: list[np.ndarray[Any, Any] | None],
    class_names: tuple[str, ...] | None,
    name: str,
    parameters: dict[str, Any],
) -> Activations:
    points, failures, layers = {}, {}, []
    for one in recorder.chosen:
        layer = one.layer.name
        if one.column.reason is None:
            points[layer] = one.column.finish()
        else:
            failures[layer] = one.column.reason
        layers.append(one.described())
    if not points:
        first = next(iter(failures), None)
        reason = f"; {first!r}: {failures[first]}" if first is not None else ""
        raise BadPoints(f"none of the {len(failures)} selected layers has points{reason}")
    known = [one for one in labels if one is not None]
    return Activations(
        points,
        tuple(layers),
        np.concatenate(known) if known and len(known) == len(labels) else None,
        class_names,
        failures,
        name,
        Provenance("capture", parameters, versions("torch", "torchvision")),
    )
