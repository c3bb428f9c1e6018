"""Diagnosis: each rule on profiles whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.profiles.diagnosis.findings import Diagnosis, Finding, Number
from dimscope.provenance import Provenance


def made(dimensions, *, errors=0.03, units=1000, **fields):
    """A profile of an input, hidden layers and an output of these dimensions."""
    names = ["input", *(f"h{i}" for i in range(1, len(dimensions) - 1)), "output"]
    roles = ["input", *["hidden"] * (len(dimensions) - 3), "last_hidden", "output"]
    layers = tuple(
        Layer(name, role, i, i / (len(names) - 1), units)
        for i, (name, role) in enumerate(zip(names, roles, strict=True))
    )
    estimates = {
        name: Estimate(d, errors * d, n_points=2000, is_lower_bound=d > 20, **fields)
        for name, d in zip(names, dimensions, strict=True)
    }
    return Profile(layers, {"twonn": estimates}, "net")


def measured(layers):
    return ds.profile(ds.Activations(layers))


def verdict(profile, kind):
    return ds.diagnose(profile).of(kind).verdict


@pytest.mark.parametrize(
    ("dimensions", "errors", "expected"),
    [
        ([10, 15, 18, 12, 6], 0.03, "found"),
        ([10, 15, 18, 18, 18], 0.03, "not found"),
        ([10, 9, 8, 7, 6], 0.03, "not found"),
        ([10, 10, 10, 10, 10], 0.03, "not found"),
        ([10, 12, 18, 12, 6], 0.5, "cannot tell"),
        ([10, 12, 6], 0.5, "cannot tell"),
    ],
)
def test_hunchback_needs_a_rise_and_a_fall_beyond_their_errors(dimensions, errors, expected):
    finding = ds.diagnose(made(dimensions, errors=errors)).of("hunchback")
    assert finding.verdict == expected
    assert finding.layers == (("h2",) if expected == "found" else ())


def test_layer_with_too_few_units_is_no_fall():
    profile = made([10, 15, 18, 18, 8])
    assert verdict(profile, "hunchback") == "found"
    narrow = replace(profile.layers[-1], n_features=10)
    assert verdict(replace(profile, layers=(*profile.layers[:-1], narrow)), "hunchback") == (
        "not found"
    )


def test_dead_layers_are_those_without_any_difference_between_stimuli():
    x = np.random.default_rng(0).random((300, 5))
    profile = ds.profile(ds.Activations({"a": x, "b": 0 * x, "c": 0 * x}))
    finding = ds.diagnose(profile).of("dead layers")
    assert (finding.verdict, finding.layers) == ("found", ("b", "c"))
    assert verdict(ds.profile(ds.Activations({"a": x, "b": x})), "dead layers") == "not found"


def test_advice_on_dead_layers_of_saved_features_needs_no_network(tmp_path):
    x = np.random.default_rng(0).random((300, 5))
    layers = {"a": x, "b": 0 * x}
    for name, points in layers.items():
        np.save(tmp_path / f"{name}.npy", points)
    ds.profile(tmp_path, layers=["a", "b"]).save(tmp_path / "p.json")
    advice = ds.diagnose(ds.Profile.load(tmp_path / "p.json")).of("dead layers").advice
    assert advice == "count the features of b that do not vary, and check how it was saved"
    captured = ds.diagnose(ds.profile(ds.Activations(layers))).of("dead layers").advice
    assert captured.startswith("count the units of b that are never active")


def test_layer_that_was_not_measured_is_not_taken_for_a_dead_one():
    profile = made([5, 5, 5, 5])
    estimates = dict(profile.of("twonn"))
    estimates["h1"] = Estimate(np.nan, reason="not captured: the layer returned a word")
    finding = ds.diagnose(replace(profile, estimates={"twonn": estimates})).of("dead layers")
    assert (finding.verdict, finding.layers) == ("cannot tell", ("h1",))
    assert "returned a word" in finding.says


def test_layer_of_few_dimensions_after_many_has_collapsed():
    finding = ds.diagnose(made([10, 9, 1.7, 1.7, 1.7])).of("dead layers")
    assert (finding.verdict, finding.layers) == ("found", ("h2", "h3", "output"))
    assert finding.numbers["h2"] == Number(1.7, pytest.approx(0.051))
    for never_high in ([2, 2, 2, 2], [10, 8, 6, 4], [1.5, 3.2, 2.4, 3]):
        assert verdict(made(never_high), "dead layers") == "not found"


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
def test_stimuli_that_become_equal_are_found():
    x = np.random.default_rng(0).random((300, 5))
    merged = np.where(np.arange(300)[:, None] < 200, 0.5, x)
    finding = ds.diagnose(measured({"a": x, "b": merged})).of("dead layers")
    assert (finding.verdict, finding.layers) == ("found", ("b",))
    assert finding.numbers["b"].value == pytest.approx(199 / 300)
    # repeated in the input already: that is no layer's fault
    assert verdict(measured({"a": merged, "b": merged}), "dead layers") == "not found"


# -- untrained and memorised --------------------------------------------------------------


def stretched(dimensions, times, **fields):
    """A profile whose output, of 10 units, spreads neighbours as many times as a random one."""
    profile = made(dimensions, distance=1.0, **fields)
    estimates = dict(profile.of("twonn"))
    estimates["output"] = replace(estimates["output"], distance=times * 0.1)
    output = replace(profile.layers[-1], n_features=10)
    layers = (*profile.layers[:-1], output)
    return replace(profile, layers=layers, estimates={"twonn": estimates})


FLAT, HUNCH, KEPT = [10, 11, 12, 11, 8], [10, 20, 30, 8, 5], [10, 11, 11, 10.5, 8]


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (stretched(FLAT, 0.6), "found"),
        (stretched(FLAT, 3.0), "not found"),
        (stretched(FLAT, 1.6), "cannot tell"),
        (stretched(FLAT, 1.2), "cannot tell"),  # small convolutional networks that learned
        (stretched(HUNCH, 3.0), "not found"),
        (stretched(HUNCH, 0.6), "cannot tell"),
        (stretched(FLAT, 0.6, errors=0.4), "cannot tell"),
        (stretched([10, 11, 11, 2, 2], 0.6), "cannot tell"),  # what is left is flat
        (made(FLAT), "cannot tell"),  # without distances
        (made(HUNCH), "not found"),
    ],
)
def test_untrained_network_is_flat_and_does_not_spread_its_outputs(profile, expected):
    assert verdict(profile, "untrained") == expected


@pytest.mark.parametrize(
    ("times", "accuracies", "expected"),
    [
        (0.6, {"test_accuracy": 0.09}, "found"),
        (0.6, {"test_accuracy": 0.92}, "cannot tell"),  # perhaps other weights than those measured
        (1.2, {"test_accuracy": 0.92}, "not found"),
        (1.2, {"train_accuracy": 0.92}, "not found"),
        (1.2, {"train_accuracy": 0.11, "test_accuracy": 0.09}, "cannot tell"),
    ],
)
def test_accuracy_above_chance_shows_that_a_network_has_learned(times, accuracies, expected):
    finding = ds.diagnose(stretched(FLAT, times), **accuracies).of("untrained")
    assert finding.verdict == expected
    assert ("more than by chance" in finding.says) == (0.92 in accuracies.values())


def test_accuracy_does_not_make_memorised_labels_of_a_small_stretch():
    diagnosis = ds.diagnose(stretched(KEPT, 1.2), train_accuracy=1.0, test_accuracy=0.8)
    assert diagnosis.of("memorised labels").verdict == "cannot tell"


def test_output_of_a_language_model_tells_nothing_of_labels():
    profile = stretched(KEPT, 3.0)
    captured = Provenance("capture", {"readout": "last"})
    profile = replace(profile, provenance=Provenance("profile", inputs=(captured,)))
    for kind in ("untrained", "memorised labels", "too few dimensions"):
        finding = ds.diagnose(profile).of(kind)
        assert finding.verdict == "cannot tell"
        assert "may be words" in finding.says
    assert ds.diagnose(profile, n_classes=10).of("memorised labels").verdict == "found"


def test_network_with_a_dead_layer_may_be_trained_or_not():
    profile = stretched(FLAT, 0.6)
    estimates = dict(profile.of("twonn"))
    estimates["h2"] = Estimate(np.nan, reason="all 9 points are the same: they have no dimension")
    diagnosis = ds.diagnose(replace(profile, estimates={"twonn": estimates}))
    for kind in ("untrained", "memorised labels"):
        assert diagnosis.of(kind).verdict == "cannot tell"
        assert "h2" in diagnosis.of(kind).says


def test_output_that_was_not_measured_leaves_the_shape():
    profile = made(HUNCH)
    estimates = dict(profile.of("twonn"))
    estimates["output"] = Estimate(np.nan, reason="all 9 points are the same")
    assert verdict(replace(profile, estimates={"twonn": estimates}), "untrained") == "not found"


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (stretched(KEPT, 3.0), "found"),
        (stretched(KEPT, 0.6), "not found"),  # it is untrained
        (stretched(KEPT, 1.6), "cannot tell"),
        (stretched(HUNCH, 3.0), "cannot tell"),
        (stretched(KEPT, 3.0, errors=0.4), "cannot tell"),
        (made(KEPT), "cannot tell"),
    ],
)
def test_memorised_labels_need_a_trained_network_whose_tail_does_not_fall(profile, expected):
    assert verdict(profile, "memorised labels") == expected


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (0.98, 0.93, "not found"),
        (1.0, 0.11, "found"),
        (1.0, 0.5, "cannot tell"),
        (0.4, 0.1, "cannot tell"),
        (1.0, None, "cannot tell"),
    ],
)
def test_accuracies_decide_about_memorised_labels_where_they_can(train, test, expected):
    diagnosis = ds.diagnose(stretched(HUNCH, 3.0), train_accuracy=train, test_accuracy=test)
    assert diagnosis.of("memorised labels").verdict == expected


def test_accuracy_in_percent_is_refused():
    with pytest.raises(ValueError, match="test_accuracy is 93"):
        ds.diagnose(made(FLAT), train_accuracy=0.9, test_accuracy=93)


# -- the numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "errors", "n_classes", "expected"),
    [
        (5, 0.03, None, "not found"),
        (2, 0.03, None, "found"),
        (3.4, 0.1, None, "cannot tell"),  # log2(10) is 3.3
        (2, 0.03, 3, "not found"),
        (25, 0.03, 10**10, "cannot tell"),  # a lower bound
    ],
)
def test_classes_need_two_to_the_dimension(last, errors, n_classes, expected):
    profile = made([10, 9, 8, last], errors=errors)
    output = replace(profile.layers[-1], n_features=10)
    profile = replace(profile, layers=(*profile.layers[:-1], output))
    finding = ds.diagnose(profile, n_classes=n_classes).of("too few dimensions")
    assert finding.verdict == expected
    assert ("if each of its units is a class" in finding.says) == (n_classes is None)


def test_accuracies_that_are_given_are_not_asked_for():
    def finding(**accuracies):
        return ds.diagnose(made([10, 15, 18, 12, 6]), **accuracies).of("memorised labels")

    assert finding().advice == "give train_accuracy and test_accuracy"
    assert finding(train_accuracy=0.9).advice == "give test_accuracy too"
    both = finding(train_accuracy=0.9, test_accuracy=0.6)
    assert both.verdict == "cannot tell"
    assert "the accuracies, 90.0% and 60.0%, do not decide" in both.says
    assert both.advice == "check a sample of the training labels"


def test_units_of_a_language_model_are_no_classes_unless_their_number_is_given():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(5000, 8), nn.Linear(8, 2000))
    profile = ds.profile(network, torch.randperm(5000)[:1800].reshape(300, 6), readout="last")
    assert profile.layers[-1].role == "output"
    finding = ds.diagnose(ds.Profile.from_dict(profile.to_dict())).of("too few dimensions")
    assert finding.verdict == "cannot tell"
    assert "readout 'last'" in finding.says
    assert ds.diagnose(profile, n_classes=2).of("too few dimensions").verdict == "not found"


def test_constant_output_tells_no_classes_apart():
    profile = made([10, 9, 8, 5])
    estimates = dict(profile.of("twonn"))
    estimates["output"] = Estimate(np.nan, reason="all 9 points are the same")
    profile = replace(profile, estimates={"twonn": estimates})
    assert verdict(profile, "too few dimensions") == "found"
    estimates["output"] = Estimate(np.nan, reason="out of memory")
    profile = replace(profile, estimates={"twonn": estimates})
    assert verdict(profile, "too few dimensions") == "cannot tell"


def test_hub_is_found_from_a_saved_profile():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 300))
    # noise of one norm, and its centre: the nearest neighbour of all
    hub = np.vstack([x / np.linalg.norm(x, axis=1, keepdims=True), np.zeros(300)])
    with pytest.warns(ds.HubDominates):
        profile = measured({"hub": hub, "none": rng.random((501, 3))})
    finding = ds.diagnose(ds.Profile.from_dict(profile.to_dict())).of("hubs")
    assert (finding.verdict, finding.layers) == ("found", ("hub",))
    assert verdict(measured({"none": rng.random((501, 3))}), "hubs") == "not found"
    assert verdict(made(FLAT), "hubs") == "cannot tell"
    assert verdict(made(FLAT, hubness=0.55 * 2000**0.5), "hubs") == "cannot tell"


def test_hubness_of_a_mean_over_classes_is_that_of_one_class():
    classes = tuple("abcde")
    assert verdict(made(FLAT, hubness=15.0), "hubs") == "not found"
    assert verdict(made(FLAT, hubness=15.0, classes=classes), "hubs") == "found"


def test_few_points_are_found_by_their_errors_with_the_number_that_would_do():
    finding = ds.diagnose(made(FLAT, errors=0.15)).of("few points")
    assert finding.verdict == "found"
    assert finding.advice == "measure 18000 points instead of 2000 for an error of 5%"
    assert verdict(made(FLAT, errors=0.05), "few points") == "not found"
    assert verdict(made(FLAT, errors=np.nan), "few points") == "cannot tell"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "not found"),
        ({"n_duplicates": 300}, "found"),
        ({"n_duplicates": 100}, "not found"),
        ({"n_copies": 10}, "found"),
    ],
)
def test_repeated_rows_are_found_in_the_first_layer(fields, expected):
    assert verdict(made(FLAT, **fields), "repeated rows") == expected


def test_profile_without_errors_says_what_it_cannot_tell():
    profile = made(FLAT, errors=np.nan)
    diagnosis = ds.diagnose(profile)
    assert diagnosis.errors == "none"
    for kind in ("hunchback", "untrained", "memorised labels", "few points"):
        assert diagnosis.of(kind).verdict == "cannot tell"


def test_joint_errors_decide_what_independent_ones_cannot():
    rng = np.random.default_rng(0)
    x = rng.random((300, 6))
    layers = {
        "a": np.hstack([x[:, :5], np.zeros((300, 10))]),
        "b": np.hstack([x, np.zeros((300, 9))]),
        "c": np.hstack([x[:, :4] * 0.99, np.zeros((300, 11))]),
    }
    profile = measured(layers)
    joint = ds.diagnose(profile)
    alone = ds.diagnose(ds.Profile.from_dict(profile.to_dict()))
    assert (joint.errors, alone.errors) == ("joint", "independent")
    rise = joint.of("hunchback").numbers["rise"], alone.of("hunchback").numbers["rise"]
    assert rise[0].value == rise[1].value
    assert rise[0].std_error < 0.8 * rise[1].std_error


def test_lower_bounds_are_listed():
    finding = ds.diagnose(made([10, 25, 30, 12])).of("lower bounds")
    assert (finding.verdict, finding.layers) == ("found", ("h1", "h2"))
    assert finding.numbers["highest"].value == 30
    assert verdict(made([10, 12, 12]), "lower bounds") == "not found"


def test_diagnosis_prints_what_was_found_first_and_survives_json(tmp_path):
    profile = made([10, 25, 30, 12])
    profile.save(tmp_path / "p.json")
    diagnosis = ds.diagnose(ds.Profile.load(tmp_path / "p.json"))
    verdicts = [line.split(":")[0] for line in str(diagnosis).splitlines()[1:]]
    order = ["found", "cannot tell", "not found"]
    assert verdicts == sorted(verdicts, key=order.index)
    assert Diagnosis.from_dict(diagnosis.to_dict()) == diagnosis
    assert list(diagnosis.to_frame()["kind"]) == [finding.kind for finding in diagnosis]


def test_finding_refuses_an_unknown_kind_or_verdict():
    with pytest.raises(ValueError, match="kind of a finding is 'flat'"):
        Finding("flat", "found", "")
    with pytest.raises(ValueError, match="verdict of a finding is 'yes'"):
        Finding("hubs", "yes", "")
    with pytest.raises(KeyError, match="no finding 'hubs'"):
        Diagnosis(()).of("hubs")


def test_number_prints_with_its_error():
    assert str(Number(1.523, 0.042)) == "1.52 ± 0.04"
