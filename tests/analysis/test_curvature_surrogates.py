"""Surrogates: their second moments, and that curved data have fewer dimensions."""

import numpy as np
import pytest

from dimscope import PCA, estimate, surrogate
from dimscope.errors import BadPoints
from dimscope.manifolds import cube, embed, torus

RNG = np.random.default_rng(0)
TALL = RNG.standard_normal((300, 40)) @ RNG.standard_normal((40, 40)) + 5
WIDE = RNG.standard_normal((60, 25)) @ RNG.standard_normal((25, 700)) + 5


def test_surrogate_has_the_second_moments_of_the_points():
    drawn = surrogate(TALL, 40_000, seed=1)
    np.testing.assert_allclose(drawn.mean(axis=0), TALL.mean(axis=0), atol=0.15)
    exact = np.cov(TALL.T)
    error = np.cov(drawn.T) - exact
    # entries of a sample covariance of Gaussians have variance (s_ii s_jj + s_ij^2) / n
    spread = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / 40_000)
    assert 0.8 < np.sqrt(np.mean((error / spread) ** 2)) < 1.2


def test_surrogate_of_wide_points_lies_in_their_span():
    drawn = surrogate(WIDE, 500)
    assert drawn.shape == (500, 700)
    assert np.linalg.matrix_rank(drawn - WIDE.mean(axis=0), tol=1e-6) == 25


def test_surrogate_depends_on_the_seed():
    np.testing.assert_array_equal(surrogate(TALL, seed=3), surrogate(TALL, seed=3))
    assert not np.allclose(surrogate(TALL, seed=3), surrogate(TALL, seed=4))
    with pytest.raises(ValueError, match="at least 1"):
        surrogate(TALL, 0)


def test_surrogate_of_a_curve_has_more_dimensions():
    angles = 2 * np.pi * cube(1000, 1)
    waves = np.concatenate([f(k * angles) for k in range(1, 8) for f in (np.sin, np.cos)], axis=1)
    points = embed(waves, 50)
    assert float(estimate(points)) < 1.2
    assert float(estimate(surrogate(points))) > 8
    assert float(PCA()(points)) == 13


def test_surrogate_stays_in_range_or_refuses():
    points = torus(500, 3)
    cloud = surrogate(points * 1e300, seed=1) / 1e300
    np.testing.assert_allclose(cloud, surrogate(points, seed=1), rtol=1e-12, atol=1e-14)
    with pytest.raises(BadPoints, match="exceeds the range"):
        surrogate(np.random.default_rng(0).choice([-4.4e307, 4.4e307], (20, 1)), 400_000)
