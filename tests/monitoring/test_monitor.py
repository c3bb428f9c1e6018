import copy
import json
import logging
import math
import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.errors import BadPoints, BadSource
from dimscope.monitoring import Every, LogSpaced, Tracker
from dimscope.monitoring.history import Running
from dimscope.profiles import layerwise
from tests.monitoring.training import Texts, digits, small_cnn, texts, train


def probe(n=200):
    return digits()[0][:n]


def monitor_of(model, data=None, **options):
    options = {"every": 10, "max_overhead": None, "alarms": None} | options
    return ds.IDMonitor(model, probe() if data is None else data, **options)


@pytest.fixture(scope="module")
def trained():
    """A monitor of a network that was trained for 60 steps."""
    model = small_cnn()
    monitor = monitor_of(model, every=20, estimators=[ds.TwoNN(), ds.PCA()])
    train(model, 60, lambda loss: monitor.step(loss=loss))
    return model, monitor


# -- what is measured ------------------------------------------------------------------------


def test_monitor_measures_what_a_profile_measures(trained):
    model, monitor = trained
    whole = ds.profile(model, probe(), [ds.TwoNN(), ds.PCA()], batch_size=128)
    assert list(monitor.profile) == list(whole)
    assert monitor.profile.layers == whole.layers
    for estimator in whole.estimators:
        for layer, estimate in whole.of(estimator).items():
            measured = monitor.profile.of(estimator)[layer]
            assert measured.dimension == estimate.dimension
            np.testing.assert_equal(measured.std_error, estimate.std_error)
            assert measured.rows == monitor.snapshots[0].profile[layer].rows


def test_history_has_a_row_for_each_measurement_layer_and_estimator(trained):
    _, monitor = trained
    frame = monitor.history
    assert len(frame) == 4 * 5 * 2
    assert frame["step"].unique().tolist() == [0, 20, 40, 60]
    assert frame["layer"].unique().tolist() == list(monitor.profile)
    last = frame[(frame["step"] == 60) & (frame["estimator"] == "twonn")].set_index("layer")
    assert last["dimension"].to_dict() == {n: e.dimension for n, e in monitor.profile.items()}
    assert (frame["seconds"].diff().dropna() >= 0).all()


def test_drift_is_the_paired_difference_to_the_first_state():
    model = small_cnn()
    monitor = monitor_of(model)
    first = ds.profile(model, probe(), batch_size=128)
    train(model, 20, lambda loss: monitor.step(loss=loss))
    now = ds.profile(model, probe(), batch_size=128)
    drift = monitor.snapshots[-1].drift
    for layer in ("3", "7", "9", "output"):
        change = ds.difference(now[layer], first[layer])
        assert drift[layer].change == change.difference
        assert drift[layer].std_error == change.std_error
        assert 0 <= drift[layer].neighbors_kept < 1
    assert (drift["input"].change, drift["input"].std_error) == (0, 0)
    assert drift["input"].neighbors_kept == 1
    assert drift["output"].neighbors_kept < drift["3"].neighbors_kept


def test_loss_is_averaged_since_the_last_measurement(trained):
    losses = []
    model = small_cnn()
    monitor = monitor_of(model, every=20)

    def after(loss):
        losses.append(loss.item())
        monitor.step(loss=loss)

    train(model, 60, after)
    for number, snapshot in enumerate(monitor.snapshots[1:]):
        window = np.array(losses[20 * number : 20 * number + 20])
        average = snapshot.scalars["loss"]
        assert average.n == 20
        assert average.mean == pytest.approx(window.mean(), rel=1e-5)
        assert average.std_error == pytest.approx(window.std(ddof=1) / math.sqrt(20), rel=1e-4)
    assert monitor.snapshots[0].scalars == {}


def test_average_is_exact_far_from_zero_and_of_tensors_of_many_values():
    running, values = Running(), 1e4 + np.arange(100) / 64
    for value in values:
        running.add(torch.tensor([value, value], dtype=torch.float32))
    average = running.average()
    assert average.mean == pytest.approx(values.mean(), rel=1e-7)
    assert average.std_error == pytest.approx(values.std(ddof=1) / 10, rel=1e-5)


def test_scalars_are_named_in_the_order_of_depth(trained):
    _, monitor = trained
    names = [name for name in monitor.values if name.startswith("id/0")]
    assert names == sorted(names)
    assert [name.split("_", 1)[1] for name in names] == list(monitor.profile)
    assert monitor.values["id/last_hidden"] == monitor.profile["9"].dimension
    assert monitor.values["id/highest"] == max(map(float, monitor.profile.values()))
    assert monitor.values["pca/04_output"] == float(monitor.profile.of("pca")["output"])


@pytest.mark.parametrize("layers", ["last_hidden", ["3", "9"], lambda layer: layer.depth > 1])
def test_chosen_layers_are_measured_and_paired(layers):
    model = small_cnn()
    monitor = monitor_of(model, layers=layers, every=5)
    train(model, 10, lambda loss: monitor.step())
    assert list(monitor.profile) == list(ds.profile(model, probe(), layers=layers))
    assert all(drift.std_error > 0 for drift in monitor.snapshots[-1].drift.values())


@pytest.mark.slow
def test_transformer_with_dict_inputs_and_masks_is_measured():
    model, data = Texts(), texts()
    monitor = ds.IDMonitor(
        model,
        data,
        every=2,
        max_overhead=None,
        readout="mean",
        layers=["encoder.layers.*", "output"],
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    for _ in range(4):
        loss = model(**data)["logits"].square().mean()
        loss.backward()
        optimizer.step()
        monitor.step(loss=loss)
    expected = ds.profile(model, data, layers=["encoder.layers.*", "output"], readout="mean")
    assert len(monitor.snapshots) == 3
    assert list(monitor.profile) == list(expected)
    for layer, estimate in expected.items():
        assert monitor.profile[layer].dimension == pytest.approx(estimate.dimension, rel=1e-4)
        assert monitor.snapshots[-1].drift[layer].std_error > 0


@pytest.mark.parametrize("kind", ["dataset", "loader", "array"])
def test_probe_may_be_any_kind_of_data(kind):
    images, labels = digits()
    data = {
        "dataset": TensorDataset(images[:200], labels[:200]),
        "loader": DataLoader(TensorDataset(images[:200], labels[:200]), 50, shuffle=True),
        "array": images[:200].numpy(),
    }[kind]
    model = small_cnn()
    monitor = monitor_of(model, data)
    again = monitor.measure()
    assert [e.dimension for e in again.values()] == [
        e.dimension for e in monitor.snapshots[0].profile.values()
    ]
    assert monitor.snapshots[-1].drift["output"].neighbors_kept == 1


def test_probe_is_limited_to_1000_rows_unless_said_otherwise():
    model = small_cnn()
    for options, n_points in (({}, 1000), ({"n_points": 1200}, 1200), ({"per_class": 30}, 300)):
        monitor = monitor_of(model, digits(), first=False, **options)
        assert f" {n_points} stimuli" in repr(monitor)


# -- the schedule and the overhead ------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "steps"),
    [(4, [0, 4, 8, 12]), (LogSpaced(2), [0, 1, 3, 10]), ("epoch", [0, 5, 10]),
     (Every(2, "epochs"), [0, 10]), ("step", list(range(13)))],
)  # fmt: skip
def test_monitor_measures_on_schedule(every, steps):
    monitor = ds.IDMonitor(nn.Linear(4, 3), torch.rand(30, 4), every=every, max_overhead=None)
    for step in range(1, 13):
        profile = monitor.step()
        assert (profile is not None) == (step in steps and "epoch" not in str(every))
        if step % 5 == 0:
            monitor.epoch()
    assert [snapshot.step for snapshot in monitor.snapshots] == steps


def test_step_numbers_of_a_framework_are_taken():
    monitor = ds.IDMonitor(nn.Linear(4, 3), torch.rand(30, 4), every=10, max_overhead=None)
    for number in (4, 4, 9, 13, 13, 19, 20):
        monitor.step(number)
    assert [snapshot.step for snapshot in monitor.snapshots] == [0, 13, 20]


def test_overhead_is_bounded_and_skipped_measurements_are_counted():
    model = small_cnn()
    monitor = monitor_of(model, every=1, max_overhead=0.05)
    train(model, 100, lambda loss: monitor.step(loss=loss))
    overhead = monitor.overhead
    first_alone = monitor.skipped == 100
    assert first_alone or overhead.share < 0.1
    assert monitor.skipped + len(monitor.snapshots) == 101
    assert f"{monitor.skipped} scheduled ones were skipped" in monitor.finish()
    assert f"{monitor.skipped} skipped" in repr(monitor)


def test_measuring_explicitly_ignores_the_limit():
    monitor = monitor_of(small_cnn(), max_overhead=1e-9)
    assert monitor.measure() is monitor.profile
    assert len(monitor.snapshots) == 2


def test_later_measurement_runs_each_stimulus_once_and_searches_no_input(monkeypatch):
    # This is what the cost of a measurement rests on (docs/monitoring.md).
    model, rows, searched = small_cnn(), [], []
    model[0].register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    monitor = monitor_of(model)
    before = layerwise.as_points

    def watched(points, **options):
        searched.append(points.shape[1])
        return before(points, **options)

    monkeypatch.setattr(layerwise, "as_points", watched)
    rows.clear()
    monitor.measure()
    assert sum(rows) == 200
    assert searched == [layer.n_features for layer in monitor.profile.layers[1:]]


# -- nothing is disturbed ----------------------------------------------------------------------


def states():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def assert_states_equal(first, second):
    assert first[0] == second[0]
    np.testing.assert_equal(first[1], second[1])
    assert torch.equal(first[2], second[2])


class Augmented(torch.utils.data.Dataset):
    """A data set that draws random numbers of three kinds for every item."""

    def __len__(self):
        return 40

    def __getitem__(self, row):
        noise = random.random() + np.random.random() + torch.rand(())  # noqa: NPY002
        return digits()[0][row] + 0.01 * noise


def test_monitored_training_gives_the_same_weights():
    alone, watched = small_cnn(), small_cnn()
    data = DataLoader(Augmented(), 20, shuffle=True)
    torch.manual_seed(3)
    train(alone, 12)
    torch.manual_seed(3)
    monitor = monitor_of(watched, data, every=3)
    train(watched, 12, lambda loss: monitor.step(loss=loss))
    assert len(monitor.snapshots) == 5
    for name, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name


def test_measurement_leaves_the_network_and_the_process_as_they_were():
    model = small_cnn()
    model[5].eval()
    model[0].weight.requires_grad_(False)
    calls = []
    model[3].register_forward_hook(lambda *_: calls.append(1))
    train(model, 2)
    model[5].eval()
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    hooks = [len(module._forward_hooks) for module in model.modules()]
    before = states()
    monitor = monitor_of(model, DataLoader(Augmented(), 20, shuffle=True))
    monitor.measure()
    assert_states_equal(before, states())
    assert [module.training for module in model.modules()] == modes
    assert False in modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert not model[0].weight.requires_grad
    for grad, parameter in zip(grads, model.parameters(), strict=True):
        assert (grad is None) == (parameter.grad is None)
        assert grad is None or torch.equal(grad, parameter.grad)
    for name, value in weights.items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_measuring_between_forward_and_backward_keeps_the_graph():
    model, other = small_cnn(), small_cnn()
    images, labels = digits()
    monitor = monitor_of(model)
    for net in (model, other):
        torch.manual_seed(0)
        loss = nn.functional.cross_entropy(net(images[:50]), labels[:50])
        if net is model:
            monitor.measure()
        loss.backward()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.slow
def test_compiled_network_is_measured_under_its_own_names():
    model = small_cnn()
    compiled = torch.compile(model, backend="eager")
    monitor = monitor_of(compiled)
    train(compiled, 10, lambda loss: monitor.step())
    assert list(monitor.profile) == list(monitor_of(small_cnn()).profile)
    assert len(monitor.snapshots) == 2


# -- failures ----------------------------------------------------------------------------------


class Fragile(nn.Module):
    """A network that can be told to fail in eval mode."""

    def __init__(self):
        super().__init__()
        self.fc, self.broken = nn.Linear(4, 3), False

    def forward(self, x):
        if self.broken and not self.training:
            raise RuntimeError("out of memory")
        return self.fc(x)


def test_failed_measurement_does_not_stop_the_training(caplog):
    model = Fragile()
    monitor = ds.IDMonitor(model, torch.rand(30, 4), every=1, max_overhead=None)
    model.broken = True
    assert monitor.step(loss=1.0) is None
    model.broken = False
    assert monitor.step(loss=1.0) is not None
    (failure,) = monitor.failures
    assert failure[0] == 1
    assert "out of memory" in failure[1]
    assert "out of memory" in caplog.text
    assert "1 failed, the last at step 1" in monitor.summary
    assert model.training


def test_first_measurement_may_fail_loudly():
    model = Fragile()
    model.broken = True
    with pytest.raises(BadSource, match="out of memory"):
        ds.IDMonitor(model, torch.rand(30, 4))
    with pytest.raises(BadSource, match="nowhere"):
        ds.IDMonitor(small_cnn(), probe(), layers=["nowhere"])
    with pytest.raises(BadPoints, match="no rows"):
        ds.IDMonitor(small_cnn(), probe(0))


def test_collapsed_layer_has_a_reason_and_the_others_are_measured():
    model = small_cnn()
    monitor = monitor_of(model)
    with torch.no_grad():
        model[9].weight.zero_()
    profile = monitor.measure()
    assert "the same" in profile["9"].reason
    assert profile["7"].dimension > 1
    assert math.isnan(monitor.snapshots[-1].drift["9"].change)


def test_unknown_option_is_refused():
    with pytest.raises(TypeError, match="bach_size"):
        ds.IDMonitor(small_cnn(), probe(), bach_size=3)


# -- checkpoints -------------------------------------------------------------------------------


def test_history_continues_after_a_checkpoint(tmp_path):
    model = small_cnn()
    monitor = monitor_of(model, every=5, alarms=ds.monitoring.Alarms())
    train(model, 10, lambda loss: monitor.step(loss=loss))
    torch.save({"model": model.state_dict(), "monitor": monitor.state_dict()}, tmp_path / "a.pt")
    torch.manual_seed(5)  # for dropout
    train(model, 10, lambda loss: monitor.step(loss=loss), seed=1, lr=0.02)

    saved = torch.load(tmp_path / "a.pt", weights_only=True)
    resumed = small_cnn(seed=9)
    resumed.load_state_dict(saved["model"])
    later = monitor_of(resumed, every=5, first=False, alarms=ds.monitoring.Alarms())
    assert "not measured yet" in repr(later)
    later.load_state_dict(saved["monitor"])
    torch.manual_seed(5)
    train(resumed, 10, lambda loss: later.step(loss=loss), seed=1, lr=0.02)

    drop = ["seconds"]
    pd.testing.assert_frame_equal(
        later.history.drop(columns=drop), monitor.history.drop(columns=drop)
    )
    assert later.alarms == monitor.alarms
    assert later.overhead.spent > saved["monitor"]["overhead"]["spent"]


def test_state_is_json_and_loads_twice():
    monitor = monitor_of(small_cnn(), every=1)
    monitor.step(loss=1.0)
    monitor.step(loss=math.nan)
    text = json.dumps(monitor.state_dict(), allow_nan=False)
    other = monitor_of(small_cnn(), first=False)
    for _ in range(2):
        other.load_state_dict(json.loads(text))
    pd.testing.assert_frame_equal(other.history, monitor.history)


def test_only_references_keep_the_influences_of_points():
    monitor = monitor_of(small_cnn(), every=1, alarms=None)
    for _ in range(4):
        monitor.step()
    assert [snapshot.has_influences for snapshot in monitor.snapshots] == [True, *[False] * 3, True]


def test_state_of_other_stimuli_or_versions_is_refused():
    monitor = monitor_of(small_cnn())
    state = monitor.state_dict()
    with pytest.raises(BadSource, match="other stimuli"):
        monitor_of(small_cnn(), probe(200).flip(0)).load_state_dict(state)
    with pytest.raises(BadSource, match="version 99"):
        monitor.load_state_dict(state | {"version": 99})


# -- trackers of one's own, and figures ----------------------------------------------------------


class Collected(Tracker):
    """Keep what is logged."""

    takes_figures = True

    def __init__(self):
        self.logged, self.figures, self.closed = {}, [], 0

    def log(self, values, step):
        self.logged[step] = dict(values)

    def figure(self, name, figure, step):
        self.figures.append((step, [line.get_label() for line in figure.axes[0].containers]))

    def close(self):
        self.closed += 1


def test_tracker_gets_every_measurement_and_the_last_figure():
    tracker, model = Collected(), small_cnn()
    monitor = monitor_of(model, trackers=tracker)
    train(model, 20, lambda loss: monitor.step(loss=loss))
    monitor.finish()
    monitor.finish()
    assert list(tracker.logged) == [0, 10, 20]
    assert tracker.logged[20] == monitor.values
    assert tracker.figures[0][0] == 0
    assert tracker.figures[-1] == (20, ["step 0", "step 20"])
    assert tracker.closed == 1


def test_csv_holds_the_history(tmp_path):
    path, model = tmp_path / "runs" / "history.csv", small_cnn()
    monitor = monitor_of(model, trackers=path)
    train(model, 20, lambda loss: monitor.step(loss=loss))
    monitor.finish()
    written = pd.read_csv(path)
    written["reason"] = written["reason"].astype(object).fillna("")
    pd.testing.assert_frame_equal(written, monitor.history, check_dtype=False)


def test_csv_of_a_run_without_steps_has_the_first_measurement(tmp_path):
    monitor = monitor_of(small_cnn(), trackers=[tmp_path / "history.csv"])
    monitor.finish()
    assert pd.read_csv(tmp_path / "history.csv")["layer"].tolist() == list(monitor.profile)


def test_csv_of_a_resumed_run_goes_on_from_its_state(tmp_path):
    path, model = tmp_path / "history.csv", small_cnn()
    monitor = monitor_of(model, trackers=path)
    train(model, 10, lambda loss: monitor.step(loss=loss))
    state = monitor.state_dict()
    train(model, 20, lambda loss: monitor.step(loss=loss))  # lost, as after a crash
    assert pd.read_csv(path)["step"].unique().tolist() == [0, 10, 20, 30]
    resumed = monitor_of(model, trackers=path, first=False)
    resumed.load_state_dict(state)
    train(model, 10, lambda loss: resumed.step(loss=loss))
    resumed.finish()
    written = pd.read_csv(path)
    written["reason"] = written["reason"].astype(object).fillna("")
    pd.testing.assert_frame_equal(written, resumed.history, check_dtype=False)
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_csv_of_an_earlier_run_is_kept_under_another_name(tmp_path, caplog):
    for number in range(3):
        monitor = monitor_of(small_cnn(), trackers=tmp_path / "history.csv")
        monitor.finish()
        assert len(pd.read_csv(tmp_path / "history.csv")) == len(monitor.profile), number
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["history.1.csv", "history.2.csv", "history.csv"]
    assert "held an earlier run, which is now in history.2.csv" in caplog.text


def test_csv_gets_a_column_for_a_new_scalar(tmp_path):
    monitor = monitor_of(small_cnn(), trackers=tmp_path / "history.csv")
    monitor.record(loss=2.0)
    monitor.measure()
    monitor.record(loss=1.0, accuracy=0.5)
    monitor.measure()
    written = pd.read_csv(tmp_path / "history.csv")[["loss", "accuracy"]].drop_duplicates()
    np.testing.assert_equal(written.to_numpy(), [[np.nan, np.nan], [2.0, np.nan], [1.0, 0.5]])


def test_history_is_drawn_with_a_curve_for_each_layer(trained):
    _, monitor = trained
    ax = monitor.plot()
    handles, labels = ax.get_legend_handles_labels()
    assert labels == list(monitor.profile)
    output = monitor.history.query("layer == 'output' and estimator == 'twonn'")
    assert handles[-1].get_xdata().tolist() == [0, 20, 40, 60]
    assert handles[-1].get_ydata().tolist() == output["dimension"].tolist()


@pytest.mark.filterwarnings("ignore::dimscope.TiedPoints")
def test_run_says_what_was_left_out(caplog):
    model = small_cnn()
    monitor = monitor_of(model, every=1, max_overhead=1e-9)
    train(model, 3, lambda loss: monitor.step(loss=loss))
    assert caplog.text.count("was not measured") == 1
    assert "longer than the training" in monitor.finish()
    monitor = monitor_of(model, every="epoch")
    monitor.step()
    assert "no epoch was counted, so call epoch()" in monitor.finish()
    with pytest.raises(TypeError, match="loss is 'low'; give a number"):
        monitor.step(loss="low")
    caplog.clear()
    ds.IDMonitor(model, probe(), every=1)
    assert "stimuli" not in caplog.text
    ds.IDMonitor(model, digits()[0][:1100], every=1)
    assert "more than 1000 stimuli, of which 1000 are measured" in caplog.text


def test_alarms_are_logged_as_warnings_unless_taken(caplog):
    caplog.set_level(logging.WARNING)
    taken = []
    for on_alarm in (None, taken.append):
        model = small_cnn()
        monitor = monitor_of(model, alarms=ds.monitoring.Alarms(), on_alarm=on_alarm)
        with torch.no_grad():
            model[9].weight.zero_()
        monitor.measure()
    assert caplog.text.count("9 can no longer be measured") == 1
    assert {alarm.layer for alarm in taken} == {"9", "output"}
