"""Networks that accelerate has spread run where they lie, with the values of the whole network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope.errors import BadSource
from dimscope.networks.capturing.identity import weights_sha256
from dimscope.networks.placement import is_dispatched

accelerate = pytest.importorskip("accelerate")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8),
        nn.ReLU(), nn.Linear(8, 2),
    ).eval()  # fmt: skip


def spread(how, folder):
    whole = network()
    if how == "memory":
        return accelerate.cpu_offload(whole, execution_device="cpu")
    if how == "disk":
        return accelerate.disk_offload(whole, folder, execution_device="cpu")
    places = {str(i): "cpu" for i in range(4)} | {str(i): "disk" for i in range(4, 7)}
    return accelerate.dispatch_model(
        whole, places, main_device="cpu", offload_dir=folder, force_hooks=True
    )


@pytest.mark.parametrize("how", ["memory", "disk", "both"])
def test_capture_runs_a_spread_network_where_it_lies(tmp_path, how):
    images = torch.rand(20, 3, 8, 8)
    placed = spread(how, tmp_path)
    assert is_dispatched(placed)
    before = {name: value.device for name, value in placed.named_parameters()}
    assert "meta" in {device.type for device in before.values()}
    first, second = ds.capture(network(), images, "all"), ds.capture(placed, images, "all")
    assert list(first) == list(second)
    for layer in first:
        np.testing.assert_array_equal(first[layer], second[layer])
    assert {name: value.device for name, value in placed.named_parameters()} == before
    assert weights_sha256(placed) == weights_sha256(network())
    with torch.no_grad():  # the hash reads the weights themselves
        other = network()
        other[6].bias += 1e-3
    assert weights_sha256(placed) != weights_sha256(other)


def test_weights_without_values_are_refused():
    with pytest.raises(BadSource, match=r"0.weight are on the device meta"):
        weights_sha256(nn.Sequential(nn.Linear(2, 2, device="meta")))


def test_a_plain_network_is_not_dispatched():
    assert not is_dispatched(copy.deepcopy(network()))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_inputs_are_refused():
    values = torch.quantize_per_tensor(torch.rand(20, 3), 0.1, 0, torch.quint8)
    with pytest.raises(BadSource, match=r"quantised tensor .*inputs.dequantize"):
        ds.capture(nn.Linear(3, 2), [values])
