"""Several passes, where neither memory nor disk has room: the same profile, layer after layer."""

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope.networks.capturing import capture, session
from dimscope.networks.options import CaptureOptions
from networks.capturing.checks import CHECKED

X = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 2


class Network(nn.Module):
    """Counts its rows; with dropout that is left on, it draws random numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rows = 0
        self.a, self.b, self.c = nn.Linear(5, 20), nn.Linear(20, 30), nn.Linear(30, 10)

    def forward(self, x):
        self.rows += len(x)
        x = torch.relu(self.a(x))
        x = nn.functional.dropout(torch.relu(self.b(x)), 0.1, training=True)
        return self.c(x)


# 4 bytes, 60 points: the input takes 1200, a 4800, b 7200, the output 2400 bytes
TWO, THREE = 10_000, 7200


@pytest.fixture
def no_room(monkeypatch):
    for module in (session, capture):
        monkeypatch.setattr(module, "free_disk", lambda: 1000)


@pytest.mark.parametrize(("memory", "passes"), [(1 << 20, 1), (TWO, 2), (THREE, 3)])
@pytest.mark.parametrize("by_class", [False, True])
def test_profile_in_passes_equals_that_of_one_pass(no_room, memory, passes, by_class):
    wanted = ds.profile(Network(), (X, Y), by_class=by_class, batch_size=16)
    network, plans = Network(), []
    found = ds.profile(
        network, (X, Y), by_class=by_class, batch_size=16, memory=memory, on_plan=plans.append
    )
    assert network.rows == passes * (CHECKED + 60)
    assert [(one.how, one.passes) for one in plans] == [
        ("memory" if passes == 1 else "passes", passes)
    ]
    assert found.layers == wanted.layers
    assert [one.role for one in found.layers] == ["input", "hidden", "last_hidden", "output"]
    assert found.to_frame().equals(wanted.to_frame())
    assert {k: dict(v) for k, v in found.spread.items()} == wanted.spread


def test_capture_groups_fit_the_budget(no_room):
    whole = ds.capture(Network(), (X, Y), batch_size=16)
    options = CaptureOptions(batch_size=16, memory=THREE)
    parts = list(capture.capture_groups(Network(), (X, Y), options))
    assert [list(one) for one in parts] == [["input", "a"], ["b"], ["output"]]
    for one in parts:
        assert one.nbytes <= THREE
        np.testing.assert_array_equal(one.labels, whole.labels)
        for name in one:
            np.testing.assert_array_equal(one[name], whole[name])


def test_plan_predicts_passes(no_room):
    plan = ds.plan(Network(), X, memory=TWO)
    assert (plan.how, plan.passes) == ("passes", 2)
    assert plan.groups == (("input", "a"), ("b", "output"))
    assert "some layers at a time" in str(plan)
    assert "2 passes" in str(plan)


def test_profile_progress_counts_all_passes(no_room):
    seen = []
    ds.profile(
        Network(),
        X,
        batch_size=30,
        memory=THREE,
        progress=lambda step, d, t: seen.append((step, d, t)),
    )
    ran = [(d, t) for step, d, t in seen if step.startswith("running")]
    assert ran == [(rows, 180) for rows in (30, 60, 90, 120, 150, 180)]


def test_plan_uses_passes_without_zarr(monkeypatch):
    monkeypatch.setattr(session, "has_zarr", lambda: False)
    assert ds.plan(Network(), X, memory=TWO).how == "passes"


def test_profile_uses_one_pass_with_room_on_disk():
    network = Network()
    assert ds.plan(Network(), X, memory=TWO).how == "store"
    ds.profile(network, X, memory=TWO)
    assert network.rows == CHECKED + 60


def test_capture_refuses_what_fits_nowhere(no_room):
    with pytest.raises(ds.BadSource, match=r"profile, which measures them in several passes"):
        ds.capture(Network(), X, memory=TWO)


def test_profile_refuses_a_layer_that_fits_nowhere(no_room):
    with pytest.raises(ds.BadSource, match="GB on disk"):
        ds.profile(Network(), X, memory=5000)


def test_profile_in_passes_keeps_failed_layers_in_place(no_room):
    network = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 30), nn.ReLU())

    def forward(model, x):
        hidden = model[1](model[0](x))
        return model(x) + 0 * model[3](model[2](hidden[: len(x) // 2])).sum()

    wanted = ds.profile(network, X, layers="all", forward=forward, batch_size=16)
    found = ds.profile(network, X, layers="all", forward=forward, batch_size=16, memory=THREE)
    assert found.layers == wanted.layers
    assert found.to_frame().equals(wanted.to_frame())
    assert [one.reason for one in found.values()] == [one.reason for one in wanted.values()]
    assert any("not the same number for each" in one.reason for one in wanted.values())


def test_plan_keeps_layers_with_shared_points_together(no_room):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.h, self.a, self.b = nn.Linear(5, 20), nn.Linear(20, 50), nn.Linear(20, 50)

        def forward(self, x):
            h = self.h(x)
            return self.a(h), self.b(h)

    asked = {"layers": ["a", "b", "output"], "batch_size": 16}
    wanted = ds.profile(Two(), X, **asked)
    found = ds.profile(Two(), X, **asked, memory=4 * 60 * 50)
    assert list(found) == list(wanted) == ["a", "b", "output"]
    assert found.to_frame().equals(wanted.to_frame())
