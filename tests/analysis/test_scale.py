"""Scale curves against fresh searches, and plateaus where the dimension stays the same."""

import json
import math
import threading
from itertools import pairwise

import numpy as np
import pytest

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
from dimscope.estimators import two_nn
from dimscope.manifolds import cube, embed, gaussian, torus

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
            assert point.std_error == pytest.approx(point.std / math.sqrt(point.n_blocks))
        else:
            assert math.isnan(point.std)
            assert point.std_error == estimator(POINTS).std_error


def test_rank_curve_equals_gride():
    curve = rank_curve(POINTS, 64)
    assert [point.ranks for point in curve.points] == [(2**i, 2 ** (i + 1)) for i in range(6)]
    searched = nearest_neighbors(POINTS, 64)
    for point in curve.points:
        alone = Gride(*point.ranks)(searched)
        assert (point.dimension, point.std_error) == (alone.dimension, alone.std_error)
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


def test_scale_curve_skips_the_goodness_of_fit_and_estimate_computes_it_once(monkeypatch):
    calls = []
    goodness_of_fit = two_nn.goodness_of_fit

    def counted(*args):
        calls.append(args)
        return goodness_of_fit(*args)

    monkeypatch.setattr(two_nn, "goodness_of_fit", counted)
    points = torus(2000, 2)
    scale_curve(points)
    assert len(calls) == 0
    estimate(points)
    assert len(calls) == 1


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
