"""Profiles of a network on a device: its points stay there.

Where there is no CUDA device, the CPU takes its place.
"""

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope.arrays import tensor_points
from dimscope.networks.capturing import capture as capturing
from dimscope.networks.capturing import recording
from dimscope.networks.capturing.readouts import Column

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
IMAGES = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 20),
        nn.ReLU(inplace=True), nn.Linear(20, 3),
    )  # fmt: skip


@pytest.fixture
def room(monkeypatch):
    """A function that sets the bytes that are free on the device."""
    monkeypatch.setattr(tensor_points, "is_on_device", lambda tensor: tensor.device == DEVICE)

    def free(n_bytes):
        for module in (capturing, recording):
            monkeypatch.setattr(module, "room_on", lambda _: n_bytes)

    return free


@pytest.fixture
def kept(monkeypatch):
    """Where the points of each layer were when the network had run."""
    places = {}
    finish = Column.finish

    def noting(column):
        points = finish(column)
        places[column.name] = "device" if isinstance(points, torch.Tensor) else "memory"
        return points

    monkeypatch.setattr(Column, "finish", noting)
    return places


def profile(net=None, **options):
    net = (network() if net is None else net).to(DEVICE)
    return ds.profile(net, IMAGES, batch_size=30, name="net", **options)


@pytest.mark.parametrize("layers", ["checkpoints", "all"])
def test_points_of_a_profile_stay_on_the_device(room, kept, layers, monkeypatch):
    expected = profile(layers=layers)
    kept.clear()
    room(10**9)
    monkeypatch.setattr(tensor_points.DevicePoints, "in_memory", None)
    monkeypatch.setattr("dimscope.networks.capturing.growing.own_pages", None)
    found = profile(layers=layers)
    assert set(kept.values()) == {"device"}
    assert found.layers == expected.layers
    for layer, estimate in expected.items():
        assert found[layer].dimension == pytest.approx(estimate.dimension, rel=1e-6)
        assert found[layer].std_error == pytest.approx(estimate.std_error, rel=1e-4)
        assert found[layer].rows == estimate.rows


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_points_in_half_precision_stay_on_the_device(room, kept, dtype):
    net = nn.Sequential(nn.Linear(64, 90), nn.Tanh(), nn.Linear(90, 50)).to(DEVICE, dtype)
    images = IMAGES.flatten(1)
    expected = ds.profile(net, images, batch_size=30)
    kept.clear()
    room(10**9)
    found = ds.profile(net, images, batch_size=30)
    assert set(kept.values()) == {"device"}
    for layer, estimate in expected.items():
        assert found[layer].dimension == pytest.approx(estimate.dimension, rel=1e-6)


def test_points_that_do_not_fit_on_the_device_are_kept_in_memory(room, kept):
    n_bytes = sum(layer.n_features for layer in profile().layers) * 200 * 4
    for free, place in ((2 * n_bytes, "device"), (2 * n_bytes - 1, "memory"), (4000, "memory")):
        kept.clear()
        room(free)
        profile()
        assert set(kept.values()) == {place}


def test_candidates_that_do_not_fit_on_the_device_follow_the_others(room, kept, monkeypatch):
    """In the first batch some layers are in memory and some on the device."""
    room(10**9)
    expected = profile()
    rooms = iter([4 * 30 * 400, *[10**9] * 9])
    monkeypatch.setattr(recording, "room_on", lambda _: next(rooms))
    placed = []
    move = Column.move
    monkeypatch.setattr(
        Column, "move", lambda column, device: placed.append(column.device) or move(column, device)
    )
    kept.clear()
    assert dict(profile()) == dict(expected)
    assert set(placed) == {None, DEVICE}
    assert set(kept.values()) == {"device"}


def test_a_capture_is_in_memory(room, kept):
    room(10**9)
    captured = ds.capture(network().to(DEVICE), IMAGES)
    assert all(isinstance(points, np.ndarray) for points in captured.values())
    assert set(kept.values()) == {"memory"}


def test_classes_and_spectra_are_measured_from_the_device(room, kept):
    labels = np.arange(200) % 2
    estimators = [ds.TwoNN(), ds.PCA()]
    net = network().to(DEVICE)
    expected = ds.profile(net, (IMAGES, labels), estimators, by_class=True)
    kept.clear()
    room(10**9)
    found = ds.profile(net, (IMAGES, labels), estimators, by_class=True)
    assert set(kept.values()) == {"device"}
    for name in ("twonn", "pca"):
        for layer, estimate in expected.of(name).items():
            assert found.of(name)[layer].dimension == pytest.approx(estimate.dimension, rel=1e-6)


def test_layers_beyond_the_budget_are_on_disk_whatever_the_device_holds(room, kept):
    room(10**9)
    plans = []
    found = profile(memory="100 kB", on_plan=plans.append)
    assert plans[0].how == "store"
    assert not kept
    assert dict(found).keys() == dict(profile()).keys()
