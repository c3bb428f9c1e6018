"""Standard errors over groups of rows: the groups are the independent units."""

import json
import math

import numpy as np
import pytest

import dimscope as ds
from dimscope.errors import BadPoints
from dimscope.estimators.covariances import covariance
from dimscope.estimators.influence_text import from_text, to_text
from dimscope.estimators.uncertainty import Influence, grouped


def clusters(seed, n_groups=30, largest=30, spread=0.3, n_features=4):
    """Draw groups of rows of unequal sizes around centres of their own."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(n_groups), rng.integers(5, largest + 1, n_groups))
    centres = rng.standard_normal((n_groups, n_features))
    return centres[ids] + spread * rng.standard_normal((len(ids), n_features)), ids


def by_hand(influence):
    """Sum the products of scores over all pairs of one group or of neighbours, point by point."""
    n = len(influence.scores)
    same = influence.groups[:, None] == influence.groups
    within = influence.scores @ same @ influence.scores
    joined = np.zeros((n, n), dtype=bool)
    joined[tuple(influence.pairs)] = joined[tuple(influence.pairs[::-1])] = True
    between = influence.scores @ (joined & ~same) @ influence.scores
    sizes = np.bincount(influence.groups)
    number = n**2 / (sizes**2).sum()
    return math.sqrt(within * number / (number - 1) + max(0, between)) / n


@pytest.mark.parametrize("estimator", [ds.TwoNN(), ds.MLE(10), ds.Gride(2, 4)])
@pytest.mark.parametrize("exclude", [False, True])
def test_error_over_groups_is_the_sum_over_pairs_of_one_group_and_neighbours(estimator, exclude):
    points, ids = clusters(0, spread=1.0)
    estimate = ds.estimate(points, estimator, groups=ids, exclude=ids if exclude else None)
    assert estimate.std_error == pytest.approx(by_hand(estimate.influence), rel=1e-9)
    variance = covariance(estimate.influence, estimate.influence)
    assert math.sqrt(variance) == pytest.approx(estimate.std_error, rel=0.05)


def test_groups_change_the_error_and_not_the_dimension():
    points, ids = clusters(1)
    plain, over_groups = ds.estimate(points), ds.estimate(points, groups=ids)
    assert over_groups.dimension == plain.dimension
    assert over_groups.std_error != plain.std_error
    assert over_groups.n_groups == 30
    sizes = np.bincount(ids)
    assert over_groups.degrees_of_freedom == pytest.approx(len(ids) ** 2 / (sizes**2).sum() - 1)
    assert plain.n_groups is None
    assert "30 groups" in repr(over_groups)
    assert "groups" not in repr(plain)
    assert json.loads(json.dumps(over_groups.to_dict()))["n_groups"] == 30
    assert ds.Estimate.from_dict(over_groups.to_dict()).n_groups == 30


def test_groups_of_one_row_each_give_nearly_the_plain_error():
    points, _ = clusters(2)
    plain = ds.estimate(points)
    single = ds.estimate(points, groups=np.arange(len(points)))
    assert single.std_error == pytest.approx(plain.std_error, rel=0.15)


def test_fewer_than_ten_groups_give_no_error_and_the_reason():
    points, ids = clusters(4, n_groups=9)
    estimate = ds.estimate(points, groups=ids)
    assert estimate.dimension > 0
    assert math.isnan(estimate.std_error)
    assert all(math.isnan(bound) for bound in estimate.interval)
    assert "9 groups are too few" in estimate.reason
    assert estimate.n_groups == 9
    points, ids = clusters(4, n_groups=10)
    assert ds.estimate(points, groups=ids).std_error > 0


def test_one_large_group_costs_degrees_of_freedom():
    points, _ = clusters(4, n_groups=30, largest=5)  # 5 rows each
    equal, one_large = np.repeat(np.arange(30), 5), np.repeat(np.arange(30), 5)
    one_large[:75] = 0
    assert ds.estimate(points, groups=equal).degrees_of_freedom == pytest.approx(29)
    assert ds.estimate(points, groups=one_large).degrees_of_freedom < 3


def test_groups_work_on_neighbors_that_were_searched_before():
    points, ids = clusters(5)
    neighbors = ds.nearest_neighbors(points)
    assert ds.estimate(neighbors, groups=ids).std_error == ds.estimate(points, groups=ids).std_error


def test_groups_follow_the_rows_of_a_part():
    points, ids = clusters(5)
    neighbors = ds.nearest_neighbors(points).in_groups(ids)
    rows = np.random.default_rng(0).permutation(len(points))[:100]
    assert neighbors.within(rows).groups.tolist() == neighbors.groups[rows].tolist()


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
def test_groups_of_collapsed_rows_are_those_of_the_first():
    points, ids = clusters(6)
    twice = np.concatenate([points, points])
    copied = np.concatenate([ids, np.full(len(ids), -1)])
    assert ds.estimate(twice, groups=copied).n_groups == 30


def of_different_dimensions(seed, n_groups=20, each=20):
    """Draw groups far apart, of dimensions 2 to 8: rows of one group tell of each other."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(n_groups), each)
    local = rng.integers(2, 9, n_groups)[ids]
    points = 50 * rng.standard_normal((n_groups, 8))[ids]
    points += rng.standard_normal(points.shape) * (np.arange(8) < local[:, None])
    return points, ids


def test_sampled_search_stops_by_the_error_over_groups():
    points, ids = of_different_dimensions(0, n_groups=100, each=200)
    plain = ds.estimate(points, engine=ds.Sampled(rtol=0.06))
    over_groups = ds.estimate(points, engine=ds.Sampled(rtol=0.06), groups=ids)
    assert over_groups.std_error <= 0.06 * over_groups.dimension
    assert over_groups.n_queries > 1.5 * plain.n_queries


def test_resampled_estimates_keep_groups_and_exclusion():
    points, ids = clusters(8, spread=1.0)
    plain = ds.estimate(points, ds.TwoNN(), groups=ids, exclude=ids)
    resampled = ds.estimate(points, ds.Resampled(ds.TwoNN(), n=3), groups=ids, exclude=ids)
    assert resampled.std_error == plain.std_error
    assert resampled.n_groups == 30
    assert np.mean(resampled.resamples) == pytest.approx(plain.dimension, rel=0.2)


@pytest.mark.parametrize(
    ("groups", "message"),
    [([1, 2], "groups has 2 ids"), ([np.nan] * 100, "no id for row 0")],
)
def test_bad_groups_are_refused(groups, message):
    with pytest.raises(BadPoints, match=message):
        ds.estimate(np.random.default_rng(0).standard_normal((100, 3)), groups=groups)


def test_groups_are_refused_where_they_have_no_effect():
    points, ids = clusters(9)
    with pytest.raises(ValueError, match="groups has no effect: PCA"):
        ds.estimate(points, ds.PCA(), groups=ids)
    both = ds.estimate(points, [ds.PCA(), ds.TwoNN()], groups=ids)
    assert both["pca"].n_groups is None
    assert both["twonn"].n_groups == 30


def test_influence_with_groups_goes_to_text_and_back():
    points, ids = clusters(10)
    influence = ds.estimate(points, groups=ids).influence
    assert from_text(to_text(influence)) == influence
    text = to_text(influence)
    text["groups"] = to_text(Influence(np.zeros(2), influence.pairs, np.arange(2)))["rows"]
    with pytest.raises(ValueError, match="do not fit together"):
        from_text(text)


def test_grouped_scores_keep_their_sum_of_squares_for_points_without_groups():
    pairs = np.array([[0], [1]])
    influence = Influence(np.array([1.0, -2.0, 1.0]), pairs, np.arange(3))
    scores, joined = grouped(influence)
    assert scores is influence.scores
    assert joined is influence.pairs


def test_difference_over_groups_is_paired():
    points, ids = clusters(11, n_groups=60)
    rng = np.random.default_rng(0)
    moved = points + 0.01 * rng.standard_normal(points.shape)
    a, b = (ds.estimate(x, groups=ids) for x in (points, moved))
    change = ds.difference(a, b)
    assert change.degrees_of_freedom == a.degrees_of_freedom < 59
    assert change.std_error < 0.7 * math.hypot(a.std_error, b.std_error)


def test_difference_over_groups_refuses_other_groups_and_none():
    points, ids = clusters(12)
    a = ds.estimate(points, groups=ids)
    with pytest.raises(BadPoints, match="error of the first estimate is over groups"):
        ds.difference(a, ds.estimate(points[:, :3]))
    with pytest.raises(BadPoints, match="error of the second estimate is over groups"):
        ds.difference(ds.estimate(points[:, :3]), a)
    other = ids.copy()
    other[-1] = 0
    with pytest.raises(BadPoints, match=f"different groups, first at row {len(ids) - 1}"):
        ds.difference(a, ds.estimate(points[:, :3], groups=other))
    renamed = [f"text {i}" for i in ids]
    assert ds.difference(a, ds.estimate(points[:, :3], groups=renamed)).std_error > 0


def test_intervals_over_groups_cover_where_plain_ones_do_not():
    estimates = {False: [], True: []}
    for seed in range(60):
        points, ids = of_different_dimensions(seed)
        neighbors = ds.nearest_neighbors(points)
        for over_groups in estimates:
            groups = ids if over_groups else None
            estimates[over_groups].append(ds.estimate(neighbors, groups=groups))
    spread = np.std([float(e) for e in estimates[True]], ddof=1)
    ratio = {k: np.mean([e.std_error for e in v]) / spread for k, v in estimates.items()}
    assert ratio[False] < 0.7
    assert 0.75 < ratio[True] < 1.3
