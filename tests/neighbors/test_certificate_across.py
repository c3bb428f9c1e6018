"""The nearest in another group, against all distances by direct differences."""

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.neighbors import certificate as certified
from dimscope.neighbors import certificate as crossing
from dimscope.neighbors import tiles
from dimscope.neighbors.certificate import CrossTiles, certified_across


def across(points, n_first):
    """Distances from everyone to everyone of the other group; infinite within a group."""
    x = points.astype(float)
    distances = np.sqrt(((x[:, None] - x) ** 2).sum(axis=-1))
    distances[:n_first, :n_first] = distances[n_first:, n_first:] = np.inf
    return distances


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(crossing, "TILE", 16)
    monkeypatch.setattr(tiles, "RUN", 32)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n_first", [1, 3, 45, 89])
@pytest.mark.parametrize("width", [1, 3, 40, 300])
@pytest.mark.parametrize(
    ("dtype", "offset"),
    [("float16", 0), ("float32", 0), ("float32", 1e5), ("float64", 1e9), ("int32", 1e3)],
)
def test_the_nearest_in_the_other_group(dtype, offset, width, n_first):
    rng = np.random.default_rng(width)
    points = (20 * rng.standard_normal((90, width)) + offset).astype(dtype)
    points = rng.permutation(np.unique(points, axis=0))
    n_first = min(n_first, len(points) - 1)
    exact = across(points, n_first)
    for k in (1, 2, 5):
        distances, indices = certified_across(as_points(points), n_first, k)
        np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :k], rtol=1e-6)
        assert ((indices >= 0) == np.isfinite(distances)).all()
        rows, columns = np.nonzero(indices >= 0)
        reached = exact[rows, indices[rows, columns]]
        np.testing.assert_allclose(reached, distances[rows, columns], rtol=1e-6)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("quantile", [0, 0.01, 0.1, 0.5, 1])
def test_only_those_nearer_than_the_limit(quantile):
    points = np.random.default_rng(0).standard_normal((90, 20))
    exact = across(points, 40)
    limits = np.array([np.quantile(row[np.isfinite(row)], quantile) for row in exact])
    limits = np.random.default_rng(1).permutation(limits) * (1 - 1e-5)  # none is a distance
    found, indices = certified_across(as_points(points), 40, 3, limits)
    wanted = np.sort(np.where(exact < limits[:, None], exact, np.inf), axis=1)[:, :3]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert (indices[np.isinf(found)] == -1).all()


def test_groups_far_apart_are_told_apart_without_measuring(monkeypatch):
    measured = []
    monkeypatch.setattr(
        CrossTiles, "pair_squares", lambda self, i, j: measured.append(i) or np.zeros(len(i))
    )
    points = np.random.default_rng(0).standard_normal((200, 50)).astype("float32")
    points[100:] += 1e3
    distances, _ = certified_across(as_points(points), 100, 2, np.full(200, 20.0))
    assert np.isinf(distances).all()
    assert not sum(map(len, measured))


@pytest.mark.parametrize("known", [False, True])
def test_the_certificate_is_what_makes_it_right(known, monkeypatch):
    # float32 sees nothing of the distances within these clusters
    rng = np.random.default_rng(0)
    centres = 1e4 * rng.standard_normal((4, 30))
    points = (centres[np.arange(120) % 4] + rng.standard_normal((120, 30))).astype("float32")
    exact = across(points, 60)
    limits = np.sort(exact, axis=1)[:, 5] if known else None
    wanted = np.sort(exact, axis=1)[:, :2]
    found, _ = certified_across(as_points(points), 60, 2, limits)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    monkeypatch.setattr(crossing, "SLACK", -np.inf)
    monkeypatch.setattr(certified, "SLACK", -np.inf)
    found, _ = certified_across(as_points(points), 60, 2, limits)
    assert not np.allclose(found, wanted, rtol=1e-3)
