"""Profiles at one relative distance: every layer is decimated to the same scale."""

import math

import numpy as np
import pytest

import dimscope as ds
from dimscope import Activations, profile_at_scale
from dimscope.errors import CaptureWarning
from dimscope.manifolds import cube, embed, torus
from dimscope.plotting import plot_profiles

LAYERS = {
    "flat": embed(cube(1500, 2), 8),
    "solid": 100 * embed(cube(1500, 4), 8),
    "torus": 0.01 * torus(1500, 3),
}
ACTIVATIONS = Activations(LAYERS, name="three")
PROFILE = profile_at_scale(ACTIVATIONS)


def details(estimate):
    return estimate.provenance.parameters


def test_layers_are_measured_at_one_relative_distance():
    wanted = PROFILE.provenance.parameters["distance"]
    for name, estimate in PROFILE.items():
        reached = details(estimate)["relative distance"]
        assert reached == pytest.approx(wanted, rel=0.01), name
        assert estimate.distance == pytest.approx(reached * details(estimate)["extent"])
    whole = {name: details(e)["relative distance of all points"] for name, e in PROFILE.items()}
    assert max(whole.values()) == whole["solid"] == wanted
    assert min(whole.values()) < 0.2 * wanted


def test_layer_at_the_largest_distance_keeps_all_points():
    solid = PROFILE["solid"]
    assert details(solid)["points in a block"] == 1500
    assert solid.dimension == ds.estimate(LAYERS["solid"]).dimension
    assert solid.std_error == ds.estimate(LAYERS["solid"]).std_error
    assert solid.resamples == ()


def test_dimension_is_the_mean_over_the_blocks():
    flat = PROFILE["flat"]
    size, count = details(flat)["points in a block"], details(flat)["blocks"]
    assert count == 1500 // size > 1
    order = np.random.default_rng(0).permutation(1500)[: count * size].reshape(count, size)
    alone = [ds.estimate(LAYERS["flat"][rows]) for rows in order]
    assert flat.resamples == pytest.approx([float(e) for e in alone])
    assert flat.dimension == pytest.approx(np.mean(flat.resamples))
    assert flat.resample_std == pytest.approx(np.std(flat.resamples, ddof=1))
    together = np.sqrt(sum(e.std_error**2 for e in alone)) / count
    assert flat.std_error == pytest.approx(together, rel=0.1)


def test_units_of_a_layer_do_not_matter():
    scaled = Activations({name: 1e3 * points for name, points in LAYERS.items()}, name="three")
    for name, estimate in profile_at_scale(scaled).items():
        assert estimate.dimension == pytest.approx(PROFILE[name].dimension, rel=1e-6)
        assert estimate.distance == pytest.approx(1e3 * PROFILE[name].distance, rel=1e-6)


def test_std_error_is_the_spread_over_samples():
    estimates = []
    for seed in range(40):
        activations = Activations({"a": cube(400, 2, seed=seed)})
        estimates.append(profile_at_scale(activations, distance=0.12, seed=seed)["a"])
    spread = np.std([e.dimension for e in estimates], ddof=1)
    assert np.mean([e.std_error for e in estimates]) == pytest.approx(spread, rel=0.3)
    assert np.mean([e.dimension for e in estimates]) == pytest.approx(2, rel=0.1)


def test_difference_compares_layers_at_one_distance():
    change = ds.difference(PROFILE["solid"], PROFILE["torus"])
    assert change.difference == PROFILE["solid"].dimension - PROFILE["torus"].dimension
    assert 0 < change.std_error < 0.5


def test_layers_out_of_reach_say_so_and_leave_the_others():
    far = profile_at_scale(ACTIVATIONS, distance=0.3)
    assert math.isnan(far["flat"].dimension)
    assert "in blocks of 50, which measure" in far["flat"].reason
    assert far["flat"].reason.endswith("0.3 is out of reach")
    assert far["solid"].dimension > 3
    near = profile_at_scale(ACTIVATIONS, distance=0.06)
    assert "more points would be needed" in near["solid"].reason
    assert near["flat"].dimension == pytest.approx(2, abs=0.2)


def test_layer_that_cannot_be_measured_leaves_the_others():
    broken = Activations({**LAYERS, "constant": np.zeros((1500, 2))}, name="three")
    profile = profile_at_scale(broken)
    assert list(profile) == [*LAYERS, "constant"]
    assert "are the same" in profile["constant"].reason
    assert profile["flat"].dimension == PROFILE["flat"].dimension
    few = profile_at_scale(Activations({"few": cube(30, 2)}))
    assert "too few for blocks of 50" in few["few"].reason


def test_duplicates_are_collapsed():
    twice = Activations({"a": np.concatenate([LAYERS["flat"], LAYERS["flat"][:500]])})
    estimate = profile_at_scale(twice, distance=0.06)["a"]
    assert (estimate.n_points, estimate.n_duplicates) == (2000, 500)
    assert estimate.dimension == pytest.approx(2, abs=0.2)


def test_other_estimators_measure_at_the_distance():
    profile = profile_at_scale(ACTIVATIONS, ds.MLE(k=20))
    assert profile.estimators == ("mle",)
    assert profile["flat"].dimension == pytest.approx(2, abs=0.4)


def test_profile_is_named_by_the_distance_saved_and_drawn_beside_another(tmp_path):
    wanted = PROFILE.provenance.parameters["distance"]
    assert PROFILE.name == f"three at relative distance {wanted:.3g}"
    PROFILE.save(tmp_path / "p.json")
    assert ds.Profile.load(tmp_path / "p.json") == PROFILE
    texts = plot_profiles([ds.profile(ACTIVATIONS), PROFILE]).get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["three", PROFILE.name]


def test_progress_is_reported_to_the_end():
    reports = []
    profile_at_scale(ACTIVATIONS, progress=lambda *report: reports.append(report))
    assert [done for step, done, total in reports if step.startswith("searching")] == [0, 1, 2]
    assert reports[-1] == ("measuring torus", 2, 3)


def test_wrong_calls_are_refused():
    with pytest.raises(TypeError, match="give one that uses neighbours"):
        profile_at_scale(ACTIVATIONS, ds.PCA())
    with pytest.raises(ValueError, match="is positive"):
        profile_at_scale(ACTIVATIONS, distance=0)
    with pytest.raises(ds.OverBudget, match="neighbours of all layers"):
        profile_at_scale(ACTIVATIONS, memory=1_000_000)


def test_profile_at_scale_opens_a_folder(tmp_path):
    for name, points in LAYERS.items():
        np.save(tmp_path / f"{name}.npy", points)
    with pytest.warns(CaptureWarning, match="the order of the layers is guessed"):
        profile = profile_at_scale(str(tmp_path))
    assert {name: float(profile[name]) for name in profile} == {
        name: float(PROFILE[name]) for name in profile
    }
