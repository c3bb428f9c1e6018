"""Each tracker writes its real files, and the test reads the numbers back from them."""

import json
import struct

import numpy as np
import pytest
import torch

import dimscope as ds
from tests.monitoring.training import digits, small_cnn, train

trackers = ds.monitoring


def monitored(*targets, collapse=True):
    """A monitor that logged three measurements and, at the last, an alarm."""
    model = small_cnn()
    monitor = ds.IDMonitor(
        model, digits()[0][:150], every=5, max_overhead=None, trackers=list(targets),
        on_alarm=lambda alarm: None,
    )  # fmt: skip
    train(model, 5, lambda loss: monitor.step(loss=loss))
    if collapse:
        with torch.no_grad():
            model[9].weight.zero_()
    train(model, 5, lambda loss: monitor.step(loss=loss), lr=0.0)
    monitor.finish()
    assert [alarm.layer for alarm in monitor.alarms] == ["9", "output"] * collapse
    return monitor


def expected(monitor):
    """Name -> [(step, value), ...] of all measurements."""
    values = {}
    for snapshot in monitor.snapshots:
        for name, value in ds.monitoring.history.scalars_of(snapshot).items():
            values.setdefault(name, []).append((snapshot.step, value))
    return values


def test_tensorboard_holds_scalars_figures_and_alarms(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tmp_path)
    monitor = monitored(writer)
    writer.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    for name, values in expected(monitor).items():
        read = [(event.step, event.value) for event in events.Scalars(name)]
        np.testing.assert_allclose(read, values, rtol=1e-6)
    images = events.Images("id_profile")
    assert {images[0].step, images[-1].step} == {0, 10}
    assert images[0].width > 100
    (text,) = events.Tensors("id_alarm/collapse/text_summary")[:1]
    assert "can no longer be measured" in text.tensor_proto.string_val[0].decode()


def test_tensorboard_writer_is_made_from_a_path(tmp_path):
    pytest.importorskip("tensorboard")
    monitored(trackers.TensorBoardTracker(tmp_path / "tb"), collapse=False)
    (file,) = (tmp_path / "tb").iterdir()
    assert file.stat().st_size > 1000


@pytest.mark.slow
def test_mlflow_store_holds_scalars_figures_and_alarms(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=tmp_path.as_uri())
    run_id = client.create_run(client.create_experiment("digits")).info.run_id
    monitor = monitored(trackers.MLflowTracker(client, run_id))
    again = mlflow.MlflowClient(tracking_uri=tmp_path.as_uri())
    for name, values in expected(monitor).items():
        read = [(metric.step, metric.value) for metric in again.get_metric_history(run_id, name)]
        np.testing.assert_allclose(sorted(read), values)
    figures = [artifact.path for artifact in again.list_artifacts(run_id, "id_profile")]
    assert "id_profile/00000000.png" in figures
    assert "id_profile/00000010.png" in figures
    assert "can no longer be measured" in again.get_run(run_id).data.tags["id_alarm.collapse"]


def test_mlflow_takes_layers_with_special_characters(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=tmp_path.as_uri())
    run_id = client.create_run(client.create_experiment("digits")).info.run_id
    trackers.MLflowTracker(client, run_id).log({"id/01_fc1>relu#2[0]": 2.5}, 7)
    (metric,) = client.get_metric_history(run_id, "id/01_fc1_relu_2_0_")
    assert (metric.step, metric.value) == (7, 2.5)


@pytest.mark.slow
def test_wandb_offline_file_holds_scalars_figures_and_alarms(tmp_path):
    wandb = pytest.importorskip("wandb")
    settings = wandb.Settings(console="off", disable_git=True, silent=True)
    run = wandb.init(mode="offline", dir=tmp_path, project="digits", settings=settings)
    monitor = monitored(run)
    run.finish()
    wandb.teardown()  # waits for the process that writes the file
    (file,) = tmp_path.rglob("run-*.wandb")
    rows, summary = read_wandb(file)
    for name, values in expected(monitor).items():
        read = [(row["id_step"], row[name]) for row in rows if name in row]
        np.testing.assert_allclose(read, values)
    steps = [row["id_step"] for row in rows if any("id_profile" in key for key in row)]
    assert {steps[0], steps[-1]} == {0, 10}
    assert len(list(tmp_path.rglob("*.png"))) == len(steps)
    assert "can no longer be measured" in summary["id_alarm/collapse"]


def records_of(path):
    """Yield the records of a file in the log format of LevelDB, in blocks of 32 KiB."""
    data, place, parts = path.read_bytes(), 7, []
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        place += 7
        parts.append(data[place : place + length])
        place += length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def read_wandb(path):
    """Return the rows of the history and the summary of an offline run, from its file."""
    from wandb.proto import wandb_internal_pb2

    def entries(items):
        return {
            item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items
        }

    rows, summary = [], {}
    for data in records_of(path):
        record = wandb_internal_pb2.Record.FromString(data)
        rows.append(entries(record.history.item))
        summary |= entries(record.summary.update)
    return [row for row in rows if row], summary


def test_accelerate_writes_scalars_to_its_trackers(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator = accelerate.Accelerator(
        cpu=True, log_with="tensorboard", project_dir=str(tmp_path)
    )
    accelerator.init_trackers("digits")
    model, data = small_cnn(), digits()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    model, optimizer = accelerator.prepare(model, optimizer)
    monitor = ds.IDMonitor(
        model, data[0][:150], every=3, max_overhead=None, trackers=accelerator, alarms=None
    )
    accelerator.register_for_checkpointing(monitor)
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(model(data[0][:64]), data[1][:64])
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        monitor.step(loss=loss)
    accelerator.save_state(str(tmp_path / "saved"))
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "digits"))
    events.Reload()
    read = [(event.step, event.value) for event in events.Scalars("id/last_hidden")]
    np.testing.assert_allclose(read, expected(monitor)["id/last_hidden"], rtol=1e-6)
    history = monitor.history
    monitor.measure()
    accelerator.load_state(str(tmp_path / "saved"))
    assert monitor.history.equals(history)


def test_paths_and_writers_become_trackers():
    assert isinstance(trackers.trackers.as_tracker("a.csv"), trackers.CSVTracker)
    tracker = trackers.CSVTracker("a.csv")
    assert trackers.trackers.as_tracker(tracker) is tracker
    for target in ("a.txt", 3, object()):
        with pytest.raises(ds.DimscopeError, match="no tracker"):
            trackers.trackers.as_tracker(target)
