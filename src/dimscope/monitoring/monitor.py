"""The monitor: measure the layers of a network while it is trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from torch import nn

from dimscope.errors import BadSource, reason_of
from dimscope.monitoring.alarms import Alarm, Alarms, Watch
from dimscope.monitoring.history import (
    Running,
    Snapshot,
    drifts_of,
    history_frame,
    scalars_of,
)
from dimscope.monitoring.overhead import Overhead
from dimscope.monitoring.process import is_main_process, is_sharded, undisturbed
from dimscope.monitoring.schedule import Schedule, Unit, Word, as_schedule
from dimscope.monitoring.trackers import Tracker, as_tracker, profile_figure
from dimscope.networks.capturing.probe import Probe
from dimscope.networks.options import CaptureKeywords, CaptureOptions, Layers
from dimscope.profiles.layerwise import assign_identities, measure_layers
from dimscope.profiles.profile import Profile
from dimscope.values import from_plain, to_plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from dimscope.activations.activations import Activations
    from dimscope.estimators.estimates import Estimate
    from dimscope.estimators.measure import Estimators
    from dimscope.neighbors.engines import Engine

__all__ = ["IDMonitor"]

_AT_MOST = 1000  # rows of a probe, unless the user chooses
_BATCH = 128
_FIGURES = 0.2  # share of the measuring time that figures may take
_VERSION = 1  # of the state
_ALARMS = Alarms()

_log = logging.getLogger("dimscope.monitoring")


class IDMonitor:
    """Measure the dimension of the layers of a network while it is trained.

    Make it before the training loop, which measures the untrained network at once; then call
    :meth:`step` after every training step, and :meth:`finish` at the end. The adapters for
    Lightning and transformers do this for you.

    Parameters
    ----------
    model : torch.nn.Module
        The network that is trained, also compiled or wrapped for data-parallel training.
    probe : tensor, Dataset, DataLoader, iterable of batches, or path
        The stimuli to measure on, as for :func:`dimscope.capture`: 500 to 2000 are enough. They
        are read once and kept in memory. At most 1000 rows are used, unless ``n_points`` or
        ``per_class`` says otherwise.
    layers : str, sequence of str, or callable
        Which layers to measure, as for :func:`dimscope.capture`.
    every : int, {"step", "epoch", "log"}, or Schedule
        When to measure: a number of steps, :class:`Every`, or :class:`LogSpaced`.
    max_overhead : float or None
        The largest share of the training time that measurements may take. Scheduled measurements
        that would exceed it are skipped, and counted. None measures all of them.
    estimators : estimator, list of estimators, or dict of name -> estimator
        :class:`~dimscope.TwoNN` by default.
    trackers : tracker, path of a CSV file, SummaryWriter, run of wandb, or a list of them
        Where to log (:mod:`dimscope.monitoring.trackers`).
    alarms : Alarms or None
        When to raise an alarm; None raises none.
    on_alarm : callable, optional
        Called with each :class:`Alarm`; by default, alarms are logged as warnings of the logger
        ``dimscope.monitoring``.
    engine : Engine, optional
        How to search for neighbours; exact by default.
    first : bool
        Measure the network at once. Give False to load a saved state first.
    **options
        The other fields of CaptureOptions, such as ``forward``, ``readout`` and ``batch_size``
        (128 by default).

    Attributes
    ----------
    snapshots : list of Snapshot
        All measurements.
    alarms : list of Alarm
        All alarms so far.
    scheduled : bool
        Whether the schedule had a measurement at the last step or epoch; the same on all ranks.
    failures : list of (int, str)
        Steps at which a measurement failed, and why. Only the first measurement may stop a
        training run.

    Raises
    ------
    BadSource, BadPoints
        As :func:`dimscope.capture`.

    Notes
    -----
    A measurement leaves the network and the process as they were: training mode, statistics of
    batch norm, gradients, hooks and random numbers. It runs in eval mode, without gradients.

    In a process group (``torch.distributed``), only rank 0 measures; the other ranks count steps.
    The network is run without its data-parallel wrapper. Networks whose weights are divided among
    ranks (FSDP, tensor parallel) cannot be run on one of them.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Linear(2, 50), nn.ReLU(), nn.Linear(50, 9))
    >>> monitor = IDMonitor(net, torch.rand(500, 2), every=2, max_overhead=None)
    >>> for loss in (2.0, 1.5, 1.1, 1.0):
    ...     _ = monitor.step(loss=loss)  # after optimizer.step()
    >>> monitor
    IDMonitor(Sequential, 3 layers, 500 stimuli, step 4: 3 measurements, 0 skipped)
    >>> monitor.history.groupby("step")["loss"].first().to_dict()
    {0: nan, 2: 1.75, 4: 1.05}
    >>> {name: round(value) for name, value in monitor.values.items() if name.startswith("id/")}
    {'id/00_input': 2, 'id/01_0': 2, 'id/02_output': 2, 'id/last_hidden': 2, 'id/highest': 2}
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        layers: Layers = "checkpoints",
        *,
        every: int | Word | Schedule = 100,
        max_overhead: float | None = 0.05,
        estimators: Estimators | None = None,
        trackers: Any = (),
        alarms: Alarms | None = _ALARMS,
        on_alarm: Callable[[Alarm], object] | None = None,
        engine: Engine | None = None,
        first: bool = True,
        **options: Unpack[CaptureKeywords],
    ) -> None:
        if isinstance(model, nn.Module) and is_sharded(model):  # on all ranks
            raise BadSource(
                "the weights of the network are divided among ranks, so that one of them cannot "
                "run it alone; gather them, or measure saved checkpoints with dimscope.profile"
            )
        self.schedule = as_schedule(every)
        self.overhead = Overhead(max_overhead)
        self.trackers: list[Tracker] = _as_trackers(trackers)
        self.snapshots: list[Snapshot] = []
        self.alarms: list[Alarm] = []
        self.failures: list[tuple[int, str]] = []
        self.steps = self.epochs = 0
        self._estimators, self._engine = estimators, engine
        self._watch = None if alarms is None else Watch(alarms)
        self._on_alarm = on_alarm
        self._scalars: dict[str, Running] = {}
        # the input's, by the names of the estimators
        self._fixed: dict[str, dict[str, Estimate]] = {}
        self._identities: tuple[Any, bool] | None = None
        self._figures = 0.0  # seconds
        self._drawn: int | None = None  # the step of the last figure
        self._finished = self.scheduled = False
        self._active = is_main_process()
        self._probe: Probe | None = None
        self.name = options.get("name") or type(model).__name__
        if not self._active:
            return
        begin = time.perf_counter()
        options.setdefault("batch_size", _BATCH)
        chosen = CaptureOptions(layers, **options)
        free = chosen.n_points is None and chosen.per_class is None
        with undisturbed():
            self._probe = Probe(model, probe, chosen, _AT_MOST if free else None)
        if free and self._probe.is_part:
            _log.warning(
                "the probe has more than %d stimuli, of which %d are measured; n_points= chooses "
                "their number", _AT_MOST, _AT_MOST,
            )  # fmt: skip
        self._prepared = time.perf_counter() - begin
        if first:
            self._measure()

    # -- the training loop --------------------------------------------------------------------

    def step(self, number: int | None = None, /, **scalars: Any) -> Profile | None:
        """Count a training step, and measure if a measurement is due and affordable.

        Parameters
        ----------
        number : int, optional
            Number of steps so far, where a framework counts them; one more than before by default.
        **scalars : float or tensor
            What to record, such as ``loss=loss``. Tensors are not read before the next
            measurement, so that a GPU does not have to wait.

        Returns
        -------
        Profile or None
            What was measured, if anything was.
        """
        self.record(**scalars)
        before, self.steps = self.steps, self.steps + 1 if number is None else number
        return self._if_due("steps", before, self.steps)

    def epoch(self, number: int | None = None, /, **scalars: Any) -> Profile | None:
        """Count an epoch, and measure if a measurement is due and affordable.

        The parameters and the result are those of :meth:`step`.
        """
        self.record(**scalars)
        before, self.epochs = self.epochs, self.epochs + 1 if number is None else number
        return self._if_due("epochs", before, self.epochs)

    def record(self, **scalars: Any) -> None:
        """Record scalars, such as the loss, without counting a step."""
        self.overhead.start()
        for name, value in scalars.items():
            if isinstance(value, str | bytes):
                raise TypeError(f"{name} is {value!r}; give a number or a tensor with one")
            if value is not None and self._active:
                self._scalars.setdefault(name, Running()).add(value)

    def measure(self) -> Profile:
        """Measure now, whatever the schedule and the overhead.

        Raises
        ------
        BadSource
            If this is not the main process, which alone measures.
        BadSource, BadPoints
            If the network fails.
        """
        if not self._active:
            raise BadSource("only rank 0 of the process group measures; call it there")
        return self._measure().profile

    def finish(self) -> str:
        """Draw the last figure, close the trackers, and return one sentence on the run.

        Returns
        -------
        str
            How much was measured and skipped, what it cost, and the alarms.
        """
        if not self._finished and self._active:
            self._finished = True
            if self.snapshots and self.snapshots[-1].step != self._drawn:
                self._draw(self.snapshots[-1])
            for tracker in self.trackers:
                tracker.close()
        return self.summary

    def _if_due(self, unit: Unit, before: int, now: int) -> Profile | None:
        self.scheduled = self.schedule.due(unit, before, now)
        if not self._active or not self.scheduled:
            return None
        if self.snapshots and self.snapshots[-1].step == self.steps:
            return None  # at the end of an epoch, for example
        if self.snapshots and not self.overhead.allows():
            if self.overhead.skipped == 1:
                _log.warning(
                    "step %d was not measured: that would exceed %.3g of the training time so far; "
                    "further measurements are skipped as long as they would", self.steps,
                    self.overhead.limit,
                )  # fmt: skip
            return None
        try:
            return self._measure().profile
        except Exception as error:
            if not self.snapshots:
                raise
            self.failures.append((self.steps, reason_of(error)))
            _log.warning("step %s could not be measured: %s", self.steps, reason_of(error))
            return None

    # -- one measurement ----------------------------------------------------------------------

    def _measure(self) -> Snapshot:
        assert self._probe is not None
        seconds = self.overhead.trained
        with (
            self.overhead.measuring(once=0.0 if self.snapshots else self._prepared),
            undisturbed(),
        ):
            activations = self._probe.capture()
            profile = self._profile_of(activations)
            del activations
            first = self.snapshots[0].profile if self.snapshots else profile
            scalars = {name: running.average() for name, running in self._scalars.items()}
            snapshot = Snapshot(
                self.steps, self.epochs, seconds, profile, drifts_of(profile, first), scalars
            )
            self._scalars.clear()
            self._add(snapshot)
            self._log(snapshot)
        return snapshot

    def _profile_of(self, activations: Activations) -> Profile:
        """Measure the layers; the input, which stays the same, only once."""
        layers = activations.layers
        if self._fixed and len(activations) > 1:
            activations = replace(
                activations,
                points={name: activations[name] for name in activations if name != "input"},
                layers=tuple(layer for layer in layers if layer.name != "input"),
            )
        measured = measure_layers(
            activations, self._estimators, engine=self._engine, name=self.name
        )
        estimates = {
            key: self._fixed.get(key, {}) | dict(by_layer)
            for key, by_layer in measured.estimates.items()
        }
        if self._identities is None:
            self._identities = _identities_of(estimates)
        if self._identities is not None:
            # without the input, the first layer has other values at every step
            identities, stated = self._identities
            assign_identities(estimates, identities, stated=stated)
        if not self._fixed and "input" in activations:
            self._fixed = {key: {"input": by_layer["input"]} for key, by_layer in estimates.items()}
        return replace(measured, layers=layers, estimates=estimates)

    def _add(self, snapshot: Snapshot) -> None:
        """Keep a measurement, and the influences of points where later ones need them."""
        self.snapshots.append(snapshot)
        raised: tuple[Alarm, ...] = ()
        if self._watch is not None:
            raised = self._watch.look(snapshot)
            needed = {id(reference) for reference in self._watch.references}
        else:
            needed = set()
        for place, earlier in enumerate(self.snapshots[1:-1], 1):
            if id(earlier) not in needed and earlier.has_influences:
                self.snapshots[place] = earlier.without_influences()
        for alarm in raised:
            self.alarms.append(alarm)
            for tracker in self.trackers:
                tracker.alarm(alarm)
            if self._on_alarm is None:
                _log.warning("%s", alarm)
            else:
                self._on_alarm(alarm)

    def _log(self, snapshot: Snapshot) -> None:
        values = self.values
        for tracker in self.trackers:
            tracker.log(values, snapshot.step)
            tracker.rows(list(snapshot.rows()))
        if self._figures <= _FIGURES * self.overhead.spent:
            self._draw(snapshot)

    def _draw(self, snapshot: Snapshot) -> None:
        """Draw a profile beside the first one, for trackers that take figures."""
        trackers = [tracker for tracker in self.trackers if tracker.takes_figures]
        if not trackers:
            return
        begin = time.perf_counter()
        figure = profile_figure(snapshot, self.snapshots[0])
        for tracker in trackers:
            tracker.figure("id_profile", figure, snapshot.step)
        self._figures += time.perf_counter() - begin
        self._drawn = snapshot.step

    # -- results ------------------------------------------------------------------------------

    @property
    def history(self) -> pd.DataFrame:
        """All measurements as a tidy table: one row for each of them, layer and estimator.

        The columns are those of :meth:`dimscope.Profile.to_frame`, after ``step``, ``epoch`` and
        ``seconds`` (of training), and before ``drift`` (the dimension minus that of the first
        measurement), ``drift_error`` (paired), ``neighbors_kept`` (the share of the first pairs
        of near neighbours that are still neighbours), and the mean of every recorded scalar since
        the measurement before.
        """
        return history_frame(self.snapshots)

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Plot the dimension of every layer against the step.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; those of a new figure by default.
        **style
            As in :func:`dimscope.plotting.plot_history`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from dimscope.plotting.history_plots import plot_history

        if not self.snapshots:
            raise BadSource("nothing was measured yet")
        return plot_history(self.snapshots, ax, **style)

    @property
    def profile(self) -> Profile:
        """The latest profile."""
        if not self.snapshots:
            raise BadSource("nothing was measured yet")
        return self.snapshots[-1].profile

    @property
    def values(self) -> dict[str, float]:
        """The numbers of the latest measurement, by names that sort by depth."""
        return scalars_of(self.snapshots[-1]) if self.snapshots else {}

    @property
    def skipped(self) -> int:
        """Number of scheduled measurements that were left out because of their cost."""
        return self.overhead.skipped

    @property
    def summary(self) -> str:
        """One sentence: how much was measured and skipped, what it cost, and the alarms."""
        overhead = self.overhead
        text = f"{_counted(len(self.snapshots), 'measurement')} took {overhead.spent:.2g} s, "
        if overhead.share <= 1:
            text += f"{overhead.share:.1%} of {overhead.trained:.2g} s of training"
        else:
            text += f"longer than the training of {overhead.trained:.2g} s"
        if overhead.skipped:
            text += (
                f"; {overhead.skipped} scheduled ones were skipped to keep to "
                f"{overhead.limit:.3g} of the training time"
            )
        if self.schedule.unit == "epochs" and self.steps and not self.epochs:
            text += "; no epoch was counted, so call epoch() at the end of each"
        if self.failures:
            step, reason = self.failures[-1]
            text += f"; {len(self.failures)} failed, the last at step {step}: {reason}"
        if self.alarms:
            text += f"; {_counted(len(self.alarms), 'alarm')}: " + "; ".join(map(str, self.alarms))
        return text

    def __repr__(self) -> str:
        if not self._active:
            return f"IDMonitor({self.name}, idle: only rank 0 measures)"
        layers = f"{len(self.profile)} layers" if self.snapshots else "not measured yet"
        stimuli = self._probe.n_points if self._probe is not None else 0
        alarms = f", {_counted(len(self.alarms), 'alarm')}" if self.alarms else ""
        return (
            f"IDMonitor({self.name}, {layers}, {stimuli} stimuli, step {self.steps}: "
            f"{_counted(len(self.snapshots), 'measurement')}, {self.skipped} skipped{alarms})"
        )

    # -- checkpoints --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the history and all counts in values that JSON and ``torch.save`` can hold.

        The probe, the schedule and the trackers are not part of it.
        """
        if self._probe is None:
            return {}
        return {
            "version": _VERSION,
            "probe": self._probe.sha256(),
            "steps": self.steps,
            "epochs": self.epochs,
            "overhead": self.overhead.state_dict(),
            "snapshots": [snapshot.to_dict() for snapshot in self.snapshots],
            "watch": self._watch and self._watch.state_dict(self.snapshots),
            "alarms": [to_plain(alarm) for alarm in self.alarms],
            "failures": [list(failure) for failure in self.failures],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, with the same probe.

        Raises
        ------
        BadSource
            If the state is of another version, or of other stimuli.
        """
        if not state:
            return
        if state.get("version") != _VERSION:
            raise BadSource(
                f"the state of the monitor has version {state.get('version')}, but this version of "
                f"dimscope reads {_VERSION}; start a new history"
            )
        if self._probe is None:  # a rank that counts only
            self.steps, self.epochs = state["steps"], state["epochs"]
            return
        if state["probe"] != self._probe.sha256():
            raise BadSource(
                "the saved history was measured on other stimuli than the probe of this monitor, "
                "so that they cannot be compared; give the same probe, in the same order"
            )
        self.steps, self.epochs = state["steps"], state["epochs"]
        self.overhead.load_state_dict(state["overhead"])
        self.snapshots = [Snapshot.from_dict(item) for item in state["snapshots"]]
        self.alarms = [from_plain(Alarm, item) for item in state["alarms"]]
        self.failures = [(step, reason) for step, reason in state["failures"]]
        self._scalars.clear()
        if self._watch is not None and state["watch"] is not None:
            self._watch.load_state_dict(state["watch"], self.snapshots)
        if self.snapshots:
            self._identities = _identities_of(self.snapshots[0].profile.estimates)
        rows = [row for snapshot in self.snapshots for row in snapshot.rows()]
        for tracker in self.trackers:
            tracker.resume(rows)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _identities_of(estimates: Mapping[str, Mapping[str, Estimate]]) -> tuple[Any, bool] | None:
    """Return the identities of the stimuli from the first estimate that has them."""
    influences = (item.influence for layers in estimates.values() for item in layers.values())
    return next(((item.identities, item.stated) for item in influences if item is not None), None)


def _as_trackers(trackers: Any) -> list[Tracker]:
    several = isinstance(trackers, list | tuple)
    return [as_tracker(tracker) for tracker in (trackers if several else [trackers])]
