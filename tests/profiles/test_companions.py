"""What stands beside the dimension: measured in the same pass, shown, saved."""

import json
import math

import numpy as np
import pytest

import dimscope as ds
from dimscope.cli.tables import profile_table
from dimscope.manifolds import cube, embed, gaussian
from dimscope.profiles.layerwise import measure_layers

NAMES = ["distance", "hubness", "effective_rank", "participation_ratio"]
ACTIVATIONS = ds.Activations(
    {"a": embed(cube(300, 3), 20), "b": 100 * gaussian(300, 30), "flat": np.zeros((300, 2))},
    labels=np.arange(300) % 3,
)


def test_beside_gives_what_is_measured_alone():
    profile = ds.profile(ACTIVATIONS, companions=NAMES)
    alone = ds.estimate(ACTIVATIONS["b"])
    assert profile.beside("distance")["b"] == alone.distance
    assert profile.beside("hubness")["b"] == alone.hubness
    assert profile.beside("effective_rank")["b"] == float(ds.EffectiveRank()(ACTIVATIONS["b"]))
    expected = float(ds.ParticipationRatio()(ACTIVATIONS["b"]))
    assert profile.beside("participation_ratio")["b"] == expected
    assert all(math.isnan(profile.beside(name)["flat"]) for name in NAMES)


def test_companions_leave_the_dimension_as_it_was():
    plain, beside = ds.profile(ACTIVATIONS), ds.profile(ACTIVATIONS, companions=NAMES)
    assert beside["a"] == plain["a"]
    assert beside.estimators[0] == "twonn"
    assert plain.companions == ()
    assert plain.estimators == ("twonn",)


def test_companions_survive_a_file_and_earlier_files_have_none(tmp_path):
    profile = ds.profile(ACTIVATIONS, companions=["effective_rank", "distance"])
    profile.save(tmp_path / "p.json")
    again = ds.Profile.load(tmp_path / "p.json")
    assert again == profile
    assert again.beside("effective_rank")["a"] == profile.beside("effective_rank")["a"]
    earlier = json.loads((tmp_path / "p.json").read_text())
    del earlier["companions"]
    assert ds.Profile.from_dict(earlier).companions == ()


def test_companions_of_classes_are_averaged():
    profile = measure_layers(ACTIVATIONS, by_class=True, companions=["distance", "effective_rank"])
    for name in profile.companions:
        classes = [part.beside(name)["b"] for part in profile.classes.values()]
        assert profile.beside(name)["b"] == pytest.approx(np.mean(classes))


def test_mean_of_linear_dimensions_over_classes_is_no_lower_bound():
    activations = ds.Activations({"a": gaussian(300, 60)}, labels=np.arange(300) % 3)
    profile = measure_layers(activations, companions=["effective_rank"], by_class=True)
    assert profile["a"].is_lower_bound
    assert profile.beside("effective_rank")["a"] > 20
    assert not profile.of("effective_rank")["a"].is_lower_bound


def test_companion_that_was_asked_for_as_an_estimator_is_not_replaced():
    mine = {"twonn": ds.TwoNN(), "effective_rank": ds.EffectiveRank(normalized=True)}
    profile = measure_layers(ACTIVATIONS, mine, companions=["effective_rank"])
    expected = float(ds.EffectiveRank(normalized=True)(ACTIVATIONS["b"]))
    assert profile.beside("effective_rank")["b"] == expected


def test_joined_profiles_keep_their_companions():
    parts = [
        measure_layers(ds.Activations({name: ACTIVATIONS[name]}), companions=["effective_rank"])
        for name in "ab"
    ]
    assert list(ds.Profile.joined(parts).beside("effective_rank")) == ["a", "b"]


def test_unknown_companions_are_refused():
    with pytest.raises(ValueError, match="companion"):
        ds.profile(ACTIVATIONS, companions=["entropy"])
    with pytest.raises(TypeError, match="give a list of names"):
        ds.profile(ACTIVATIONS, companions="distance")
    with pytest.raises(KeyError, match="measure it with companions"):
        ds.profile(ACTIVATIONS).beside("hubness")


def test_table_shows_companions_beside_the_dimension():
    profile = ds.profile(ACTIVATIONS, companions=["effective_rank", "distance"])
    columns = {column.header: list(column.cells) for column in profile_table(profile).columns}
    assert list(columns)[3:6] == ["dimension", "effective rank", "distance"]
    values = profile.beside("distance").values()
    assert columns["distance"][:2] == [f"{value:.3g}" for value in list(values)[:2]]
