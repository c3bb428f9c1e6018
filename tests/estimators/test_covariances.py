import numpy as np
import pytest

from dimscope import nearest_neighbors
from dimscope.estimators.covariances import covariance, spread_of_difference
from dimscope.estimators.uncertainty import Influence, dependent_pairs

CLOUD = nearest_neighbors(np.random.default_rng(1).standard_normal((100, 3)), 4).indices
NONE = np.empty((2, 0), dtype=np.intp)


def test_covariance_equals_the_sum_by_hand():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(100), rng.standard_normal(100)
    rows = rng.permutation(150)[:100]
    a = Influence(x, dependent_pairs(CLOUD, 1), np.arange(100))
    b = Influence(y, dependent_pairs(CLOUD[:, ::-1], 2), rows)
    joined = {frozenset(p) for p in a.pairs.T.tolist()} | {
        frozenset(rows[p].tolist()) for p in b.pairs.T
    }
    place = {int(row): i for i, row in enumerate(rows)}
    value = {row: y[i] for row, i in place.items()}
    total = sum(x[i] * value.get(i, 0) for i in range(100))
    for a_row, b_row in map(tuple, joined):
        for i, j in ((a_row, b_row), (b_row, a_row)):
            total += (x[i] if i < 100 else 0) * value.get(j, 0)
    assert covariance(a, b) == pytest.approx(total / 100**2)


def test_covariance_with_itself_is_the_variance():
    pairs = dependent_pairs(CLOUD, 2)
    scored = Influence(np.random.default_rng(0).random(100), pairs, np.arange(100))
    assert covariance(scored, scored) == pytest.approx(scored.std_error**2)


def test_spread_of_difference_leaves_out_the_jump_of_a_swap_at_the_limit():
    """Two points change places at the limit of the values kept; the values move a little."""
    scores, edge = np.zeros((2, 40)), np.zeros((2, 40))
    edge[:, 10:22] = np.arange(-6, 6) + 0.5
    noise = 0.1 * np.random.default_rng(0).standard_normal(12)
    edge[1, 10:22] += noise
    edge[1, [15, 16]] = edge[1, [16, 15]]
    scores[0, 15], scores[0, 16] = 5, -5
    scores[1, 15], scores[1, 16] = -5, 5
    a, b = (Influence(scores[i], NONE, np.arange(40), edge=edge[i]) for i in range(2))
    assert spread_of_difference(a, b)[0] == pytest.approx(noise.std(ddof=1))


def test_spread_of_difference_counts_the_jumps_of_many():
    scores, edge = np.zeros((2, 40)), np.zeros((2, 40))
    edge[0, 10:22] = np.arange(-6, 6) + 0.5
    edge[1] = -edge[0]
    scores[:, 10:22] = np.sign(edge[:, 10:22])
    a, b = (Influence(scores[i], NONE, np.arange(40), edge=edge[i]) for i in range(2))
    assert spread_of_difference(a, b)[0] == pytest.approx(np.sqrt(12 * 2**2) / 40)
