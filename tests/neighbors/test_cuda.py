"""The kernel of tensors, run on every device of this machine, the CPU among them."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dimscope as ds
from dimscope.arrays import tensor_points
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.neighbors import cuda
from dimscope.neighbors.cuda import DeviceTiles
from dimscope.neighbors.cuda import _Least as Least
from dimscope.neighbors.search import nearest_neighbors
from reference import brute_force

DEVICES = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


@pytest.fixture(autouse=True)
def _tensors_are_on_a_device(monkeypatch):
    # so that a tensor on the CPU takes the path of a tensor elsewhere
    monkeypatch.setattr(tensor_points, "is_on_device", lambda tensor: True)


def gaussian(n, d, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("points", "what"),
    [
        (gaussian(400, 100), "float32"),
        (gaussian(400, 100).half(), "float16"),
        (gaussian(400, 100).bfloat16(), "bfloat16"),
        (gaussian(400, 100, torch.float64) + 1e5, "offset"),
        (gaussian(400, 3000) * 1e25, "large"),
        (gaussian(400, 3) * 1e-25, "few features, small"),
        ((gaussian(300, 40) * 3).int(), "integers"),
        (((gaussian(300, 40) + 9) * 3).to(torch.uint16), "unsigned"),
        (gaussian(300, 40).to(torch.float8_e4m3fn), "float8"),
        (torch.cat([gaussian(100, 50) * 1e-3 + 1e3, gaussian(100, 50) * 1e-3 - 1e3]), "clusters"),
    ],
    ids=lambda x: x.replace(" ", "-") if isinstance(x, str) else "points",
)
def test_agrees_with_direct_differences(points, what, device):
    found = nearest_neighbors(points.to(device))
    assert found.provenance.parameters["where"] == device
    expected, _ = brute_force(points.double().numpy()[found.rows])
    np.testing.assert_allclose(found.distances, expected, rtol=1e-6)


def test_open_rows_are_settled():
    # clusters far apart: no product in float32 can tell the neighbours in the one that
    # does not hold the centre
    points = torch.cat([gaussian(60, 50) * 1e-3 + 1e3, gaussian(60, 50) * 1e-3 - 1e3])
    assert nearest_neighbors(points).provenance.parameters["open_rows"] >= 60


def test_small_blocks_give_the_same(monkeypatch):
    points = gaussian(300, 200)
    whole = nearest_neighbors(points)
    monkeypatch.setattr("dimscope.neighbors.cuda._VALUES", 1000)
    np.testing.assert_array_equal(nearest_neighbors(points).distances, whole.distances)


def test_duplicates_are_collapsed():
    points = gaussian(100, 80)
    found = nearest_neighbors(torch.cat([points, points[:30]]))
    assert found.n_duplicates == 30
    np.testing.assert_array_equal(found.distances, nearest_neighbors(points).distances)


def test_subset_searches_again():
    points = gaussian(50, 30)
    rows = np.arange(0, 50, 5)
    within = nearest_neighbors(points).within(rows)
    expected, _ = brute_force(points.double().numpy()[rows])
    np.testing.assert_allclose(within.distances, expected)


@pytest.mark.filterwarnings("ignore::dimscope.TightGroups")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("values", [1000, 1 << 26])
def test_neighbours_of_equal_id_are_excluded(device, values, monkeypatch):
    monkeypatch.setattr(cuda, "_VALUES", values)
    ids = np.arange(120) // 8
    points = gaussian(15, 30)[ids] + 1e-2 * gaussian(120, 30)
    neighbors = nearest_neighbors(points.to(device), 5, exclude=ids)
    assert neighbors.provenance.parameters["where"] == device
    for rows, result in (
        (np.arange(120), neighbors),
        (np.arange(0, 120, 2), neighbors.within(np.arange(0, 120, 2), 5)),
    ):
        values = points.double().numpy()[rows]
        distances = np.linalg.norm(values[:, None] - values, axis=2)
        distances[ids[rows][:, None] == ids[rows]] = np.inf
        expected = np.sort(distances, axis=1)[:, :5]
        np.testing.assert_allclose(result.distances, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (gaussian(5, 2)[0], "reshape"),
        (gaussian(2, 2), "at least 3"),
        (torch.tensor([[1.0, 2], [3, 4], [5, float("nan")]]), "row 2, column 1 is nan"),
        (gaussian(4, 2).to(torch.complex64), "complex"),
        (torch.ones(5, 20), "the same"),
        (torch.full((4, 2), 2**60), "float64"),
        (torch.eye(4).to_sparse(), "to_dense"),
        (torch.ones(4, 2).to(torch.uint64), "int64"),
    ],
)
def test_bad_points_are_named(points, message):
    with pytest.raises((BadPoints, DegeneratePoints), match=message):
        nearest_neighbors(points)


def test_bounds_are_lower_bounds():
    points = gaussian(200, 5000)
    kernel = DeviceTiles(tensor_points.on_device(points))
    bounds, indices = kernel.candidates(5)
    i = np.repeat(np.arange(200), 5)
    exact = kernel.pair_squares(i, indices.ravel())
    assert (bounds.ravel() <= exact).all()
    assert (bounds.ravel() > exact * (1 - 1e-3)).all()


def test_bounds_of_some_rows_are_those_of_all():
    kernel = DeviceTiles(tensor_points.on_device(gaussian(300, 200)))
    rows = np.array([7, 250, 3])
    bounds, indices = kernel.candidates(6)
    of_rows, indices_of_rows = kernel.candidates(6, rows)
    np.testing.assert_allclose(of_rows, bounds[rows], rtol=1e-4)
    np.testing.assert_array_equal(indices_of_rows, indices[rows])


@pytest.mark.parametrize("kind", ["normal", "tied", "descending"])
@pytest.mark.parametrize("m", [1, 6, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_the_least_bounds_whatever_the_tiles(turned, m, kind):
    bounds = gaussian(70, 1000)
    if kind == "tied":
        bounds = bounds.round()
    elif kind == "descending":
        bounds = bounds.sort(dim=1, descending=True).values
    best = Least(torch, 70, m, bounds.device)
    for start, stop in ((400, 1000), (0, 15), (15, 400)):
        tile = bounds[:, start:stop]
        best.offer(slice(0, 70), start, tile.T.contiguous().T if turned else tile)
    found, indices = best.on_cpu()
    np.testing.assert_array_equal(found, bounds.sort(dim=1).values[:, :m].numpy())
    np.testing.assert_array_equal(np.take_along_axis(bounds.numpy(), indices, axis=1), found)
    assert all(len(set(row)) == m for row in indices.tolist())


def test_tiles_fit_the_memory_that_is_free(monkeypatch):
    points = gaussian(300, 200)
    whole = nearest_neighbors(points)
    for room in (700_000, 4_000_000):  # too little for the centred points, and enough
        monkeypatch.setattr(cuda, "room_on", lambda _, room=room: room)
        largest = []
        with Sizes(largest):
            kernel = DeviceTiles(tensor_points.on_device(points))
            kernel.candidates(6)
        assert max(largest) <= room // cuda._KEPT
        np.testing.assert_array_equal(nearest_neighbors(points).distances, whole.distances)


class Precisions(TorchDispatchMode):
    """Note the precision of float32 during every product."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "mm" in str(function):
            self.seen.add(torch.get_float32_matmul_precision())
        return function(*args, **(kwargs or {}))


def test_products_are_not_in_tf32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with Precisions() as precisions:
            nearest_neighbors(gaussian(100, 30))
        assert precisions.seen == {"highest"}
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


class Sizes(TorchDispatchMode):
    """Note the bytes of every tensor that an operation makes."""

    def __init__(self, into):
        super().__init__()
        self.into = into

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        storages = {
            x.untyped_storage().data_ptr()
            for x in (*args, *(kwargs or {}).values())
            if isinstance(x, torch.Tensor)
        }
        if isinstance(result, torch.Tensor):
            storage = result.untyped_storage()
            if storage.data_ptr() not in storages:
                self.into.append(storage.nbytes())
        return result


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_no_copy_of_all_points_in_a_wider_type_where_memory_is_short(monkeypatch, dtype):
    points = gaussian(200, 20_000).to(dtype)
    monkeypatch.setattr(cuda, "room_on", lambda _: 1)
    largest = []
    with Sizes(largest):
        nearest_neighbors(points)
    assert max(largest) < points.numel()


@pytest.mark.parametrize("device", DEVICES)
def test_only_results_come_to_the_cpu(monkeypatch, device):
    points = torch.cat([gaussian(400, 2000), gaussian(50, 2000)]).half().to(device)
    copied = []
    to_cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: copied.append(x.nbytes) or to_cpu(x))
    monkeypatch.setattr(tensor_points.DevicePoints, "in_memory", None)
    with pytest.warns(ds.RepeatedPoints):
        assert ds.estimate(points).n_duplicates == 50
    assert sum(copied) < points.nbytes / 10
