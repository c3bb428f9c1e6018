import math

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope import Activations, Layer
from dimscope.manifolds import cube
from dimscope.monitoring import Alarm, Alarms, Average, Snapshot, id_loss
from dimscope.monitoring.alarms import Watch
from tests.monitoring.training import digits

N = 400
LAYERS = (
    Layer("input", "input"),
    Layer("conv", "hidden", 1, 0.3),
    Layer("fc", "last_hidden", 2, 0.6),
    Layer("output", "output", 3, 1.0),
)


def points_of(dimension, seed=0, noise=0.0):
    """A cube of a dimension up to 12; those of one seed are projections of each other."""
    points = cube(N, 12).copy()
    points += noise * np.random.default_rng(seed + 1).normal(size=points.shape)
    points[:, dimension:] = 0
    return points


def snapshot(step, dimensions, loss=None, error=0.01, noise=0.0):
    points = {
        layer.name: points_of(d, 9 * step + place, noise)
        for place, (layer, d) in enumerate(zip(LAYERS, dimensions, strict=True))
    }
    profile = ds.profile(Activations(points, LAYERS, ids=np.arange(N)))
    scalars = {} if loss is None else {"loss": Average(loss, error, 100)}
    return Snapshot(step, 0, float(step), profile, scalars=scalars)


def kinds(snapshots, rules=Alarms()):  # noqa: B008
    watch = Watch(rules)
    return [[(alarm.kind, alarm.layer) for alarm in watch.look(snapshot)] for snapshot in snapshots]


def test_last_layer_that_grows_while_the_loss_falls_raises_an_alarm():
    run = [
        snapshot(0, (6, 8, 6, 2)),
        snapshot(1, (6, 8, 4, 2), 2.0),
        snapshot(2, (6, 8, 3, 2), 1.5),
        snapshot(3, (6, 8, 5, 2), 1.0),
    ]
    assert kinds(run) == [[], [], [], [("growing", "fc")]]


def growing_run():
    return [
        snapshot(0, (6, 8, 6, 2)),
        snapshot(1, (6, 8, 3, 2), 2.0),
        snapshot(2, (6, 8, 5, 2), 1.0),
    ]


def test_growing_alarm_says_the_numbers_with_their_errors():
    run = [
        snapshot(0, (6, 8, 6, 2)),
        snapshot(1, (6, 8, 3, 2), 2.0),
        snapshot(2, (6, 8, 5, 2), 1.0),
    ]
    watch = Watch(Alarms())
    (alarm,) = [alarm for item in run for alarm in watch.look(item)]
    now, before = run[2].profile["fc"], run[1].profile["fc"]
    change = ds.difference(now, before)
    assert alarm.step == 2
    assert alarm.numbers["difference"] == change.difference
    assert alarm.numbers["std_error"] == change.std_error
    assert alarm.numbers["loss"] == 1.0
    assert f"{before} at step 1, now {now}, difference {change}" in alarm.text
    assert "loss 2.000 ± 0.010, now 1.000 ± 0.010" in alarm.text


@pytest.mark.parametrize(
    ("losses", "error"),
    [
        ((2.0, 2.0), 0.01),  # the loss stays
        ((2.0, 2.5), 0.01),  # it rises
        ((2.0, 1.99), 0.01),  # it falls by no more than its error
        ((None, None), 0.01),  # it is unknown
        ((2.0, 1.0), math.nan),  # its error is unknown
    ],
)
def test_growing_layer_raises_no_alarm_unless_the_loss_falls(losses, error):
    run = [
        snapshot(0, (6, 8, 6, 2)),
        snapshot(1, (6, 8, 3, 2), losses[0], error),
        snapshot(2, (6, 8, 5, 2), losses[1], error),
    ]
    assert kinds(run) == [[], [], []]


def test_growth_below_the_factor_raises_no_alarm():
    run = [
        snapshot(0, (6, 8, 6, 2)),
        snapshot(1, (6, 8, 3, 2), 2.0),
        snapshot(2, (6, 8, 5, 2), 1.0),
    ]
    assert kinds(run, Alarms(growth=3.0)) == [[], [], []]


def test_collapsed_layers_raise_an_alarm_once_while_they_are_collapsed():
    first, collapsed = (6, 8, 8, 8), (6, 8, 1, 8)
    run = [snapshot(i, d) for i, d in enumerate([first, collapsed, collapsed, first, collapsed])]
    assert kinds(run) == [[], [("collapse", "fc")], [], [], [("collapse", "fc")]]


def test_layer_that_can_no_longer_be_measured_has_collapsed():
    watch = Watch(Alarms())
    watch.look(snapshot(0, (6, 8, 4, 4)))
    (alarm,) = watch.look(snapshot(1, (6, 8, 0, 4)))
    assert (alarm.kind, alarm.layer) == ("collapse", "fc")
    assert "all 400 points are the same" in alarm.text
    assert math.isnan(alarm.numbers["dimension"])


def test_half_of_the_dimensions_is_no_collapse_unless_asked_for():
    run = [snapshot(0, (6, 8, 8, 8)), snapshot(1, (6, 8, 3, 8))]
    assert kinds(run) == [[], []]
    assert kinds(run, Alarms(collapse=0.8)) == [[], [("collapse", "fc")]]


def test_moving_peak_raises_an_alarm_at_each_move():
    early, late = (4, 8, 3, 2), (4, 3, 8, 2)
    run = [snapshot(i, d) for i, d in enumerate([early, early, late, late, early])]
    assert kinds(run) == [[], [], [("peak", "fc")], [], [("peak", "conv")]]


def test_peak_alarm_compares_both_layers_at_both_steps():
    run = [snapshot(0, (4, 8, 3, 2)), snapshot(7, (4, 3, 8, 2))]
    watch = Watch(Alarms())
    (alarm,) = [alarm for item in run for alarm in watch.look(item)]
    then, now = (ds.difference(item.profile["fc"], item.profile["conv"]) for item in run)
    assert alarm.numbers["difference"] == now.difference > 0
    assert alarm.numbers["difference_before"] == then.difference < 0
    assert f"fc minus conv was {then} at step 0, and is {now}" in alarm.text


def test_peak_within_its_error_does_not_move():
    run = [snapshot(i, (4, 6, 6, 2), noise=0.05) for i in range(8)]
    assert len({item.highest for item in run}) == 2
    assert not any(kinds(run))


def test_a_run_that_changes_nothing_but_noise_raises_no_alarm():
    run = [snapshot(i, (6, 6, 6, 6), 2.0 - i / 10, noise=0.05) for i in range(10)]
    assert not any(kinds(run))


@pytest.mark.parametrize(
    "options", [{"growth": 0.9}, {"collapse": 0.0}, {"collapse": 1.0}, {"level": 0.0}]
)
def test_bad_rules_are_refused(options):
    with pytest.raises(ValueError, match="growth must be at least 1"):
        Alarms(**options)


def test_alarm_survives_a_checkpoint_and_is_not_raised_again():
    first = ds.IDMonitor(network(), digits()[0][:200].flatten(1), on_alarm=lambda alarm: None)
    with torch.no_grad():
        first._probe._session.network[2].weight.zero_()
    first.measure()
    assert {alarm.kind for alarm in first.alarms} == {"collapse"}
    second = ds.IDMonitor(network(), digits()[0][:200].flatten(1), first=False)
    second.load_state_dict(first.state_dict())
    assert second.alarms == first.alarms
    with torch.no_grad():
        second._probe._session.network[2].weight.zero_()
    second.measure()
    assert second.alarms == first.alarms
    assert isinstance(second.alarms[0], Alarm)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


@pytest.mark.parametrize("turns", [True, False])
def test_training_that_spreads_the_last_layer_out_is_noticed(turns):
    images, labels = (part[:400] for part in digits())
    images, model = images.flatten(1), network()
    monitor = ds.IDMonitor(
        model, images, "last_hidden", every=20, max_overhead=None, on_alarm=lambda alarm: None
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for step in range(80):
        hidden = model[:4](images)
        loss = nn.functional.cross_entropy(model[4:](hidden), labels)
        weight = -0.3 if turns and step >= 40 else 0.1
        optimizer.zero_grad()
        (loss + weight * id_loss(hidden)).backward()
        optimizer.step()
        monitor.step(loss=loss)
    growing = [alarm for alarm in monitor.alarms if alarm.kind == "growing"]
    assert [alarm.layer for alarm in growing] == ["2"] * turns
