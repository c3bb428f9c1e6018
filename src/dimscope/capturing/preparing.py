"""Preparing: everything a capture needs before the first batch runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from contextlib import ExitStack
from operator import index
from typing import Any

import numpy as np
from torch import nn
from torch.nn.parameter import is_lazy

from dimscope.capturing.allocator import reused_memory
from dimscope.capturing.fingerprints import architecture_sha256, function_of, weights_sha256
from dimscope.capturing.identities import batch_sha256
from dimscope.capturing.readout import Readout, as_readout
from dimscope.capturing.recording import Recorder
from dimscope.capturing.running import Run, evaluating
from dimscope.capturing.selection import Layers, Selection
from dimscope.capturing.streams import open_batches
from dimscope.capturing.structure import Structure, unwrap
from dimscope.capturing.temporary import room
from dimscope.capturing.tracing import Tracer
from dimscope.capturing.writing import Writer
from dimscope.errors import BadSource
from dimscope.folders import has_zarr
from dimscope.plans import Plan
from dimscope.provenance import Provenance, versions

__all__ = ["Session"]


class Session:
    """One capture: the network, its data, and what is wanted of them.

    The parameters are those of :func:`dimscope.capture`, which also says what is raised, and
    the names of the layers to keep of those that are selected.
    """

    def __init__(
        self,
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
        only: Collection[str] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise BadSource(f"model is a {type(model).__name__}; give a torch.nn.Module")
        seed = index(seed)  # a number of NumPy is not one that JSON holds
        per_class = None if per_class is None else index(per_class)
        selection = Selection(layers)
        self.readout = as_readout(readout)
        self.stream = open_batches(
            batches, n_points=n_points, per_class=per_class, seed=seed, batch_size=batch_size
        )
        self.network = unwrap(model)
        self.name = name or type(self.network).__name__
        structure = Structure(self.network)
        self.recorder = Recorder(structure, selection, self.readout, self.stream.n_points, only)
        self._tracer = Tracer(structure, self.recorder.watch)
        self.run = Run(self.network, forward, self._tracer, self.recorder, seed)
        self._asked = {
            "layers": selection.text,
            "readout": readout if isinstance(readout, str) else _name_of(readout),
            "forward": None if forward is None else _name_of(forward),
            "per_class": per_class,
            "seed": seed,
        }
        self._n_points = n_points
        self._functions: dict[str, Any] = {"readout": readout, "forward": forward}
        if callable(layers):
            self._functions["layers"] = layers

    def ready(self) -> ExitStack:
        """Evaluation mode, hooks and reused memory, until the context ends."""
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.network))
            stack.enter_context(self._tracer.hooked())
            stack.enter_context(reused_memory())
            return stack.pop_all()

    def resume(self, writer: Writer) -> None:
        """Go on after the batches that are in a store."""
        if any(is_lazy(one) for one in self.network.parameters()):
            # its weights are made, from the seed, by the first batch
            with evaluating(self.network):
                self.run.unwatched(self.stream.first())
        writer.resume(self.recorder, self.readout)
        self.run.random.load(writer.random)
        if writer.stream:
            self.run.random.branch(writer.stream)

    def plan(
        self, budget: int, n_rows: int, seconds: float | None = None, *, out: bool = False
    ) -> Plan:
        """Plan the rest after the first batch, which had ``n_rows`` and took ``seconds``."""
        total = self.stream.n_points
        if seconds is not None:
            seconds = None if total is None else seconds * -(-total // n_rows)
        return Plan.of(
            self.recorder.row_bytes, total, budget, seconds=seconds, out=out,
            room=room() if has_zarr() else 0, widths=self.recorder.widths,
        )  # fmt: skip

    def provenance(self, n_points: int) -> Provenance:
        """Where the result comes from."""
        parameters = {
            **self._asked,
            "n_points": n_points,
            "drawn": self.stream.drawn,
            "batches": len(self.stream.parts) or self.recorder.n_batches,
            "weights_sha256": weights_sha256(self.network),
        }
        return Provenance("capture", parameters, versions("torch", "torchvision"))

    def identity(self) -> dict[str, Any]:
        """What makes this capture the same as one that was begun before.

        Data that lie in an array are known by all their values; others by how many rows were
        drawn, which, and the first and the last batch.
        """
        first = self.stream.first()
        values = [batch_sha256(one) for one in self.stream.known(first)]
        rows = np.concatenate([np.empty(0, np.int64), *self.stream.parts]).astype("<i8")
        functions = {key: function_of(one) for key, one in self._functions.items()}
        identity = {
            **self._asked,
            **functions,
            "n_points": self._n_points,
            "weights": weights_sha256(self.network),
            "architecture": architecture_sha256(self.network),
            "batch size": first.n_rows,
            "rows of the data": [self.stream.n_points, hashlib.sha256(rows.tobytes()).hexdigest()],
            "values of the data": hashlib.sha256("".join(values).encode()).hexdigest(),
        }
        # as it is read back from a file: numbers of NumPy are numbers
        plain: dict[str, Any] = json.loads(json.dumps(identity, default=int))
        return plain


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))
