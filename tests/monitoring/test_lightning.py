import warnings

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from tests.monitoring.training import digits, small_cnn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Lightning's own imports
    lightning = pytest.importorskip("lightning.pytorch")


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = small_cnn()

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)


def loader(n=320, **options):
    images, labels = digits()
    return DataLoader(TensorDataset(images[:n], labels[:n]), 32, **options)


def trainer_of(folder, *callbacks, epochs=2, **options):
    options = {"logger": False, "enable_checkpointing": False} | options
    return lightning.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), default_root_dir=folder, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def callback_of(**options):
    return ds.monitoring.IDCallback(
        digits()[0][:150], **{"max_overhead": None, "every": 5} | options
    )


def test_callback_measures_by_global_steps_and_fills_callback_metrics(tmp_path):
    callback, module = callback_of(network="network"), Classifier()
    trainer = trainer_of(tmp_path, callback)
    trainer.fit(module, loader())
    monitor = callback.monitor
    assert [snapshot.step for snapshot in monitor.snapshots] == [0, 5, 10, 15, 20]
    assert [snapshot.epoch for snapshot in monitor.snapshots] == [0, 0, 0, 1, 1]
    assert monitor.snapshots[1].scalars["loss"].n == 5
    expected = ds.profile(module.network, digits()[0][:150], batch_size=128)
    assert list(monitor.profile) == list(expected)
    for name, value in monitor.values.items():
        assert trainer.callback_metrics[name] == pytest.approx(value, rel=1e-6)
    assert trainer.callback_metrics["id/03_9"] == pytest.approx(expected["9"].dimension)


def test_module_itself_is_the_network_by_default(tmp_path):
    callback = callback_of()
    trainer_of(tmp_path, callback, epochs=1).fit(Classifier(), loader())
    assert "network.9" in callback.monitor.profile


def test_epochs_are_measured_before_their_validation(tmp_path):
    seen = []

    class Reader(lightning.Callback):
        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                seen.append(float(trainer.callback_metrics["id/last_hidden"]))

    callback = callback_of(every="epoch")
    trainer_of(tmp_path, callback, Reader(), epochs=3).fit(Classifier(), loader(), loader(64))
    names = [snapshot.last_hidden for snapshot in callback.monitor.snapshots[1:]]
    expected = [
        snapshot.profile[name].dimension
        for name, snapshot in zip(names, callback.monitor.snapshots[1:], strict=True)
    ]
    assert len(seen) == 3
    assert seen == pytest.approx(expected, rel=1e-6)


def test_model_checkpoint_keeps_the_lowest_dimension(tmp_path):
    best = lightning.callbacks.ModelCheckpoint(
        tmp_path / "best", monitor="id/last_hidden", mode="min", every_n_epochs=1
    )
    callback = callback_of(every="epoch")
    trainer = trainer_of(tmp_path, callback, best, epochs=4, enable_checkpointing=True)
    trainer.fit(Classifier(), loader(), loader(64))
    dimensions = [
        snapshot.profile[snapshot.last_hidden].dimension
        for snapshot in callback.monitor.snapshots[1:]
    ]
    assert float(best.best_model_score) == pytest.approx(min(dimensions), rel=1e-6)


def test_early_stopping_reads_the_dimension(tmp_path):
    stop = lightning.callbacks.EarlyStopping("id/last_hidden", mode="min", stopping_threshold=1e6)
    trainer = trainer_of(tmp_path, callback_of(every="epoch"), stop, epochs=5)
    trainer.fit(Classifier(), loader(), loader(64))
    assert trainer.current_epoch == 1


def test_history_is_saved_with_the_checkpoint_and_goes_on(tmp_path):
    first = callback_of()
    trainer = trainer_of(tmp_path, first, epochs=1)
    trainer.fit(Classifier(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    second = callback_of()
    trainer_of(tmp_path, second, epochs=2).fit(
        Classifier(), loader(), ckpt_path=tmp_path / "a.ckpt"
    )
    steps = [snapshot.step for snapshot in second.monitor.snapshots]
    assert steps == [0, 5, 10, 15, 20]
    before = second.monitor.history.query("step <= 10")
    pd.testing.assert_frame_equal(before, first.monitor.history)


def test_loggers_of_the_trainer_get_each_measurement_at_its_step(tmp_path):
    logger = lightning.loggers.CSVLogger(tmp_path, name="run", version=0)
    callback = callback_of()
    trainer_of(tmp_path, callback, logger=logger, log_every_n_steps=7).fit(Classifier(), loader())
    written = pd.read_csv(tmp_path / "run" / "version_0" / "metrics.csv")
    written = written.dropna(subset="id/last_hidden").set_index("step")["id/last_hidden"]
    assert written.index.tolist() == [0, 5, 10, 15, 20]
    assert written.tolist() == pytest.approx(
        [s.profile[s.last_hidden].dimension for s in callback.monitor.snapshots]
    )


def test_training_is_the_same_with_the_callback(tmp_path):
    weights = []
    for callbacks in ([], [callback_of()]):
        lightning.seed_everything(1, verbose=False)
        module = Classifier()
        trainer_of(tmp_path, *callbacks).fit(module, loader(shuffle=True))
        weights.append(module.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_missing_network_is_refused(tmp_path):
    with pytest.raises(ds.DimscopeError, match="no network 'backbone'"):
        trainer_of(tmp_path, callback_of(network="backbone")).fit(Classifier(), loader())
