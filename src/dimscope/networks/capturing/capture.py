"""The verbs ``capture`` and ``plan``: run a network over the data and keep its layers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from torch import nn

from dimscope.activations.activations import Activations
from dimscope.activations.store import Folder, need_zarr, open_store
from dimscope.arrays.memory import budget_from
from dimscope.errors import BadSource
from dimscope.networks.capturing.batches import Batch
from dimscope.networks.capturing.columns import Readout
from dimscope.networks.capturing.plan import Plan
from dimscope.networks.capturing.ranks import Follower, Leader, Ranks, joined
from dimscope.networks.capturing.recording import failures_of
from dimscope.networks.capturing.session import Session
from dimscope.networks.capturing.store_writer import Temporary, Writer
from dimscope.networks.layers import Layers

__all__ = ["capture", "captured", "plan"]


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
    memory: int | str | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int | None], object] | None = None,
    on_plan: Callable[[Plan], object] | None = None,
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
        ``"layer*"``, or a function of a :class:`~dimscope.Layer`. A linear layer
        that is asked for by its name is returned as the module returned it, before any
        activation; as a checkpoint it comes after the activation that follows.
    readout : {"flatten", "mean", "first", "last"} or callable
        How a tensor becomes points, see :func:`~dimscope.networks.capturing.columns.as_readout`.
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
    memory : int or str, optional
        How many bytes the captured layers may take in memory, also as ``"4GB"``; half of
        what is free by default. Layers that take more go to a store on disk: ``out``, or a
        temporary one (in ``TMPDIR``) that goes with the activations.
    out : path or URL, optional
        Write the layers to this store, batch by batch, whether they fit in memory or not.
        A capture that was stopped, even by ``kill -9``, goes on after its last whole batch;
        no batch that is written runs through the network again. A complete store of
        the same capture is returned as it is. Under ``torchrun``, or in a process group, all
        ranks write to it, each its share of the batches.
    progress : callable, optional
        ``progress(done, total)``, called after every batch; ``total`` may be None. On many
        ranks these are the rows of the rank's share.
    on_plan : callable, optional
        Called after the first batch with the :class:`~dimscope.Plan`, on rank 0.

    Returns
    -------
    Activations
        float16, float32 and float64 are kept; bfloat16 is returned, exactly, in float32.
        Those on disk are :class:`~dimscope.StoredActivations`.

    Raises
    ------
    BadSource
        If the model, the data or the layers are not what they should be, or ``out`` holds
        another capture.
    BadPoints
        If there are too few rows, or none of the layers has points.

    Notes
    -----
    The choice is made while the first batch runs: every candidate is copied the moment it
    exists, so operations in place do not change it, and what is not selected is dropped.

    Two captures are the same if modules, weights, layers, readout, forward function, numbers,
    seed, batch size, rows drawn and data are; functions are known by their code. All values
    of an array are compared; of a data set the first and the last batch, of what can only
    be iterated the first. The others are taken to come in the same order again.

    Many ranks call this function with the same arguments, on one machine, each with the
    network on its own device. The store has the same bytes as that of one process whose
    device and number of threads are the same, unless the network draws random numbers: each
    rank draws its own. The budget is that of one rank. Without ``out`` ranks know nothing of
    each other: each captures everything for itself.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> activations = capture(net, torch.zeros(5, 4))
    >>> [(layer.name, layer.role, layer.depth) for layer in activations.layers]
    [('input', 'input', 0), ('0', 'last_hidden', 1), ('output', 'output', 2)]
    """
    with joined(out) as ranks:
        with ranks.together():
            session = Session(
                model, batches, layers, readout=readout, forward=forward, n_points=n_points,
                per_class=per_class, seed=seed, batch_size=batch_size, name=name,
            )  # fmt: skip
            keeper = Keeper(session, budget_from(memory), on_plan, progress)
            if out is not None:
                ranks.check(session.stream)
                folder, identity, parts = Folder(out), session.identity(), session.stream.parts
                if ranks.size == 1:
                    keeper.open(Writer(folder, identity, session.stream.n_points))
                elif ranks.rank == 0:
                    keeper.open(Leader(folder, identity, parts, ranks.size))
                    keeper.run(ranks, stop=1)  # the others go on from its choice of layers
        with ranks.together(), ranks.stopping():
            if ranks.rank:
                keeper.open(Follower(folder, identity, parts, ranks.rank))
            keeper.run(ranks)
        with ranks.together():
            found = None if ranks.rank else keeper.result()
        return open_store(folder.url) if found is None else found


class Keeper:
    """Where the points go, in memory or to a store: decided after the first batch.

    Without a known number of points they stay in memory as long as they fit. With
    ``repeats`` only the first of the groups of layers is kept of what fits in neither.
    """

    def __init__(
        self,
        session: Session,
        budget: int,
        on_plan: Callable[[Plan], object] | None,
        progress: Callable[[int, int | None], object] | None,
        *,
        repeats: bool = False,
    ) -> None:
        self.writer: Writer | None = None
        self.complete: Activations | None = None
        self.done = 0
        self._session, self._recorder = session, session.recorder
        self._budget, self._on_plan, self._progress = budget, on_plan, progress
        self._repeats = repeats
        self._labels: list[np.ndarray[Any, Any] | None] = []

    def open(self, writer: Writer) -> None:
        """Write to a store from the start, and go on after what is there."""
        self.writer, self.complete = writer, writer.complete()
        if self.complete is None and writer.n_batches:
            self._session.resume(writer)
            self.done = writer.n_rows

    def run(self, ranks: Ranks, stop: int | None = None) -> None:
        """Run the batches before ``stop``, or of this rank's share, that have not run yet."""
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
                self._session.run(batch)
                self._keep(batch, time.perf_counter() - start, ranks.size)
                if self._progress is not None:
                    self._progress(self.done - first, total)
                if ranks.stopped:
                    break

    def _keep(self, batch: Batch, seconds: float, size: int) -> None:
        """Note that a batch is whole; go to the store, or on with it, where that is planned."""
        self.done += batch.n_rows
        self._labels.append(batch.labels)
        if self._recorder.n_batches == 1:
            plan = self._session.plan(
                self._budget, batch.n_rows, seconds / size, out=self.writer is not None
            )
            self._tell(plan)
            if plan.how == "passes" and self._repeats:
                self._recorder.keep(plan.groups[0])
            elif plan.how != "memory":
                self._start(batch.n_rows)
            if self.writer is None:
                self._recorder.reserve()
        elif self.writer is None and self._overflows(batch.n_rows):
            self._tell(replace(self._session.plan(self._budget, batch.n_rows), how="store"))
            self._start(batch.n_rows)
        if self.writer is not None:
            n_rows = self.done - self.writer.n_rows
            labels, self._labels = _joined(self._labels), []
            self.writer.add(self._recorder, labels, n_rows, self._session.run.random.save())

    def _overflows(self, n_rows: int) -> bool:
        next_bytes = (self.done + n_rows) * self._recorder.row_bytes
        return self._session.stream.n_points is None and next_bytes > self._budget

    def _tell(self, plan: Plan) -> None:
        if self._on_plan is not None:
            self._on_plan(plan)

    def _start(self, n_rows: int) -> None:
        if self.writer is None:
            n_points = self._session.stream.n_points
            n_bytes = (n_points or self.done) * self._recorder.row_bytes
            try:
                need_zarr()
            except BadSource as error:
                raise BadSource(
                    f"the layers take {n_bytes / 1e9:.3g} GB, more than the budget of "
                    f"{self._budget / 1e9:.3g} GB, and {error}; or raise the budget, memory"
                ) from error
            place = Temporary(n_bytes)
            self.writer = Writer(Folder(place.path), {}, n_points, place)
        self.writer.start(self._recorder, n_rows)

    def result(self) -> Activations:
        """The activations of all batches."""
        if self.complete is not None:
            return self.complete
        session = self._session
        provenance = session.provenance(session.stream.n_points or self.done)
        names, chosen = session.stream.class_names, self._recorder.chosen
        if self.writer is not None:
            return self.writer.finish(self._recorder, names, session.name, provenance)
        failures = failures_of(chosen)
        return Activations(
            {
                one.layer.name: one.column.finish()
                for one in chosen
                if one.layer.name not in failures
            },
            tuple(one.described() for one in chosen),
            _joined(self._labels),
            names,
            failures,
            session.name,
            provenance,
        )


def _joined(labels: list[np.ndarray[Any, Any] | None]) -> np.ndarray[Any, Any] | None:
    known = [one for one in labels if one is not None]
    if not known or len(known) < len(labels) or len({one.dtype.kind == "U" for one in known}) > 1:
        return None  # words in one batch and numbers in another name no classes
    return np.concatenate(known)


def captured(
    model: nn.Module,
    batches: Any,
    layers: Layers = "checkpoints",
    *,
    memory: int | str | None = None,
    out: Any = None,
    progress: Callable[[int, int | None], object] | None = None,
    on_plan: Callable[[Plan], object] | None = None,
    **options: Any,
) -> Iterator[Activations]:
    """Yield all layers at once or, where they fit nowhere, one group after the other.

    Parameters
    ----------
    model, batches, layers, memory, out, on_plan, **options
        As for :func:`dimscope.capture`.
    progress : callable, optional
        ``progress(done, total)``; rows of all passes together.

    Yields
    ------
    Activations
        Of some layers, then of others, until all had their turn. The rows are the same in
        every group, and a network that draws random numbers draws the same ones again.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [list(some) for some in captured(net, torch.zeros(5, 4))]
    [['input', '0', 'output']]
    """
    if out is not None:
        yield capture(
            model, batches, layers, memory=memory, out=out, progress=progress,
            on_plan=on_plan, **options,
        )  # fmt: skip
        return
    budget = budget_from(memory)
    plans: list[Plan] = []

    def told(plan: Plan) -> None:
        plans.append(plan)
        if on_plan is not None:
            on_plan(plan)

    def run(number: int, only: tuple[str, ...] | None = None) -> Activations:
        def ran(rows: int, total: int | None) -> None:
            if progress is not None and total is None:
                progress(rows, None)
            elif progress is not None and total is not None:
                progress(rows + number * total, total * plans[0].passes)

        session = Session(model, batches, layers, only=only, **options)
        first = only is None
        keeper = Keeper(session, budget, told if first else None, ran, repeats=first)
        keeper.run(Ranks())
        return keeper.result()

    yield run(0)
    for number, group in enumerate(plans[-1].groups[1:], 1):
        yield run(number, group)


def plan(
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
    memory: int | str | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Plan:
    """Say what :func:`dimscope.capture` would take, called in the same way.

    The first batch runs, and nothing is written; of an iterator that can be read
    once, it is used up.

    Parameters
    ----------
    model, batches, layers, readout, forward, n_points, per_class, seed, batch_size, name
        As for :func:`dimscope.capture`.
    memory, out
        As for :func:`dimscope.capture`.

    Returns
    -------
    Plan
        ``bytes``, ``passes``, ``seconds``, and ``how``: ``"memory"``, ``"store"``, or
        ``"passes"`` where the disk has no room: then :func:`dimscope.profile` runs the network
        several times.

    Raises
    ------
    BadSource, BadPoints
        As :func:`dimscope.capture`.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> found = plan(net, torch.zeros(500, 4), memory="10 kB")
    >>> found.bytes, found.passes, found.how  # 500 points of 4 + 3 + 2 numbers of 4 bytes
    (18000, 1, 'store')
    """
    session = Session(
        model, batches, layers, readout=readout, forward=forward, n_points=n_points,
        per_class=per_class, seed=seed, batch_size=batch_size, name=name,
    )  # fmt: skip
    budget = budget_from(memory)
    with session.ready():
        batch = session.stream.first()
        start = time.perf_counter()
        session.run(batch)
        seconds = time.perf_counter() - start
    return session.plan(budget, batch.n_rows, seconds, out=out is not None)
