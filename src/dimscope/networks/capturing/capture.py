"""The functions ``capture`` and ``plan``: run a network over the data and keep its layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any, Unpack

import numpy as np
import torch
from torch import nn

from dimscope.activations.activations import Activations
from dimscope.activations.store import Folder, need_zarr, open_store
from dimscope.arrays.memory import budget_from
from dimscope.arrays.tensor_points import room_on
from dimscope.arrays.threads import Progress
from dimscope.errors import BadSource
from dimscope.files import TemporaryFolder, free_disk
from dimscope.networks.capturing.lock import locked
from dimscope.networks.capturing.plan import Plan
from dimscope.networks.capturing.ranks import Follower, Leader, Ranks, joined
from dimscope.networks.capturing.recording import failures_of
from dimscope.networks.capturing.session import Session
from dimscope.networks.capturing.store_writer import Writer, refuse_other_capture
from dimscope.networks.data.batches import Batch
from dimscope.networks.options import (
    CaptureKeywords,
    CaptureOptions,
    Layers,
    takes_capture_options,
)

__all__ = ["capture", "capture_groups", "plan"]


@takes_capture_options
def capture(
    model: nn.Module,
    batches: Any,
    layers: Layers = "checkpoints",
    *,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], object] | None = None,
    **options: Unpack[CaptureKeywords],
) -> Activations:
    """Run a network once over the data and return the points of its layers.

    Parameters
    ----------
    model : torch.nn.Module
        The network. It runs in eval mode; its previous mode is restored at the end.
    batches : tensor, array, tuple or dict of them, Dataset, DataLoader, iterable, or path
        The stimuli: arrays with one row for each, a data set of stimuli, or an iterable of batches
        or of single stimuli. A path is an image folder with one folder for each class, or a
        ``.npy`` file. What goes into the network, what is a label and what is a mask of padding
        follows from the parameters of its ``forward`` and the structure of the data; the provenance
        states it in one line (``inputs: input_ids, attention_mask; labels: y``). What stays
        ambiguous is refused: name the tensors in a dict, give ``(inputs, labels)``, or ``forward``.
    **options
        The fields of CaptureOptions.
    progress : callable, optional
        ``progress(step, done, total)``, called after every batch. ``done`` and ``total`` count
        rows; ``total`` may be None. With several ranks, both count only the rows in this rank's
        share.
    on_plan : callable, optional
        Called with the :class:`~dimscope.Plan` after the first batch; with several ranks, only on
        rank 0.

    Returns
    -------
    Activations
        The points keep the precision of the network (float16, float32 or float64); bfloat16 is
        converted to float32 without loss. If the layers are on disk, the result is a
        :class:`~dimscope.StoredActivations`.

    Raises
    ------
    BadSource
        If the model, the data or an option is invalid, or ``out`` holds a different capture.
    BadPoints
        If there are too few rows, or no layer has points.

    Notes
    -----
    The layers are selected during the first batch. Every candidate is copied as soon as it is
    computed, so that later in-place operations do not change it. At the end of the batch,
    candidates that are not selected are dropped.

    Only the same capture can resume a store: the modules, weights, layers, readout, forward
    function, numbers of stimuli, seed, batch size, rows drawn and data must all be the same.
    Functions are compared by their code. Arrays are compared by all their values, data sets by
    their first and last batch, and iterators by their first batch; the caller must make sure that
    the other batches are the same and in the same order.

    Several ranks on one machine can share the work: each calls
    ``torch.distributed.init_process_group``, then this function with the same arguments, including
    ``out``, and with the network on its own device. With the same kind of device and the same
    number of threads, the store then has the same bytes as one written by a single process. The
    exception is a network that draws random numbers, because each rank draws its own. The budget
    ``memory`` applies to each rank. Without ``out``, the ranks do not cooperate: each captures all
    rows for itself.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> activations = capture(net, torch.zeros(5, 4))
    >>> [(layer.name, layer.role, layer.depth) for layer in activations.layers]
    [('input', 'input', 0), ('0', 'last_hidden', 1), ('output', 'output', 2)]
    """
    return _capture(model, batches, CaptureOptions(layers, **options), progress, on_plan)


def _capture(
    model: nn.Module,
    batches: Any,
    options: CaptureOptions,
    progress: Progress | None,
    on_plan: Callable[[Plan], object] | None,
) -> Activations:
    with joined(options.out) as ranks, ExitStack() as lock:
        with ranks.together():
            session = Session(model, batches, options)
            keeper = Keeper(session, budget_from(options.memory), on_plan, progress)
            if options.out is not None:
                ranks.check(session.stream)
                if ranks.size > 1 and options.readout == "tokens":
                    raise BadSource(
                        "several ranks cannot share a capture with readout='tokens', because the "
                        "number of rows of each share is unknown; capture in one process"
                    )
                folder, identity = Folder(options.out), session.identity()
                parts = session.stream.parts
                if ranks.rank == 0:  # for all ranks, to the end
                    refuse_other_capture(folder, identity)  # before it leaves a trace there
                    lock.enter_context(locked(folder))
                if ranks.size == 1:
                    keeper.open(Writer(folder, identity, session.n_points))
                elif ranks.rank == 0:
                    keeper.open(Leader(folder, identity, parts, ranks.size))
                    keeper.run(ranks, stop=1)  # the other ranks start from its choice of layers
        with ranks.together(), ranks.stopping():
            if ranks.rank:
                keeper.open(Follower(folder, identity, parts, ranks.rank))
            keeper.run(ranks)
        with ranks.together():
            activations = None if ranks.rank else keeper.result()
        return open_store(folder.url) if activations is None else activations


class Keeper:
    """Keep the points in memory or in a store; the choice is made after the first batch.

    If the number of points is unknown, they stay in memory as long as they fit. If the layers fit
    neither in memory nor on disk, a profile keeps only the first group of them; otherwise, an error
    is raised. If the network runs on a device, the points of a profile stay there, provided that
    they fit in memory and in half of what is free on the device.
    """

    def __init__(
        self,
        session: Session,
        budget: int,
        on_plan: Callable[[Plan], object] | None,
        progress: Progress | None,
        *,
        for_profile: bool = False,
    ) -> None:
        self.writer: Writer | None = None
        self.complete: Activations | None = None
        self.done = 0
        self._session, self._recorder = session, session.recorder
        self._budget, self._on_plan, self._progress = budget, on_plan, progress
        self._for_profile = for_profile
        if for_profile:
            self._recorder.device = session.run.device
        self._step = "running the network"
        self._labels: list[np.ndarray[Any, Any] | None] = []
        self._ids: list[np.ndarray[Any, Any] | None] = []

    def open(self, writer: Writer) -> None:
        """Write to a store from the start, resuming after the batches that it already holds."""
        self.writer, self.complete = writer, writer.complete()
        if self.complete is None and writer.n_batches:
            self._session.resume(writer)
            self.done = writer.n_rows

    def run(self, ranks: Ranks, stop: int | None = None) -> None:
        """Run the remaining batches up to ``stop``, or the rest of this rank's share."""
        if self.complete is not None:
            return
        stream, begin = self._session.stream, self._recorder.n_batches
        first, total = 0, stream.n_points
        if self.writer is not None and self.writer.stop is not None:
            first = self.writer.first
            total = sum(map(len, stream.parts[: self.writer.stop])) - first
            stop = stop or self.writer.stop
        left = None if stop is None else max(0, stop - begin)
        with self._session.ready():
            for batch in islice(stream.after(begin), left):
                start = time.perf_counter()
                batch = self._session.run_batch(batch)
                self._keep(batch, time.perf_counter() - start, ranks.size)
                if self._progress is not None:
                    self._progress(self._step, self.done - first, total)
                if ranks.stopped:
                    break

    def _keep(self, batch: Batch, seconds: float, size: int) -> None:
        """Keep the points of a batch that has run; switch to a store if the plan says so."""
        self.done += batch.n_rows
        counts = self._recorder.points_per_stimulus()
        self._labels.append(None if batch.labels is None else np.repeat(batch.labels, counts))
        self._ids.append(None if batch.ids is None else np.repeat(batch.ids, counts))
        if self._recorder.n_batches == 1:
            plan = self._session.plan(
                self._budget, batch.n_rows, seconds / size, to_store=self.writer is not None
            )
            self._tell(plan)
            self._recorder.move(self._device_for(plan))
            if plan.how == "passes" and self._for_profile:
                self._recorder.keep(plan.groups[0])
            elif plan.how != "memory":
                self._start(batch.n_rows)
            if self.writer is None:
                self._recorder.reserve()
        elif self.writer is None and self._overflows(batch.n_rows):
            self._tell(replace(self._session.plan(self._budget, batch.n_rows), how="store"))
            self._start(batch.n_rows)
        if self.writer is not None:
            n_rows = self._recorder.n_recorded - self.writer.n_rows
            labels, self._labels = _joined(self._labels), []
            ids, self._ids = _joined(self._ids), []
            random = self._session.run.random.save()
            self.writer.add(self._recorder, labels, ids, n_rows, random)

    def _device_for(self, plan: Plan) -> torch.device | None:
        """Return the device on which all points fit; None to keep them elsewhere."""
        device = self._recorder.device
        if device is None or plan.how != "memory" or self._session.n_points is None:
            return None
        n_bytes = self._session.n_points * self._recorder.row_bytes
        return device if n_bytes <= room_on(device) // 2 else None

    def _overflows(self, n_rows: int) -> bool:
        added = n_rows * self._recorder.points_per_stimulus().mean()
        next_bytes = (self._recorder.n_recorded + added) * self._recorder.row_bytes
        return self._session.n_points is None and next_bytes > self._budget

    def _tell(self, plan: Plan) -> None:
        if plan.how != "memory":
            self._step = f"running the network, {plan.where}"
        if self._on_plan is not None:
            self._on_plan(plan)

    def _start(self, n_rows: int) -> None:
        if self.writer is None:
            n_points = self._session.n_points
            n_bytes = (n_points or self._recorder.n_recorded) * self._recorder.row_bytes
            try:
                need_zarr()
            except BadSource as error:
                raise BadSource(
                    f"the layers take {n_bytes / 1e9:.3g} GB, more than the budget of "
                    f"{self._budget / 1e9:.3g} GB, and {error}; or raise the budget, memory"
                ) from error
            temporary = TemporaryFolder(".zarr")
            free = free_disk()
            if n_bytes > free:
                raise BadSource(
                    f"the layers take {n_bytes / 1e9:.1f} GB on disk, but "
                    f"{temporary.path.parent} has {free / 1e9:.1f} GB left; give another folder "
                    "as out, fewer points or layers, or readout='mean'; or use dimscope.profile, "
                    "which measures them in several passes"
                )
            self.writer = Writer(Folder(temporary.path), {}, n_points, temporary)
        self.writer.start(self._recorder, n_rows)

    def result(self) -> Activations:
        """Return the activations of all batches."""
        if self.complete is not None:
            return self.complete
        session = self._session
        self._recorder.warn_of_late_calls()
        provenance = session.provenance(session.n_points or self._recorder.n_recorded)
        names, chosen = session.stream.class_names, self._recorder.chosen
        if self.writer is not None:
            return self.writer.finish(self._recorder, names, session.name, provenance)
        failures = failures_of(chosen)
        return Activations(
            {
                choice.layer.name: choice.column.finish()
                for choice in chosen
                if choice.layer.name not in failures
            },
            tuple(choice.described() for choice in chosen),
            _joined(self._labels),
            names,
            failures,
            session.name,
            provenance,
            ids=_joined(self._ids),
        )


def _joined(labels: list[np.ndarray[Any, Any] | None]) -> np.ndarray[Any, Any] | None:
    parts = [part for part in labels if part is not None]
    if not parts or len(parts) < len(labels) or len({part.dtype.kind == "U" for part in parts}) > 1:
        return None  # words in one batch and numbers in another name no classes
    return np.concatenate(parts)


def capture_groups(
    model: nn.Module,
    batches: Any,
    options: CaptureOptions,
    *,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], object] | None = None,
) -> Iterator[Activations]:
    """Yield all layers at once or, if they fit neither in memory nor on disk, in several groups.

    Parameters
    ----------
    model, batches, on_plan
        As for :func:`dimscope.capture`.
    options : CaptureOptions
    progress : callable, optional
        As for :func:`dimscope.capture`, but counting the rows of all passes together.

    Yields
    ------
    Activations
        The activations of one group of layers at a time. Every group has the same rows, and a
        network that draws random numbers draws the same numbers for every group.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [list(group) for group in capture_groups(net, torch.zeros(5, 4), CaptureOptions())]
    [['input', '0', 'output']]
    """
    if options.out is not None:
        yield _capture(model, batches, options, progress, on_plan)
        return
    budget = budget_from(options.memory)
    plans: list[Plan] = []

    def note(plan: Plan) -> None:
        plans.append(plan)
        if on_plan is not None:
            on_plan(plan)

    def run(number: int, only: tuple[str, ...] | None = None) -> Activations:
        def report(step: str, done: float, total: float | None) -> None:
            if progress is None:
                return
            if total is None:
                progress(step, done, None)
            else:
                progress(step, done + number * total, total * plans[0].passes)

        session = Session(model, batches, options, only)
        is_first = only is None
        keeper = Keeper(session, budget, note if is_first else None, report, for_profile=True)
        keeper.run(Ranks())
        return keeper.result()

    yield run(0)
    for number, group in enumerate(plans[-1].groups[1:], 1):
        yield run(number, group)


@takes_capture_options
def plan(
    model: nn.Module,
    batches: Any,
    layers: Layers = "checkpoints",
    **options: Unpack[CaptureKeywords],
) -> Plan:
    """Predict how many bytes and how much time :func:`dimscope.capture` would take.

    The network runs on the first batch only, and nothing is written. If the data are an iterator
    that can be read only once, this consumes its first batch.

    Parameters
    ----------
    model, batches
        As for :func:`dimscope.capture`.
    **options
        The fields of CaptureOptions.

    Returns
    -------
    Plan
        With ``bytes``, ``passes``, ``seconds``, and ``how``: ``"memory"``, ``"store"``, or, if the
        disk has no room, ``"passes"``. In the last case, :func:`dimscope.profile` runs the network
        several times.

    Raises
    ------
    BadSource, BadPoints
        As :func:`dimscope.capture`.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> needs = plan(net, torch.zeros(500, 4), memory="10 kB")
    >>> needs.bytes, needs.passes, needs.how  # 500 points of 4 + 3 + 2 numbers of 4 bytes
    (18000, 1, 'store')
    """
    session = Session(model, batches, CaptureOptions(layers, **options))
    budget = budget_from(session.options.memory)
    with session.ready():
        batch = session.stream.first()
        start = time.perf_counter()
        session.run_batch(batch)
        seconds = time.perf_counter() - start
    return session.plan(budget, batch.n_rows, seconds, to_store=session.options.out is not None)
