"""Tensors that stay on their device, with tensors on the CPU in their place."""

import numpy as np
import pytest
import torch

from dimscope.arrays import as_points, tensor_points
from dimscope.errors import BadPoints

DEVICES = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


@pytest.fixture
def _on_a_device(monkeypatch):
    monkeypatch.setattr(tensor_points, "is_on_device", lambda tensor: True)


def normal(n, d, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "points",
    [
        normal(90, 100),
        normal(90, 100).half(),
        normal(90, 100, torch.float64),
        normal(90, 20).relu() * -1,  # zeros of both signs
        (normal(90, 100) * 9).int(),
    ],
    ids=["float32", "float16", "float64", "zeros", "integers"],
)
def test_hashes_are_those_in_memory(points, device, monkeypatch):
    in_memory = as_points(points)
    monkeypatch.setattr(tensor_points, "is_on_device", lambda tensor: True)
    there = as_points(points.to(device))
    rows = np.array([80, 3, 4])
    np.testing.assert_array_equal(there.fingerprints, in_memory.fingerprints)
    np.testing.assert_array_equal(there.row_hashes(rows), in_memory.row_hashes(rows))
    np.testing.assert_allclose(there.norms(rows), in_memory.norms(rows), rtol=1e-12)
    chosen = there.select(rows)
    np.testing.assert_array_equal(chosen.row_hashes(), in_memory.row_hashes(rows))
    assert chosen.are_equal(np.array([0, 1]), np.array([0, 2])).tolist() == [True, False]


@pytest.mark.usefixtures("_on_a_device")
def test_slices_are_views():
    points = as_points(normal(50, 40))
    block = points.tensor_block(slice(10, 20), slice(5, 9))
    assert block.untyped_storage().data_ptr() == points.array.untyped_storage().data_ptr()
    rows = np.arange(50)[::-1]
    chosen = points.select(rows).tensor_block(slice(10, 20), slice(5, 9))
    assert torch.equal(chosen, points.array[torch.arange(39, 29, -1), 5:9])


@pytest.mark.usefixtures("_on_a_device")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_value_that_is_not_finite_is_named(value):
    points = normal(50, 40).half()
    points[7, 3] = points[8, 1] = value
    with pytest.raises(BadPoints, match="row 7, column 3"):
        as_points(points)


@pytest.mark.usefixtures("_on_a_device")
def test_values_up_to_the_end_of_the_range_are_finite():
    points = as_points(normal(50, 40).half().clamp(-65504, 65504))
    points.array[0, 0], points.array[0, 1] = 65504, -65504
    assert as_points(points.array).max_abs == 65504


def test_no_room_on_a_device_where_nothing_is_searched():
    assert tensor_points.room_on(torch.device("cpu")) == 0


if torch.cuda.is_available():

    def test_room_counts_the_memory_that_torch_keeps():
        device = torch.device("cuda", 0)
        taken = torch.empty(1 << 28, dtype=torch.uint8, device=device)
        before = tensor_points.room_on(device)
        del taken
        assert tensor_points.room_on(device) - before >= 1 << 28
