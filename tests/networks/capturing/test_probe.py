import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.errors import BadSource
from dimscope.networks.capturing.probe import Probe
from dimscope.networks.options import CaptureOptions


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 3)
    )


def change(net):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def same(first, second):
    return list(first) == list(second) and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def kinds():
    x = torch.randn(40, 6)
    return {
        "tensor": x,
        "labels": (x, torch.arange(40) % 3),
        "dataset": TensorDataset(x, torch.arange(40)),
        "loader": DataLoader(TensorDataset(x), batch_size=7, shuffle=True),
        "batches": iter([x[:16], x[16:]]),
    }


@pytest.mark.parametrize("kind", ["tensor", "labels", "dataset", "loader", "batches"])
def test_probe_captures_the_same_stimuli_with_the_present_weights(kind):
    net, data = network(), kinds()[kind]
    probe = Probe(net, data, CaptureOptions(batch_size=16))
    batches = [batch.inputs[0] if isinstance(batch.inputs, tuple) else batch.inputs
               for batch in probe._session.stream.batches]  # fmt: skip
    assert probe.n_points == 40
    for _ in range(3):  # the same batches: the last bit of a product depends on its rows
        assert same(probe.capture(), ds.capture(net, iter(batches)))
        change(net)


def test_probe_runs_networks_that_hooks_change():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2)
    x = torch.randn(20, 5, 8)
    probe = Probe(net, x, CaptureOptions())
    for _ in range(2):
        assert same(probe.capture(), ds.capture(net, x))
        change(net)


def test_probe_gives_a_drawing_network_the_same_random_numbers():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    net = nn.Sequential(nn.Linear(6, 5), Noisy())
    probe = Probe(net, torch.randn(40, 6), CaptureOptions())
    assert same(probe.capture(), probe.capture())


def test_probe_keeps_at_most_the_rows_asked_for():
    net, data = network(), kinds()
    for kind, drawn in (("tensor", "sample"), ("batches", "first")):
        probe = Probe(net, data[kind], CaptureOptions(batch_size=8), at_most=20)
        activations = probe.capture()
        assert probe.n_points == activations.n_points == 20
        assert activations.provenance.parameters["drawn"] == drawn
    assert Probe(net, data["tensor"], CaptureOptions(), at_most=99).n_points == 40


def test_probe_follows_a_network_to_another_precision():
    net = network()
    probe = Probe(net, torch.randn(40, 6), CaptureOptions())
    probe.capture()
    assert probe.capture()["output"].dtype == np.float32
    net.double()
    assert probe.capture()["output"].dtype == np.float64


def test_probe_keeps_a_layer_that_fails_with_its_reason():
    class Counts(nn.Module):
        def forward(self, x):
            return x.argsort(dim=1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.ranks = nn.Linear(6, 4), Counts()

        def forward(self, x):
            hidden = self.fc(x)
            return hidden * self.ranks(hidden)

    probe = Probe(Net(), torch.randn(40, 6), CaptureOptions(["fc", "ranks"]))
    first, second = probe.capture(), probe.capture()
    assert dict(first.failures) == dict(second.failures)
    assert "floating" in second.failures["ranks"]
    assert list(second) == ["fc"]


def test_probe_hash_tells_other_stimuli_and_another_order():
    x = torch.randn(40, 6)
    hashes = {
        Probe(network(), values, CaptureOptions()).sha256() for values in (x, x.flip(0), x + 1)
    }
    assert len(hashes) == 3
    assert Probe(network(), x.clone(), CaptureOptions()).sha256() in hashes


def test_probe_refuses_a_store(tmp_path):
    with pytest.raises(BadSource, match="leave out 'out'"):
        Probe(network(), torch.randn(40, 6), CaptureOptions(out=tmp_path / "a.zarr"))


def test_probe_moves_layers_to_disk_beyond_the_budget():
    pytest.importorskip("zarr")
    net, x = network(), torch.randn(40, 6)
    probe = Probe(net, x, CaptureOptions(memory=500))
    first, second = probe.capture(), probe.capture()
    assert isinstance(second, ds.StoredActivations)
    assert all(np.array_equal(first[name][:], second[name][:]) for name in first)
