"""Profiles: a mapping, a table, a file that comes back the same."""

import json
import math

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.manifolds import cube, sphere, torus
from dimscope.profiles.layerwise import measure_layers


@pytest.fixture(scope="module")
def activations():
    rng = np.random.default_rng(1)
    return ds.Activations(
        {"input": cube(90, 2), "flat": np.zeros((90, 4)), "output": sphere(90, 3)},
        labels=rng.permutation(np.arange(90) % 3),
        class_names=("cat", "dog", "owl"),
        name="net",
    )


def same(a, b):
    """Equality in which NaN equals NaN."""
    assert json.dumps(a.to_dict()) == json.dumps(b.to_dict())


@pytest.mark.parametrize("by_class", [False, True])
def test_a_file_comes_back_the_same(activations, by_class, tmp_path):
    profile = measure_layers(
        activations, {"a": ds.TwoNN(), "b": ds.TwoNN(fit="regression")}, by_class=by_class
    )
    profile.save(tmp_path / "p.json")
    again = ds.Profile.load(tmp_path / "p.json")
    same(profile, again)
    assert list(again) == ["input", "flat", "output"]
    assert again["output"].dimension == profile["output"].dimension
    assert math.isnan(again["flat"].dimension)
    assert "all 90 points are the same" in profile["flat"].reason or by_class
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_one_search_gives_what_each_estimator_gives(activations):
    several = measure_layers(activations, [ds.TwoNN(), ds.TwoNN(discard=0.3)])
    assert several.estimators == ("twonn", "twonn_2")
    points = activations["output"]
    assert several["output"].dimension == ds.estimate(points).dimension
    assert several.of("twonn_2")["output"].dimension == ds.TwoNN(discard=0.3)(points).dimension


def test_by_class_is_each_class_alone_and_their_mean(activations):
    profile = measure_layers(activations, by_class=True)
    assert list(profile.classes) == ["cat", "dog", "owl"]
    alone = [
        ds.estimate(activations["output"][activations.labels == label]).dimension
        for label in range(3)
    ]
    assert [one["output"].dimension for one in profile.classes.values()] == alone
    assert profile["output"].dimension == pytest.approx(np.mean(alone))
    assert profile.spread["twonn"]["output"] == pytest.approx(np.std(alone, ddof=1))
    assert profile["output"].std_error == pytest.approx(np.std(alone, ddof=1) / np.sqrt(3))
    frame = profile.to_frame()
    means = frame[(frame["label"] == "mean") & (frame["layer"] == "output")]
    assert means["dimension"].item() == pytest.approx(np.mean(alone))
    assert len(frame) == 4 * 3


def test_by_class_needs_labels():
    with pytest.raises(ds.BadPoints, match="needs labels"):
        measure_layers(ds.Activations({"a": cube(50, 2)}), by_class=True)


def test_progress_reaches_the_end(activations):
    seen = []
    measure_layers(activations, progress=lambda *told: seen.append(told))
    done = [part for _, part, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == ("measured", 3, 3)


def test_the_order_is_that_of_the_layers(activations):
    frame = measure_layers(activations).to_frame()
    assert list(frame["layer"]) == ["input", "flat", "output"]
    row = frame.iloc[2]
    assert row["lower"] < row["dimension"] < row["upper"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("[1, 2", "is not a profile"),
        ("[1, 2]", "no schema_version"),
        ('{"schema_version": 99, "layers": []}', "schema_version 99"),
    ],
)
def test_what_is_no_profile_is_refused(text, words, tmp_path):
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ds.BadSource, match=words):
        ds.Profile.load(path)


def test_unknown_names_list_the_known(activations):
    profile = measure_layers(activations)
    with pytest.raises(KeyError, match="input, flat, output"):
        profile["nowhere"]
    with pytest.raises(KeyError, match="twonn"):
        profile.of("pca")


def test_simultaneous_intervals_hold_together():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((4000, 1))
    noise = 0.8 * shared + 0.6 * rng.standard_normal((4000, 8))  # layers depend on each other
    layers = tuple(Layer(str(i)) for i in range(8))
    held = alone = 0
    for row in noise:
        found = {str(i): Estimate(100 + z, 1.0) for i, z in enumerate(row)}
        profile = Profile(layers, {"twonn": found})
        held += all(low <= 100 <= high for low, high in profile.simultaneous().values())
        alone += all(one.interval[0] <= 100 <= one.interval[1] for one in found.values())
    assert alone / 4000 < 0.9 < 0.945 < held / 4000 < 0.99


def test_simultaneous_bars_are_longer():
    layers = tuple(Layer(name) for name in "abc")
    found = {"a": Estimate(3.0, 0.1), "b": Estimate(4.0, 0.2), "c": Estimate(math.nan, reason="no")}
    profile = Profile(layers, {"twonn": found})
    assert set(profile.simultaneous()) == {"a", "b"}
    bars = [
        profile.plot(simultaneous=both).containers[0].lines[2][0].get_segments()
        for both in (False, True)
    ]
    short, long = (one[0][1][1] - one[0][0][1] for one in bars)
    assert long > 1.1 * short


def test_profile_measures_classes_of_one_name_separately():
    points = torus(400, 3)
    clouds = np.r_[points[:100], points[100:200][:, [0] * 6] + 0.01 * points[200:300], points[300:]]
    apart, alike = (
        measure_layers(
            ds.Activations({"a": clouds}, labels=np.repeat([0, 1, 2], 100), class_names=names),
            by_class=True,
        )
        for names in (("a", "b", "c"), ("a", "a", "b"))
    )
    assert list(alike.classes) == ["a (0)", "a (1)", "b"]
    assert alike["a"] == apart["a"]


@pytest.mark.parametrize("change", [{"layers": 5}, {"layers": [{}]}, {"classes": 5}])
def test_profile_load_refuses_a_damaged_file(tmp_path, change):
    path = tmp_path / "p.json"
    measure_layers(ds.Activations({"a": torus(500, 3)})).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ds.BadSource, match="damaged"):
        ds.Profile.load(path)
