import numpy as np
import pytest

from dimscope.neighbors.tiles import Candidates


def matrix(n, width, seed=0, kind="normal"):
    rng = np.random.default_rng(seed)
    if kind == "normal":
        return rng.standard_normal((n, width)).astype("float32")
    if kind == "tied":
        return rng.integers(-2, 3, (n, width)).astype("float32")
    return np.sort(rng.standard_normal((n, width)).astype("float32"))[:, ::-1].copy()


@pytest.mark.parametrize("kind", ["normal", "tied", "descending"])
@pytest.mark.parametrize("m", [1, 6, 40, 300])
@pytest.mark.parametrize("turned", [False, True])
def test_the_least_bounds_whatever_the_tiles(turned, m, kind):
    bounds = matrix(70, 400, kind=kind)
    best = Candidates(70, m)
    for start, stop in ((200, 400), (0, 15), (15, 200)):
        if turned:
            tile = np.ascontiguousarray(bounds[:, start:stop].T)
            best.offer_turned(slice(start, stop), slice(0, 70), tile)
        else:
            best.offer(slice(0, 70), slice(start, stop), bounds[:, start:stop].copy())
    found, indices = best.ascending()
    np.testing.assert_array_equal(found, np.sort(bounds, axis=1)[:, :m])
    np.testing.assert_array_equal(np.take_along_axis(bounds, indices, axis=1), found)
    assert all(len(set(row)) == m for row in indices.tolist())


def test_infinite_bounds_are_left_out():
    bounds = matrix(5, 30)
    bounds[:, :20] = np.inf
    best = Candidates(5, 12)
    best.offer(slice(0, 5), slice(0, 30), bounds)
    found, indices = best.ascending()
    assert np.isfinite(found[:, :10]).all()
    assert np.isinf(found[:, 10:]).all()
    assert (indices[:, :10] >= 20).all()
