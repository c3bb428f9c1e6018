import numpy as np
import pytest

import dimscope as ds
from dimscope.arrays import as_points
from dimscope.manifolds import cube, embed, gaussian
from dimscope.neighbors.copies import copy_limit, first_copies, resolution, significant_bits

CLOUD = embed(gaussian(300, 5, seed=1), 40)


def twins(cloud, n=None, times=1):
    """Copies of the first n points, at most one unit in the last place away."""
    made = [cloud]
    for time in range(times):
        signs = np.random.default_rng(time).integers(-1, 2, cloud.shape)
        made.append((cloud + signs * np.abs(np.spacing(cloud))).astype(cloud.dtype)[:n])
    return np.concatenate(made)


def bfloat16(cloud):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.asarray(cloud, dtype=np.float32)).bfloat16().float().numpy()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_significant_bits_are_those_of_the_dtype(dtype):
    bits = {"float16": 11, "float32": 24, "float64": 53}[dtype]
    values = np.random.default_rng(0).standard_normal(1000).astype(dtype).astype(float)
    assert significant_bits(values, dtype) == bits
    assert significant_bits(values, "float64") == bits


def test_significant_bits_see_a_bfloat16_lattice():
    assert significant_bits(bfloat16(CLOUD).astype(float), "float32") == 8


@pytest.mark.parametrize("levels", [np.arange(256.0), np.arange(256) / 256, np.arange(2000.0)])
def test_significant_bits_of_fixed_steps_are_those_of_the_dtype(levels):
    values = np.random.default_rng(0).choice(levels, 1000)
    assert significant_bits(values, "float32") == 24


def test_significant_bits_of_few_values_are_those_of_the_dtype():
    assert significant_bits(np.array([0.5, 1.0, 0.25]), "float32") == 24


def test_copy_limit_is_zero_for_integers_and_far_neighbours():
    counts = as_points(np.random.default_rng(0).integers(0, 9, (50, 3)))
    assert copy_limit(counts, 0.0) == 0
    assert copy_limit(as_points(CLOUD), 1.0) == 0
    assert copy_limit(as_points(CLOUD), 0.0) > 0


def test_copy_limit_follows_typical_rows_not_the_first():
    cloud = CLOUD.copy()
    cloud[:40] *= 1e-6
    assert copy_limit(as_points(cloud), 0.0) == pytest.approx(
        copy_limit(as_points(cloud[::-1]), 0.0), rel=0.2
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("n", "times"), [(None, 1), (30, 1), (None, 2), (None, 9), (1, 1)])
def test_copies_are_counted_and_collapsed(dtype, n, times):
    cloud = CLOUD.astype(dtype)
    data = np.unique(twins(cloud, n, times), axis=0)
    clean = ds.nearest_neighbors(cloud)
    kept = ds.nearest_neighbors(data)
    collapsed = ds.nearest_neighbors(data, copies="collapse")
    n_copies = len(data) - len(cloud)
    assert (collapsed.n_copies, collapsed.n_duplicates) == (n_copies, 0)
    assert (collapsed.n_points, collapsed.n_distinct) == (len(data), len(cloud))
    if times == 1:
        assert kept.n_copies == n_copies
    assert kept.n_distinct == len(data)
    ulps = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(
        np.sort(collapsed.distances[:, 0]), np.sort(clean.distances[:, 0]), rtol=ulps
    )
    np.testing.assert_array_equal(np.sort(collapsed.rows), collapsed.rows)


def test_half_precision_held_as_float32_has_copies():
    data = np.unique(twins(CLOUD.astype(np.float16)), axis=0)
    assert ds.nearest_neighbors(data.astype(np.float32)).n_copies == len(data) - len(CLOUD)
    rounded = bfloat16(CLOUD)
    near = bfloat16(rounded * (1 + 2.0**-8 * np.random.default_rng(0).integers(0, 2, CLOUD.shape)))
    both = np.unique(np.concatenate([rounded, near]), axis=0)
    assert ds.nearest_neighbors(both, copies="collapse").n_distinct == len(CLOUD)


def test_collapse_keeps_the_first_row_of_each_copy():
    data = np.concatenate([CLOUD[:50], twins(CLOUD[:50])[50:], CLOUD[50:]]).astype(np.float64)
    neighbors = ds.nearest_neighbors(data, copies="collapse")
    assert neighbors.rows.tolist() == [*range(50), *range(100, 350)]


def test_duplicates_and_copies_are_counted_apart():
    data = np.concatenate([CLOUD, CLOUD[:20], CLOUD[:30] * (1 + 2**-52)])
    neighbors = ds.nearest_neighbors(data, copies="collapse")
    assert (neighbors.n_points, neighbors.n_distinct) == (350, 300)
    assert (neighbors.n_duplicates, neighbors.n_copies) == (20, 30)


def test_chains_of_copies_become_one_point():
    step = 2**-50
    chain = np.concatenate([CLOUD, *(CLOUD[:10] * (1 + i * step) for i in range(1, 6))])
    assert ds.nearest_neighbors(chain, copies="collapse").n_distinct == 300
    # 1 - 2 - 3 - 0: only the last row knows of both ends
    distances = np.array([[1, 9], [1, 9], [1, 9], [1, 1]])
    indices = np.array([[3, 1], [2, 0], [1, 0], [0, 2]])
    assert first_copies(distances, indices, 1.0).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_true_neighbours_are_no_copies(d, dtype):
    cloud = embed(cube(1500, d, seed=d), max(d, 20)) if d > 1 else cube(1500, 1) + 1
    cloud = bfloat16(cloud) if dtype == "bfloat16" else cloud.astype(dtype)
    cloud = np.unique(cloud, axis=0)
    assert ds.nearest_neighbors(cloud).n_copies <= 2
    assert ds.nearest_neighbors(cloud, copies="collapse").n_distinct >= len(cloud) - 2


def test_near_duplicates_beyond_rounding_are_no_copies():
    augmented = CLOUD * (1 + 1e-3 * np.random.default_rng(0).standard_normal(CLOUD.shape))
    data = np.concatenate([CLOUD, augmented]).astype(np.float32)
    assert ds.nearest_neighbors(data).n_copies == 0


def test_resolution_needs_a_gap():
    rng = np.random.default_rng(0)
    close = np.sort(rng.random((500, 2)), axis=1)  # all within the limit, none apart
    assert resolution(close, 2.0, lambda rows, k: close[rows]) == 0
    apart = np.stack([1e-3 * rng.random(500), 1 + rng.random(500)], axis=1)
    assert 1e-3 < resolution(apart, 2.0, lambda rows, k: apart[rows]) < 3e-3


def test_resolution_looks_beyond_copies_seen_many_times():
    lists = np.full((100, 2), 1e-8)
    wide = np.concatenate([np.full((100, 6), 1e-8), np.full((100, 2), 1.0)], axis=1)
    asked = []

    def wider(rows, k):
        asked.append(k)
        return wide[rows]

    assert resolution(lists, 1e-6, wider) == 2e-8
    assert asked == [8]
    assert resolution(lists, 1e-6, lambda rows, k: lists[rows]) == 0


def test_neighbors_within_a_subset_keep_the_resolution():
    neighbors = ds.nearest_neighbors(twins(CLOUD)[:599])
    half = neighbors.within(np.arange(0, 599, 2), 2)
    assert half.resolution == neighbors.resolution > 0


def test_a_sample_counts_its_copies():
    cloud = embed(gaussian(3000, 4), 30)
    data = np.concatenate([cloud, cloud[:1500] * (1 + 2**-51)])
    neighbors = ds.nearest_neighbors(data, engine=ds.Sampled(rtol=0.03))
    assert neighbors.n_queries == 1112
    assert neighbors.n_copies == pytest.approx(1112 / 3, rel=0.15)


def test_copies_are_collapsed_in_dask_and_by_sketches():
    da = pytest.importorskip("dask.array")
    data = twins(CLOUD)
    expected = ds.nearest_neighbors(data, copies="collapse")
    lazy = ds.nearest_neighbors(da.from_array(data, chunks=100), copies="collapse")
    sketched = ds.nearest_neighbors(data, engine=ds.Sketched(), copies="collapse")
    for other in (lazy, sketched):
        np.testing.assert_array_equal(other.rows, expected.rows)
        np.testing.assert_allclose(other.distances, expected.distances, rtol=1e-6)


def test_without_copies_refuses_a_sample_and_too_few_points():
    data = np.repeat(CLOUD[:3], 5, axis=0) * (1 + 2**-51 * np.arange(15)[:, None])
    with pytest.raises(ds.DegeneratePoints, match="only 3 of 15 distinct points are left"):
        ds.nearest_neighbors(data, 3, copies="collapse")
    assert ds.nearest_neighbors(data, 3, copies="collapse", at_most=True).k == 2
    sample = ds.nearest_neighbors(cube(3000, 2), engine=ds.Sampled(rtol=0.05))
    with pytest.raises(ds.DegeneratePoints, match="collapsing near copies"):
        sample.without_copies()


def test_copies_refuses_other_words_and_samples():
    with pytest.raises(ValueError, match="copies is 'drop'; use one of 'keep', 'collapse'"):
        ds.nearest_neighbors(CLOUD, copies="drop")
    with pytest.raises(ValueError, match="use Sketched"):
        ds.nearest_neighbors(CLOUD, engine=ds.Sampled(), copies="collapse")
