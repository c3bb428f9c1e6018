"""Trackers: log what a monitor measures to TensorBoard, Weights & Biases, MLflow or a CSV file.

None of these packages is imported unless the user has it: a tracker takes the writer, run or client
that the user made.
"""

from __future__ import annotations

import csv
import itertools
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimscope.errors import BadSource
from dimscope.extras import needed
from dimscope.files import write_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dimscope.monitoring.alarms import Alarm
    from dimscope.monitoring.history import Snapshot

__all__ = [
    "AccelerateTracker",
    "CSVTracker",
    "MLflowTracker",
    "TensorBoardTracker",
    "Tracker",
    "WandbTracker",
    "as_tracker",
    "profile_figure",
]

_log = logging.getLogger("dimscope.monitoring")


class Tracker:
    """Where a monitor logs. Subclasses write :meth:`log`, and what else they can show.

    Examples
    --------
    >>> class Printer(Tracker):
    ...     def log(self, values, step):
    ...         print(step, values["id/last_hidden"])
    >>> Printer().log({"id/last_hidden": 2.0}, 100)
    100 2.0
    """

    takes_figures = False

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the scalars of a measurement; their names sort by depth."""
        raise NotImplementedError

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log the rows that a measurement adds to the history."""

    def resume(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Go on with a history that was loaded, of which these are the rows so far."""

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure, if ``takes_figures`` is true."""

    def alarm(self, alarm: Alarm) -> None:
        """Log an alarm."""

    def close(self) -> None:
        """Write what is not written yet."""


class CSVTracker(Tracker):
    """Write the history of one run to a CSV file, measurement by measurement.

    Parameters
    ----------
    path : path
        A file of an earlier run is kept: it gets a number, as ``history.1.csv``. A run whose state
        is loaded writes its history so far, and goes on from there.

    Notes
    -----
    A scalar that is recorded for the first time adds a column; it is empty in earlier rows.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] = []  # of what this run has written

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Leave the scalars to :meth:`rows`."""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows."""
        if not self._columns:
            self._keep_earlier_run()
        if set().union(*rows) <= set(self._columns):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerows(rows)
        else:
            self._write([*self._written(), *rows])

    def resume(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace what the file holds by these rows: it may be ahead of the loaded state."""
        if rows:
            self._write(rows)

    def _keep_earlier_run(self) -> None:
        if self.path.exists() and self.path.stat().st_size:
            numbers = (self.path.with_suffix(f".{i}{self.path.suffix}") for i in itertools.count(1))
            kept = next(path for path in numbers if not path.exists())
            self.path.rename(kept)
            _log.warning("%s held an earlier run, which is now in %s", self.path, kept.name)

    def _written(self) -> list[dict[str, Any]]:
        if not self._columns:
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._columns = list(dict.fromkeys(name for row in rows for name in row))

        def write(beside: Path) -> None:
            with beside.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(rows)

        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_beside(self.path, write)


class TensorBoardTracker(Tracker):
    """Log to TensorBoard.

    Parameters
    ----------
    writer : torch.utils.tensorboard.SummaryWriter, or path
        With a path, a writer is made, and closed at the end.
    """

    takes_figures = True

    def __init__(self, writer: Any) -> None:
        self._owned = isinstance(writer, str | os.PathLike)
        if self._owned:
            with needed("TensorBoardTracker"):
                from torch.utils.tensorboard import SummaryWriter
            writer = SummaryWriter(writer)
        self._writer = writer

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log each value as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure as an image."""
        self._writer.add_image(name, _pixels(figure), step, dataformats="HWC")

    def alarm(self, alarm: Alarm) -> None:
        """Log an alarm as text."""
        self._writer.add_text(f"id_alarm/{alarm.kind}", alarm.text, alarm.step)

    def close(self) -> None:
        """Write everything to the file; close a writer made here."""
        self._writer.flush()
        if self._owned:
            self._writer.close()


class WandbTracker(Tracker):
    """Log to a run of Weights & Biases, also offline.

    Parameters
    ----------
    run : wandb.sdk.wandb_run.Run
        What ``wandb.init()`` returns.
    """

    takes_figures = True

    def __init__(self, run: Any) -> None:
        self._run = run
        # the step of the monitor is the axis: wandb's own step must not go back
        run.define_metric("id_step")
        for prefix in ("id", "id_error", "id_drift", "id_profile"):
            run.define_metric(f"{prefix}/*", step_metric="id_step")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log all values at once."""
        self._run.log({"id_step": step, **values})

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure as an image."""
        with needed("WandbTracker"):
            import wandb

        self._run.log({"id_step": step, f"{name}/figure": wandb.Image(_pixels(figure))})

    def alarm(self, alarm: Alarm) -> None:
        """Write an alarm into the summary of the run."""
        self._run.summary[f"id_alarm/{alarm.kind}"] = str(alarm)


class MLflowTracker(Tracker):
    """Log to a run of MLflow.

    Parameters
    ----------
    client : mlflow.MlflowClient
    run_id : str
    """

    takes_figures = True

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log all values in one batch; characters that MLflow refuses in names become ``_``."""
        import time

        with needed("MLflowTracker"):
            from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(re.sub(r"[^\w\-. :/]", "_", name), value, now, step)
            for name, value in values.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure as a PNG file among the artifacts."""
        self._client.log_figure(self._run_id, figure, f"{name}/{step:08d}.png")

    def alarm(self, alarm: Alarm) -> None:
        """Set an alarm as a tag of the run."""
        self._client.set_tag(self._run_id, f"id_alarm.{alarm.kind}", str(alarm))


class AccelerateTracker(Tracker):
    """Log to the trackers of an ``Accelerator`` (its ``log_with``).

    Parameters
    ----------
    accelerator : accelerate.Accelerator
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log all values at once."""
        self._accelerator.log(dict(values), step=step)


def _pixels(figure: Figure) -> Any:
    """Return the image of a figure, of shape (height, width, 4), without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from numpy import asarray

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return asarray(canvas.buffer_rgba())


def profile_figure(snapshot: Snapshot, first: Snapshot) -> Figure:
    """Draw the profile of a measurement, and the first one for comparison."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    if first is not snapshot:
        first.profile.plot(axes, label=f"step {first.step}", color="0.6")
    snapshot.profile.plot(axes, label=f"step {snapshot.step}")
    axes.legend()
    return figure


def as_tracker(target: Any) -> Tracker:
    """Return a tracker for a path, a writer of TensorBoard, a run of wandb, or an accelerator.

    Raises
    ------
    BadSource
        If it is none of these.

    Examples
    --------
    >>> type(as_tracker("history.csv")).__name__
    'CSVTracker'
    >>> as_tracker("history.txt")
    Traceback (most recent call last):
    dimscope.errors.BadSource: 'history.txt' is no tracker; give the path of a .csv file, a \
SummaryWriter of TensorBoard, a run of wandb, an Accelerator, MLflowTracker(client, run_id), or \
a Tracker of your own
    """
    if isinstance(target, Tracker):
        return target
    if isinstance(target, str | os.PathLike) and Path(target).suffix == ".csv":
        return CSVTracker(target)
    kinds = {(base.__module__.split(".")[0], base.__name__) for base in type(target).__mro__}
    names = {name for _, name in kinds}
    if "SummaryWriter" in names:
        return TensorBoardTracker(target)
    if ("wandb", "Run") in kinds:
        return WandbTracker(target)
    if ("accelerate", "Accelerator") in kinds:
        return AccelerateTracker(target)
    raise BadSource(
        f"{target!r} is no tracker; give the path of a .csv file, a SummaryWriter of TensorBoard, "
        "a run of wandb, an Accelerator, MLflowTracker(client, run_id), or a Tracker of your own"
    )
