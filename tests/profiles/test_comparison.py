from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.profiles.comparison import Correlation, numbers_of
from dimscope.provenance import CHANGES, NUMBERS, Provenance


def networks(dimensions):
    layer = Layer("fc", "last_hidden")
    return [
        Profile((layer,), {"twonn": {"fc": Estimate(d, 0.1)}}, f"net{i}")
        for i, d in enumerate(dimensions)
    ]


def test_both_correlations_and_their_intervals():
    rng = np.random.default_rng(0)
    dimensions = rng.uniform(10, 20, 15)
    errors = dimensions + rng.normal(0, 2, 15)
    found = ds.compare(networks(dimensions), {f"net{i}": e for i, e in enumerate(errors)})
    plain = pearsonr(dimensions, errors)
    assert found.pearson.r == pytest.approx(plain.statistic)
    assert found.pearson.interval == pytest.approx(tuple(plain.confidence_interval()))
    assert found.spearman.r == pytest.approx(spearmanr(dimensions, errors).statistic)
    lower, upper = found.spearman.interval
    assert lower < found.spearman.r < upper
    assert list(found.to_frame()["network"][:2]) == ["net0", "net1"]
    assert len(found.plot().texts) == 15
    assert found.plot().get_xlabel() == "intrinsic dimension of the last hidden layer"


def test_compare_takes_another_layer_by_name():
    layers = (Layer("early"), Layer("fc"))
    profiles = [
        Profile(layers, {"twonn": {"early": Estimate(d, 0.1), "fc": Estimate(30 - d, 0.1)}}, name)
        for name, d in (("a", 5.0), ("b", 7.0), ("c", 8.0))
    ]
    scores = {"a": 0.5, "b": 0.7, "c": 0.8}
    for layer, r in (("early", 1.0), ("fc", -1.0)):
        found = ds.compare(profiles, scores, layer)
        assert found.pearson.r == pytest.approx(r)
        assert found.layers == (layer,) * 3
        assert found.plot().get_xlabel() == f"intrinsic dimension of layer {layer}"
    assert list(found.to_frame()["layer"]) == ["fc"] * 3
    with pytest.raises(ds.BadPoints, match=r"'a' has no layer 'earl'; .* Did you mean 'early'"):
        ds.compare(profiles, scores, "earl")
    with pytest.raises(ds.BadPoints, match="no last hidden layer; name the layer"):
        ds.compare(profiles, scores)


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        x = rng.standard_normal(20)
        y = 0.8 * x + 0.6 * rng.standard_normal(20)
        r = pearsonr(x, y)
        lower, upper = Correlation(float(r.statistic), 20, float(r.pvalue)).interval
        held += lower <= 0.8 <= upper
    assert 930 <= held <= 970


@pytest.mark.parametrize(
    ("several", "scores", "says"),
    [
        (networks([1, 2]), {}, "at least 3 networks"),
        (networks([1, 2, 3]), {"net0": 1, "net1": 2}, "no score for 'net2'"),
        (networks([1, 2, 3])[:1] * 3, {"net0": 1}, "the same name"),
        (networks([1, np.nan, 3]), {f"net{i}": i for i in range(3)}, "'net1' could not be"),
        ([Profile((Layer("a"),), {"t": {"a": Estimate(1.0)}}, str(i)) for i in range(3)],
         {str(i): i for i in range(3)}, "no last hidden layer"),
    ],
)  # fmt: skip
def test_bad_input(several, scores, says):
    with pytest.raises(ds.BadPoints, match=says):
        ds.compare(several, scores)


def test_nothing_to_correlate():
    found = ds.compare(networks([1, 2, 3, 4]), {f"net{i}": 0.5 for i in range(4)})
    assert np.isnan(found.pearson.r)
    assert found.to_dict()["spearman"]["r"] is None


def test_compare_refuses_a_score_that_is_no_number():
    profiles = networks([1.0, 2.0, 3.0])
    for score in (np.nan, "high"):
        with pytest.raises(ds.BadPoints, match="score of 'net1'"):
            ds.compare(profiles, {"net0": 0.5, "net1": score, "net2": 0.7})


def measured(dimensions, numbers):
    """Profiles as a version of the numbers wrote them; None wrote none, as the first version."""
    for part in networks(dimensions):
        version = {} if numbers is None else {"numbers": numbers}
        provenance = Provenance("profile", {"estimators": {"twonn": "TwoNN()"}, **version})
        yield replace(part, provenance=provenance, name=f"{part.name}, {numbers}")


def test_compare_warns_of_profiles_whose_numbers_are_from_another_version(tmp_path):
    old, new = list(measured([1.0, 2.0, 4.0], None)), list(measured([1.0, 2.0, 4.0], NUMBERS))
    scores = {profile.name: i for i, profile in enumerate([*old, *new])}
    with pytest.warns(ds.ChangedNumbers) as caught:
        ds.compare([*old, *new], scores)
    message = str(caught[0].message)
    assert message.startswith("3 of 6 profiles (net0, None, net1, None, net2, None) are from an")
    assert CHANGES[NUMBERS] in message
    assert caught[0].filename == __file__
    # one version, or profiles that were not measured here: a warning would be an error
    for profiles in (old, new, [*new, *networks([1.0, 3.0])]):
        ds.compare(profiles, {**scores, "net0": 1.0, "net1": 2.0})


def test_profile_keeps_the_version_of_its_numbers(tmp_path):
    profile = ds.profile(ds.Activations({"a": np.random.default_rng(0).random((50, 2))}))
    profile.save(tmp_path / "p.json")
    assert numbers_of(ds.Profile.load(tmp_path / "p.json")) == numbers_of(profile) == NUMBERS
    assert numbers_of(networks([1.0])[0]) is None


def test_kept_profiles_of_the_first_version_count_as_such():
    kept = Path(__file__).parents[1] / "recorded" / "files"
    versions = {numbers_of(ds.Profile.load(path)) for path in kept.glob("*.json")}
    assert versions == {1}


def test_comparison_holds_the_profiles_over_relative_depth():
    layers = Layer("input", "input"), Layer("fc", "last_hidden", 3, 0.75)
    profiles = [
        Profile(layers, {"twonn": {"input": Estimate(5.0, 0.1), "fc": Estimate(d, 0.1)}}, f"net{i}")
        for i, d in enumerate((10.0, 15.0, 20.0))
    ]
    comparison = ds.compare(profiles, {f"net{i}": i for i in range(3)})
    table = comparison.over_depth()
    assert list(table["network"]) == ["net0", "net0", "net1", "net1", "net2", "net2"]
    assert list(table["relative_depth"]) == [0, 0.75] * 3
    assert list(table["relative"]) == [1, 2, 1, 3, 1, 4]
    legend = comparison.plot(of="profiles").get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["net0", "net1", "net2"]
    with pytest.raises(ValueError, match="of is 'depth'"):
        comparison.plot(of="depth")


def test_compare_asks_for_scores_by_name():
    layer = ds.Layer("fc", "last_hidden")
    profiles = [
        ds.Profile((layer,), {"twonn": {"fc": ds.Estimate(3.0, 0.1)}}, name) for name in "abc"
    ]
    with pytest.raises(TypeError, match=r"scores is a list; .* by its name, such as \{'a': 0.9"):
        ds.compare(profiles, [0.1, 0.2, 0.3])
