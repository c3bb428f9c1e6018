import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import skew

from dimscope import (
    MLE,
    PCA,
    EffectiveRank,
    Estimate,
    Fit,
    Gride,
    NeighborEstimator,
    Resampled,
    Sampled,
    TwoNN,
    nearest_neighbors,
)
from dimscope.manifolds import cube, gaussian


def strict(value):
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize(
    "estimate",
    [
        Estimate(10.6, 0.3, n_points=2000, n_used=1800, n_duplicates=3),
        TwoNN()(cube(200, 2)),
        Resampled(n=3)(cube(200, 2)),
        Estimate(25.0, 1.0, is_lower_bound=True, goodness_of_fit=0.5, tie_fraction=0.01),
    ],
)
def test_estimate_survives_json(estimate):
    again = Estimate.from_dict(strict(estimate.to_dict()))
    for name in (
        "dimension",
        "std_error",
        "n_points",
        "n_used",
        "n_duplicates",
        "tie_fraction",
        "is_lower_bound",
        "resample_std",
        "resamples",
        "reason",
        "provenance",
        "interval",
    ):
        assert getattr(again, name) == getattr(estimate, name), name
    assert again.goodness_of_fit == pytest.approx(estimate.goodness_of_fit, nan_ok=True)
    assert again.influence is None


def test_estimate_writes_nan_as_null_and_reads_it_back():
    missing = Estimate(math.nan, reason="all points are the same", resamples=(1.0, math.nan))
    written = missing.to_dict()
    assert written["dimension"] is written["std_error"] is written["goodness_of_fit"] is None
    assert written["interval"] == [None, None]
    assert written["resamples"] == [1.0, None]
    again = Estimate.from_dict(strict(written))
    assert math.isnan(again.dimension)
    assert math.isnan(again.std_error)
    assert math.isnan(again.goodness_of_fit)
    assert math.isnan(again.resamples[1])
    assert again.reason == "all points are the same"


def test_estimate_without_std_error_has_nan_not_zero():
    assert math.isnan(Estimate(3.0).std_error)
    assert all(math.isnan(bound) for bound in Estimate(3.0).interval)
    assert str(Estimate(3.0)) == "3"


@pytest.mark.parametrize(
    ("dimension", "std_error", "text"),
    [
        (10.6, 0.3, "10.6 ± 0.3"),
        (10.64, 0.14, "10.64 ± 0.14"),
        (2.0, 0.0123, "2.000 ± 0.012"),
        (150.4, 12.0, "150 ± 12"),
        (99.0, 1.4, "99.0 ± 1.4"),
    ],
)
def test_str_rounds_to_the_digits_of_the_std_error(dimension, std_error, text):
    assert str(Estimate(dimension, std_error)) == text


def test_str_of_missing_dimensions_and_lower_bounds():
    assert str(Estimate(math.nan, reason="too few")) == "not measured: too few"
    assert str(Estimate(math.nan)) == "nan"
    assert repr(Estimate(5.0, 0.5, n_points=7)) == "Estimate(5.0 ± 0.5, n=7)"
    assert str(Estimate(30.0, 2.0, is_lower_bound=True)) == "≥ 30 ± 2"


def test_interval_at_widens_with_the_level():
    estimate = Estimate(10.0, 1.0)
    assert estimate.interval == estimate.interval_at(0.95)
    low, high = estimate.interval_at(0.99)
    assert low < estimate.interval[0] < 10 < estimate.interval[1] < high


def test_float_gives_the_dimension():
    assert float(Estimate(4.5)) == 4.5


def test_estimate_takes_the_p_value_of_a_fit():
    @dataclass(frozen=True)
    class Constant(NeighborEstimator):
        def evaluate(self, neighbors):
            return Fit(2.0, goodness_of_fit=0.25)

    assert Constant()(cube(50, 2)).goodness_of_fit == 0.25
    assert Resampled(Constant(), n=2)(cube(50, 2)).goodness_of_fit == 0.25


# -- what stands beside the dimension -----------------------------------------------------


def test_distance_is_the_median_of_r1_in_the_units_of_the_data():
    points = cube(300, 2)
    expected = np.median(nearest_neighbors(points).distances[:, 0])
    for estimator in (TwoNN(), Gride(4, 8), MLE(5), Resampled(n=3)):
        assert estimator(points).distance == expected
        assert estimator(points * 1000).distance == pytest.approx(1000 * expected)


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
def test_distance_is_that_of_distinct_points():
    points = cube(300, 2)
    twice = np.concatenate([points, points[:200]])
    assert TwoNN()(twice).distance == TwoNN()(points).distance


@pytest.mark.parametrize(("estimator", "k"), [(TwoNN(), 2), (Gride(2, 4), 4), (MLE(7), 7)])
def test_hubness_is_the_skewness_of_the_in_degree(estimator, k):
    points = gaussian(400, 20)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :k]
    in_degree = [(nearest == point).sum() for point in range(400)]
    assert estimator(points).hubness == pytest.approx(skew(in_degree))


def test_hubness_grows_with_the_dimension():
    assert TwoNN()(gaussian(1000, 2)).hubness < 0.6 < 1.5 < TwoNN()(gaussian(1000, 50)).hubness


def test_hubness_of_a_ring_is_zero_and_of_a_sample_nan():
    angle = np.arange(12) * np.pi / 6
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    assert nearest_neighbors(ring).hubness(2) == 0
    sample = TwoNN()(gaussian(3000, 5), engine=Sampled(rtol=0.2))
    assert sample.n_queries < 3000
    assert math.isnan(sample.hubness)
    assert sample.distance > 0


def test_hubness_refuses_more_neighbours_than_there_are():
    with pytest.raises(ValueError, match="k is 3; there are 1 to 2"):
        nearest_neighbors(cube(50, 2)).hubness(3)


@pytest.mark.parametrize("estimator", [PCA(), EffectiveRank()])
def test_estimates_without_neighbours_have_no_distance_and_no_hubness(estimator):
    estimate = estimator(cube(300, 2))
    assert math.isnan(estimate.distance)
    assert math.isnan(estimate.hubness)


def test_distance_and_hubness_survive_files_and_are_nan_in_earlier_ones():
    estimate = TwoNN()(cube(200, 2))
    written = strict(estimate.to_dict())
    again = Estimate.from_dict(written)
    assert (again.distance, again.hubness) == (estimate.distance, estimate.hubness)
    del written["distance"], written["hubness"]
    assert math.isnan(Estimate.from_dict(written).distance)
