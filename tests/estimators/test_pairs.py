"""A dimension below 1 is no dimension: points that come in pairs are named."""

import numpy as np
import pytest

import dimscope as ds
from dimscope.errors import TightGroups
from dimscope.manifolds import cube, torus


@pytest.mark.parametrize("spread", [1e-4, 1e-3, 1e-2])
def test_estimate_warns_of_two_trials_of_each_stimulus(spread):
    rng = np.random.default_rng(0)
    points = torus(400, 3) @ rng.standard_normal((6, 50))
    trials = np.vstack([points, points + spread * rng.standard_normal(points.shape)])
    with pytest.warns(TightGroups, match="give exclude="):
        assert float(ds.estimate(trials)) < 0.5


@pytest.mark.parametrize("seed", range(20))
def test_estimate_does_not_warn_of_lines(seed):
    rng = np.random.default_rng(seed)
    lines = cube(60, 1, seed), rng.standard_t(2, (200, 1)), rng.lognormal(0, 2, (500, 1))
    for points in lines:
        assert float(ds.estimate(points)) > 0.5
