import math
from statistics import NormalDist

import numpy as np
import pytest

from dimscope import Neighbors, nearest_neighbors
from dimscope.uncertainty import independent_error, interval, neighbor_error

RING = Neighbors(np.tile([1.0, 2.0], (12, 1)), (np.arange(12)[:, None] + [1, 2]) % 12)


def by_hand(scores, indices):
    pairs = {frozenset((i, int(j))) for i, row in enumerate(indices) for j in row}
    cross = sum(scores[a] * scores[b] for a, b in map(tuple, pairs))
    return math.sqrt(scores @ scores + 2 * cross) / len(scores)


def test_each_pair_of_neighbours_counts_once():
    # positive scores: the cross terms cannot be cut off
    scores = np.random.default_rng(0).random(100)
    found = nearest_neighbors(np.random.default_rng(1).standard_normal((100, 3)), 4)
    assert neighbor_error(scores, found) == pytest.approx(by_hand(scores, found.indices[:, :2]))
    assert neighbor_error(scores, found, 4) == pytest.approx(by_hand(scores, found.indices))


def test_equal_scores_on_a_ring():
    # every point has 4 neighbours in the graph: variance 12 (1 + 4)
    assert neighbor_error(np.ones(12), RING) == pytest.approx(math.sqrt(60) / 12)


def test_never_less_than_for_independent_scores():
    scores = np.resize([1.0, -1.0], 12)
    opposite = Neighbors(RING.distances, (np.arange(12)[:, None] + [1, 3]) % 12)
    assert neighbor_error(scores, opposite) == independent_error(scores)


def test_independent_error_is_that_of_a_mean():
    scores = np.random.default_rng(0).standard_normal(1000)
    scores -= scores.mean()
    assert independent_error(scores) == pytest.approx(scores.std() / math.sqrt(1000))
    assert math.isnan(independent_error(np.empty(0)))


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.999])
def test_interval_is_normal_on_the_logarithm(p):
    lower, upper = interval(8.0, 0.4, p)
    z = NormalDist().inv_cdf((1 + p) / 2)
    assert math.log(upper / 8) == pytest.approx(z * 0.05)
    assert math.log(8 / lower) == pytest.approx(z * 0.05)


@pytest.mark.parametrize(
    ("dimension", "std_error"), [(math.nan, 1.0), (3.0, math.nan), (3.0, math.inf), (0.0, 1.0)]
)
def test_no_interval_without_an_error(dimension, std_error):
    assert all(math.isnan(bound) for bound in interval(dimension, std_error))


@pytest.mark.parametrize("p", [0, 1, -0.5, 95, math.nan])
def test_level_is_a_probability(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(3.0, 0.1, p)
