import math

import numpy as np
import pytest
from scipy import optimize

from dimscope import DegeneratePoints, Gride, Neighbors, TwoNN, nearest_neighbors
from dimscope.manifolds import cube, torus

NEIGHBORS = nearest_neighbors(torus(400, 2, seed=3), 40)
RANKS = [(1, 2), (2, 3), (5, 6), (1, 3), (2, 4), (4, 8), (16, 32), (3, 40)]
each_ranks = pytest.mark.parametrize(("n1", "n2"), RANKS)


def log_ratio(n1, n2):
    distances = NEIGHBORS.distances
    return np.log(distances[:, n2 - 1] / distances[:, n1 - 1])


def log_likelihood(d, ratio, n1, n2):
    """The published law of mu, term by term."""
    mu = np.exp(ratio)
    beta = math.gamma(n2 - n1) * math.gamma(n1) / math.gamma(n2)
    law = np.log(d / beta) + (n2 - n1 - 1) * np.log(mu**d - 1) - ((n2 - 1) * d + 1) * ratio
    return law.sum()


@each_ranks
def test_gride_maximises_the_corrected_likelihood(n1, n2):
    ratio = log_ratio(n1, n2)
    # one point of the 400 is given up against the bias: (N - 1) / d in the derivative
    best = optimize.minimize_scalar(
        lambda d: np.log(d) - log_likelihood(d, ratio, n1, n2), bounds=(0.1, 20), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert float(Gride(n1, n2)(NEIGHBORS)) == pytest.approx(best.x, rel=1e-5)


@pytest.mark.parametrize("n1", [1, 2, 7])
def test_gride_equals_the_closed_form_for_consecutive_ranks(n1):
    expected = 399 / (n1 * log_ratio(n1, n1 + 1).sum())
    assert float(Gride(n1, n1 + 1)(NEIGHBORS)) == pytest.approx(expected, rel=1e-12)


def test_gride_of_ranks_1_and_2_equals_twonn():
    assert float(Gride(1, 2)(NEIGHBORS)) == float(TwoNN(discard=0)(NEIGHBORS))
    assert Gride(1, 2)(NEIGHBORS).std_error == pytest.approx(
        TwoNN(discard=0)(NEIGHBORS).std_error, rel=0.01
    )


@each_ranks
def test_gride_scores_are_influences(n1, n2):
    """Leaving a ratio out moves the estimate by its score."""
    whole = Gride(n1, n2)(NEIGHBORS)
    order = np.argsort(log_ratio(n1, n2))[::20]
    moved = []
    for i in order:
        # without point i: its neighbours' lists stay as they are, only its ratio goes
        rest = np.delete(np.arange(400), i)
        indices = (np.arange(399)[:, None] + np.arange(1, 41)) % 399
        without_one = Gride(n1, n2)(Neighbors(NEIGHBORS.distances[rest], indices))
        moved.append(400 * (float(whole) - float(without_one)))
    scores = whole.influence.scores
    np.testing.assert_allclose(moved, scores[order], atol=0.1 * scores.std())
    assert abs(scores.mean()) < 0.05 * scores.std()


@pytest.mark.parametrize(("n1", "n2"), [(0, 1), (2, 2), (4, 2), (-1, 3)])
def test_gride_refuses_ranks_that_do_not_ascend(n1, n2):
    with pytest.raises(ValueError, match="1 <= n1 < n2"):
        Gride(n1, n2)


def test_gride_refuses_too_few_neighbours():
    with pytest.raises(DegeneratePoints, match="search with k=64"):
        Gride(32, 64)(NEIGHBORS)


def test_gride_refuses_points_that_are_all_tied():
    ring = Neighbors(np.ones((9, 4)), (np.arange(9)[:, None] + [1, 2, 3, 4]) % 9)
    with pytest.raises(DegeneratePoints, match="neighbours 2 and 4 at the same distance"):
        Gride(2, 4)(ring)


def test_gride_with_some_ties_is_finite_and_warns():
    distances = NEIGHBORS.distances.copy()
    distances[:3, 1:4] = distances[:3, 1:2]
    distances[:3, 4:] = np.maximum(distances[:3, 4:], distances[:3, 3:4])
    with pytest.warns(UserWarning, match="r2 = r4"):
        assert 1 < float(Gride(2, 4)(Neighbors(distances, NEIGHBORS.indices))) < 5


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize(("n1", "n2"), [(1, 2), (2, 4), (4, 8)])
def test_gride_measures_a_torus(d, n1, n2):
    mean = np.mean([float(Gride(n1, n2)(torus(1000, d, seed=seed))) for seed in range(5)])
    assert mean == pytest.approx(d, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("n1", "n2"), [(1, 3), (2, 4), (4, 8)])
def test_gride_intervals_cover(n1, n2):
    estimates = [Gride(n1, n2)(torus(400, 2, seed=seed)) for seed in range(500)]
    mean = np.mean([float(estimate) for estimate in estimates])
    covered = np.mean(
        [estimate.interval[0] <= mean <= estimate.interval[1] for estimate in estimates]
    )
    assert 0.89 <= covered <= 0.99
    ratio = np.mean([estimate.std_error for estimate in estimates]) / np.std(
        [float(estimate) for estimate in estimates]
    )
    assert 0.85 < ratio < 1.2


def test_gride_of_higher_ranks_ignores_noise():
    rng = np.random.default_rng(0)
    noisy = np.pad(cube(2000, 2), ((0, 0), (0, 8))) + 0.005 * rng.standard_normal((2000, 10))
    small, large = Gride(1, 2)(noisy), Gride(32, 64)(noisy)
    assert float(small) > 1.5 * float(large) > 2.4
