"""r1 and r2 against float64 direct differences: a relative 1e-6 in every case."""

import numpy as np
import pytest

from dimscope import nearest_neighbors
from dimscope.neighbors import certificate as certified
from dimscope.neighbors.tiles import Tiles
from reference import brute_force, worst_error

torch = pytest.importorskip("torch")

PROMISED = 1e-6


def check(array, values=None):
    assert worst_error(nearest_neighbors(array), array if values is None else values) <= PROMISED


def normal(n, width, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width))


def as_dtype(points, dtype):
    """The points in a dtype, as given to the engine and as float64."""
    if dtype == "bfloat16":
        tensor = torch.from_numpy(points).to(torch.bfloat16)
        return tensor, tensor.double().numpy()
    array = points.astype(dtype)
    return array, array.astype(np.float64)


FLOATS = ["float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("n", "width"), [(3, 40), (10, 1), (500, 2), (1000, 17), (600, 256)])
def test_distances_of_random_points_are_exact(dtype, n, width):
    array, values = as_dtype(normal(n, width) + np.arange(n)[:, None] * 1e-3, dtype)
    check(array, values)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_of_many_points_are_exact(dtype):
    check(normal(3000, 64).astype(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_of_wide_points_are_exact(dtype):
    array = normal(300, 100_000).astype(dtype)
    neighbors = nearest_neighbors(array)
    difference = np.empty((300, 100_000))
    for row in range(0, 300, 50):
        np.subtract(array, array[row], out=difference, dtype=np.float64)
        distance = np.sort(np.sqrt(np.vecdot(difference, difference)))[1:3]
        np.testing.assert_allclose(neighbors.distances[row], distance, rtol=PROMISED)


@pytest.mark.parametrize("power", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [3, 60])
def test_distances_of_heavy_tails_are_exact(power, dtype, width):
    points = np.random.default_rng(power).standard_cauchy((800, width)) ** power
    check(points.astype(dtype))


@pytest.mark.parametrize("offset", [1.0, 1e3, 1e5, -1e5, 1e7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [5, 100])
def test_distances_with_an_offset_are_exact(offset, dtype, width):
    check(np.unique((normal(600, width) + offset).astype(dtype), axis=0))


@pytest.mark.parametrize("dtype", FLOATS)
def test_distances_with_an_offset_per_feature_are_exact(dtype):
    offsets = np.random.default_rng(1).uniform(-1, 1, 100) * 100
    array, values = as_dtype(normal(600, 100) + offsets, dtype)
    check(array, values)


@pytest.mark.parametrize("scale", [1e-25, 1e-10, 1e10, 1e25])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("width", [5, 100])
def test_distances_at_any_scale_are_exact(scale, dtype, width):
    array, values = as_dtype(normal(500, width) * scale, dtype)
    check(array, values)


@pytest.mark.parametrize("scale", [1e-307, 1e-150, 1e-50, 1e39, 1e50, 1e150, 1e305])
@pytest.mark.parametrize("width", [5, 100])
def test_distances_at_scales_beyond_float32_are_exact(scale, width):
    check(normal(300, width) * scale)


@pytest.mark.parametrize("scale", [1e-43, 1e-40, 1e-38, 5e37])
@pytest.mark.parametrize("width", [5, 100])
def test_distances_at_both_ends_of_float32_are_exact(scale, width):
    check((normal(300, width) * scale).astype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e4, 1e10, 1e30])
def test_distances_with_one_far_point_are_exact(dtype, size):
    points = normal(500, 50)
    points[17] *= size
    check(points.astype(dtype))


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e9])
def test_distances_within_two_far_clusters_are_exact(distance):
    points = normal(600, 50)
    points[::2] += distance
    check(points)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_of_rows_at_different_scales_are_exact(dtype):
    points = normal(500, 50) * np.exp(8 * normal(500, 1, 1))
    check(points.astype(dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("width", [4, 40])
def test_distances_of_integers_are_exact(dtype, width):
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**52)), min(info.max, 2**52)
    points = np.random.default_rng(0).integers(low, high, (500, width), dtype, endpoint=True)
    check(points)


@pytest.mark.parametrize("width", [4, 40])
def test_distances_of_booleans_are_exact(width):
    points = np.unique(normal(200, width) > 0, axis=0)
    check(points)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [3, 80])
def test_distances_of_near_duplicates_are_exact(dtype, width):
    points = normal(300, width)
    spacing = brute_force(points)[0][:, :1]
    twins = points + 1e-4 * spacing * normal(300, width, 1) / np.sqrt(width)
    check(np.concatenate([points, twins]).astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_distances_of_one_feature_are_exact(dtype):
    array, values = as_dtype(np.unique(as_dtype(normal(800, 1), dtype)[1])[:, None], dtype)
    check(array, values)


@pytest.mark.parametrize("width", [10, 60])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_with_constant_columns_are_exact(width, dtype):
    points = normal(500, width)
    points[:, ::2] = 12345.678
    points[:, 1] = 0
    check(points.astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("width", [6, 60])
def test_distances_of_any_memory_layout_are_exact(dtype, width):
    points = (normal(400, width) + np.arange(400)[:, None]).astype(dtype)
    plain = nearest_neighbors(points)
    apart = np.zeros((800, 3 * width), dtype)
    apart[::2, ::3] = points
    unaligned = np.zeros(400, dtype=[("a", "u1"), ("x", dtype, (width,))])
    unaligned["x"] = points
    layouts = {
        "fortran": np.asfortranarray(points),
        "strides": apart[::2, ::3],
        "backwards": np.ascontiguousarray(points[::-1, ::-1])[::-1, ::-1],
        "unaligned": unaligned["x"],
        "other byte order": points.astype(points.dtype.newbyteorder()),
    }
    for name, array in layouts.items():
        np.testing.assert_array_equal(array, points)
        neighbors = nearest_neighbors(array)
        np.testing.assert_allclose(neighbors.distances, plain.distances, rtol=2e-7, err_msg=name)
        assert worst_error(neighbors, points) <= PROMISED, name


def test_distances_of_a_memory_map_are_exact(tmp_path):
    np.save(tmp_path / "points.npy", normal(300, 50).astype("float32"))
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    check(mapped)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_distances_of_torch_tensors_are_exact(dtype):
    values = normal(300, 50).astype(dtype)
    tensor = torch.from_numpy(values)
    check(tensor, values)
    check(tensor.requires_grad_(), values)
    check(tensor.detach().T.contiguous().T, values)


# -- what the certificate is for ---------------------------------------------------------


def isotropic(n=600, width=256):
    return normal(n, width)


def planted(gap, offset=0.0, n_pairs=60, width=200, seed=0):
    """Points with two far neighbours whose distances differ by a relative ``gap``.

    Each group is a point, its nearest neighbour at 1, and two at r and r (1 + gap).
    """
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(n_pairs):
        centre = 50 * rng.standard_normal(width)
        directions = np.linalg.qr(rng.standard_normal((width, 3)))[0].T
        groups += [
            centre,
            centre + directions[0],
            *(centre + directions[1:] * np.array([[3.0], [3 * (1 + gap)]])),
        ]
    return np.array(groups) + offset


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [64, 1024])
def test_distances_of_isotropic_noise_are_exact(dtype, width):
    # all distances nearly equal: most candidates are doubtful
    check(isotropic(500, width).astype(dtype))


@pytest.mark.parametrize("gap", [1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_of_planted_near_ties_are_exact(gap, offset, dtype):
    points = planted(gap, offset).astype(dtype)
    check(points)


@pytest.mark.parametrize("gap", [1e-7, 1e-6, 1e-5, 1e-4])
def test_distances_of_many_near_ties_are_exact(gap):
    # a shell: every point of it is nearly equally far from the centre
    rng = np.random.default_rng(0)
    shell = rng.standard_normal((200, 300))
    shell /= np.linalg.norm(shell, axis=1, keepdims=True)
    radius = 1 + gap * np.arange(200)[:, None]
    for offset in (0.0, 10.0):
        check(np.concatenate([np.zeros((1, 300)), shell * radius]) + offset)
        check((np.concatenate([np.zeros((1, 300)), shell * radius]) + offset).astype("float32"))


def hard_cases():
    yield planted(1e-4, 0.0)
    points = normal(600, 50)
    points[::2] += 1e6
    yield points
    yield normal(500, 50) * np.exp(8 * normal(500, 1, 1))


@pytest.mark.slow
def test_distances_without_the_certificate_are_wrong(monkeypatch):
    """The cases above would notice: believing the products' order is not enough."""
    with monkeypatch.context() as patch:
        patch.setattr(Tiles, "extra", 0)
        patch.setattr(certified, "SLACK", -np.inf)
        errors = [worst_error(nearest_neighbors(points), points) for points in hard_cases()]
    assert sum(error > PROMISED for error in errors) >= 2, errors
    assert max(errors) > 1e-3
    for points in hard_cases():
        check(points)
