"""What a report shows, as plain data."""

import json
import math

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.manifolds import cube, embed
from dimscope.reports.contents import contents_of
from dimscope.values import to_plain


def flat(name="net", dimensions=(3.0, 25.0, math.nan)):
    layers = tuple(Layer(f"layer{number}") for number in range(len(dimensions)))
    estimates = {
        layer.name: Estimate(d, 0.1, is_lower_bound=d > 20, reason="dead" if math.isnan(d) else "")
        for layer, d in zip(layers, dimensions, strict=True)
    }
    return Profile(layers, {"twonn": estimates}, name)


@pytest.fixture(scope="module")
def measured():
    x = cube(300, 4)
    activations = ds.Activations(
        {"a": x[:, :2], "b": embed(x, 20)}, labels=np.arange(300) % 2, name="net"
    )
    return ds.profile(activations, companions=["effective_rank"])


def test_contents_of_holds_rows_of_to_frame(measured):
    (network,) = contents_of([measured])["networks"]
    frame = measured.to_frame()
    assert len(network["rows"]) == 4  # two layers, with the effective rank
    for row, expected in zip(network["rows"], frame.to_dict("records"), strict=True):
        assert {name: row[name] for name in expected} == to_plain(expected)
    assert network["estimators"] == ["twonn"]
    assert network["rows"][0]["text"] == str(measured["a"])


def test_contents_of_can_be_written_as_json_without_nan(measured):
    contents = contents_of([flat(), measured])
    assert json.loads(json.dumps(contents, allow_nan=False)) == contents
    missing = contents["networks"][0]["rows"][2]
    assert (missing["dimension"], missing["reason"]) == (None, "dead")


def test_contents_of_gives_differences_or_the_reason_why_not(measured):
    first, second = contents_of([measured, flat()])["networks"]
    (row,) = first["differences"]["rows"]
    assert row["difference"] == measured["b"].dimension - measured["a"].dimension
    assert second["differences"]["rows"] == []
    assert "influence" in second["differences"]["reason"]


def test_contents_of_shows_means_of_a_profile_by_class():
    x = embed(cube(400, 3), 10)
    activations = ds.Activations({"a": x}, labels=np.arange(400) % 4, name="net")
    profile = ds.profile(activations, by_class=True)
    (network,) = contents_of([profile])["networks"]
    (row,) = network["rows"]
    assert row["dimension"] == profile["a"].dimension
    assert row["class_std"] == profile.spread["twonn"]["a"]
    assert network["classes"] == "mean over 4 classes"


def test_contents_of_numbers_equal_names_until_they_differ():
    names = [flat(name) for name in ("a", "a", "a (1)", "")]
    numbered = [network["name"] for network in contents_of(names)["networks"]]
    assert len(set(numbered)) == 4
    assert numbered[1:] == ["a (2)", "a (1) (2)", "network"]


def test_contents_of_places_curves_and_spectra_by_layer(measured):
    x = cube(300, 2)
    both = [ds.scale_curve(x, blocks=[1, 2, 4]), ds.rank_curve(x, 8)]
    contents = contents_of([measured], {"b": both, "a": both[0]}, {"a": ds.spectrum(x)})
    places = [(curve["layer"], curve["scale"]) for curve in contents["curves"]]
    assert places == [("b", "n_points"), ("b", "rank_far"), ("a", "n_points")]
    assert contents["curves"][0]["verdict"] == both[0].verdict
    (spectrum,) = contents["spectra"]
    assert spectrum["rows"][-1]["cumulative_share"] == pytest.approx(1)
    assert spectrum["effective_rank"] == ds.spectrum(x).effective_rank
    contents = contents_of([flat(), measured], None, {"net (2)": {"b": ds.spectrum(x)}})
    assert contents["spectra"][0]["network"] == 1


def test_contents_of_thins_long_spectra_and_keeps_both_ends(measured):
    eigenvalues = np.linspace(5, 1, 3000)
    (spectrum,) = contents_of([measured], None, {"a": ds.Spectrum(eigenvalues, 4000, 3000)})[
        "spectra"
    ]
    numbers = [row["number"] for row in spectrum["rows"]]
    assert 100 < len(numbers) <= 200
    assert (numbers[0], numbers[-1]) == (1, 3000)
    assert spectrum["rows"][-1]["eigenvalue"] == 1


def test_contents_of_shows_a_spectrum_without_variance(measured):
    (spectrum,) = contents_of([measured], None, {"a": ds.Spectrum(np.zeros(3), 4, 3)})["spectra"]
    assert spectrum["rows"] == []
    assert spectrum["effective_rank"] is None


@pytest.mark.parametrize(
    ("profiles", "curves", "error", "message"),
    [
        ([], None, ValueError, "at least one"),
        ([3], None, TypeError, "not a Profile"),
        (
            [flat()],
            {"nowhere": []},
            ValueError,
            "the layer 'nowhere'; the profile 'net' has layer0",
        ),
        ([flat()], {"layer0": [3]}, TypeError, "not a ScaleCurve"),
        ([flat(), flat("b")], {"layer0": []}, ValueError, r"curves=\{'net': \{'layer0'"),
        ([flat(), flat("b")], {"c": {"layer0": []}}, ValueError, "the profile 'c'; .* net, b"),
    ],
)
def test_contents_of_refuses_what_it_cannot_show(profiles, curves, error, message):
    with pytest.raises(error, match=message):
        contents_of(profiles, curves)
