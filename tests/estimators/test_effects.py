from dataclasses import replace

import numpy as np
import pytest

from dimscope import (
    MLE,
    Activations,
    DegeneratePoints,
    Gride,
    HubDominates,
    Neighbors,
    Sampled,
    ShortNeighbors,
    TwoNN,
    difference,
    estimate,
    nearest_neighbors,
    profile,
)
from dimscope.estimators.effects import depth_for, left_out, shifts_by_refitting
from dimscope.manifolds import torus
from dimscope.neighbors.search import Search

POINTS = torus(500, 3, seed=1)
ESTIMATORS = [
    TwoNN(), TwoNN(discard=0), TwoNN(fit="regression"), Gride(2, 4), Gride(8, 16), Gride(1, 2),
    MLE(10), MLE(20), MLE(10, average="dimension"),
]  # fmt: skip


def hubs(rng, n):
    """Images of varied contrast: the faintest are neighbours of all others."""
    return np.exp(0.3 * rng.standard_normal((n, 1))) * rng.standard_normal((n, 100))


def two_sheets(rng, n):
    """Points on a plane, and others in eight dimensions: the local dimension is mixed."""
    points = np.zeros((n, 8))
    is_plane = rng.random(n) < 0.5
    points[is_plane, :2] = rng.random((is_plane.sum(), 2))
    points[~is_plane] = 3 + rng.random((n - is_plane.sum(), 8))
    return points


@pytest.mark.filterwarnings("ignore::dimscope.errors.HubDominates")
@pytest.mark.parametrize(
    ("cloud", "estimator"),
    [
        (hubs, TwoNN()), (hubs, MLE(10)), (hubs, TwoNN(fit="triplets")),
        (two_sheets, MLE(10)), (two_sheets, Gride(8, 16)),
    ],
)  # fmt: skip
def test_errors_and_intervals_are_right_with_hubs_and_mixed_dimensions(cloud, estimator):
    rng = np.random.default_rng(5)
    estimates = [estimate(cloud(rng, 200), estimator) for _ in range(250)]
    dimensions = np.array([e.dimension for e in estimates])
    errors = np.array([e.std_error for e in estimates])
    assert 0.85 < errors.mean() / dimensions.std(ddof=1) < 1.2
    held = [e.interval[0] <= dimensions.mean() <= e.interval[1] for e in estimates]
    assert 0.9 < np.mean(held) < 0.99


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_shifts_equal_those_by_refitting(estimator):
    neighbors = nearest_neighbors(POINTS, estimator.ranks + 1)
    fit = estimator.evaluate(neighbors)
    shifts = estimator.shifts(neighbors, fit)
    assert shifts.shape == (500, fit.reach)
    refitted = shifts_by_refitting(estimator, neighbors, fit.reach)
    assert np.corrcoef(shifts.ravel(), refitted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_the_effect_of_a_point_is_the_change_without_it(estimator):
    neighbors = nearest_neighbors(POINTS[:200], 60)
    k = estimator.ranks
    subsample = neighbors.thinned(np.ones(200, dtype=bool), k + 1, 60).neighbors
    fit = estimator.evaluate(subsample)
    changes = fit.scores - fit.scores.mean()
    changes = changes + np.bincount(
        subsample.indices[:, : fit.reach].ravel(), estimator.shifts(subsample, fit).ravel(), 200
    )
    left = np.arange(0, 200, 4)
    moved = [
        199
        * (
            fit.dimension
            - float(estimator.evaluate(neighbors.within(np.delete(np.arange(200), i), k)).dimension)
        )
        for i in left
    ]
    assert np.corrcoef(moved, changes[left])[0, 1] > 0.97


def test_errors_do_not_depend_on_the_estimators_beside():
    together = estimate(POINTS, [TwoNN(), MLE(20), Gride(2, 4)])
    for name, estimator in {"twonn": TwoNN(), "gride": Gride(2, 4)}.items():
        alone = estimate(POINTS, estimator)
        assert replace(together[name], provenance=alone.provenance) == alone
        assert together[name].influence == alone.influence


def test_errors_are_right_for_a_sample_of_the_points():
    rng = np.random.default_rng(3)
    estimates = []
    for seed in range(200):
        points = torus(1000, 3, seed=int(rng.integers(1 << 30)))
        search = Search(points, TwoNN().wished, Sampled(seed=seed))
        estimates.append(TwoNN().from_neighbors(search.sample(300), test_fit=False))
    assert {e.n_queries for e in estimates} == {300}
    dimensions = np.array([e.dimension for e in estimates])
    errors = np.array([e.std_error for e in estimates])
    assert 0.85 < errors.mean() / dimensions.std(ddof=1) < 1.2


def test_fewer_than_ten_points_have_no_error():
    assert np.isnan(estimate(POINTS[:9]).std_error)
    assert np.isnan(estimate(POINTS[:9]).interval).all()
    assert str(estimate(POINTS[:9])).count("±") == 0
    assert estimate(POINTS[:10]).std_error > 0


def test_few_points_have_wide_intervals_by_students_t():
    rng = np.random.default_rng(0)
    estimates = [estimate(rng.random((20, 3))) for _ in range(400)]
    mean = np.exp(np.mean([np.log(e.dimension) for e in estimates]))
    assert 0.91 < np.mean([e.interval[0] <= mean <= e.interval[1] for e in estimates]) < 0.99


def test_neighbors_with_hubs_and_short_lists_warn():
    points = hubs(np.random.default_rng(0), 500)
    with pytest.warns(HubDominates, match=r"neighbours of 61% of the points"):
        whole = TwoNN()(points)
    with pytest.warns(HubDominates), pytest.warns(ShortNeighbors, match="search with k=5"):
        short = TwoNN()(nearest_neighbors(points, 2))
    assert short.dimension == whole.dimension


def test_left_out_shares_three_fifths():
    numbers = left_out(700)[0]
    in_first, in_second = numbers != 0, numbers != 1
    assert (in_first & in_second).sum() / in_first.sum() == pytest.approx(0.6)
    assert [depth_for(k) for k in (2, 4)] == [5, 9]


@pytest.mark.parametrize("noise", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("estimator", [TwoNN(), Gride(2, 4), MLE(10)], ids=repr)
def test_differences_under_the_null_are_seldom_significant(noise, estimator):
    rng = np.random.default_rng(2)
    p_values, differences = [], []
    for _ in range(60):
        points = rng.standard_normal((200, 5))
        layers = {name: points + noise * rng.standard_normal((200, 5)) for name in "ab"}
        pair = profile(Activations(layers), estimators=estimator)
        change = difference(pair["a"], pair["b"])
        differences.append(change)
        p_values.append(change.p_value)
    assert not np.isnan(p_values).any()
    assert np.mean(np.array(p_values) < 0.05) <= 0.13
    spread = np.std([change.difference for change in differences])
    assert np.mean([change.std_error for change in differences]) > 0.8 * spread


def test_difference_of_equal_representations_is_rounding():
    change = difference(estimate(POINTS), estimate(POINTS.astype(np.float32)))
    assert change.is_rounding
    assert change.p_value == 1
    assert str(change) == "equal to rounding (p = 1)"


def test_thinned_neighbors_are_those_within_the_kept_points():
    neighbors = nearest_neighbors(POINTS, 30)
    kept = np.random.default_rng(0).random(500) < 0.7
    thinned, within = (
        neighbors.thinned(kept, 3, 30).neighbors,
        neighbors.within(np.flatnonzero(kept), 3),
    )
    np.testing.assert_array_equal(thinned.distances, within.distances)
    np.testing.assert_array_equal(thinned.indices, within.indices)
    assert neighbors.thinned(np.zeros(500, dtype=bool), 3, 30) is None


def test_thinned_lists_that_are_too_short_are_left_out():
    neighbors = Neighbors([[1, 2, 3]] * 4, [[1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 1, 0]])
    assert neighbors.thinned(np.array([True, True, True, False]), 3, 3) is None
    with pytest.raises(DegeneratePoints):
        MLE(4)(neighbors)
