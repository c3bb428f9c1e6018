"""Means over classes: the error for random classes, the error for the same classes, and groups."""

import json
import math

import numpy as np
import pytest

import dimscope as ds
from dimscope.errors import BadPoints
from dimscope.manifolds import cube, gaussian
from dimscope.profiles.layerwise import measure_layers

SIZES = (60, 90, 150)


def activations(seed=0, sizes=SIZES, dimensions=(2, 4, 7), **more):
    """Draw classes of unequal sizes whose dimensions differ."""
    rng = np.random.default_rng(seed)
    clouds = [
        np.pad(gaussian(n, d, seed=int(rng.integers(2**31))), ((0, 0), (0, 8 - d))) + 100 * i
        for i, (n, d) in enumerate(zip(sizes, dimensions, strict=True))
    ]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = np.concatenate(clouds)
    order = rng.permutation(len(points))
    points, labels = points[order], labels[order]
    layers = {"a": points, "b": points + 0.05 * rng.standard_normal(points.shape)}
    return ds.Activations(layers, labels=labels, **more)


@pytest.mark.parametrize("estimator", [ds.TwoNN(), ds.MLE(10)])
def test_fixed_classes_combine_the_errors_of_the_classes(estimator):
    profile = measure_layers(activations(), estimator, by_class=True, classes="fixed")
    mean = profile["a"]
    errors = [p["a"].std_error for p in profile.classes.values()]
    assert mean.dimension == np.mean([float(p["a"]) for p in profile.classes.values()])
    assert mean.std_error == pytest.approx(math.sqrt(sum(e**2 for e in errors)) / 3)
    degrees = [p["a"].degrees_of_freedom for p in profile.classes.values()]
    assert min(degrees) <= mean.degrees_of_freedom <= sum(degrees)
    assert mean.influence.std_error == pytest.approx(mean.std_error, rel=0.1)
    assert len(mean.influence.scores) == sum(SIZES)
    # the influences are those of the rows of the array
    for title, p in profile.classes.items():
        rows = np.flatnonzero(activations().labels == int(title))
        here = np.isin(mean.influence.rows, rows)
        assert here.sum() == len(rows)
        expected = dict(zip(rows[p["a"].influence.rows], p["a"].influence.scores, strict=True))
        scale = sum(SIZES) / (3 * len(rows))
        for row, score in zip(mean.influence.rows[here], mean.influence.scores[here], strict=True):
            assert score == pytest.approx(scale * expected[row])


def test_random_classes_stay_the_default_and_use_the_spread_of_the_classes():
    profile = measure_layers(activations(), by_class=True)
    mean = profile["a"]
    assert mean == measure_layers(activations(), by_class=True, classes="random")["a"]
    assert mean.std_error == pytest.approx(profile.spread["twonn"]["a"] / math.sqrt(3))
    assert mean.degrees_of_freedom == 2
    fixed = measure_layers(activations(), by_class=True, classes="fixed")["a"]
    assert fixed.dimension == mean.dimension
    assert fixed.std_error < 0.3 * mean.std_error


def test_kind_of_classes_is_in_repr_frame_file_and_provenance(tmp_path):
    for kind in ("random", "fixed"):
        profile = measure_layers(activations(), by_class=True, classes=kind)
        assert repr(profile["a"]).endswith(f"mean over 3 classes, taken as {kind})")
        assert profile.provenance.parameters["classes"] == kind
        assert profile["a"].provenance.parameters["classes_are"] == kind
        frame = profile.to_frame()
        assert set(frame[frame["label"] == "mean"]["classes_are"]) == {kind}
        assert set(frame[frame["label"] != "mean"]["classes_are"]) == {""}
        profile.save(tmp_path / "p.json", influences=True)
        assert (
            json.loads((tmp_path / "p.json").read_text())["layers"][0]["twonn"]["classes_are"]
            == kind
        )
        loaded = ds.Profile.load(tmp_path / "p.json")
        assert loaded == profile
        again = ds.difference(loaded["a"], loaded["b"])
        assert again == ds.difference(profile["a"], profile["b"])


def test_files_of_earlier_versions_hold_means_over_random_classes(tmp_path):
    profile = measure_layers(activations(), by_class=True)
    data = profile.to_dict()
    for layer in data["layers"]:
        del layer["twonn"]["classes_are"]
    assert ds.Profile.from_dict(data)["a"].classes_are == "random"


def test_one_fixed_class_has_an_error_and_one_random_class_has_none():
    one = activations(sizes=(80,), dimensions=(3,))
    fixed = measure_layers(one, by_class=True, classes="fixed")
    assert fixed["a"].std_error == fixed.classes["0"]["a"].std_error
    assert fixed["a"].interval == pytest.approx(fixed.classes["0"]["a"].interval)
    assert math.isnan(measure_layers(one, by_class=True)["a"].std_error)


def test_failed_classes_are_left_out_of_the_fixed_error():
    whole = activations()
    points = whole["a"].copy()
    points[whole.labels == 1] = 0
    profile = measure_layers(
        ds.Activations({"a": points}, labels=whole.labels), by_class=True, classes="fixed"
    )
    mean = profile["a"]
    errors = [profile.classes[title]["a"].std_error for title in ("0", "2")]
    assert mean.classes_failed == ("1",)
    assert "1 of 3 classes could not be measured" in mean.reason
    assert mean.std_error == pytest.approx(math.sqrt(sum(e**2 for e in errors)) / 2)
    assert len(mean.influence.scores) == SIZES[0] + SIZES[2]


def test_fixed_classes_without_errors_of_their_own_have_none_and_say_so():
    profile = measure_layers(activations(), ds.PCA(), by_class=True, classes="fixed")
    assert math.isnan(profile["a"].std_error)
    assert "no standard errors of their own" in profile["a"].reason
    assert profile["a"].influence is None


def test_differences_of_means_over_fixed_classes_are_paired_by_row():
    # layer b is layer a with a little noise: most of the error is shared
    profile = measure_layers(activations(), by_class=True, classes="fixed")
    change = ds.difference(profile["a"], profile["b"])
    assert change.degrees_of_freedom > 30
    assert change.correlation > 0.3
    apart = math.hypot(profile["a"].std_error, profile["b"].std_error)
    assert change.std_error < 0.85 * apart


def test_difference_refuses_fixed_against_random_classes():
    fixed = measure_layers(activations(), by_class=True, classes="fixed")
    random = measure_layers(activations(), by_class=True)
    with pytest.raises(BadPoints, match=r"first mean is for fixed classes, .* second for random"):
        ds.difference(fixed["a"], random["b"])


def test_unknown_and_useless_kinds_of_classes_are_refused():
    with pytest.raises(ValueError, match="classes"):
        measure_layers(activations(), by_class=True, classes="all")
    with pytest.raises(ValueError, match="no effect without by_class=True"):
        measure_layers(activations(), classes="fixed")


def test_groups_within_classes_give_each_class_its_error_over_groups():
    data = activations()
    groups = np.empty(data.n_points, dtype=int)
    for label in range(3):
        rows = np.flatnonzero(data.labels == label)
        groups[rows] = 100 * label + np.arange(len(rows)) // 4
    profile = measure_layers(data, by_class=True, classes="fixed", groups=groups)
    errors = [p["a"].std_error for p in profile.classes.values()]
    degrees = [p["a"].degrees_of_freedom for p in profile.classes.values()]
    assert degrees == pytest.approx([14, 22, 37], abs=0.6)  # some groups have two or three rows
    mean = profile["a"]
    assert mean.std_error == pytest.approx(math.sqrt(sum(e**2 for e in errors)) / 3)
    assert mean.n_groups == 15 + 23 + 38
    # Welch: at least the smallest, at most the sum
    assert min(degrees) <= mean.degrees_of_freedom <= sum(degrees)
    assert ds.difference(mean, profile["b"]).std_error > 0


def test_groups_across_classes_sum_the_scores_of_all_classes():
    data = activations(sizes=(100, 100), dimensions=(3, 3))
    groups = np.empty(200, dtype=int)
    for label in range(2):
        groups[data.labels == label] = np.arange(100) // 4
    profile = measure_layers(data, by_class=True, classes="fixed", groups=groups)
    mean = profile["a"]
    assert mean.degrees_of_freedom == pytest.approx(24)
    assert mean.std_error == mean.influence.std_error


def test_groups_and_exclusion_of_a_profile_are_those_of_estimate():
    rng = np.random.default_rng(0)
    ids = np.repeat([f"text {i}" for i in range(40)], 5)
    points = rng.standard_normal((40, 3)).repeat(5, axis=0) + rng.standard_normal((200, 3))
    data = ds.Activations({"a": points}, ids=ids)
    expected = ds.estimate(points, exclude=ids, groups=ids)
    for given in (ids, "ids"):
        profile = ds.profile(data, exclude=given, groups=given)
        assert profile["a"].dimension == expected.dimension
        assert profile["a"].std_error == expected.std_error
        assert profile["a"].n_groups == 40
        assert profile.provenance.parameters["exclude"]["ids"] == 40
        assert profile.provenance.parameters["groups"]["largest"] == 5
    plain = ds.profile(data)
    assert "groups" not in plain.provenance.parameters
    assert plain["a"].dimension != expected.dimension


def test_profile_refuses_ids_that_do_not_fit():
    data = activations()
    with pytest.raises(BadPoints, match="groups has 3 ids, but there are 300 rows"):
        ds.profile(data, groups=[1, 2, 3])
    with pytest.raises(BadPoints, match="exclude is 'ids', but the activations have no ids"):
        ds.profile(data, exclude="ids")
    with pytest.raises(ValueError, match="groups"):
        ds.profile(data, groups="texts")
    with pytest.raises(ValueError, match="groups has no effect: PCA"):
        ds.profile(data, None, ds.PCA(), groups="labels")


def test_profile_with_too_few_groups_says_why_there_is_no_error(capsys):
    data = ds.Activations({"a": cube(100, 3)})
    profile = ds.profile(data, groups=np.arange(100) // 20)
    assert math.isnan(profile["a"].std_error)
    assert "5 groups are too few" in profile.to_frame()["reason"][0]


def test_fixed_errors_cover_the_same_classes_and_random_ones_do_not():
    fixed, random = [], []
    for seed in range(60):
        profile = measure_layers(activations(seed), by_class=True, classes="fixed")
        fixed.append(profile["a"])
        random.append(profile.spread["twonn"]["a"] / math.sqrt(3))
    spread = np.std([float(e) for e in fixed], ddof=1)
    assert 0.8 < np.mean([e.std_error for e in fixed]) / spread < 1.25
    assert np.mean(random) / spread > 3
