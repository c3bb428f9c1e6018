import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from dimscope import Neighbors, TwoNN, nearest_neighbors
from dimscope.errors import DegeneratePoints, TiedPoints
from dimscope.estimators.two_nn import triplets
from dimscope.manifolds import cube, sphere, torus

POINTS = torus(400, 2, seed=3)
NEIGHBORS = nearest_neighbors(POINTS)
L = np.sort(np.log(NEIGHBORS.distances[:, 1] / NEIGHBORS.distances[:, 0]))


def of_ratios(ratio):
    """Neighbors whose log-ratios are these."""
    n = len(ratio)
    distances = np.column_stack([np.ones(n), np.exp(ratio)])
    return Neighbors(distances, (np.arange(n)[:, None] + [1, 2]) % n)


@pytest.mark.parametrize("discard", [0, 0.1, 0.25, 0.5, 0.9])
def test_censored_likelihood_is_the_formula(discard):
    kept = math.floor((1 - discard) * 400 + 1e-9)
    total = L[:kept].sum() + (400 - kept) * L[kept - 1]
    estimate = TwoNN(discard=discard)(NEIGHBORS)
    assert float(estimate) == pytest.approx((kept - 1) / total, rel=1e-12)
    assert estimate.n_used == kept


def test_likelihood_without_discard():
    assert float(TwoNN(discard=0)(POINTS)) == pytest.approx(399 / L.sum(), rel=1e-12)


@pytest.mark.parametrize("discard", [0, 0.1, 0.25, 0.5, 0.9])
def test_regression_is_the_formula(discard):
    kept = min(math.floor((1 - discard) * 400 + 1e-9), 399)
    x, y = L[:kept], -np.log(1 - np.arange(1, kept + 1) / 400)
    estimate = TwoNN(fit="regression", discard=discard)(NEIGHBORS)
    assert float(estimate) == pytest.approx(x @ y / (x @ x), rel=1e-12)
    assert estimate.n_used == kept


def test_triplets_are_the_formula():
    chosen = triplets(NEIGHBORS.indices, 0)
    ratio = np.log(NEIGHBORS.distances[chosen, 1] / NEIGHBORS.distances[chosen, 0])
    estimate = TwoNN(fit="triplets")(NEIGHBORS)
    assert float(estimate) == pytest.approx((len(chosen) - 1) / ratio.sum(), rel=1e-12)
    assert estimate.n_used == len(chosen)
    assert estimate.std_error == pytest.approx(float(estimate) / np.sqrt(len(chosen)), rel=0.3)


@pytest.mark.parametrize("seed", [0, 1])
def test_triplets_share_no_point_and_are_maximal(seed):
    chosen = triplets(NEIGHBORS.indices, seed)
    groups = np.column_stack([np.arange(400), NEIGHBORS.indices])
    taken = groups[chosen].ravel()
    assert len(set(taken)) == 3 * len(chosen)
    others = np.setdiff1d(np.arange(400), chosen)
    assert all(set(groups[i]) & set(taken) for i in others)


def test_triplets_depend_on_the_seed_alone():
    assert TwoNN("triplets", seed=1)(POINTS) == TwoNN("triplets", seed=1)(POINTS)
    assert float(TwoNN("triplets", seed=1)(POINTS)) != float(TwoNN("triplets", seed=2)(POINTS))


@pytest.mark.parametrize("n", [10, 30, 70, 1000])
def test_number_kept_does_not_fall_short_by_rounding(n):
    # 0.9 * 70 is 62.99... in floating point
    assert TwoNN(discard=0.1)(cube(n, 2)).n_used == n * 9 // 10


@pytest.mark.parametrize("fit", ["mle", "regression", "triplets"])
def test_scores_are_influences(fit):
    # the influence of a point: what removing it changes, times n - 1
    ratio = np.random.default_rng(0).exponential(size=300) / 4
    whole = TwoNN(fit=fit).evaluate(of_ratios(ratio))
    if fit == "triplets":
        assert abs(whole.scores.mean()) < 0.05 * whole.scores.std()
        assert whole.reach == 0
        assert np.count_nonzero(whole.scores) == whole.n_used
        return
    removed = np.array(
        [
            TwoNN(fit=fit, discard=0.1).evaluate(of_ratios(np.delete(ratio, i))).dimension
            for i in range(0, 300, 3)
        ]
    )
    jackknife = 299 * (whole.dimension - removed)
    assert np.corrcoef(jackknife, whole.scores[::3])[0, 1] > 0.95
    assert whole.scores.mean() == pytest.approx(0, abs=0.05 * whole.scores.std())


@pytest.mark.parametrize("fit", ["mle", "regression", "triplets"])
def test_ratios_of_a_known_law(fit):
    ratio = np.random.default_rng(0).exponential(size=30_000) / 7
    estimate = TwoNN(fit=fit)(of_ratios(ratio))
    assert float(estimate) == pytest.approx(7, rel=0.02)
    assert estimate.interval[0] < 7 < estimate.interval[1]
    assert estimate.goodness_of_fit > 0.01


def test_a_mixture_of_dimensions_does_not_fit():
    rng = np.random.default_rng(0)
    ratio = rng.exponential(size=4000) / np.repeat([2, 20], 2000)
    assert TwoNN()(of_ratios(ratio)).goodness_of_fit < 0.01


@pytest.mark.parametrize("fit", ["mle", "regression"])
def test_p_values_are_uniform_under_the_law(fit):
    rng = np.random.default_rng(1)
    p = [TwoNN(fit=fit)(of_ratios(rng.exponential(size=400))).goodness_of_fit for _ in range(200)]
    assert 0.01 <= np.mean(np.less(p, 0.05)) <= 0.11
    assert 0.38 <= np.mean(np.less(p, 0.5)) <= 0.62


@pytest.mark.parametrize("dimension", [3, 40])
def test_high_dimensions_are_lower_bounds(dimension):
    estimate = TwoNN()(sphere(500, dimension))
    assert estimate.is_lower_bound == (dimension == 40)
    assert str(estimate).startswith("≥") == (dimension == 40)


def test_ties_are_counted_and_warned_of():
    ratio = np.random.default_rng(0).exponential(size=1000)
    ratio[:50] = 0
    with pytest.warns(TiedPoints, match=r"5\.0% of the points"):
        estimate = TwoNN()(of_ratios(ratio))
    assert estimate.tie_fraction == 0.05
    kept = np.sort(ratio)[:900]
    assert float(estimate) == pytest.approx(899 / (kept.sum() + 100 * kept[-1]))


def test_a_tie_by_chance_is_silent():
    ratio = np.random.default_rng(0).exponential(size=1000)
    ratio[0] = 1e-9
    assert TwoNN()(of_ratios(ratio)).tie_fraction == 0.001


def test_all_tied_has_no_dimension():
    with pytest.raises(DegeneratePoints, match="all 50 distinct points"):
        TwoNN()(np.eye(50))


def test_tied_up_to_what_is_discarded():
    ratio = np.zeros(100)
    ratio[:10] = 1
    with pytest.warns(TiedPoints), pytest.raises(DegeneratePoints, match="at least 90 of 100"):
        TwoNN()(of_ratios(ratio))


@pytest.mark.parametrize("discard", [-0.1, 1, 1.5, math.nan])
def test_discard_is_a_fraction(discard):
    with pytest.raises(ValueError, match="discard is"):
        TwoNN(discard=discard)


def test_unknown_fit():
    with pytest.raises(ValueError, match="'mle', 'regression', 'triplets'"):
        TwoNN(fit="median")


def test_too_much_discarded():
    with pytest.raises(DegeneratePoints, match="only 1 of 10"):
        TwoNN(discard=0.9)(cube(10, 2))


@pytest.mark.parametrize(
    "estimator", [TwoNN(), TwoNN(fit="regression", discard=0.2), TwoNN("triplets", seed=4)]
)
def test_repr_gives_the_estimator_back(estimator):
    assert eval(repr(estimator)) == estimator
    assert estimator(POINTS).provenance.parameters["estimator"] == repr(estimator)


def test_parameters_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TwoNN().discard = 0.5


def test_three_points_are_enough():
    estimate = TwoNN()([[0.0], [1.0], [3.0]])
    assert estimate.dimension > 0
    assert estimate.n_used == 2
