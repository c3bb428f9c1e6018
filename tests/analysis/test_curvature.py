"""Curvature tests: p-values, agreement with the public calls, progress."""

import threading

import numpy as np
import pytest

from dimscope import PCA, Gride, TwoNN, curvature_test, estimate, surrogate
from dimscope.arrays import numpy_points
from dimscope.manifolds import embed, gaussian, sphere, swiss_roll


def test_curvature_test_finds_curved_points():
    for points in (sphere(400, 3), swiss_roll(400, 2)):
        result = curvature_test(embed(points, 40))
        assert result.p_value == 0.05
        assert result.ratio > 1.1


def test_curvature_test_has_uniform_p_values_on_gaussian_points():
    results = [curvature_test(gaussian(200, 4, seed=s), n=9, seed=100 * s) for s in range(20)]
    p = np.array([result.p_value for result in results])
    # uniform on 0.1, 0.2, ..., 1
    assert 0.3 < p.mean() < 0.8
    assert (p <= 0.1).sum() <= 6
    assert np.mean([result.ratio for result in results]) == pytest.approx(1, abs=0.05)


def test_curvature_test_equals_the_public_calls():
    points = gaussian(200, 3)
    result = curvature_test(points, Gride(2, 4), n=3, seed=7)
    assert result.dimension == float(estimate(points, Gride(2, 4)))
    expected = [float(Gride(2, 4)(surrogate(points, seed=7 + i))) for i in range(3)]
    assert list(result.surrogates) == expected


def test_curvature_test_reports_progress_in_the_callers_thread():
    reports, threads = [], []

    def progress(step, done, total):
        reports.append((done, total))
        threads.append(threading.current_thread())

    curvature_test(gaussian(100, 3), n=3, progress=progress)
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(threads) == {threading.current_thread()}


def test_curvature_test_checks_the_points_once(monkeypatch):
    checks = []

    def count(array):
        checks.append(array)
        return largest_absolute(array)

    largest_absolute = numpy_points.largest_absolute
    monkeypatch.setattr(numpy_points, "largest_absolute", count)
    curvature_test(gaussian(100, 3), n=3)
    # the points, and each surrogate where it is searched
    assert len(checks) == 4


def test_curvature_test_skips_the_goodness_of_fit(monkeypatch):
    def refuse(*_):
        raise AssertionError("the p-value would be dropped")

    monkeypatch.setattr(TwoNN, "goodness_of_fit", refuse)
    assert curvature_test(gaussian(100, 3), n=2).ratio > 0


def test_curvature_test_refuses_bad_parameters():
    with pytest.raises(ValueError, match="at least 1"):
        curvature_test(gaussian(100, 3), n=0)
    with pytest.raises(TypeError, match="give one that uses neighbours"):
        curvature_test(gaussian(100, 3), PCA())
