"""What must not change an estimate, whatever the points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimscope import (
    I3D,
    MLE,
    PCA,
    EffectiveRank,
    Gride,
    ParticipationRatio,
    Resampled,
    TwoNN,
    nearest_neighbors,
)

few = settings(deadline=None, max_examples=25, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
widths = st.sampled_from([2, 5, 16, 17, 60])
dtypes = st.sampled_from(["float32", "float64"])
TRIPLETS = TwoNN(fit="triplets")  # chosen in the order of the points
ESTIMATORS = [
    TwoNN(),
    TwoNN(fit="regression"),
    TRIPLETS,
    TwoNN(discard=0),
    Gride(1, 2),
    Gride(2, 4),
    Gride(2, 5),
    MLE(5),
    MLE(5, average="dimension"),
]
SPECTRAL = [PCA(), PCA(variance=0.99), ParticipationRatio(), EffectiveRank()]


def cloud(seed, width, n=120):
    """Points on a curved surface, in any number of features."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, min(width, 4)))
    return np.tanh(x @ rng.standard_normal((x.shape[1], width))) + 0.01 * x[:, :1] ** 2


def assert_same(points, other, rel=1e-6, estimators=ESTIMATORS, error=1e-4):
    neighbors, other_neighbors = nearest_neighbors(points, 5), nearest_neighbors(other, 5)
    for estimator in estimators:
        a, b = estimator(neighbors), estimator(other_neighbors)
        assert b.dimension == pytest.approx(a.dimension, rel=rel)
        assert b.std_error == pytest.approx(a.std_error, rel=error)
        assert (b.n_points, b.n_used) == (a.n_points, a.n_used)
    for estimator in SPECTRAL:
        assert float(estimator(other)) == pytest.approx(float(estimator(points)), rel=rel)


@few
@given(seeds, widths)
def test_estimates_do_not_change_with_rotation(seed, width):
    points = cloud(seed, width)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    assert_same(points, points @ rotation)


@few
@given(seeds, widths, st.floats(-1e5, 1e5))
def test_estimates_do_not_change_with_translation(seed, width, offset):
    points = cloud(seed, width)
    assert_same(points, points + offset * np.random.default_rng(seed).random(width))


@few
@given(seeds, widths, dtypes, st.integers(-20, 20), st.integers(-60, 60))
def test_estimates_do_not_change_with_exact_translation_and_scaling(
    seed, width, dtype, offset, power
):
    # steps of 2^-10 below 2^6: every sum and product is exact, even in float32
    points = np.round(cloud(seed, width) * 1024) / 1024
    points = np.unique(points, axis=0).astype(dtype)
    moved = ((points + np.asarray(offset, dtype)) * np.asarray(2.0**power, dtype)).astype(dtype)
    assert_same(points, moved)


@few
@given(seeds, widths, st.floats(1e-25, 1e25))
def test_estimates_do_not_change_with_scaling(seed, width, factor):
    points = cloud(seed, width)
    assert_same(points, points * factor)


@few
@given(seeds, widths, dtypes)
def test_estimates_do_not_change_with_permutation(seed, width, dtype):
    rng = np.random.default_rng(seed)
    points = cloud(seed, width).astype(dtype)
    rows, columns = rng.permutation(len(points)), rng.permutation(width)
    assert_same(
        points,
        points[rows][:, columns],
        estimators=[estimator for estimator in ESTIMATORS if estimator != TRIPLETS],
        error=3,  # the subsamples, which are of rows, hold other points
    )


@few
@given(seeds, widths, dtypes, st.integers(1, 50))
def test_estimates_do_not_change_with_zero_padding(seed, width, dtype, zeros):
    points = cloud(seed, width).astype(dtype)
    padded = np.concatenate([points, np.zeros((len(points), zeros), dtype)], axis=1)
    assert_same(points, padded)


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
@few
@given(seeds, widths, st.integers(1, 100))
def test_twonn_does_not_change_with_repeated_rows(seed, width, repeats):
    points = cloud(seed, width)
    again = points[np.random.default_rng(seed).integers(0, len(points), repeats)]
    alone, repeated = TwoNN()(points), TwoNN()(np.concatenate([points, again]))
    assert repeated.dimension == pytest.approx(alone.dimension, rel=1e-9)
    assert repeated.n_duplicates == repeats


@few
@given(seeds, widths, st.integers(0, 1000), st.floats(0.3, 0.95))
def test_resampled_is_reproducible_by_its_seed(seed, width, resample_seed, keep):
    points = cloud(seed, width)
    estimator = Resampled(TwoNN(), n=3, keep=keep, seed=resample_seed)
    first, second = estimator(points), estimator(points.copy())
    assert first == second
    assert first.resamples == second.resamples
    other = Resampled(TwoNN(), n=3, keep=keep, seed=resample_seed + 1)(points)
    assert other.resamples != first.resamples
    assert other.dimension == pytest.approx(first.dimension, rel=1e-12)


@few
@given(seeds, widths, dtypes, st.integers(3, 120), st.integers(2, 8))
def test_within_equals_a_fresh_search(seed, width, dtype, size, k):
    points = cloud(seed, width).astype(dtype)
    rows = np.random.default_rng(seed).permutation(len(points))[:size]
    within = nearest_neighbors(points, k).within(rows)
    fresh = nearest_neighbors(points[rows])
    np.testing.assert_allclose(within.distances, fresh.distances, rtol=1e-6)
    assert within.n_points == size


@few
@given(seeds, widths, dtypes)
def test_nearest_neighbors_are_distinct_others_at_true_distances(seed, width, dtype):
    points = cloud(seed, width).astype(dtype)
    neighbors = nearest_neighbors(points, 4)
    rows = np.arange(len(points))[:, None]
    assert (neighbors.indices != rows).all()
    assert (np.diff(np.sort(neighbors.indices, axis=1), axis=1) > 0).all()
    difference = points[neighbors.indices].astype(float) - points[:, None].astype(float)
    distance = np.linalg.norm(difference, axis=2)
    np.testing.assert_allclose(neighbors.distances, distance, rtol=1e-6)


@few
@pytest.mark.filterwarnings("ignore::dimscope.errors.NarrowRange")
@given(seeds, st.sampled_from(["cityblock", "hamming"]))
def test_i3d_does_not_change_with_symmetries_of_the_lattice(seed, metric):
    rng = np.random.default_rng(seed)
    counts, estimator = rng.integers(0, 4, (100, 20)), I3D(metric=metric)
    expected = estimator(counts)
    rows, columns = rng.permutation(100), rng.permutation(20)
    signs, offset = rng.choice([-1, 1], 20), rng.integers(-1000, 1000, 20)
    padded = np.pad(counts, ((0, 0), (0, 7)))
    for other in (counts[rows], counts[:, columns], counts * signs + offset, padded):
        again = estimator(other)
        assert float(again) == pytest.approx(float(expected), rel=1e-9)
        assert again.std_error == pytest.approx(expected.std_error, rel=1e-9)


@few
@given(seeds, st.sampled_from([17, 60]))
def test_normalised_spectrum_ignores_units_and_offsets(seed, width):
    points = cloud(seed, width)
    rng = np.random.default_rng(seed)
    other = points * rng.uniform(0.1, 10, width) * rng.choice([-1, 1], width) + rng.random(width)
    other = np.pad(other[:, rng.permutation(width)], ((0, 0), (0, 5)), constant_values=3.0)
    for estimator in (PCA(normalized=True), ParticipationRatio(normalized=True)):
        assert float(estimator(other)) == pytest.approx(float(estimator(points)), rel=1e-6)
