"""Corrections: on a family and on seeds that the table has not seen, and where they end."""

import math

import numpy as np
import pytest

from dimscope import Estimate, Resampled, TwoNN, estimate, manifolds
from dimscope.estimators.corrections import correct

REPEATS = 12


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cube", "ball", "sphere", "gaussian", "student"])
@pytest.mark.parametrize(("d", "n"), [(20, 500), (50, 500), (50, 2000)])
@pytest.mark.parametrize("fit", ["mle", "regression"])
def test_correct_recovers_the_true_dimension(family, d, n, fit):
    repeats = REPEATS if n < 1000 else 5
    clouds = [getattr(manifolds, family)(n, d, seed=seed) for seed in range(repeats)]
    corrections = [estimate(points, TwoNN(fit=fit)).corrected for points in clouds]
    # 10 % for the mean over 50 samples; that over a dozen is known to 3 %
    assert np.mean([correction.dimension for correction in corrections]) == pytest.approx(
        d, rel=0.13
    )
    held = [correction.interval[0] <= d <= correction.interval[1] for correction in corrections]
    assert sum(held) >= len(held) - 2
    assert all(
        correction.interval[0] < correction.dimension < correction.interval[1]
        for correction in corrections
    )


def test_corrected_does_not_replace_the_dimension():
    measured = estimate(manifolds.cube(1000, 50))
    assert float(measured) < 40 < measured.corrected.dimension
    assert measured.is_lower_bound


def test_correct_hardly_changes_low_dimensions():
    measured = estimate(manifolds.gaussian(2000, 2))
    assert measured.corrected.dimension == pytest.approx(float(measured), rel=0.05)


@pytest.mark.parametrize(
    ("change", "n"),
    [
        ({"n_points": 99}, None), ({"n_points": 20_000}, None), ({"discard": 0.2}, None),
        ({"fit": "triplets"}, None), ({"std_error": math.nan}, None), ({"dimension": 1e4}, None),
        ({"dimension": 0.2}, None),
    ],
)  # fmt: skip
def test_correct_returns_none_outside_the_table(change, n):
    arguments = {
        "dimension": 10.0,
        "std_error": 0.5,
        "n_points": 1000,
        "fit": "mle",
        "discard": 0.1,
    }
    assert correct(**arguments) is not None
    assert correct(**{**arguments, **change}) is n


def test_correct_grows_with_the_dimension():
    corrected = [correct(d, 0.05 * d, 1000, "mle", 0.1).dimension for d in np.linspace(2, 40, 30)]
    assert corrected == sorted(corrected)
    assert np.all(np.diff(np.array(corrected) / np.linspace(2, 40, 30))[8:] > 0)


def test_correct_interpolates_between_sample_sizes():
    low, middle, high = (correct(25.0, 1.0, n, "mle", 0.1).dimension for n in (500, 700, 1000))
    assert low > middle > high


def test_resampled_corrects_as_its_estimator_and_files_keep_it():
    points = manifolds.cube(300, 20)
    resampled = estimate(points, Resampled(TwoNN(), n=2))
    assert resampled.corrected == estimate(points).corrected
    assert Estimate.from_dict(resampled.to_dict()).corrected == resampled.corrected
