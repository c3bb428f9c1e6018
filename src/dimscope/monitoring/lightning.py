"""An adapter for Lightning: a callback that runs a monitor and hands its numbers on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dimscope.errors import BadSource
from dimscope.extras import needed

with needed(__name__):
    from torch import Tensor, nn

    from dimscope.monitoring.monitor import IDMonitor

    if TYPE_CHECKING:
        from lightning.pytorch import Callback, LightningModule, Trainer
    elif "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        from pytorch_lightning import Callback
    else:
        from lightning.pytorch import Callback

__all__ = ["IDCallback"]


class IDCallback(Callback):  # type: ignore[misc]
    """Measure the layers of a ``LightningModule`` while a ``Trainer`` fits it.

    The numbers of :attr:`dimscope.IDMonitor.values` go to the loggers of the trainer and into its
    ``callback_metrics``, so that ``ModelCheckpoint(monitor="id/last_hidden")`` and
    ``EarlyStopping`` can use them. Steps are optimizer steps, as in ``trainer.global_step``. The
    history is saved and restored with the checkpoints.

    Parameters
    ----------
    probe : tensor, Dataset, DataLoader, iterable of batches, or path
    network : str
        Name of the attribute of the module that holds the network; by default, the module itself
        is run, as ``module(inputs)``.
    **options
        As for :class:`dimscope.IDMonitor`: ``layers``, ``every``, ``max_overhead``, ...

    Attributes
    ----------
    monitor : IDMonitor or None
        Made when the training starts.

    Notes
    -----
    With several devices, rank 0 measures, and sends its numbers to the others at each scheduled
    step.
    """

    def __init__(self, probe: Any, network: str = "", **options: Any) -> None:
        super().__init__()
        self.monitor: IDMonitor | None = None
        self._probe, self._network, self._options = probe, network, options
        self._saved: Mapping[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the monitor, which measures the network before its first step."""
        network = pl_module
        for name in filter(None, self._network.split(".")):
            network = getattr(network, name, None)
        if not isinstance(network, nn.Module):
            raise BadSource(
                f"{type(pl_module).__name__} has no network {self._network!r}; give the name of "
                "the attribute that holds it"
            )
        self.monitor = IDMonitor(network, self._probe, first=not self._saved, **self._options)
        self.monitor.load_state_dict(self._saved)
        if not self._saved:
            self._log(trainer, self._shared(trainer, self.monitor.values))
        self._saved = {}
        self._is_new = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the step and, after the last batch, the epoch: before its validation."""
        assert self.monitor is not None
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        measured = self.monitor.step(trainer.global_step, loss=loss)
        is_due = self.monitor.scheduled
        if trainer.is_last_batch:
            measured = self.monitor.epoch(trainer.current_epoch + 1) or measured
            is_due |= self.monitor.scheduled
        if not is_due and not self._is_new:
            return
        values = self._shared(trainer, self.monitor.values)
        # nothing can be put into callback_metrics before the first batch
        pl_module.log_dict(values, on_step=True, on_epoch=False, logger=False, batch_size=1)
        self._is_new = False
        if measured is not None:
            self._log(trainer, values)

    def _shared(self, trainer: Trainer, values: dict[str, float]) -> dict[str, float]:
        """Return the values of rank 0, on every rank."""
        if trainer.world_size == 1:
            return values
        shared: dict[str, float] = trainer.strategy.broadcast(values)
        return shared

    def _log(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Log at the step of the measurement, whatever ``log_every_n_steps`` is."""
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the trackers of the monitor."""
        if self.monitor is not None:
            self.monitor.finish()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Close the trackers of the monitor."""
        if self.monitor is not None:
            self.monitor.finish()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the monitor, for a checkpoint."""
        return dict(self._saved) if self.monitor is None else self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until the training starts."""
        self._saved = state_dict
