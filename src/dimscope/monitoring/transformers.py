"""An adapter for the ``Trainer`` of transformers: a callback that runs a monitor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimscope.extras import needed
from dimscope.files import write_beside

with needed(__name__):
    from transformers import TrainerCallback

    from dimscope.monitoring.monitor import IDMonitor
    from dimscope.monitoring.process import from_main_process

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["IDTrainerCallback"]

_FILE = "dimscope_monitor.json"


class IDTrainerCallback(TrainerCallback):  # type: ignore[misc]
    """Measure the layers of a model while the ``Trainer`` of transformers trains it.

    The numbers of :attr:`dimscope.IDMonitor.values` are added to ``trainer.state.log_history`` and
    to the metrics of every evaluation, so that ``metric_for_best_model="id/last_hidden"`` works.
    The history is saved in each checkpoint, as ``dimscope_monitor.json``, and restored from it.

    Parameters
    ----------
    probe : dict of tensors, Dataset, DataLoader, iterable of batches, or path
    **options
        As for :class:`dimscope.IDMonitor`: ``layers``, ``every``, ``readout``, ...

    Attributes
    ----------
    monitor : IDMonitor or None
        Made when the training starts.

    Notes
    -----
    The loss is what the trainer logs, every ``logging_steps``. A callback that reads the metrics
    of an evaluation, such as ``EarlyStoppingCallback``, must come after this one.
    """

    def __init__(self, probe: Any, **options: Any) -> None:
        self.monitor: IDMonitor | None = None
        self._probe, self._options = probe, options

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Make the monitor; with a checkpoint, go on with its history."""
        saved = _folder(args, state) / _FILE
        is_resumed = state.global_step > 0 and saved.exists()
        self.monitor = IDMonitor(model, self._probe, first=not is_resumed, **self._options)
        if is_resumed:
            self.monitor.load_state_dict(json.loads(saved.read_text(encoding="utf-8")))
        else:
            self._note(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count an optimizer step."""
        if self.monitor is not None and self.monitor.step(state.global_step) is not None:
            self._note(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count an epoch."""
        if self.monitor is not None and self.monitor.epoch(round(state.epoch or 0)) is not None:
            self._note(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the training loss."""
        if self.monitor is not None and logs and "loss" in logs:
            self.monitor.record(loss=logs["loss"])

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the latest numbers to the metrics, under the names that the trainer looks for."""
        if self.monitor is not None and metrics is not None:
            values = from_main_process(self.monitor.values)
            metrics |= {f"eval_{name}": value for name, value in values.items()}

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the history into the checkpoint."""
        folder = _folder(args, state)
        if self.monitor is not None and state.is_world_process_zero and folder.is_dir():
            text = json.dumps(self.monitor.state_dict(), allow_nan=False)
            write_beside(folder / _FILE, lambda beside: beside.write_text(text, encoding="utf-8"))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the trackers of the monitor."""
        if self.monitor is not None:
            self.monitor.finish()

    def _note(self, state: TrainerState) -> None:
        assert self.monitor is not None
        if self.monitor.values:
            state.log_history.append({**self.monitor.values, "step": state.global_step})


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
