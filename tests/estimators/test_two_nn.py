import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from dimscope import Neighbors, TwoNN, nearest_neighbors
from dimscope.errors import DegeneratePoints, TiedPoints
from dimscope.estimators.two_nn import (
    censored_likelihood,
    goodness_of_fit,
    regression,
    triplets,
)
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
def test_twonn_mle_equals_the_formula(discard):
    kept = math.floor((1 - discard) * 400 + 1e-9)
    total = L[:kept].sum() + (400 - kept) * L[kept - 1]
    estimate = TwoNN(discard=discard)(NEIGHBORS)
    assert float(estimate) == pytest.approx((kept - 1) / total, rel=1e-12)
    assert estimate.n_used == kept


def test_twonn_mle_without_discard_equals_the_formula():
    assert float(TwoNN(discard=0)(POINTS)) == pytest.approx(399 / L.sum(), rel=1e-12)


@pytest.mark.parametrize("discard", [0, 0.1, 0.25, 0.5, 0.9])
def test_twonn_regression_equals_the_formula(discard):
    kept = min(math.floor((1 - discard) * 400 + 1e-9), 399)
    x, y = L[:kept], -np.log(1 - np.arange(1, kept + 1) / 400)
    estimate = TwoNN(fit="regression", discard=discard)(NEIGHBORS)
    assert float(estimate) == pytest.approx(x @ y / (x @ x), rel=1e-12)
    assert estimate.n_used == kept


def test_twonn_triplets_equals_the_formula():
    chosen = triplets(NEIGHBORS.indices, 0)
    ratio = np.log(NEIGHBORS.distances[chosen, 1] / NEIGHBORS.distances[chosen, 0])
    estimate = TwoNN(fit="triplets")(NEIGHBORS)
    assert float(estimate) == pytest.approx((len(chosen) - 1) / ratio.sum(), rel=1e-12)
    assert estimate.n_used == len(chosen)
    independent = float(estimate) / np.sqrt(len(chosen))
    assert estimate.std_error == pytest.approx(independent, rel=0.3)  # NEIGHBORS are two a point
    assert TwoNN(fit="triplets")(POINTS).degrees_of_freedom < 50  # of the halvings


@pytest.mark.parametrize("seed", [0, 1])
def test_triplets_share_no_point_and_are_maximal(seed):
    chosen = triplets(NEIGHBORS.indices, seed)
    groups = np.column_stack([np.arange(400), NEIGHBORS.indices])
    taken = groups[chosen].ravel()
    assert len(set(taken)) == 3 * len(chosen)
    others = np.setdiff1d(np.arange(400), chosen)
    assert all(set(groups[i]) & set(taken) for i in others)


def test_triplets_depend_only_on_the_seed():
    assert TwoNN("triplets", seed=1)(POINTS) == TwoNN("triplets", seed=1)(POINTS)
    assert float(TwoNN("triplets", seed=1)(POINTS)) != float(TwoNN("triplets", seed=2)(POINTS))


@pytest.mark.parametrize("n", [10, 30, 70, 1000])
def test_twonn_keeps_the_exact_number_despite_rounding(n):
    # 0.9 * 70 is 62.99... in floating point
    assert TwoNN(discard=0.1)(cube(n, 2)).n_used == n * 9 // 10


@pytest.mark.parametrize("fit", ["mle", "regression", "triplets"])
def test_twonn_scores_are_influences(fit):
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
def test_twonn_measures_ratios_of_a_known_law(fit):
    ratio = np.random.default_rng(0).exponential(size=30_000) / 7
    estimate = TwoNN(fit=fit)(of_ratios(ratio))
    assert float(estimate) == pytest.approx(7, rel=0.02)
    assert estimate.interval[0] < 7 < estimate.interval[1]
    assert estimate.goodness_of_fit > 0.01


def test_goodness_of_fit_rejects_a_mixture_of_dimensions():
    rng = np.random.default_rng(0)
    ratio = rng.exponential(size=4000) / np.repeat([2, 20], 2000)
    assert TwoNN()(of_ratios(ratio)).goodness_of_fit < 0.01


@pytest.mark.parametrize("fit", ["mle", "regression"])
def test_goodness_of_fit_is_uniform_under_the_law(fit):
    rng = np.random.default_rng(1)
    fitter = regression if fit == "regression" else censored_likelihood
    p = []
    for ratio in rng.exponential(size=(400, 300)):
        rate = fitter(ratio, 270)[0]
        p.append(goodness_of_fit(ratio, rate, fitter, 270, independent=True))
    assert 0.02 <= np.mean(np.less(p, 0.05)) <= 0.085
    assert 0.42 <= np.mean(np.less(p, 0.5)) <= 0.58


@pytest.mark.parametrize("n", [60, 200, 500])
def test_goodness_of_fit_keeps_its_level_on_clouds(n):
    p = [TwoNN()(torus(n, 2, seed=seed)).goodness_of_fit for seed in range(300)]
    assert 0.01 <= np.mean(np.less(p, 0.05)) <= 0.08
    assert np.mean(np.less(p, 0.01)) <= 0.03


@pytest.mark.parametrize("dimension", [3, 40])
def test_twonn_marks_high_dimensions_as_lower_bounds(dimension):
    estimate = TwoNN()(sphere(500, dimension))
    assert estimate.is_lower_bound == (dimension == 40)
    assert str(estimate).startswith("≥") == (dimension == 40)


def test_twonn_counts_ties_and_warns():
    ratio = np.random.default_rng(0).exponential(size=1000)
    ratio[:50] = 0
    with pytest.warns(TiedPoints, match=r"5\.0% of the points"):
        estimate = TwoNN()(of_ratios(ratio))
    assert estimate.tie_fraction == 0.05
    kept = np.sort(ratio)[:900]
    assert float(estimate) == pytest.approx(899 / (kept.sum() + 100 * kept[-1]))


def test_twonn_is_silent_about_a_tie_by_chance():
    ratio = np.random.default_rng(0).exponential(size=1000)
    ratio[0] = 1e-9
    assert TwoNN()(of_ratios(ratio)).tie_fraction == 0.001


def test_twonn_refuses_points_that_are_all_tied():
    with pytest.raises(DegeneratePoints, match="all 50 distinct points"):
        TwoNN()(np.eye(50))


def test_twonn_refuses_ties_in_all_that_is_kept():
    ratio = np.zeros(100)
    ratio[:10] = 1
    with pytest.warns(TiedPoints), pytest.raises(DegeneratePoints, match="at least 90 of 100"):
        TwoNN()(of_ratios(ratio))


@pytest.mark.parametrize("discard", [-0.1, 1, 1.5, math.nan])
def test_twonn_refuses_a_discard_that_is_not_a_fraction(discard):
    with pytest.raises(ValueError, match="discard is"):
        TwoNN(discard=discard)


def test_twonn_refuses_an_unknown_fit():
    with pytest.raises(ValueError, match="'mle', 'regression', 'triplets'"):
        TwoNN(fit="median")


def test_twonn_refuses_to_discard_too_much():
    with pytest.raises(DegeneratePoints, match="only 1 of 10"):
        TwoNN(discard=0.9)(cube(10, 2))


@pytest.mark.parametrize(
    "estimator", [TwoNN(), TwoNN(fit="regression", discard=0.2), TwoNN("triplets", seed=4)]
)
def test_twonn_repr_evaluates_to_the_estimator(estimator):
    assert eval(repr(estimator)) == estimator
    assert estimator(POINTS).provenance.parameters["estimator"] == repr(estimator)


def test_twonn_is_frozen():
    with pytest.raises(FrozenInstanceError):
        TwoNN().discard = 0.5


def test_twonn_works_on_three_points():
    estimate = TwoNN()([[0.0], [1.0], [3.0]])
    assert estimate.dimension > 0
    assert estimate.n_used == 2
