"""Diagnosis: each rule on profiles whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.profiles.findings import Diagnosis, Finding, Number


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
    assert verdict(made(dimensions, errors=errors), "hunchback") == expected


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


def test_layer_that_was_not_measured_is_not_taken_for_a_dead_one():
    profile = made([5, 5, 5, 5])
    estimates = dict(profile.of("twonn"))
    estimates["h1"] = Estimate(np.nan, reason="not captured: the layer returned a word")
    finding = ds.diagnose(replace(profile, estimates={"twonn": estimates})).of("dead layers")
    assert (finding.verdict, finding.layers) == ("cannot tell", ("h1",))
    assert "returned a word" in finding.says


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
