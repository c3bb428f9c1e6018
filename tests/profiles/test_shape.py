"""The shape of a profile: its peak, differences, tests of shape, and bands for all layers."""

import math
from dataclasses import replace

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.estimators.covariances import (
    covariance,
    joint_covariance,
    spread_of_difference,
)
from dimscope.estimators.uncertainty import Influence
from dimscope.manifolds import cube, torus
from dimscope.profiles.differences import holm
from dimscope.profiles.joint import JointLaw, joint_law
from dimscope.profiles.layerwise import measure_layers
from dimscope.profiles.peak import find_peak

NONE = np.empty((2, 0), dtype=np.intp)


def independent(dimensions, errors, n=2000, correlation=0.0, seed=0):
    """A profile of layers whose estimates have these errors, equally correlated."""
    rng = np.random.default_rng(seed)
    # scores with exactly these covariances: orthogonal columns, mixed
    count = len(dimensions)
    columns, _ = np.linalg.qr(rng.standard_normal((n, count)))
    mixing = np.linalg.cholesky((1 - correlation) * np.eye(count) + correlation)
    scores = n * columns @ mixing.T * np.array(errors)
    names = "abcdefghijkl"[:count]
    identities = np.arange(n, dtype=np.uint64)
    estimates = {
        name: Estimate(
            dimension,
            error,
            n_points=n,
            influence=Influence(scores[:, i], NONE, np.arange(n), identities, stated=True),
        )
        for i, (name, dimension, error) in enumerate(zip(names, dimensions, errors, strict=True))
    }
    return Profile(tuple(Layer(name) for name in names), {"twonn": estimates})


@pytest.fixture(scope="module")
def hunchback():
    x = torus(500, 6)
    parts = {"a": (0, 2), "b": (0, 4), "c": (0, 6), "d": (2, 6), "e": (4, 6)}
    layers = {
        name: np.concatenate([x[:, low:high], x[:, 6 + low : 6 + high]], axis=1)
        for name, (low, high) in parts.items()
    }
    return measure_layers(ds.Activations(layers))


def by_class(n_classes, n_layers=3, seed=0, missing=False):
    rng = np.random.default_rng(seed)
    each = 60
    x = rng.random((n_classes * each, 4))
    layers = {f"layer {i}": x[:, : 2 + i % 3].copy() for i in range(n_layers)}
    if missing:
        layers["layer 1"][:each] = 0
    labels = np.repeat(np.arange(n_classes), each)
    return measure_layers(ds.Activations(layers, labels=labels), by_class=True)


# -- joint errors -------------------------------------------------------------------------


def test_joint_covariance_holds_the_errors_and_the_covariances(hunchback):
    influences = [estimate.influence for estimate in hunchback.values()]
    matrix = joint_covariance(influences)
    errors = [estimate.std_error for estimate in hunchback.values()]
    assert np.sqrt(np.diag(matrix)) == pytest.approx(errors)
    apart, _ = spread_of_difference(*influences[:2])
    assert matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1] == pytest.approx(apart**2, rel=1e-6)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * matrix.max()


def test_joint_covariance_of_inconsistent_pairs_is_positive_semidefinite():
    rng = np.random.default_rng(0)
    n, influences = 12, []
    for _ in range(6):
        pairs = np.unique(np.sort(rng.integers(0, n, (2, 20)), axis=0), axis=1)
        pairs = pairs[:, pairs[0] < pairs[1]]
        influences.append(Influence(rng.standard_normal(n), pairs, np.arange(n)))
    separate = np.array([[covariance(a, b) for b in influences] for a in influences])
    assert np.linalg.eigvalsh(separate).min() < -0.01
    matrix = joint_covariance(influences)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    assert np.sqrt(np.diag(matrix)) == pytest.approx([item.std_error for item in influences])


def test_joint_law_takes_what_the_layers_share():
    law = joint_law(independent([5, 6], [0.2, 0.3], correlation=0.5))
    assert law.covariance == pytest.approx(np.array([[0.04, 0.03], [0.03, 0.09]]))


# -- peak ---------------------------------------------------------------------------------


def test_peak_of_a_clear_profile_is_one_layer_with_its_own_interval():
    profile = independent([3, 5, 8, 5, 3], [0.1, 0.2, 0.3, 0.2, 0.1])
    peak = profile.peak()
    assert (peak.layer, peak.layers) == ("c", ("c",))
    assert peak.probabilities == {"a": 0, "b": 0, "c": 1, "d": 0, "e": 0}
    assert peak.height == pytest.approx(8, abs=0.01)
    assert peak.std_error == pytest.approx(0.3, rel=0.02)
    assert peak.interval == pytest.approx(profile["c"].interval, abs=0.02)
    assert str(peak) == "the dimension is highest in c: 8.0 ± 0.3 (95 %: 7.4 to 8.6)"


def test_peak_keeps_both_of_two_layers_that_are_nearly_equal():
    peak = independent([3, 8.0, 5, 7.9, 3], [0.1, 0.3, 0.2, 0.3, 0.1]).peak()
    assert (peak.layer, peak.layers) == ("b", ("b", "d"))
    assert peak.probabilities["b"] == pytest.approx(0.593, abs=0.01)  # Phi(0.1 / 0.424)
    assert "b or d" in str(peak)
    assert peak.height < 8


def test_peak_of_correlated_layers_is_surer_than_of_independent_ones():
    errors = [0.3, 0.3, 0.3]
    assert independent([7.4, 8, 7.3], errors).peak().layers == ("a", "b", "c")
    assert independent([7.4, 8, 7.3], errors, correlation=0.9).peak().layers == ("b",)


def test_peak_corrects_the_height_of_the_highest_of_many_equal_layers():
    rng = np.random.default_rng(1)
    covariance = 0.04 * np.eye(8)
    highest, heights, held = [], [], 0
    for _ in range(300):
        dimensions = 5 * np.exp(0.04 * rng.standard_normal(8))
        law = JointLaw(
            tuple("abcdefgh"), dimensions, covariance * np.outer(dimensions, dimensions) / 25
        )
        peak = find_peak(_estimates_of(law))
        highest.append(dimensions.max())
        heights.append(peak.height)
        held += peak.interval[0] <= 5 <= peak.interval[1]
    assert np.mean(highest) > 5.25
    assert abs(np.mean(heights) - 5) < 0.1
    assert 0.92 < held / 300 < 0.99


def _estimates_of(law):
    profile = independent(law.dimensions, law.errors, n=50)
    return profile.of("twonn")


def test_peak_is_the_same_every_time(hunchback):
    assert hunchback.peak() == hunchback.peak()
    assert hunchback.peak().layers == ("c",)
    assert hunchback.peak(p=0.5).interval[1] < hunchback.peak().interval[1]


def test_peak_of_layers_equal_to_rounding_holds_all_of_them():
    x = cube(300, 4)
    layers = {"low": x[:, :2], "a": x, "twice": 2.0 * x, "turned": x[:, ::-1].copy()}
    peak = measure_layers(ds.Activations(layers)).peak()
    assert set(peak.layers) == {"a", "twice", "turned"}


def test_peak_says_that_the_height_is_a_lower_bound():
    profile = independent([10, 25.0, 12], [0.3, 0.5, 0.3])
    estimates = dict(profile.of("twonn"))
    estimates["b"] = replace(estimates["b"], is_lower_bound=True)
    peak = Profile(profile.layers, {"twonn": estimates}).peak()
    assert peak.is_lower_bound
    assert "≥ 25" in str(peak)
    assert "too low" in str(peak)
    low = {**estimates, "b": replace(estimates["b"], dimension=5.0)}
    assert not Profile(profile.layers, {"twonn": low}).peak().is_lower_bound


def test_shape_leaves_out_layers_without_a_dimension_and_names_them():
    profile = independent([3, 8, 3], [0.1, 0.3, 0.1])
    estimates = {**profile.of("twonn"), "b": Estimate(math.nan, reason="all tied")}
    profile = Profile(profile.layers, {"twonn": estimates})
    assert profile.peak().left_out == ("b",)
    assert "left out: b" in str(profile.peak())
    assert [(d.layer, d.other) for d in profile.differences()] == [("a", "c")]
    assert "left out: b" in str(profile.differences())
    assert "left out: b" in str(profile.trend())


def test_peak_of_a_single_layer_is_its_estimate():
    profile = Profile((Layer("a"),), {"pca": {"a": Estimate(4.0)}})
    assert profile.peak().layers == ("a",)
    assert str(profile.peak()) == "the dimension is highest in a: 4, without a standard error"
    with_error = Profile((Layer("a"),), {"twonn": {"a": Estimate(4.0, 0.2)}})
    assert with_error.peak().interval == with_error["a"].interval
    assert len(with_error.differences()) == 0
    with pytest.raises(ds.BadPoints, match="at least 2 layers"):
        with_error.trend()


def test_shape_without_influences_says_how_to_save_them(hunchback, tmp_path):
    hunchback.save(tmp_path / "bare.json")
    hunchback.save(tmp_path / "full.json", influences=True)
    bare, full = (Profile.load(tmp_path / name) for name in ("bare.json", "full.json"))
    for question in (bare.peak, bare.differences, bare.trend):
        with pytest.raises(ds.BadPoints, match="influences=True"):
            question()
    assert full.peak() == hunchback.peak()
    assert full.differences("all") == hunchback.differences("all")
    assert full.trend() == hunchback.trend()


def test_shape_refuses_what_has_no_joint_errors():
    layers = {"a": cube(9, 2), "b": cube(9, 2) ** 2}
    with pytest.raises(ds.BadPoints, match="layer 'a' has a dimension but no standard error"):
        measure_layers(ds.Activations(layers)).peak()
    x = cube(100, 3)
    profile = measure_layers(ds.Activations({"a": x, "b": x**2}), ds.PCA())
    with pytest.raises(ds.BadPoints, match="no standard error"):
        profile.peak()
    none = Profile((Layer("a"),), {"twonn": {"a": Estimate(math.nan)}})
    with pytest.raises(ds.BadPoints, match="no layer could be measured"):
        none.peak()
    one, other = independent([3, 4], [0.1, 0.1]), independent([3, 4], [0.1, 0.1], n=100)
    mixed = {"a": one["a"], "b": other["b"]}
    with pytest.raises(ds.BadPoints, match=r"layers 'a' and 'b': .* 2000 and 100 points"):
        Profile(one.layers, {"twonn": mixed}).peak()


def test_shape_refuses_a_level_or_an_option_out_of_range():
    profile = independent([3, 4], [0.1, 0.1])
    for question in (profile.peak, profile.differences):
        with pytest.raises(ValueError, match="between 0 and 1"):
            question(p=1.0)
    with pytest.raises(ValueError, match="'adjacent', 'all'"):
        profile.differences("some")
    with pytest.raises(ValueError, match="tolerance"):
        profile.trend(tolerance=0)
    with pytest.raises(ValueError, match="relative depth"):
        profile.trend(end=0)
    with pytest.raises(KeyError, match="twonn"):
        profile.peak("pca")


# -- classes ------------------------------------------------------------------------------


def test_peak_of_a_mean_over_classes_takes_classes_as_the_sample():
    profile = by_class(8)
    peak = profile.peak()
    assert peak.layers == ("layer 2",)
    assert peak.interval == pytest.approx(profile["layer 2"].interval, rel=0.03)  # Student's t
    change = profile.differences()[0]
    paired = ds.difference(profile["layer 1"], profile["layer 0"])
    assert change.difference == pytest.approx(paired.difference)
    assert change.std_error == pytest.approx(paired.std_error)
    assert change.p_value == pytest.approx(paired.p_value)


def test_few_classes_give_wider_bands_than_many_points():
    dimensions = np.array([5, 5.1, 4.9, 5.05])
    few = JointLaw(tuple("abcd"), dimensions, 0.01 * np.eye(4), 3)
    many = JointLaw(tuple("abcd"), dimensions, 0.01 * np.eye(4))
    below, above = np.triu_indices(4, 1)
    assert many.critical(0.95, above, below) == pytest.approx(2.57, abs=0.03)  # Tukey, 4 groups
    assert few.critical(0.95, above, below) > 4.5


def test_shape_refuses_two_classes_and_means_over_different_classes():
    with pytest.raises(ds.BadPoints, match="mean over 2 classes"):
        by_class(2).peak()
    with pytest.raises(ds.BadPoints, match=r"layers 'layer 0' and 'layer 1'.*different classes"):
        by_class(4, missing=True).peak()


# -- differences --------------------------------------------------------------------------


def test_differences_agree_with_difference_of_each_pair(hunchback):
    changes = hunchback.differences("all")
    assert len(changes) == 10
    for change in changes:
        pair = ds.difference(hunchback[change.other], hunchback[change.layer])
        assert change.difference == pytest.approx(pair.difference)
        assert change.std_error == pytest.approx(pair.std_error, rel=1e-6)
        assert change.p_value == pytest.approx(pair.p_value, rel=0.3, abs=1e-6)
        assert change.interval[0] < pair.interval[0] < pair.interval[1] < change.interval[1]


def test_differences_have_an_adjusted_p_value_and_a_table():
    changes = independent([3, 3.3, 8, 8.1], [0.1, 0.1, 0.3, 0.3]).differences()
    alone = [change.p_value for change in changes]
    assert [change.p_adjusted for change in changes] == pytest.approx(holm(np.array(alone)))
    assert alone[0] == pytest.approx(math.erfc(0.3 / 0.1414 / math.sqrt(2)), rel=1e-3)
    table = changes.to_frame()
    assert list(table["layer"]) == ["a", "b", "c"]
    assert table["upper"][1] == changes[1].interval[1]
    assert str(changes[1]).startswith("b -> c: +4.7 ± 0.3 (")
    assert changes[:2] == changes.differences[:2]


def test_differences_say_what_is_equal_to_rounding():
    x = cube(300, 3)
    layers = {"a": x, "b": 7.0 * x, "c": x * (1 + 0.1 * x)}
    first, second = measure_layers(ds.Activations(layers)).differences()
    assert (first.equal_to_rounding, first.p_value, first.p_adjusted) == (True, 1.0, 1.0)
    assert str(first) == "a -> b: equal to rounding"
    assert not second.equal_to_rounding


# -- trends -------------------------------------------------------------------------------


def test_trend_tells_the_shape_of_known_profiles():
    errors = [0.1] * 5
    shapes = {
        (3, 5, 8, 5, 3): (True, False, True, False),
        (5, 5, 5, 5, 5): (False, True, False, False),
        (3, 4, 5, 6, 8): (False, False, True, True),
        (8, 6, 5, 4, 3): (False, False, True, False),
        (3, 8, 6, 4, 5): (True, False, True, True),
    }
    for dimensions, (rises, flat, differs, grows) in shapes.items():
        trend = independent(list(map(float, dimensions)), errors).trend()
        assert trend.rises_then_falls.holds == rises, dimensions
        assert trend.flat.holds == flat, dimensions
        assert trend.differs.holds == differs, dimensions
        assert trend.grows_at_end.holds == grows, dimensions


def test_trend_of_a_fall_after_the_middle_is_no_growth_unless_all_layers_count():
    profile = independent([3, 5, 8, 5, 4.0], [0.1] * 5)
    assert profile.trend().grows_at_end.p_value > 0.5
    assert profile.trend(end=1).grows_at_end.holds


def test_trend_uses_the_relative_depth_where_it_is_known():
    profile = independent([3, 8, 5, 6.0], [0.1] * 4)
    late = [0.0, 0.8, 0.9, 1.0]
    early = [0.0, 0.1, 0.2, 1.0]
    for depths, grows in ((late, True), (early, False)):
        layers = tuple(
            Layer(layer.name, relative_depth=depth)
            for layer, depth in zip(profile.layers, depths, strict=True)
        )
        assert Profile(layers, profile.estimates).trend().grows_at_end.holds == grows


def test_flat_needs_differences_surely_below_the_tolerance():
    sure, unsure = independent([5, 5.1], [0.05] * 2), independent([5, 5.1], [0.5] * 2)
    assert sure.trend().flat.holds
    assert not sure.trend(tolerance=0.03).flat.holds
    assert not unsure.trend().flat.holds
    assert not unsure.trend().differs.holds
    # log 1.1 against log 1.02, in units of the error of their difference
    error = 0.05 * math.hypot(1 / 5, 1 / 5.1)
    assert sure.trend().flat.statistic == pytest.approx(math.log(1.1 / 1.02) / error)


def test_trend_of_two_layers_has_none_between():
    trend = independent([3, 8.0], [0.1] * 2).trend()
    assert trend.rises_then_falls.p_value == 1
    assert "no layer between" in str(trend)
    assert trend.grows_at_end.p_value == 1
    assert "not established: the dimension grows at the end (p = 1)" in str(trend)


def test_trend_keeps_its_level_when_nothing_rises():
    rng = np.random.default_rng(3)
    count = dict.fromkeys(("rises_then_falls", "differs", "grows_at_end"), 0)
    for _ in range(200):
        # the last layers are as high as those between: the hardest case for a rise and fall
        dimensions = np.array([2.0, 5, 5, 5, 5]) * np.exp(0.03 * rng.standard_normal(5))
        trend = independent(dimensions, 0.03 * dimensions, n=30).trend()
        flat = independent(5 * dimensions / [2, 5, 5, 5, 5], 0.15 * np.ones(5), n=30).trend()
        count["rises_then_falls"] += trend.rises_then_falls.holds
        count["differs"] += flat.differs.holds
        count["grows_at_end"] += trend.grows_at_end.holds
    assert max(count.values()) <= 20  # 5 % of 200, and three standard deviations


# -- bands --------------------------------------------------------------------------------


def test_simultaneous_intervals_are_narrower_with_influences():
    names, errors = [5, 6, 7.0, 8], [0.1, 0.2, 0.2, 0.3]
    known = independent(names, errors, correlation=0.9)
    bare = Profile(
        known.layers,
        {"twonn": {name: replace(e, influence=None) for name, e in known.items()}},
    )
    for name, estimate in known.items():
        (low, high), (wide_low, wide_high) = known.simultaneous()[name], bare.simultaneous()[name]
        assert wide_low < low < estimate.interval[0] < estimate.interval[1] < high < wide_high


def test_simultaneous_intervals_of_correlated_layers_hold_at_once():
    rng = np.random.default_rng(0)
    correlation = 0.8 * np.ones((6, 6)) + 0.2 * np.eye(6)
    law = JointLaw(tuple("abcdef"), np.full(6, 100.0), correlation)
    q = law.critical(0.95, np.arange(6), None)
    errors = rng.multivariate_normal(np.zeros(6), correlation, 20_000)
    assert np.mean(np.abs(errors).max(axis=1) <= q) == pytest.approx(0.95, abs=0.006)


def test_plot_marks_the_peak_on_request(hunchback):
    plain, marked = hunchback.plot(), hunchback.plot(peak=True)
    labels = marked.get_legend_handles_labels()[1]
    assert labels == ["peak (95 %)"]
    assert not plain.get_legend_handles_labels()[1]
