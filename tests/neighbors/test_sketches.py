"""Bounds from sketches: below the distances, for any points, but for the stated probability."""

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.manifolds import embed, sphere
from dimscope.neighbors.sketches import Sketcher, slack
from dimscope.neighbors.tiles import Tiles

RNG = np.random.default_rng(0)


def clouds():
    low = np.tanh(embed(sphere(600, 4), 300))
    yield "curved", low
    yield "noise", RNG.standard_normal((600, 300))
    yield "one coordinate", np.eye(1, 300, 7) * RNG.standard_normal((600, 1))
    yield "sparse", RNG.standard_normal((600, 300)) * (RNG.random((600, 300)) < 0.01)
    yield "far", (low + 1e4).astype(np.float32)
    yield "tiny", low * 1e-30
    yield "scales", RNG.standard_normal((600, 300)) * np.exp(6 * RNG.standard_normal((600, 1)))


def squares_of_pairs(points, widths=(32, 16), failure=1e-6, seed=0):
    """Return squared distances of sketches, the bounds that they must not exceed, and of points."""
    checked = as_points(points)
    exact = Tiles(checked)
    sketch = Sketcher(checked, exact.unit, widths, failure, seed).sketch(checked)
    i, j = np.triu_indices(len(points), 1)
    keep = np.random.default_rng(1).permutation(len(i))[:20_000]
    i, j = i[keep], j[keep]
    numbers = sketch.numbers.astype(np.float64)
    apart = np.square(numbers[i] - numbers[j]).sum(axis=1)
    squares = exact.pair_squares(i, j)
    ceilings = np.minimum(*(sketch.among(x).ceiling(squares, slice(None)) for x in (i, j)))
    return apart, ceilings, squares


@pytest.mark.parametrize(("name", "points"), list(clouds()), ids=[name for name, _ in clouds()])
def test_bounds_hold(name, points):
    apart, ceilings, squares = squares_of_pairs(points)
    assert (apart <= ceilings).all()
    if name in ("curved", "far"):
        assert np.median(apart / squares) > 0.8
        assert np.median(ceilings / squares) < 1.1


@pytest.mark.slow
def test_bounds_fail_as_seldom_as_is_said_and_not_never():
    points = np.random.default_rng(3).standard_normal((300, 200))
    n = len(points) * (len(points) - 1) / 2
    # a probability of 2 % for each pair: the sum over all pairs is then beyond 1
    t = slack(4, 0.02)
    sketcher = [Sketcher(as_points(points), 1.0, (1, 4), 0.999, seed) for seed in range(5)]
    failed, total = 0, 0
    for one in sketcher:
        own = one.sketch(as_points(points)).numbers.astype(np.float64)
        own[:, -4:] *= np.sqrt(slack(4, 0.999 / (2 * n)) / t)
        i, j = np.triu_indices(len(points), 1)
        apart = np.square(own[i] - own[j]).sum(axis=1)
        squares = np.square(points[i] - points[j]).sum(axis=1)
        failed, total = failed + (apart > squares).sum(), total + len(i)
    assert 0.0005 < failed / total < 0.02


@pytest.mark.parametrize(("m", "failure"), [(16, 1e-3), (64, 1e-12), (64, 0.5)])
def test_slack_solves_its_equation(m, failure):
    t = slack(m, failure)
    assert t > 1
    assert (t * np.exp(1 - t)) ** (m / 2) == pytest.approx(failure, rel=1e-5)


@pytest.mark.parametrize("failure", [1e-310, 5e-324])
def test_bounds_hold_for_the_smallest_failures(failure):
    apart, ceilings, _ = squares_of_pairs(RNG.standard_normal((60, 300)), (8, 16), failure)
    assert (apart <= ceilings).all()
    assert np.isfinite(ceilings).all()


def test_slack_of_many_bounds_is_that_of_a_share_of_the_probability():
    assert slack(16, 1e-3, 1000) == slack(16, 1e-6)


def test_sketches_of_some_points_are_those_of_all():
    points = as_points(np.tanh(embed(sphere(600, 4), 300)))
    sketcher = Sketcher(points, 1.0, (32, 16), 1e-6)
    rows = np.arange(0, 600, 7)
    every, some = sketcher.sketch(points), sketcher.sketch(points.select(rows))
    np.testing.assert_allclose(some.numbers, every.numbers[rows], rtol=0, atol=1e-5)
    np.testing.assert_allclose(some.lengths, every.lengths[rows], rtol=1e-5)
