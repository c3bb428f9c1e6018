"""The sketched engine gives the exact engine's distances, whatever the points."""

import numpy as np
import pytest

from dimscope import Resampled, Sketched, TwoNN, nearest_neighbors
from dimscope.manifolds import embed, gaussian, sphere
from dimscope.neighbors import certificate as certified
from dimscope.neighbors.sketches import SketchedTiles
from dimscope.neighbors.tiles import Tiles
from reference import worst_error as worst_error_of

torch = pytest.importorskip("torch")

N, WIDTH = 1200, 500


def curved(n=N, d=5, width=WIDTH, seed=0):
    return np.maximum(embed(gaussian(n, d, seed), width, seed), 0) * 30


def worst_error(found, points):
    """Over every twentieth point."""
    return worst_error_of(found, points, np.arange(0, found.n_distinct, 20))


def where(found):
    return found.provenance.parameters["where"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int16"])
@pytest.mark.parametrize("offset", [0, 1000])
def test_the_same_distances(dtype, offset):
    points = curved() + offset
    if dtype == "bfloat16":
        given = torch.from_numpy(points).to(torch.bfloat16)
        values = given.double().numpy()
    else:
        given = points.astype(dtype)
        values = given.astype(np.float64)
    found = nearest_neighbors(given, engine=Sketched())
    assert worst_error(found, values) <= 1e-6


def test_sketches_are_used_and_said():
    found = nearest_neighbors(curved().astype(np.float32), engine=Sketched(failure=1e-9))
    assert where(found) == "sketches"
    assert str(found.guarantee) == "exact to 1e-6 with probability 1 - 1e-09"
    assert TwoNN()(found).provenance.parameters["guarantee"] == str(found.guarantee)
    assert found.provenance.parameters["pairs"] < 6 * N


def test_noise_falls_back_and_stays_exact():
    noise = np.random.default_rng(0).standard_normal((N, WIDTH)).astype(np.float32)
    found = nearest_neighbors(noise, engine=Sketched())
    assert where(found) == "tiles"
    assert str(found.guarantee) == "exact to 1e-6"
    assert worst_error(found, noise.astype(np.float64)) <= 1e-6


@pytest.mark.slow
def test_a_part_that_is_noise_is_searched_without_sketches():
    points = curved(4000).astype(np.float32)
    points[:300] = 30 * np.random.default_rng(0).standard_normal((300, WIDTH))
    found = nearest_neighbors(points, engine=Sketched())
    assert where(found) == "sketches"
    assert found.provenance.parameters["open_rows"] >= 250
    assert worst_error(found, points.astype(np.float64)) <= 1e-6


@pytest.mark.parametrize("apart", [1e-3, 1e-5])
def test_planted_near_ties(apart):
    """Each point has twenty others at nearly the same distance."""
    rng = np.random.default_rng(0)
    centres = 100 * curved(80)
    spokes = rng.standard_normal((80, 20, WIDTH))
    spokes /= np.linalg.norm(spokes, axis=2, keepdims=True)
    lengths = 1 + apart * rng.random((80, 20, 1))
    points = centres[:, None] + np.concatenate([np.zeros((80, 1, WIDTH)), spokes * lengths], 1)
    points = points.reshape(-1, WIDTH)
    assert worst_error(nearest_neighbors(points, engine=Sketched()), points) <= 1e-6


def test_repeated_rows_and_more_neighbours():
    points = curved().astype(np.float32)
    again = np.concatenate([points, points[:100]])
    found = nearest_neighbors(again, 9, engine=Sketched())
    exact = nearest_neighbors(points, 9)
    assert found.n_duplicates == 100
    np.testing.assert_allclose(found.distances, exact.distances, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e25])
def test_values_far_from_one(factor):
    points = curved() * factor
    found = nearest_neighbors(points, engine=Sketched())
    assert where(found) == "sketches"
    assert worst_error(found, points) <= 1e-6


def test_searches_among_some_points():
    points = curved().astype(np.float32)
    found = nearest_neighbors(points, 4, engine=Sketched())
    rows = np.random.default_rng(0).permutation(N)[:400]
    exact = nearest_neighbors(points[rows])
    np.testing.assert_allclose(found.within(rows).distances, exact.distances, rtol=1e-6)
    resampled = Resampled(TwoNN())
    assert resampled(points, Sketched()).resamples == pytest.approx(resampled(points).resamples)


@pytest.mark.slow
def test_wide_points():
    points = embed(sphere(1200, 3), 60_000).astype(np.float32)
    found, exact = nearest_neighbors(points, engine=Sketched()), nearest_neighbors(points)
    assert where(found) == "sketches"
    np.testing.assert_allclose(found.distances, exact.distances, rtol=1e-6)


def test_the_same_seed_gives_the_same_numbers():
    points = curved().astype(np.float32)
    one, two = (nearest_neighbors(points, engine=Sketched(seed=3)) for _ in range(2))
    np.testing.assert_array_equal(one.distances, two.distances)
    assert one.provenance.parameters == two.provenance.parameters


@pytest.mark.slow
def test_without_the_certificate_the_answers_are_wrong(monkeypatch):
    points = curved(d=12).astype(np.float32)
    monkeypatch.setattr(SketchedTiles, "extra", 0)
    monkeypatch.setattr(Tiles, "extra", 0)
    monkeypatch.setattr(certified, "SPARE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(certified, "SLACK", -np.inf)
        error = worst_error(nearest_neighbors(points, engine=Sketched()), points.astype(float))
    assert error > 1e-3
    found = nearest_neighbors(points, engine=Sketched())
    assert worst_error(found, points.astype(float)) <= 1e-6


@pytest.mark.parametrize("failure", [0, 1, -1])
def test_a_probability_is_between_0_and_1(failure):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sketched(failure=failure)
