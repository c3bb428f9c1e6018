import warnings

import numpy as np
import pytest

import dimscope as ds
from dimscope.estimators.ties import TIE_WARNINGS, concentration, growth, is_near_grid
from dimscope.manifolds import cube, embed, gaussian, sphere, torus

CLOUD = embed(gaussian(300, 5, seed=1), 40)


def heard(call):
    """What a call returns, and the classes of the warnings on ties and copies."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = call()
    return value, [w.category for w in caught if issubclass(w.category, TIE_WARNINGS)]


def grid(d, side):
    return np.stack(np.meshgrid(*[np.arange(float(side))] * d), -1).reshape(-1, d)


def noisy(points, noise):
    return points + noise * np.random.default_rng(0).standard_normal(points.shape)


def copied(n=None):
    return np.concatenate([CLOUD, CLOUD[:n] * (1 + 2**-51)])


# -- copies ------------------------------------------------------------------------------


def test_near_copies_are_warned_of_with_their_direction():
    message = r"100\.0% of the points \(600\).*bias the dimension downward.*copies='collapse'"
    with pytest.warns(ds.NearCopies, match=message):
        estimate = ds.estimate(copied())
    assert estimate.dimension < 0.1
    assert (estimate.n_copies, estimate.n_duplicates) == (300, 0)


def test_copies_seen_often_are_said_to_bias_up_or_down():
    data = np.concatenate([CLOUD * (1 + i * 2**-51) for i in range(8)])
    with pytest.warns(ds.NearCopies, match="r2 belongs to a copy too.*up or down"):
        ds.estimate(data)


@pytest.mark.parametrize(("n", "warned"), [(1, False), (2, True)])
def test_near_copies_are_warned_of_above_one_pair(n, warned):
    estimate, said = heard(lambda: ds.estimate(copied(n)))
    assert estimate.n_copies == n
    assert said == ([ds.NearCopies] if warned else [])


@pytest.mark.parametrize(("n", "warned"), [(2, False), (3, True)])
def test_near_copies_are_warned_of_above_a_thousandth(n, warned):
    cloud = cube(4000, 3)
    points = np.concatenate([cloud, cloud[:n] * (1 + 2**-51)])
    assert heard(lambda: ds.estimate(points))[1] == ([ds.NearCopies] if warned else [])


@pytest.mark.parametrize("estimator", [ds.TwoNN(), ds.MLE(5), ds.Gride(2, 4), ds.Resampled(n=2)])
def test_estimate_collapses_copies(estimator):
    clean = estimator(CLOUD)
    estimate, said = heard(lambda: ds.estimate(copied(100), estimator, copies="collapse"))
    assert said == []
    assert estimate.dimension == pytest.approx(clean.dimension, rel=1e-9)
    assert estimate.std_error == pytest.approx(clean.std_error, rel=0.2)  # other subsamples
    assert (estimate.n_points, estimate.n_copies) == (400, 100)
    np.testing.assert_array_equal(estimate.influence.rows, np.arange(300))


def test_collapse_does_not_change_spectra():
    estimates = ds.estimate(copied(), [ds.TwoNN(), ds.PCA()], copies="collapse")
    assert estimates["pca"].n_used == 600
    assert estimates["twonn"].n_copies == 300


@pytest.mark.parametrize("estimator", [ds.PCA(), ds.I3D()])
def test_collapse_without_neighbours_is_refused(estimator):
    with pytest.raises(ValueError, match=r"copies=.collapse. has no effect: .* no neighbours"):
        ds.estimate(CLOUD, estimator, copies="collapse")


def test_collapse_of_given_neighbors_is_refused():
    with pytest.raises(ValueError, match="Neighbors are not searched again"):
        ds.estimate(ds.nearest_neighbors(CLOUD), copies="collapse")


def test_a_sample_warns_once_of_copies():
    cloud = embed(gaussian(3000, 4), 30)
    data = np.concatenate([cloud, cloud * (1 + 2**-51)])
    _, said = heard(lambda: ds.estimate(data, engine=ds.Sampled(rtol=0.05)))
    assert said == [ds.NearCopies]


def test_profile_collapses_copies_in_each_layer():
    layers = {"a": copied(), "b": np.tanh(copied() @ np.eye(40)[:, :20])}
    once = ds.profile(ds.Activations({name: points[:300] for name, points in layers.items()}))
    with pytest.warns(ds.NearCopies):
        ds.profile(ds.Activations(layers))
    profile = ds.profile(ds.Activations(layers), copies="collapse")
    for name in layers:
        assert profile[name].dimension == pytest.approx(once[name].dimension, rel=1e-9)
        assert profile[name].n_copies == 300
    difference = ds.difference(profile["a"], profile["b"])
    expected = ds.difference(once["a"], once["b"])
    assert difference.std_error == pytest.approx(expected.std_error, rel=0.3)
    with pytest.raises(ValueError, match="has no effect"):
        ds.profile(ds.Activations(layers), estimators=ds.PCA(), copies="collapse")


def test_a_mean_over_classes_counts_copies():
    labels = np.arange(600) % 300 % 3
    by_class = ds.Activations({"a": copied()}, labels=labels)
    mean = ds.profile(by_class, by_class=True, copies="collapse")["a"]
    assert mean.n_copies == 300


def test_an_estimate_keeps_its_count_of_copies_in_files():
    estimate = ds.estimate(copied(), copies="collapse")
    assert ds.Estimate.from_dict(estimate.to_dict()).n_copies == 300


@pytest.mark.parametrize("curve", [ds.rank_curve, ds.scale_curve])
def test_curves_warn_once_of_copies(curve):
    _, said = heard(lambda: curve(copied()))
    assert said == [ds.NearCopies]
    _, said = heard(lambda: curve(ds.nearest_neighbors(copied(), 64, copies="collapse")))
    assert said == []


def test_scale_curve_warns_of_copies_without_the_scale_of_all_points():
    _, said = heard(lambda: ds.scale_curve(copied(), blocks=[2, 4]))
    assert said == [ds.NearCopies]


# -- duplicates --------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "warned"), [(30, False), (40, True)])
def test_duplicates_are_warned_of_above_ten_percent(n, warned):
    points = np.concatenate([CLOUD, CLOUD[:n]])
    estimate, said = heard(lambda: ds.estimate(points))
    assert estimate.n_duplicates == n
    assert said == ([ds.RepeatedPoints] if warned else [])


def test_few_distinct_points_are_said():
    with pytest.warns(ds.RepeatedPoints, match="99% .* the 10 distinct points, which are few"):
        ds.estimate(np.repeat(CLOUD[:10], 100, axis=0))


# -- ties --------------------------------------------------------------------------------


def test_ties_of_a_coarse_grid_are_said_to_bias_upward():
    points = np.unique(np.floor(16 * cube(1000, 3)), axis=0)
    with pytest.warns(ds.TiedPoints, match="biases the dimension upward"):
        estimate = ds.estimate(points)
    assert estimate.dimension > 1.5 * 3


def test_ties_of_many_coordinates_are_not_said_to_bias_upward():
    points = np.floor(2 * cube(1000, 20))
    with pytest.warns(ds.TiedPoints, match="too large or too small"):
        estimate = ds.estimate(points)
    assert estimate.dimension < ds.estimate(cube(1000, 20)).dimension


def test_ties_of_given_neighbors_have_no_direction():
    found = ds.nearest_neighbors(np.unique(np.floor(16 * cube(1000, 3)), axis=0))
    with pytest.warns(ds.TiedPoints, match="distorts the dimension"):
        ds.TwoNN()(ds.Neighbors(found.distances, found.indices))


def test_two_copies_at_one_distance_are_no_tie():
    rng = np.random.default_rng(0)
    points = cube(300, 2)
    pairs = np.concatenate([points, points[:20] + 1e-17 + 1e-16 * rng.random((20, 2))])
    _, said = heard(lambda: ds.estimate(np.unique(pairs, axis=0)))
    assert said == [ds.NearCopies]


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 3e-2])
@pytest.mark.parametrize(("d", "side"), [(1, 200), (2, 20), (3, 9), (4, 6), (5, 4)])
def test_grids_with_noise_are_warned_of(d, side, noise):
    points = noisy(grid(d, side), noise)
    estimate, said = heard(lambda: ds.estimate(points))
    assert said == [ds.NearTies]
    assert estimate.dimension > 5 * d
    assert is_near_grid(ds.nearest_neighbors(noisy(embed(grid(d, side), 60), noise / 8)))


def test_the_warning_of_near_ties_has_numbers_and_advice():
    message = r"dimension of 9[0-9.]+, but there are only 2 features.*upward.*rank_curve"
    with pytest.warns(ds.NearTies, match=message):
        ds.estimate(noisy(grid(2, 10), 0.01))
    message = r"dimension of [89][0-9.]+, but neighbours 4 and 8 one of 2\."
    with pytest.warns(ds.NearTies, match=message):
        ds.estimate(noisy(embed(grid(2, 20), 60), 0.01))


@pytest.mark.parametrize("noise", [0.001, 0.01])
def test_counts_with_noise_are_warned_of(noise):
    counts = np.unique(np.random.default_rng(1).integers(0, 12, (1000, 3)), axis=0)
    _, said = heard(lambda: ds.estimate(noisy(counts.astype(float), noise)))
    assert said == [ds.NearTies]


def continuous():
    rng = np.random.default_rng(0)
    yield "line", cube(100, 1)
    for d in (2, 5, 10):
        for n in (60, 200, 800):
            yield f"torus {d} {n}", torus(n, d)
            yield f"cube {d} {n}", cube(n, d)
            yield f"sphere {d} {n}", sphere(n, d)
    for d in (50, 300, 2000):
        directions = rng.standard_normal((200, d))
        yield f"gaussian {d}", directions
        yield f"directions {d}", directions / np.linalg.norm(directions, axis=1, keepdims=True)
        yield f"ReLU {d}", np.maximum(0, directions - 1)
        yield f"float16 {d}", directions.astype(np.float16)


@pytest.mark.parametrize(("name", "points"), list(continuous()))
def test_continuous_clouds_bring_no_warning(name, points):
    _, said = heard(lambda: ds.estimate(points))
    assert said == [], name


def test_images_of_256_levels_bring_no_warning():
    images = np.round(255 * np.clip(embed(gaussian(500, 12), 200) / 4 + 0.5, 0, 1))
    _, said = heard(lambda: ds.estimate(noisy(images, 0.1)))
    assert said == []


def test_groups_of_three_points_bring_no_warning():
    rng = np.random.default_rng(0)
    groups = np.repeat(rng.standard_normal((100, 32)), 3, axis=0)
    _, said = heard(lambda: ds.estimate(groups + 0.1 * embed(gaussian(300, 2), 32)))
    assert said == []


def test_growth_needs_eight_neighbours():
    found = ds.nearest_neighbors(cube(500, 2))
    assert growth(ds.Neighbors(found.distances, found.indices)) is None
    eight = ds.nearest_neighbors(cube(500, 2), 8)
    given = ds.Neighbors(eight.distances, eight.indices)
    assert growth(given) == pytest.approx(growth(found), rel=1e-9)


def test_concentration_does_not_see_where_the_spikes_are():
    rng = np.random.default_rng(0)
    spikes = np.repeat([1.0, 2.0], 500) * (1 + 1e-3 * rng.standard_normal(1000))
    assert concentration(spikes, 10) < 0.1 < 1 < concentration(1 + rng.random(1000), 30)
