"""Manifolds of known dimension, isometries, and the coverage of stated intervals."""

import numpy as np
import pytest

from dimscope import TwoNN, manifolds

# Relative bias allowed at N = 2000 for d = 1, 2, 5, 10, of a mean over seeds. What has a
# boundary falls short as d grows, and what is curved like the torus overshoots: at 2000
# points neighbours in 10 dimensions are far apart. `paraboloid` is far from uniform.
ALLOWED = {
    "sphere": {1: 0.05, 2: 0.05, 5: 0.05, 10: 0.2},
    "swiss_roll": {1: 0.05, 2: 0.05, 5: 0.05, 10: 0.2},
    "torus": {1: 0.05, 2: 0.05, 5: 0.08, 10: 0.25},
    "gaussian": {1: 0.05, 2: 0.05, 5: 0.05, 10: 0.2},
    "paraboloid": {1: 0.05, 2: 0.05, 5: 0.12, 10: 0.3},
}
SEEDS = 4


@pytest.mark.parametrize("d", [1, 2, 5, 10])
@pytest.mark.parametrize("name", ALLOWED)
def test_twonn_measures_manifolds_of_known_dimension(name, d):
    clouds = [getattr(manifolds, name)(2000, d, seed=seed) for seed in range(SEEDS)]
    for fit in ("mle", "regression"):
        mean = np.mean([float(TwoNN(fit=fit)(points)) for points in clouds])
        assert mean == pytest.approx(d, rel=ALLOWED[name][d]), fit


@pytest.mark.parametrize("name", ALLOWED)
def test_twonn_distinguishes_dimensions(name):
    dimensions = [float(TwoNN()(getattr(manifolds, name)(2000, d))) for d in (1, 2, 5, 10)]
    assert dimensions == sorted(dimensions)
    assert dimensions[3] > 1.3 * dimensions[2]


@pytest.mark.parametrize(("name", "d"), [("sphere", 3), ("swiss_roll", 2)])
@pytest.mark.parametrize("fit", ["mle", "regression"])
def test_twonn_does_not_change_with_an_isometric_embedding(name, d, fit):
    points = getattr(manifolds, name)(500, d)
    wide = manifolds.embed(points, 10_000, seed=1)
    assert float(TwoNN(fit=fit)(wide)) == pytest.approx(float(TwoNN(fit=fit)(points)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "d"), [("torus", 2), ("sphere", 5)])
@pytest.mark.parametrize("fit", ["mle", "regression", "triplets"])
def test_twonn_intervals_cover(name, d, fit):
    """Of 250 intervals at 95 %, as many as that hold the mean of the estimator.

    The bounds allow for chance: with a coverage of 0.94 the standard deviation of a
    share of 250 is 0.015. Errors of d / sqrt(N) would cover 0.87 to 0.91.
    """
    sampler = getattr(manifolds, name)
    estimates = [TwoNN(fit=fit)(sampler(500, d, seed=1000 + seed)) for seed in range(250)]
    mean = np.mean([float(estimate) for estimate in estimates])
    covered = np.mean([e.interval[0] <= mean <= e.interval[1] for e in estimates])
    assert 0.89 <= covered <= 0.985
    ratio = np.mean([e.std_error for e in estimates]) / np.std([float(e) for e in estimates])
    assert 0.85 < ratio < 1.2
