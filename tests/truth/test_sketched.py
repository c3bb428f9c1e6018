"""The sketched engine gives the exact engine's distances, whatever the points."""

import numpy as np
import pytest

from dimscope import Resampled, Sketched, TwoNN, nearest_neighbors
from dimscope.manifolds import embed, gaussian, sphere
from dimscope.neighbors import kernels
from reference import worst_error as worst_error_of

torch = pytest.importorskip("torch")

N, WIDTH = 2500, 2000


@pytest.fixture(autouse=True)
def _without_codes(monkeypatch):
    """Search with sketches, where codes would take less time."""
    monkeypatch.setattr(kernels, "level", 0)


def curved(n=N, d=5, width=WIDTH, seed=0):
    return np.maximum(embed(gaussian(n, d, seed), width, seed), 0) * 30


def worst_error(neighbors, points):
    """Over every twentieth point."""
    return worst_error_of(neighbors, points, np.arange(0, neighbors.n_distinct, 20))


def where(neighbors):
    return neighbors.provenance.parameters["where"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int16"])
@pytest.mark.parametrize("offset", [0, 1000])
def test_sketched_distances_are_exact(dtype, offset):
    points = 4 * curved() + offset
    if dtype == "bfloat16":
        array = torch.from_numpy(points).to(torch.bfloat16)
        values = array.double().numpy()
    else:
        array = points.astype(dtype)
        values = array.astype(np.float64)
    neighbors = nearest_neighbors(array, engine=Sketched())
    assert worst_error(neighbors, values) <= 1e-6


def test_sketched_uses_sketches_and_states_its_guarantee():
    neighbors = nearest_neighbors(curved().astype(np.float32), engine=Sketched(failure=1e-9))
    assert where(neighbors) == "sketches"
    assert str(neighbors.guarantee) == "exact to 1e-6 with probability 1 - 1e-09"
    assert TwoNN()(neighbors).provenance.parameters["guarantee"] == str(neighbors.guarantee)
    assert neighbors.provenance.parameters["pairs"] < 6 * N


def test_sketched_falls_back_to_tiles_on_noise():
    noise = np.random.default_rng(0).standard_normal((N, WIDTH)).astype(np.float32)
    neighbors = nearest_neighbors(noise, engine=Sketched())
    assert where(neighbors) == "tiles"
    assert str(neighbors.guarantee) == "exact to 1e-6"
    assert worst_error(neighbors, noise.astype(np.float64)) <= 1e-6


@pytest.mark.slow
def test_sketched_searches_noisy_rows_without_sketches():
    points = curved(4000).astype(np.float32)
    points[:300] = 30 * np.random.default_rng(0).standard_normal((300, WIDTH))
    neighbors = nearest_neighbors(points, engine=Sketched())
    assert where(neighbors) == "sketches"
    assert neighbors.provenance.parameters["open_rows"] >= 250
    assert worst_error(neighbors, points.astype(np.float64)) <= 1e-6


@pytest.mark.parametrize("apart", [1e-3, 1e-5])
def test_sketched_decides_planted_near_ties(apart):
    """Each point has twenty others at nearly the same distance."""
    rng = np.random.default_rng(0)
    centres = 100 * curved(80)
    spokes = rng.standard_normal((80, 20, WIDTH))
    spokes /= np.linalg.norm(spokes, axis=2, keepdims=True)
    lengths = 1 + apart * rng.random((80, 20, 1))
    points = centres[:, None] + np.concatenate([np.zeros((80, 1, WIDTH)), spokes * lengths], 1)
    points = points.reshape(-1, WIDTH)
    assert worst_error(nearest_neighbors(points, engine=Sketched()), points) <= 1e-6


def test_sketched_collapses_repeated_rows():
    points = curved().astype(np.float32)
    again = np.concatenate([points, points[:100]])
    neighbors = nearest_neighbors(again, 9, engine=Sketched())
    exact = nearest_neighbors(points, 9)
    assert neighbors.n_duplicates == 100
    np.testing.assert_allclose(neighbors.distances, exact.distances, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e25])
def test_sketched_at_any_scale(factor):
    points = curved() * factor
    neighbors = nearest_neighbors(points, engine=Sketched())
    assert where(neighbors) == "sketches"
    assert worst_error(neighbors, points) <= 1e-6


def test_sketched_neighbors_search_within_subsets():
    points = curved().astype(np.float32)
    neighbors = nearest_neighbors(points, 4, engine=Sketched())
    rows = np.random.default_rng(0).permutation(N)[:400]
    exact = nearest_neighbors(points[rows])
    np.testing.assert_allclose(neighbors.within(rows).distances, exact.distances, rtol=1e-6)
    resampled = Resampled(TwoNN())
    assert resampled(points, Sketched()).resamples == pytest.approx(resampled(points).resamples)


@pytest.mark.slow
def test_sketched_on_wide_points():
    points = embed(sphere(1200, 3), 60_000).astype(np.float32)
    neighbors, exact = nearest_neighbors(points, engine=Sketched()), nearest_neighbors(points)
    assert where(neighbors) == "sketches"
    np.testing.assert_allclose(neighbors.distances, exact.distances, rtol=1e-6)


def test_sketched_depends_only_on_the_seed():
    points = curved().astype(np.float32)
    first, second = (nearest_neighbors(points, engine=Sketched(seed=3)) for _ in range(2))
    np.testing.assert_array_equal(first.distances, second.distances)
    assert first.provenance.parameters == second.provenance.parameters


@pytest.mark.parametrize("failure", [0, 1, -1])
def test_sketched_refuses_a_failure_outside_0_and_1(failure):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sketched(failure=failure)
