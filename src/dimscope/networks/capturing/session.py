"""Session: hold the network, data, options and evidence of one capture, and run its batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from dimscope.activations.dominance import warn_of_dominance
from dimscope.activations.store import has_zarr
from dimscope.errors import BadSource, CaptureWarning, warn
from dimscope.files import free_disk
from dimscope.networks.capturing.evidence import (
    Evidence,
    few_rows,
    reason_against,
    telling,
    telling_rows,
)
from dimscope.networks.capturing.identity import (
    architecture_sha256,
    batch_sha256,
    function_of,
    weights_sha256,
)
from dimscope.networks.capturing.padding import most_padded
from dimscope.networks.capturing.plan import Plan
from dimscope.networks.capturing.readouts import READOUTS, as_readout
from dimscope.networks.capturing.recording import Candidates, Recorder
from dimscope.networks.capturing.rows import FEW, MORE
from dimscope.networks.capturing.run import Run, evaluating
from dimscope.networks.capturing.store_writer import Writer
from dimscope.networks.data.batches import Batch
from dimscope.networks.data.inputs import Inputs
from dimscope.networks.data.masks import padding_without_mask
from dimscope.networks.data.signature import Signature
from dimscope.networks.data.stream import open_batches
from dimscope.networks.data.texts import Texts
from dimscope.networks.layers import Selection, prefix_of
from dimscope.networks.options import CaptureOptions
from dimscope.networks.preprocessing import for_network
from dimscope.networks.structure import Structure, unwrap
from dimscope.networks.tensors import main_tensor
from dimscope.networks.tracing import Tracer
from dimscope.provenance import Provenance, versions

__all__ = ["Session"]


class Session:
    """Run one capture: a network on its data, with the given options.

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
        self.options = options
        self.readout = as_readout(options.readout)
        self.network = unwrap(model)
        selection = Selection(options.layers, prefix_of(self.network))
        self.name = options.name or type(self.network).__name__
        structure = Structure(self.network)
        self._tracer = Tracer(structure)
        self.run = Run(self.network, structure, self._tracer, options.seed)
        batches, self._preprocessing = for_network(batches, model)
        self._texts = ""
        if isinstance(batches, Texts):
            batches = batches.encode(model)
            self._texts = batches.text
            if options.ids is None:  # so that exclude="ids" separates the tokens of each text
                options = replace(options, ids=batches.ids)
        signature = Signature.of(self.network)
        self.stream = open_batches(batches, options, signature, self._attempt)
        self.run.call = self.stream.inputs.call
        self.recorder = Recorder(structure, selection, self.readout, self.n_points, only)
        self.evidence = Evidence(
            self.run, lambda finer: Candidates(structure, selection, finer), signature
        )
        self._examined = self._warned_of_padding = self._warned_of_dominance = False
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

    @property
    def n_points(self) -> int | None:
        """Number of points of a layer; None if it is unknown."""
        return None if self.readout is READOUTS["tokens"] else self.stream.n_points

    def _attempt(self, inputs: Inputs, batch: Batch) -> str | None:
        """Return why a reading of the data fails on a few rows; None if it works."""
        self.run.call = inputs.call
        batch = telling(batch)
        try:
            with evaluating(self.network):
                outputs = [self.run.plain(few_rows(batch, order)) for order in (FEW, MORE)]
        except BadSource as error:
            return str(error)
        # a network that takes lists, such as a detector, returns as many boxes as it sees
        return None if inputs.layout.lists else reason_against(*outputs)

    def examine(self) -> None:
        """Find the axis of the stimuli in every layer, once, from runs on the first stimuli.

        Raises
        ------
        BadSource
            If the network fails, or the rows of the data are not stimuli.
        """
        if self._examined:
            return
        with evaluating(self.network):
            few = self._with_mask(self.stream.peek(len(MORE)))
            if few.masks:  # prefer the stimuli with the most padding
                few = most_padded(self._with_mask(self.stream.first()), len(MORE))
            elif len(telling_rows(few, len(MORE))) < len(MORE):
                few = telling(self._with_mask(self.stream.first()))
            self.evidence.collect(
                few, lambda: self._with_mask(self.stream.first()), self._tracer.hooked
            )
        self.recorder.layouts = self.evidence.layouts
        self.recorder.finer = self.evidence.finer
        self._examined = True

    def ready(self) -> ExitStack:
        """Return a context with the network in eval mode and, for tracing, hooks attached."""
        self.examine()
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.network))
            if not self.run.untraced:
                stack.enter_context(self._tracer.hooked())
            return stack.pop_all()

    def run_batch(self, batch: Batch) -> Batch:
        """Run a batch, record its layers, and return it with its masks."""
        if not self._warned_of_padding and (padding := padding_without_mask(batch)):
            self._warned_of_padding = True
            warn(
                f"the data seem to be padded: {padding}; without a mask, padding becomes part of "
                "the points; give attention_mask with the data, or mask=",
                CaptureWarning,
            )
        batch = self._with_mask(batch)
        self.run.n_batches = self.recorder.n_batches
        if batch.is_padded and self.evidence.padding.check(batch, nullcontext):
            self.recorder.refresh()
        if self.recorder.selecting and self.run.untraced:
            with self._tracer.hooked():
                copy = few_rows(batch, range(batch.n_rows))  # it may be overwritten
                self.run.traced(copy, self.recorder, self.run.fresh_random())
            self.recorder.restart(self.evidence.layouts)
        self.run.observed(batch, self.recorder)
        self._warn_of_dependence()
        return batch

    def _warn_of_dependence(self) -> None:
        """Warn, once for each reason, about layers whose points depend on the batch."""
        gaps = self._chosen_among(self.evidence.dependent)
        if gaps:
            warn(
                f"the values of {_listed(gaps, self.recorder)} depend on which other stimuli are "
                "in the batch, as in networks that normalise or quantise over the batch; their "
                "points change with batch_size and with the order of the stimuli",
                CaptureWarning,
            )
            self.evidence.dependent.clear()
        gaps = self._chosen_among(self.evidence.padding.gaps)
        if gaps:
            warn(
                f"the values of {_listed(gaps, self.recorder)} depend on the padding, as in "
                "networks that take a mean over all positions; their points change with the "
                "length to which the stimuli are padded",
                CaptureWarning,
            )
            self.evidence.padding.gaps.clear()
        if self._warned_of_dominance:
            return
        found = {choice.layer.name: choice.column.dominance for choice in self.recorder.chosen}
        if any(value.is_known for value in found.values()):
            self._warned_of_dominance = True
            warn_of_dominance(found, len(found))

    def _chosen_among(self, gaps: Mapping[str, float]) -> dict[str, float]:
        return {
            choice.layer.name: gaps[choice.column.name]
            for choice in self.recorder.chosen
            if choice.column.reason is None and choice.column.name in gaps
        }

    def _with_mask(self, batch: Batch) -> Batch:
        """Return the batch with a mask for the readout "tokens", which needs one."""
        if batch.masks or self.readout is not READOUTS["tokens"]:
            return batch
        main, _ = main_tensor(batch.inputs)
        if main is None or main.ndim != (3 if main.is_floating_point() else 2):
            return batch
        return replace(batch, masks={"": torch.ones(main.shape[:2], dtype=torch.bool)})

    def resume(self, writer: Writer) -> None:
        """Continue after the batches that a store already holds."""
        self.examine()  # this initialises lazy weights too, from the seed
        writer.resume(self.recorder, self.readout)
        self.run.random.load(writer.random)
        if writer.stream:
            self.run.random.branch(writer.stream)

    def again(self) -> None:
        """Prepare to run the same batches once more, from the same seed; keep the layers."""
        self.recorder.again()
        self.run.restart()

    def plan(
        self, budget: int, n_rows: int, seconds: float | None = None, *, to_store: bool = False
    ) -> Plan:
        """Plan the capture from its first batch, which had ``n_rows`` rows and took ``seconds``."""
        total = self.stream.n_points
        per_stimulus = self.recorder.points_per_stimulus().mean()  # more than 1 for tokens
        if seconds is not None:
            seconds = None if total is None else seconds * -(-total // n_rows)
        plan = Plan.of(
            round(per_stimulus * self.recorder.row_bytes),
            total,
            budget,
            seconds=seconds,
            out=to_store,
            room=free_disk() if has_zarr() else 0,
            widths=[(names, round(per_stimulus * width)) for names, width in self.recorder.widths],
        )
        return replace(plan, inputs=self.inputs)

    @property
    def inputs(self) -> str:
        """How the data were read: inputs, labels and masks, in one line."""
        parts = [f"texts: {self._texts}"] if self._texts else []
        parts.append(self.stream.inputs.text)
        if self.run.gives_positions:
            parts.append("position_ids: from attention_mask")
        if self.evidence.draws:
            parts.append(f"the network draws random numbers, from seed {self.options.seed}")
        return "; ".join(parts)

    def provenance(self, n_points: int) -> Provenance:
        """Return the provenance of the activations."""
        parameters = {
            **self._described,
            "n_points": n_points,
            "drawn": self.stream.drawn,
            "batches": len(self.stream.parts) or self.recorder.n_batches,
            "weights_sha256": weights_sha256(self.network),
            "inputs": self.inputs,
        }
        if self._preprocessing is not None:
            parameters["preprocessing"] = self._preprocessing
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
        for option in ("mask", "ids", "batch_axis"):
            value = getattr(self.options, option)
            if not (value is None or (isinstance(value, int) and value == 0)):
                identity[option] = function_of(value)
        # as it will be read back from the file: tuples are lists, NumPy integers are integers
        plain: dict[str, Any] = json.loads(json.dumps(identity, default=int))
        return plain


def _listed(gaps: Mapping[str, float], recorder: Recorder) -> str:
    worst = max(gaps, key=lambda name: gaps[name])
    names = ", ".join(map(repr, list(gaps)[:5])) + (", ..." if len(gaps) > 5 else "")
    size = f"; {worst!r} by {gaps[worst]:.2g} of its norm" if gaps[worst] else ""
    return f"{len(gaps)} of {len(recorder.chosen)} layers ({names}{size})"


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))
