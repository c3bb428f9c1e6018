import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from dimscope import nearest_neighbors
from dimscope.estimators.uncertainty import Influence, dependent_pairs, interval, spread_of

RING = (np.arange(12)[:, None] + [1, 2]) % 12
CLOUD = nearest_neighbors(np.random.default_rng(1).standard_normal((100, 3)), 4).indices


def influence(scores, indices, reach=2):
    return Influence(scores, dependent_pairs(indices, reach), np.arange(len(scores)))


def graph(indices):
    return {frozenset((i, int(j))) for i, row in enumerate(indices) for j in row}


@pytest.mark.parametrize("reach", [0, 1, 2, 4])
def test_dependent_pairs_lists_each_pair_once(reach):
    pairs = dependent_pairs(CLOUD, reach)
    assert {frozenset(pair) for pair in pairs.T.tolist()} == graph(CLOUD[:, :reach])
    assert pairs.shape == (2, len(graph(CLOUD[:, :reach])))


def test_std_error_equals_the_sum_by_hand():
    # positive scores: the cross terms cannot be cut off
    scores = np.random.default_rng(0).random(100)
    cross = sum(scores[a] * scores[b] for a, b in map(tuple, graph(CLOUD[:, :2])))
    expected = math.sqrt(scores @ scores + 2 * cross) / 100
    assert influence(scores, CLOUD).std_error == pytest.approx(expected)


def test_std_error_of_equal_scores_on_a_ring():
    # every point has 4 neighbours in the graph: variance 12 (1 + 4)
    assert influence(np.ones(12), RING).std_error == pytest.approx(math.sqrt(60) / 12)


def test_std_error_is_at_least_that_of_independent_scores():
    scores = np.resize([1.0, -1.0], 12)
    opposite = (np.arange(12)[:, None] + [1, 3]) % 12
    assert influence(scores, opposite).std_error == influence(scores, opposite, 0).std_error


def test_std_error_of_independent_scores_is_that_of_a_mean():
    scores = np.random.default_rng(0).standard_normal(1000)
    scores -= scores.mean()
    alone = influence(scores, np.empty((1000, 0), int), 0)
    assert alone.std_error == pytest.approx(scores.std() / math.sqrt(1000))
    assert math.isnan(influence(np.empty(0), np.empty((0, 2), int)).std_error)


def test_std_error_and_degrees_of_freedom_are_those_of_the_effects():
    effects = np.random.default_rng(0).standard_normal((6, 50))
    scored = Influence(np.ones(50), np.empty((2, 0), int), np.arange(50), effects=effects)
    assert (scored.std_error, scored.degrees_of_freedom) == spread_of(effects)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.999])
def test_interval_is_normal_on_the_logarithm(p):
    lower, upper = interval(8.0, 0.4, p)
    z = NormalDist().inv_cdf((1 + p) / 2)
    assert math.log(upper / 8) == pytest.approx(z * 0.05)
    assert math.log(8 / lower) == pytest.approx(z * 0.05)


@pytest.mark.parametrize("dof", [1, 4, 30])
def test_interval_widens_with_few_degrees_of_freedom(dof):
    lower, upper = interval(8.0, 0.4, 0.95, dof)
    assert math.log(upper / 8) == pytest.approx(stats.t.ppf(0.975, dof) * 0.05)
    assert math.log(8 / lower) == pytest.approx(stats.t.ppf(0.975, dof) * 0.05)


@pytest.mark.parametrize(
    ("dimension", "std_error"), [(math.nan, 1.0), (3.0, math.nan), (3.0, math.inf), (0.0, 1.0)]
)
def test_interval_is_nan_without_a_std_error(dimension, std_error):
    assert all(math.isnan(bound) for bound in interval(dimension, std_error))


@pytest.mark.parametrize("p", [0, 1, -0.5, 95, math.nan])
def test_interval_refuses_a_level_outside_0_and_1(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(3.0, 0.1, p)
