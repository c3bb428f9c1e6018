"""Differences of dimensions on the same stimuli, and the coverage of their intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

import dimscope as ds
from dimscope.manifolds import cube, sphere
from dimscope.profiles.layerwise import measure_layers


def layers(seed, noise=0.2):
    """Two representations of the same stimuli: a sphere, and the sphere bent and noisy."""
    rng = np.random.default_rng(seed)
    first = sphere(300, 3, seed=seed)
    return first, np.tanh(2 * first) + noise * rng.standard_normal((300, 1)) * first


def as_layers(first, second):
    """Estimates of two arrays whose rows are stated to be the same stimuli."""
    return ds.profile(ds.Activations({"first": first, "second": second})).values()


def test_difference_of_a_layer_and_itself_is_zero():
    estimate = ds.estimate(cube(200, 3))
    none = ds.difference(estimate, estimate)
    assert float(none) == 0
    assert none.p_value == 1
    assert math.isnan(none.std_error) or none.std_error < 1e-6
    assert none.correlation == pytest.approx(1)


def test_difference_of_similar_layers_has_a_small_error():
    points = cube(500, 3)
    moved = points + 1e-3 * np.random.default_rng(0).standard_normal(points.shape)
    a, b = ds.estimate(points), ds.estimate(moved)
    assert ds.difference(a, b).std_error < 0.3 * a.std_error


def test_difference_of_independent_layers_adds_their_errors():
    a, b = as_layers(cube(2000, 3), cube(2000, 3, seed=1))
    change = ds.difference(a, b)
    assert abs(change.correlation) < 0.1
    assert change.std_error == pytest.approx(math.hypot(a.std_error, b.std_error), rel=0.05)


def test_difference_is_antisymmetric():
    a, b = map(ds.estimate, layers(0))
    assert float(ds.difference(a, b)) == -float(ds.difference(b, a))
    assert ds.difference(a, b).std_error == pytest.approx(ds.difference(b, a).std_error)


@pytest.mark.parametrize(
    "estimator", [ds.TwoNN(), ds.TwoNN(fit="regression"), ds.Gride(2, 4), ds.MLE(10)]
)
def test_difference_of_nearly_equal_layers_has_the_error_of_their_noise(estimator):
    """Each error counts, since a few that are much too large would hide in a median."""
    rng = np.random.default_rng(0)
    changes = []
    for _ in range(60):
        points = rng.standard_normal((200, 4))
        noise = 1e-4 * rng.standard_normal((2, *points.shape))
        changes.append(ds.difference(*(ds.estimate(points + one, estimator) for one in noise)))
    spread = np.std([change.difference for change in changes])
    error = np.sqrt(np.mean([change.std_error**2 for change in changes]))
    assert 0.8 < error / spread < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["mle", "regression"])
def test_difference_intervals_cover(fit):
    """Of 200 intervals at 95 %; a share of 200 has a standard deviation of 0.016."""
    changes = []
    for seed in range(200):
        a, b = (ds.estimate(x, ds.TwoNN(fit=fit)) for x in layers(seed))
        changes.append(ds.difference(a, b))
    target = np.mean([float(change) for change in changes])
    covered = np.mean([change.interval[0] <= target <= change.interval[1] for change in changes])
    assert 0.9 <= covered <= 0.99
    spread = np.std([float(change) for change in changes])
    assert 0.85 < np.mean([change.std_error for change in changes]) / spread < 1.2
    # what the pairing is for: these layers share most of their error
    assert np.mean([change.correlation for change in changes]) > 0.3


def test_difference_aligns_duplicates_by_row():
    points = cube(300, 3)
    twice = np.concatenate([points, points[:20]])
    other = np.concatenate([points, cube(20, 3, seed=5)])
    change = ds.difference(*as_layers(twice, other))
    assert change.correlation > 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"influence": None}, "second estimate holds no influences"),
        ({"dimension": math.nan, "reason": "all equal"}, "no dimension: all equal"),
        ({"n_points": 99}, "200 and 99 points"),
    ],
)
def test_difference_refuses_what_cannot_be_paired(change, message):
    estimate = ds.estimate(cube(200, 3))
    with pytest.raises(ds.BadPoints, match=message):
        ds.difference(estimate, replace(estimate, **change))


@pytest.mark.parametrize("p", [0, 1, 2, math.nan])
def test_difference_refuses_a_level_outside_0_and_1(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        ds.Difference(1.0, 0.1, 0.0).interval_at(p)


def test_difference_of_class_means_is_a_paired_t_test():
    labels = np.repeat(np.arange(6), 100)
    rng = np.random.default_rng(0)
    first = rng.standard_normal((600, 6)) * rng.uniform(0.1, 1, (6, 6))[labels]
    activations = ds.Activations({"a": first, "b": first[:, :4]}, labels=labels)
    profile = measure_layers(activations, by_class=True)
    change = ds.difference(profile["a"], profile["b"])
    by_layer = [
        [float(class_estimates[layer]) for class_estimates in profile.classes.values()]
        for layer in "ab"
    ]
    paired = ttest_rel(*by_layer)
    assert change.p_value == pytest.approx(paired.pvalue, rel=1e-9)
    assert change.interval == pytest.approx(tuple(paired.confidence_interval()), rel=1e-9)


def test_difference_of_independent_samples_needs_no_rows_in_common():
    a, b = ds.estimate(cube(1000, 3)), ds.estimate(cube(800, 4, seed=1))
    with pytest.raises(ds.BadPoints, match=r"1000 and 800 points.*paired=False"):
        ds.difference(a, b)
    plain = [replace(estimate, influence=None) for estimate in (a, b)]
    change = ds.difference(*plain, paired=False)
    assert (float(change), change.correlation) == (a.dimension - b.dimension, 0)
    assert change.std_error == pytest.approx(math.hypot(a.std_error, b.std_error))
    of_equal = replace(a, std_error=0.1, degrees_of_freedom=10.0)
    assert ds.difference(of_equal, of_equal, paired=False).degrees_of_freedom == pytest.approx(20)
    with pytest.raises(ds.BadPoints, match="the second estimate has no standard error"):
        ds.difference(a, replace(b, std_error=math.nan), paired=False)


def test_difference_of_independent_samples_covers():
    inside = 0
    for seed in range(200):
        a, b = (ds.estimate(cube(300, 4, seed=2 * seed + i)) for i in range(2))
        low, high = ds.difference(a, b, paired=False).interval
        inside += low < 0 < high
    assert 0.90 <= inside / 200 <= 0.985
