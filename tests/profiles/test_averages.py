"""Averages of profiles: the mean over networks, and the error between them."""

import math

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile, Provenance
from dimscope.manifolds import cube
from dimscope.profiles.layerwise import measure_layers


def network(dimensions, name, names="abcde", depths=None, **parameters):
    depths = np.linspace(0, 1, len(dimensions)) if depths is None else depths
    layers = tuple(
        Layer(layer, relative_depth=float(depth))
        for layer, depth in zip(names, depths, strict=False)
    )
    estimates = {
        layer.name: Estimate(float(d), 0.1, n_points=100)
        for layer, d in zip(layers, dimensions, strict=True)
    }
    return Profile(layers, {"twonn": estimates}, name, provenance=Provenance("p", parameters))


SEEDS = [
    network([3, 8.0, 4], "s0"),
    network([3.1, 9.0, 4.2], "s1"),
    network([2.9, 8.5, 4.1], "s2"),
    network([3.2, 8.2, 4.4], "s3"),
]


def test_average_profiles_has_the_error_between_networks():
    mean = ds.average_profiles(SEEDS)
    values = np.array([8.0, 9.0, 8.5, 8.2])
    estimate = mean["b"]
    assert estimate.dimension == pytest.approx(values.mean())
    assert estimate.std_error == pytest.approx(values.std(ddof=1) / 2)
    assert estimate.degrees_of_freedom == 3
    assert estimate.n_points == 400
    factor = math.exp(3.1824 * estimate.std_error / estimate.dimension)
    assert estimate.interval[1] == pytest.approx(estimate.dimension * factor, rel=1e-4)
    assert mean.name == "mean of 4 networks"
    assert mean.provenance.parameters["profiles"] == ["s0", "s1", "s2", "s3"]
    assert [item.step for item in mean.provenance.inputs] == ["p"] * 4
    assert mean.provenance.parameters["target"] == "networks like these"


def test_average_of_profiles_has_a_shape_of_its_own(tmp_path):
    mean = ds.average_profiles(SEEDS, name="ours")
    assert mean.peak().layers == ("b",)
    assert mean.trend().rises_then_falls.holds
    change = mean.differences()[0]
    differences = np.array([5.0, 5.9, 5.6, 5.0])
    assert change.difference == pytest.approx(differences.mean())
    assert change.std_error == pytest.approx(differences.std(ddof=1) / 2)
    mean.save(tmp_path / "mean.json", influences=True)
    assert Profile.load(tmp_path / "mean.json").peak() == mean.peak()
    with pytest.raises(ds.BadPoints, match="mean over 2 networks"):
        ds.average_profiles(SEEDS[:2]).peak()


def test_average_profiles_of_measured_networks():
    profiles = [
        measure_layers(ds.Activations({"a": cube(300, 2, s), "b": cube(300, 4, s)}), name=f"{s}")
        for s in range(4)
    ]
    mean = ds.average_profiles(profiles)
    assert mean["b"].dimension == pytest.approx(np.mean([p["b"].dimension for p in profiles]))
    assert mean.provenance.parameters["estimators"] == {"twonn": repr(ds.TwoNN())}
    assert mean.peak().layers == ("b",)


def test_average_profiles_names_networks_without_a_dimension():
    seeds = [*SEEDS[:3], network([3.3, math.nan, 4.0], "broken")]
    mean = ds.average_profiles(seeds)
    assert mean["b"].reason == "1 of 4 networks have no dimension here: broken"
    assert mean["b"].dimension == pytest.approx(8.5)
    assert mean["b"].degrees_of_freedom == 2
    with pytest.raises(ds.BadPoints, match="'a' and 'b' are means over different networks"):
        mean.peak()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "at least 2 profiles, but there are 1"),
        ([network([3, 8.0, 4], "copy")], "profiles 0 and 1 .* are the same"),
        ([network([3, 8, 4, 5.0], "deeper")], "different layers .only one has d.*depths="),
        ([network([3, 8, 4.5], "order", names="bac")], "their order differs"),
        (
            [network([3, 8.5, 4], "other", estimators={"twonn": "TwoNN(discard=0.1)"})],
            "different estimators",
        ),
        (
            [Profile(SEEDS[1].layers, SEEDS[1].estimates, "x", {"cat": SEEDS[2]})],
            "mean over classes",
        ),
    ],
)
def test_average_profiles_refuses_what_does_not_belong_together(others, message):
    with pytest.raises(ds.BadPoints, match=message):
        ds.average_profiles([SEEDS[0], *others])


def test_average_profiles_warns_of_profiles_with_other_numbers():
    made = {"estimators": {"twonn": "TwoNN()"}}
    old, new = network([3, 8.0], "old", **made), network([3.5, 8.0], "new", numbers=2, **made)
    with pytest.warns(ds.ChangedNumbers, match="1 of 2 profiles .old."):
        ds.average_profiles([old, new])


def test_average_profiles_interpolates_only_when_asked():
    shallow = network([2, 6.0, 4], "shallow", depths=[0, 0.5, 1])
    deep = network([2, 4, 8, 6, 4.0], "deep", names="vwxyz", depths=[0, 0.25, 0.5, 0.75, 1])
    with pytest.raises(ds.BadPoints, match="different layers"):
        ds.average_profiles([shallow, deep])
    mean = ds.average_profiles([shallow, deep], depths=[0, 0.25, 0.5, 1])
    assert list(mean) == ["0", "0.25", "0.5", "1"]
    assert [mean[name].dimension for name in mean] == [2, 4, 7, 4]
    assert [layer.relative_depth for layer in mean.layers] == [0, 0.25, 0.5, 1]
    assert mean["0.5"].std_error == pytest.approx(1.0)
    assert math.isnan(mean["0"].std_error)  # all networks agree: no spread to tell an error from
    late = network([5, 4.0], "late", depths=[0.5, 1])
    assert math.isnan(ds.average_profiles([late, shallow], depths=[0.0, 1])["0"].std_error)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ds.average_profiles([shallow, deep], depths=[2.0])
    with pytest.raises(ValueError, match="different numbers"):
        ds.average_profiles([shallow, deep], depths=[0.5, 0.5])
