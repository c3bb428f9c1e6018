"""Scale curves against fresh searches, and plateaus where the dimension stays the same."""

import json
import math
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import combine_pvalues

from dimscope import (
    MLE,
    PCA,
    DegeneratePoints,
    Exact,
    Gride,
    TwoNN,
    curvature_test,
    estimate,
    nearest_neighbors,
    neighbors,
    rank_curve,
    scale_curve,
)
from dimscope.analysis.scale import ScaleCurve, ScalePoint
from dimscope.manifolds import cube, embed, gaussian, sphere, torus

POINTS = torus(600, 2, seed=2)
WIDE = embed(POINTS, 50)


@pytest.mark.parametrize("estimator", [TwoNN(), TwoNN(fit="regression"), Gride(2, 4)])
def test_scale_curve_equals_fresh_searches_of_the_blocks(estimator):
    curve = scale_curve(POINTS, estimator, blocks=[1, 3, 7, 20], seed=5)
    order = np.random.default_rng(5).permutation(600)
    assert [point.n_blocks for point in curve.points] == [1, 3, 7, 20]
    for point in curve.points:
        assert point.n_points == 600 // point.n_blocks
        blocks = order[: point.n_points * point.n_blocks].reshape(point.n_blocks, -1)
        rows = blocks if point.n_blocks > 1 else [np.arange(600)]
        alone = np.array([float(estimator(POINTS[block])) for block in rows])
        assert point.dimension == pytest.approx(alone.mean(), rel=1e-9)
        if point.n_blocks > 1:
            assert point.std == pytest.approx(alone.std(ddof=1), rel=1e-6)
            spread = point.std
            if point.n_blocks < 10:
                neighbors_of_blocks = nearest_neighbors(POINTS, 64).split(
                    list(rows), estimator.ranks
                )
                alone = map(estimator.from_neighbors, neighbors_of_blocks)
                spread = math.sqrt(np.mean([one.std_error**2 for one in alone]))
            assert point.std_error == pytest.approx(spread / math.sqrt(point.n_blocks))
        else:
            assert math.isnan(point.std)
            assert point.std_error == estimator(POINTS).std_error


def test_rank_curve_equals_gride():
    curve = rank_curve(POINTS, 64)
    assert [point.ranks for point in curve.points] == [(2**i, 2 ** (i + 1)) for i in range(6)]
    searched = nearest_neighbors(POINTS, 64)
    for point in curve.points:
        alone = Gride(*point.ranks)(searched)
        assert point.dimension == alone.dimension
        assert point.std_error == pytest.approx(alone.std_error, rel=0.1)  # from longer lists
        assert point.distance == searched.distances[:, point.ranks[1] - 1].mean()


def test_curves_ascend_in_distance():
    for curve in (scale_curve(POINTS), rank_curve(POINTS)):
        assert all(a.distance < b.distance for a, b in pairwise(curve.points))


def test_curves_reuse_neighbors(monkeypatch):
    searched = nearest_neighbors(POINTS, 64)
    monkeypatch.setattr(neighbors.search, "Search", None)
    assert rank_curve(searched).points == rank_curve(searched).points
    few = scale_curve(searched, blocks=[1, 2, 4])
    assert [point.n_points for point in few.points] == [600, 300, 150]


def test_scale_curve_leaves_out_small_blocks():
    assert [point.n_blocks for point in scale_curve(cube(100, 2)).points] == [1, 2, 3, 4, 5]
    with pytest.raises(DegeneratePoints, match="too few"):
        scale_curve(cube(30, 2), blocks=[2])
    with pytest.raises(ValueError, match="at least 1"):
        scale_curve(POINTS, blocks=[0])
    with pytest.raises(ValueError, match="at least 2"):
        rank_curve(POINTS, 1)


def test_rank_curve_of_few_points_has_few_ranks():
    assert [point.ranks for point in rank_curve(cube(12, 2)).points] == [(1, 2), (2, 4), (4, 8)]


@pytest.mark.parametrize(
    ("curve", "steps"),
    [
        (lambda progress: scale_curve(WIDE, blocks=[1, 2, 3], progress=progress), 2),
        (lambda progress: rank_curve(WIDE, progress=progress), 1),
    ],
    ids=["scale_curve", "rank_curve"],
)
def test_curves_report_progress_in_the_callers_thread(curve, steps):
    reports, threads = {}, set()

    def progress(step, done, total):
        reports.setdefault(step, []).append((done, total))
        threads.add(threading.current_thread())

    curve(progress)
    assert threads == {threading.current_thread()}
    assert len(reports) == steps
    for step in reports.values():
        done = [part for part, _ in step]
        assert done == sorted(done)
        assert done[-1] == step[-1][1]
    if steps == 2:
        assert reports["splitting into blocks"] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("curve", [scale_curve, rank_curve])
def test_curves_refuse_an_engine_together_with_neighbors(curve):
    searched = nearest_neighbors(POINTS, 64)
    with pytest.raises(ValueError, match="Neighbors are not searched again"):
        curve(searched, engine=Exact())


def test_scale_curve_combines_the_tests_of_the_blocks():
    curve = scale_curve(POINTS, blocks=[1, 3], seed=5)
    assert curve.points[0].goodness_of_fit == estimate(POINTS).goodness_of_fit
    order = np.random.default_rng(5).permutation(600).reshape(3, -1)
    p_values = [estimate(POINTS[rows]).goodness_of_fit for rows in order]
    expected = combine_pvalues(p_values, method="fisher").pvalue
    assert curve.points[1].goodness_of_fit == pytest.approx(expected)
    assert all(math.isnan(point.goodness_of_fit) for point in scale_curve(POINTS, Gride()).points)


def test_scale_curve_uses_the_test_that_a_fit_brings():
    class Tested(TwoNN):
        def evaluate(self, neighbors):
            return replace(super().evaluate(neighbors), goodness_of_fit=0.25)

    curve = scale_curve(POINTS, Tested(), blocks=[1, 2])
    assert curve.points[0].goodness_of_fit == 0.25
    assert curve.points[1].goodness_of_fit == pytest.approx(0.0625 * (1 - math.log(0.0625)))


# -- plateaus --------------------------------------------------------------------------


def curve_of(dimensions, errors=0.05, first=1000):
    errors = np.broadcast_to(errors, len(dimensions))
    return ScaleCurve(
        tuple(
            ScalePoint(first // 2**i, 2**i, (1, 2), 2.0**i, d, e, e)
            for i, (d, e) in enumerate(zip(dimensions, errors, strict=True))
        )
    )


def test_plateau_covers_a_flat_curve():
    flat = curve_of([5.0, 5.1, 4.95, 5.0]).plateau()
    assert (flat.first.n_points, flat.last.n_points) == (1000, 125)
    assert flat.dimension == pytest.approx(5.0125)


def test_plateau_covers_the_flat_part():
    flat = curve_of([9.0, 7.0, 5.0, 5.1, 4.95, 3.0]).plateau()
    assert (flat.first.n_points, flat.last.n_points) == (250, 62)


def test_plateau_of_a_falling_curve_is_none():
    curve = curve_of([9.0, 7.5, 6.0, 5.0, 4.0])
    assert curve.plateau() is None
    assert "depends on the scale" in curve.verdict


def test_plateau_is_none_if_errors_are_large():
    assert curve_of([5.0, 5.1, 4.95, 5.0], errors=1.0).plateau() is None


def test_plateau_spans_more_than_a_factor_of_two():
    assert curve_of([5.0, 5.0]).plateau() is None


def test_rank_curve_shows_noise_then_the_sheet():
    rng = np.random.default_rng(0)
    noisy = np.pad(cube(4000, 2), ((0, 0), (0, 8))) + 0.001 * rng.standard_normal((4000, 10))
    curve = rank_curve(noisy)
    assert curve.points[0].dimension > 2.5
    flat = curve.plateau()
    assert flat is not None
    assert flat.first.ranks[0] > 1
    assert flat.dimension == pytest.approx(2, rel=0.15)
    assert "neighbours" in curve.verdict


def test_to_dict_and_to_frame_hold_the_curve():
    curve = scale_curve(POINTS, blocks=[1, 2, 4])
    frame = curve.to_frame()
    assert list(frame["dimension"]) == [point.dimension for point in curve.points]
    plain = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert plain["scales"][0]["std"] is None
    assert plain["plateau"]["dimension"] == curve.plateau().dimension


@pytest.mark.parametrize("curve", [scale_curve(POINTS), rank_curve(POINTS)], ids=["n", "rank"])
def test_plot_holds_the_curve(curve):
    ax = curve.plot()
    drawn = [list(line.get_ydata()) for line in ax.lines]
    assert [point.dimension for point in curve.points] in drawn
    assert ax.get_ylim()[0] == 0


def test_verdict_above_20_is_a_lower_bound():
    curve = rank_curve(gaussian(2000, 40), 8)
    flat = curve.plateau()
    assert flat is not None
    assert flat.dimension > 20
    assert curve.verdict.startswith(f"The dimension is at least {flat.dimension:.3g} from")


def test_scale_curve_refuses_neighbours_that_are_all_equally_far():
    with pytest.raises(DegeneratePoints, match="same distance"):
        scale_curve(np.eye(100), MLE(3), blocks=[2, 4])


def test_scale_curve_blocks_hold_as_many_points_as_the_estimator_needs():
    curve = scale_curve(cube(400, 2), MLE(k=30))
    assert min(scale.n_points for scale in curve.points) > 30


@pytest.mark.parametrize("call", [scale_curve, curvature_test])
def test_scale_curve_and_curvature_test_refuse_an_estimator_without_neighbours(call):
    with pytest.raises(TypeError, match="give one that uses"):
        call(torus(500, 3), PCA())


# -- verdicts on mixtures ----------------------------------------------------------------


def mixture(a, b, n, share=0.5):
    n_first = int(n * share)
    first = embed(cube(n_first, a), 12, seed=1)
    return np.concatenate([first, embed(cube(n - n_first, b, seed=1), 12, seed=2) + 20])


def test_verdict_refuses_a_single_dimension_for_a_line_and_a_cube():
    curve = scale_curve(mixture(1, 5, 2000))
    assert curve.plateau().goodness_of_fit < 1e-3
    assert curve.verdict.startswith("No single dimension describes these points: the ratios")
    assert "and the dimension differs from point to point" in curve.verdict
    assert f"On average, the dimension is {curve.plateau().dimension:.3g} from" in curve.verdict


@pytest.mark.parametrize("make", [scale_curve, rank_curve])
@pytest.mark.parametrize(("a", "b", "share"), [(2, 5, 0.5), (5, 10, 0.5), (2, 10, 0.1)])
def test_verdict_sees_mixed_dimensions_that_the_fit_does_not(make, a, b, share):
    curve = make(mixture(a, b, 2000, share))
    assert curve.local_spread > 0.25
    assert "he dimension differs from point to point" in curve.verdict


def test_local_spread_of_a_mixture_is_that_of_the_inverse_dimensions():
    curve = rank_curve(mixture(1, 5, 4000))
    assert curve.local_spread == pytest.approx(0.4 / 0.6, abs=0.05)
    assert rank_curve(torus(4000, 2)).local_spread < 0.1
    assert math.isnan(rank_curve(torus(200, 2), 8).local_spread)


def test_verdict_of_homogeneous_clouds_raises_no_alarm():
    clouds = [
        make(400, d, seed=seed)
        for make, d in ((torus, 2), (sphere, 5), (gaussian, 10))
        for seed in range(10)
    ]
    verdicts = [scale_curve(cloud, blocks=[1, 2, 4, 8]).verdict for cloud in clouds]
    assert sum(verdict.startswith("No single") for verdict in verdicts) <= 1


def test_verdict_doubts_only_what_was_tested():
    curve = curve_of([5.0, 5.1, 4.95, 5.0])
    assert math.isnan(curve.plateau().goodness_of_fit)
    assert curve.verdict.startswith("The dimension is 5.01 from")
    refused = replace(
        curve, points=tuple(replace(point, goodness_of_fit=1e-4) for point in curve.points)
    )
    assert "single dimension (p = 0.0001)" in refused.verdict


def test_error_of_few_blocks_is_that_of_their_mean():
    """The spread of two blocks is a poor guide: its coefficient of variation is 0.7."""
    curves = [scale_curve(cube(600, 4, seed=seed), blocks=[2, 4]) for seed in range(60)]
    for place in range(2):
        points = [curve.points[place] for curve in curves]
        errors = np.array([point.std_error for point in points])
        assert errors.mean() == pytest.approx(
            np.std([p.dimension for p in points], ddof=1), rel=0.3
        )
        assert errors.std() < 0.15 * errors.mean()
