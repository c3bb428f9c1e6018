import numpy as np
import pytest

from dimscope import Gride, curvature_test, estimate, surrogate
from dimscope.manifolds import embed, gaussian, sphere, swiss_roll


def test_curved_points_have_fewer_dimensions_than_their_surrogates():
    for points in (sphere(400, 3), swiss_roll(400, 2)):
        found = curvature_test(embed(points, 40))
        assert found.p_value == 0.05
        assert found.ratio > 1.1


def test_gaussian_points_do_not():
    found = [curvature_test(gaussian(200, 4, seed=s), n=9, seed=100 * s) for s in range(20)]
    p = np.array([one.p_value for one in found])
    # uniform on 0.1, 0.2, ..., 1
    assert 0.3 < p.mean() < 0.8
    assert (p <= 0.1).sum() <= 6
    assert np.mean([one.ratio for one in found]) == pytest.approx(1, abs=0.05)


def test_numbers_are_those_of_the_public_calls():
    points = gaussian(200, 3)
    found = curvature_test(points, Gride(2, 4), n=3, seed=7)
    assert found.dimension == float(estimate(points, Gride(2, 4)))
    expected = [float(Gride(2, 4)(surrogate(points, seed=7 + i))) for i in range(3)]
    assert list(found.surrogates) == expected


def test_progress_and_parameters():
    told = []
    curvature_test(gaussian(100, 3), n=3, progress=lambda _, done, total: told.append(done / total))
    assert told == sorted(told)
    assert told[-1] == 1
    with pytest.raises(ValueError, match="at least 1"):
        curvature_test(gaussian(100, 3), n=0)
