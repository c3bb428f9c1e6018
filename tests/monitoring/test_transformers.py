import json

import pytest
import torch
from torch.utils.data import Dataset

import dimscope as ds
from tests.monitoring.training import texts

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")


class Sentences(Dataset):
    def __init__(self, n_rows):
        self.data = texts(n_rows)
        self.labels = self.data["input_ids"].sum(dim=1) % 3

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {key: values[row] for key, values in self.data.items()} | {
            "labels": self.labels[row]
        }


def model_of():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def callback_of(**options):
    options = {"max_overhead": None, "every": 4, "readout": "mean", "alarms": None} | options
    return ds.monitoring.IDTrainerCallback(texts(100, seed=1), **options)


def train(folder, callback, steps=8, resume=None, **options):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=8, logging_steps=2,
        save_steps=4, report_to=[], disable_tqdm=True, use_cpu=True, seed=0, eval_strategy="steps",
        eval_steps=4, **options,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model_of(), arguments, train_dataset=Sentences(64), eval_dataset=Sentences(16),
        callbacks=[callback],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, callback = tmp_path_factory.mktemp("trainer"), callback_of()
    trainer = train(
        folder, callback, metric_for_best_model="id/last_hidden", greater_is_better=False,
    )  # fmt: skip
    return folder, callback.monitor, trainer


def test_callback_measures_by_global_steps_with_the_logged_loss(trained):
    _, monitor, trainer = trained
    assert [snapshot.step for snapshot in monitor.snapshots] == [0, 4, 8]
    expected = ds.profile(trainer.model, texts(100, seed=1), readout="mean", batch_size=128)
    assert list(monitor.profile) == list(expected)
    assert monitor.profile["output"].dimension == pytest.approx(
        expected["output"].dimension, rel=1e-4
    )
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    # those logged at steps 4 and 6: step 4 is logged after its measurement
    assert monitor.snapshots[-1].scalars["loss"].mean == pytest.approx(sum(losses[1:3]) / 2)


def test_numbers_enter_the_log_history_and_the_best_metric(trained):
    _, monitor, trainer = trained
    logged = {e["step"]: e for e in trainer.state.log_history if "id/last_hidden" in e}
    assert list(logged) == [0, 4, 8]
    assert logged[8]["id/last_hidden"] == monitor.values["id/last_hidden"]
    best = min(logged[step]["id/last_hidden"] for step in (4, 8))
    assert trainer.state.best_metric == pytest.approx(best)


def test_history_is_saved_in_the_checkpoint_and_goes_on(trained):
    folder, first, _ = trained
    saved = json.loads((folder / "checkpoint-4" / "dimscope_monitor.json").read_text())
    assert saved["steps"] == 4
    callback = callback_of()
    train(folder, callback, steps=8, resume=str(folder / "checkpoint-4"))
    snapshots = callback.monitor.snapshots
    assert [snapshot.step for snapshot in snapshots] == [0, 4, 8]
    assert [s.profile["output"].dimension for s in snapshots[:2]] == [
        s.profile["output"].dimension for s in first.snapshots[:2]
    ]


def test_training_is_the_same_with_the_callback(trained, tmp_path):
    _, _, watched = trained

    class Nothing(transformers.TrainerCallback):
        pass

    alone = train(tmp_path, Nothing())
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name
