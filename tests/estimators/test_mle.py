import numpy as np
import pytest

from dimscope import (
    MLE,
    DegeneratePoints,
    Exact,
    Neighbors,
    Sampled,
    local_dimension,
    nearest_neighbors,
)
from dimscope.manifolds import sphere, torus

NEIGHBORS = nearest_neighbors(torus(400, 2, seed=3), 20)


def inverse_of(k):
    """1/(k-1) sum over j < k of ln(r_k / r_j), one point after the other."""
    return np.array(
        [sum(np.log(r[k - 1] / r[j]) for j in range(k - 1)) / (k - 1) for r in NEIGHBORS.distances]
    )


@pytest.mark.parametrize("k", [3, 5, 20])
def test_mle_and_local_dimension_equal_the_formulas(k):
    y = inverse_of(k)
    together = (400 * (k - 1) - 1) / ((k - 1) * y.sum())
    assert float(MLE(k=k)(NEIGHBORS)) == pytest.approx(together, rel=1e-12)
    local = (k - 2) / ((k - 1) * y)
    assert float(MLE(k=k, average="dimension")(NEIGHBORS)) == pytest.approx(local.mean(), rel=1e-12)
    np.testing.assert_allclose(local_dimension(NEIGHBORS, k), local)


@pytest.mark.parametrize("average", ["inverse", "dimension"])
@pytest.mark.parametrize("k", [5, 20])
def test_mle_scores_have_zero_mean(average, k):
    scores = MLE(k=k, average=average)(NEIGHBORS).influence.scores
    assert abs(scores.mean()) < 0.02 * scores.std()


@pytest.mark.slow
@pytest.mark.parametrize("average", ["inverse", "dimension"])
def test_mle_intervals_cover(average):
    estimates = [MLE(k=5, average=average)(torus(400, 2, seed=seed)) for seed in range(200)]
    mean = np.mean([float(estimate) for estimate in estimates])
    covered = np.mean(
        [estimate.interval[0] <= mean <= estimate.interval[1] for estimate in estimates]
    )
    assert 0.89 <= covered <= 0.99


@pytest.mark.parametrize("average", ["inverse", "dimension"])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_mle_measures_a_sphere(average, d):
    mean = np.mean([float(MLE(k=8, average=average)(sphere(2000, d, seed=s))) for s in range(3)])
    assert mean == pytest.approx(d, rel=0.06)


def test_local_dimension_of_points_equals_that_of_neighbors():
    points = torus(400, 2, seed=3)
    np.testing.assert_allclose(local_dimension(points, 20), local_dimension(NEIGHBORS, 20))


def test_local_dimension_refuses_duplicates_and_ties():
    points = torus(100, 2)
    with pytest.raises(DegeneratePoints, match="5 of 105 rows repeat"):
        local_dimension(np.concatenate([points, points[:5]]))
    tied = Neighbors(np.ones((9, 3)), (np.arange(9)[:, None] + [1, 2, 3]) % 9)
    with pytest.raises(DegeneratePoints, match="of point 0 \\(9 such points in all\\)"):
        local_dimension(tied, 3)
    with pytest.raises(ValueError, match="at least 3"):
        local_dimension(points, 2)


def test_local_dimension_refuses_an_engine_together_with_neighbors():
    with pytest.raises(ValueError, match="Neighbors are not searched again"):
        local_dimension(NEIGHBORS, 20, Exact())


@pytest.mark.parametrize("wrong", [{"k": 2}, {"average": "median"}])
def test_mle_refuses_bad_parameters(wrong):
    with pytest.raises(ValueError, match=r"at least 3|use one of"):
        MLE(**wrong)


def test_local_dimension_needs_its_neighbours():
    points = torus(500, 3)
    with pytest.raises(DegeneratePoints, match="needs 20 neighbours"):
        local_dimension(nearest_neighbors(points, 5))
    neighbors = nearest_neighbors(points, 20)
    np.testing.assert_array_equal(local_dimension(neighbors), local_dimension(points))


def test_local_dimension_has_a_value_for_every_row_or_refuses():
    points = torus(500, 3)
    with pytest.raises(DegeneratePoints, match="sample"):
        local_dimension(points, engine=Sampled(rtol=0.1))
    with pytest.raises(DegeneratePoints, match="50 of 550 rows repeat"):
        local_dimension(nearest_neighbors(np.r_[points, points[:50]], 20))


def test_mle_has_no_error_where_its_variance_is_infinite():
    points = torus(500, 3)
    assert np.isnan(MLE(3, average="dimension")(points).std_error)
    assert MLE(4, average="dimension")(points).std_error > 0
