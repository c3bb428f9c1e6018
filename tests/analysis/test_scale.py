"""Scale curves against fresh searches, and plateaus where there is one and where not."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from dimscope import (
    MLE,
    PCA,
    DegeneratePoints,
    Gride,
    TwoNN,
    curvature_test,
    nearest_neighbors,
    neighbors,
    rank_curve,
    scale_curve,
)
from dimscope.analysis.scale import ScaleCurve, ScalePoint
from dimscope.manifolds import cube, gaussian, torus

POINTS = torus(600, 2, seed=2)


@pytest.mark.parametrize("estimator", [TwoNN(), TwoNN(fit="regression"), Gride(2, 4)])
def test_blocks_are_measured_alone(estimator):
    curve = scale_curve(POINTS, estimator, blocks=[1, 3, 7, 20], seed=5)
    order = np.random.default_rng(5).permutation(600)
    assert [one.n_blocks for one in curve.points] == [1, 3, 7, 20]
    for one in curve.points:
        assert one.n_points == 600 // one.n_blocks
        blocks = order[: one.n_points * one.n_blocks].reshape(one.n_blocks, -1)
        rows = blocks if one.n_blocks > 1 else [np.arange(600)]
        alone = np.array([float(estimator(POINTS[some])) for some in rows])
        assert one.dimension == pytest.approx(alone.mean(), rel=1e-9)
        if one.n_blocks > 1:
            assert one.std == pytest.approx(alone.std(ddof=1), rel=1e-6)
            assert one.std_error == pytest.approx(one.std / math.sqrt(one.n_blocks))
        else:
            assert math.isnan(one.std)
            assert one.std_error == estimator(POINTS).std_error


def test_ranks_are_those_of_gride():
    curve = rank_curve(POINTS, 64)
    assert [one.ranks for one in curve.points] == [(2**i, 2 ** (i + 1)) for i in range(6)]
    found = nearest_neighbors(POINTS, 64)
    for one in curve.points:
        alone = Gride(*one.ranks)(found)
        assert (one.dimension, one.std_error) == (alone.dimension, alone.std_error)
        assert one.distance == found.distances[:, one.ranks[1] - 1].mean()


def test_scales_ascend():
    for curve in (scale_curve(POINTS), rank_curve(POINTS)):
        assert all(a.distance < b.distance for a, b in pairwise(curve.points))


def test_neighbours_serve_both_from_one_search(monkeypatch):
    found = nearest_neighbors(POINTS, 64)
    monkeypatch.setattr(neighbors.search, "Search", None)
    assert rank_curve(found).points == rank_curve(found).points
    few = scale_curve(found, blocks=[1, 2, 4])
    assert [one.n_points for one in few.points] == [600, 300, 150]


def test_small_blocks_are_left_out():
    assert [one.n_blocks for one in scale_curve(cube(100, 2)).points] == [1, 2, 3, 4, 5]
    with pytest.raises(DegeneratePoints, match="too few"):
        scale_curve(cube(30, 2), blocks=[2])
    with pytest.raises(ValueError, match="at least 1"):
        scale_curve(POINTS, blocks=[0])
    with pytest.raises(ValueError, match="at least 2"):
        rank_curve(POINTS, 1)


def test_few_points_have_few_ranks():
    assert [one.ranks for one in rank_curve(cube(12, 2)).points] == [(1, 2), (2, 4), (4, 8)]


def test_progress_rises_to_one():
    told = []
    scale_curve(POINTS, blocks=[1, 2, 3], progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


# -- plateaus --------------------------------------------------------------------------


def curve_of(dimensions, errors=0.05, first=1000):
    errors = np.broadcast_to(errors, len(dimensions))
    return ScaleCurve(
        tuple(
            ScalePoint(first // 2**i, 2**i, (1, 2), 2.0**i, d, e, e)
            for i, (d, e) in enumerate(zip(dimensions, errors, strict=True))
        )
    )


def test_a_flat_curve_is_one_plateau():
    flat = curve_of([5.0, 5.1, 4.95, 5.0]).plateau()
    assert (flat.first.n_points, flat.last.n_points) == (1000, 125)
    assert flat.dimension == pytest.approx(5.0125)


def test_the_plateau_is_where_the_curve_is_flat():
    flat = curve_of([9.0, 7.0, 5.0, 5.1, 4.95, 3.0]).plateau()
    assert (flat.first.n_points, flat.last.n_points) == (250, 62)


def test_a_falling_curve_has_none():
    curve = curve_of([9.0, 7.5, 6.0, 5.0, 4.0])
    assert curve.plateau() is None
    assert "depends on the scale" in curve.verdict


def test_errors_too_large_to_tell():
    assert curve_of([5.0, 5.1, 4.95, 5.0], errors=1.0).plateau() is None


def test_a_factor_of_two_is_no_range():
    assert curve_of([5.0, 5.0]).plateau() is None


def test_noise_is_seen_close_by_and_the_sheet_from_afar():
    rng = np.random.default_rng(0)
    noisy = np.pad(cube(4000, 2), ((0, 0), (0, 8))) + 0.001 * rng.standard_normal((4000, 10))
    curve = rank_curve(noisy)
    assert curve.points[0].dimension > 2.5
    flat = curve.plateau()
    assert flat is not None
    assert flat.first.ranks[0] > 1
    assert flat.dimension == pytest.approx(2, rel=0.15)
    assert "neighbours" in curve.verdict


def test_json_and_frame():
    curve = scale_curve(POINTS, blocks=[1, 2, 4])
    frame = curve.to_frame()
    assert list(frame["dimension"]) == [one.dimension for one in curve.points]
    plain = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert plain["scales"][0]["std"] is None
    assert plain["plateau"]["dimension"] == curve.plateau().dimension


@pytest.mark.parametrize("curve", [scale_curve(POINTS), rank_curve(POINTS)], ids=["n", "rank"])
def test_figure_holds_the_curve(curve):
    ax = curve.plot()
    drawn = [list(line.get_ydata()) for line in ax.lines]
    assert [one.dimension for one in curve.points] in drawn
    assert ax.get_ylim()[0] == 0


def test_a_plateau_above_20_is_at_least_that():
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
    with pytest.raises(TypeError, match="give one that reads"):
        call(torus(500, 3), PCA())
