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


def test_a_layer_against_itself():
    one = ds.estimate(cube(200, 3))
    none = ds.difference(one, one)
    assert float(none) == 0
    assert none.p_value == 1
    assert math.isnan(none.std_error) or none.std_error < 1e-6
    assert none.correlation == pytest.approx(1)


def test_nearly_the_same_layer_is_known_well():
    points = cube(500, 3)
    moved = points + 1e-3 * np.random.default_rng(0).standard_normal(points.shape)
    a, b = ds.estimate(points), ds.estimate(moved)
    assert ds.difference(a, b).std_error < 0.3 * a.std_error


def test_independent_layers_add_their_errors():
    a, b = ds.estimate(cube(2000, 3)), ds.estimate(cube(2000, 3, seed=1))
    change = ds.difference(a, b)
    assert abs(change.correlation) < 0.1
    assert change.std_error == pytest.approx(math.hypot(a.std_error, b.std_error), rel=0.05)


def test_antisymmetric():
    a, b = map(ds.estimate, layers(0))
    assert float(ds.difference(a, b)) == -float(ds.difference(b, a))
    assert ds.difference(a, b).std_error == pytest.approx(ds.difference(b, a).std_error)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["mle", "regression"])
def test_paired_intervals_cover(fit):
    """Of 200 intervals at 95 %; a share of 200 has a standard deviation of 0.016."""
    found = []
    for seed in range(200):
        a, b = (ds.estimate(x, ds.TwoNN(fit=fit)) for x in layers(seed))
        found.append(ds.difference(a, b))
    target = np.mean([float(one) for one in found])
    covered = np.mean([one.interval[0] <= target <= one.interval[1] for one in found])
    assert 0.9 <= covered <= 0.99
    spread = np.std([float(one) for one in found])
    assert 0.85 < np.mean([one.std_error for one in found]) / spread < 1.2
    # what the pairing is for: these layers share most of their error
    assert np.mean([one.correlation for one in found]) > 0.3


def test_duplicates_are_aligned_by_row():
    points = cube(300, 3)
    twice = np.concatenate([points, points[:20]])
    other = np.concatenate([points, cube(20, 3, seed=5)])
    change = ds.difference(ds.estimate(twice), ds.estimate(other))
    assert change.correlation > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"influence": None}, "second estimate holds no influences"),
        ({"dimension": math.nan, "reason": "all equal"}, "no dimension: all equal"),
        ({"n_points": 99}, "200 and 99 points"),
    ],
)
def test_what_cannot_be_compared(change, message):
    one = ds.estimate(cube(200, 3))
    with pytest.raises(ds.BadPoints, match=message):
        ds.difference(one, replace(one, **change))


@pytest.mark.parametrize("p", [0, 1, 2, math.nan])
def test_level_is_a_probability(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        ds.Difference(1.0, 0.1, 0.0).interval_at(p)


def test_means_over_classes_are_compared_class_by_class():
    labels = np.repeat(np.arange(6), 100)
    rng = np.random.default_rng(0)
    first = rng.standard_normal((600, 6)) * rng.uniform(0.1, 1, (6, 6))[labels]
    activations = ds.Activations({"a": first, "b": first[:, :4]}, labels=labels)
    profile = measure_layers(activations, by_class=True)
    found = ds.difference(profile["a"], profile["b"])
    each = [[float(one[layer]) for one in profile.classes.values()] for layer in "ab"]
    paired = ttest_rel(*each)
    assert found.p_value == pytest.approx(paired.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(paired.confidence_interval()), rel=1e-9)
