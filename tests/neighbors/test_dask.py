"""Dask arrays: the same numbers as in memory, wherever the chunks lie and whoever dies."""

import os
import signal
import subprocess
import sys
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

import dimscope as ds
from cluster import Cluster
from dimscope.arrays import dask_points as scattered
from dimscope.arrays.numpy_points import NumpyPoints
from dimscope.arrays.threads import alone, parallel, workers
from dimscope.neighbors import dask as distributed
from reference import brute_force

CHUNKS = [(1000, -1), (70, -1), (70, 13), ((1, 200, 30, 169), -1)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several chunks of few points, in this thread."""
    monkeypatch.setattr(scattered, "_LEAST", 60)
    monkeypatch.setattr(scattered, "_n_threads", lambda: 8)
    with dask.config.set(scheduler="sync"):
        yield


def cloud(n=400, width=40, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width))


def assert_same(found, points, k=2):
    """As the exact distances of the distinct rows."""
    points = np.asarray(points)
    _, first = np.unique(points.astype(float) + 0.0, axis=0, return_index=True)
    first.sort()
    np.testing.assert_array_equal(found.rows, first)
    assert found.n_points == len(points)
    exact, nearest = brute_force(points[first], k)
    np.testing.assert_allclose(found.distances, exact, rtol=1e-6)
    clear = np.diff(exact, axis=1).min(axis=1) > 1e-5 * exact[:, 0]
    np.testing.assert_array_equal(found.indices[clear, 0], nearest[clear, 0])


def test_there_are_several_chunks():
    array = da.from_array(cloud(), chunks=(170, 13))
    assert scattered.dask_points(array).array.chunks == ((58, 58, 58, 58, 58, 58, 52), (40,))


@pytest.mark.slow
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [
        ("float16", 1, 0), ("float16", 1, 300), ("float32", 1, 1e5), ("float32", 1e-30, 0),
        ("float32", 1e38, 0), ("float64", 1, 1e9), ("float64", 1e200, 0), ("float64", 1e-200, 0),
        ("int8", 30, 0), ("int64", 1e6, 1e12), ("uint16", 1000, 5000),
    ],
)  # fmt: skip
def test_as_brute_force(dtype, scale, offset, chunks):
    points = np.clip(cloud(), -3.3, 3.3) * scale + offset
    points = points.astype(dtype)
    assert_same(ds.nearest_neighbors(da.from_array(points, chunks=chunks)), points)


@pytest.mark.parametrize("width", [1, 2, 16, 17, 3000])
@pytest.mark.parametrize("k", [2, 5, 70])
def test_any_width_and_more_neighbours_than_a_chunk_has_rows(width, k):
    points = cloud(150, width)
    found = ds.nearest_neighbors(da.from_array(points, chunks=(40, 1000)), k)
    assert_same(found, points, k)


def test_clusters_that_float32_cannot_resolve():
    rng = np.random.default_rng(0)
    centres = 1e4 * rng.standard_normal((5, 40))
    points = (centres[rng.integers(0, 5, 400)] + rng.standard_normal((400, 40))).astype("float32")
    assert_same(ds.nearest_neighbors(da.from_array(points, chunks=90)), points)
    points = points[np.argsort(points[:, 0])]  # as data sorted by class
    assert_same(ds.nearest_neighbors(da.from_array(points, chunks=90)), points)


@pytest.mark.parametrize("gap", [1e-3, 1e-5])
def test_near_ties_across_chunks(gap):
    # the nearest of each of the first lies in the last chunk; the second is farther by the gap
    points = (10 * cloud(400, 64)).astype("float32")
    points[-50:] = points[:50] + np.float32(0.5)
    points[200:250] = points[:50]
    points[200:250, 0] += np.float32(4 * (1 + gap))
    found = ds.nearest_neighbors(da.from_array(points, chunks=100))
    assert_same(found, points)
    np.testing.assert_array_equal(found.indices[:50, 0], np.arange(350, 400))


def test_duplicates_across_chunks():
    points = cloud(400, 100)
    points[300:380] = points[10:90]
    points[399] = points[0]
    points[60:120] = points[5]  # a chunk of nothing else
    points[150] = 0.0
    points[350] = -0.0
    found = ds.nearest_neighbors(da.from_array(points, chunks=(70, 13)))
    assert found.n_duplicates == 80 + 1 + 60 + 1 - 30
    assert_same(found, points)
    np.testing.assert_array_equal(found.rows, ds.nearest_neighbors(points).rows)


def test_rows_of_equal_sums_are_compared_by_value(monkeypatch):
    monkeypatch.setattr(
        NumpyPoints, "row_hashes", lambda points: points.array[:, 0].astype(np.uint64) % 2
    )
    points = np.random.default_rng(0).integers(0, 4, (200, 3))
    found = ds.nearest_neighbors(da.from_array(points, chunks=30))
    assert 40 < found.n_distinct < 70
    assert_same(found, points)


def test_equal_rows_of_chunks_that_differ_in_range():
    # beyond 1e38 differences are taken in float64, in one chunk and not in the other
    points = cloud(400, 20).astype("float32")
    points[0] = 2e38
    points[300] = points[30]
    assert_same(ds.nearest_neighbors(da.from_array(points, chunks=100)), points)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_by_its_row(value):
    points = cloud()
    points[[211, 390], 5] = value
    with pytest.raises(ds.BadPoints, match=rf"row 211, column 5 is {value}"):
        ds.TwoNN()(da.from_array(points, chunks=(70, 13)))


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (da.zeros(10), ds.BadPoints, "reshape"),
        (da.zeros((10, 2, 3)), ds.BadPoints, "flatten"),
        (da.zeros((2, 3)), ds.DegeneratePoints, "at least 3"),
        (da.zeros((50, 3)), ds.DegeneratePoints, "all 50 points are the same"),
        (da.zeros((50, 3), dtype=complex), ds.BadPoints, "complex"),
        (da.zeros((50, 3), dtype="U3"), ds.BadPoints, "not numbers"),
        (da.full((50, 3), 2**60), ds.BadPoints, "cannot be represented exactly"),
        (da.full((50, 3), 1e308), ds.BadPoints, "beyond the range"),
        (da.ma.masked_equal(da.zeros((50, 3)), 0), ds.BadPoints, "masked"),
    ],
)
def test_what_is_no_set_of_points(array, error, message):
    with pytest.raises(error, match=message):
        ds.nearest_neighbors(array)


def test_unknown_sizes_of_chunks():
    array = da.from_array(cloud(), chunks=50)
    array = array[array[:, 0] > 0]
    with pytest.raises(ds.BadPoints, match="compute_chunk_sizes"):
        ds.nearest_neighbors(array)
    array.compute_chunk_sizes()
    assert_same(ds.nearest_neighbors(array), array.compute())


def test_the_same_estimates():
    points = cloud(400, 5).astype("float32") @ cloud(5, 60).astype("float32")
    array = da.from_array(points, chunks=(90, 13))
    estimators = [ds.TwoNN(), ds.Gride(2, 4), ds.PCA(variance=0.9)]
    lazy, here = ds.estimate(array, estimators), ds.estimate(points, estimators)
    for name, one in here.items():
        assert float(lazy[name]) == pytest.approx(float(one), rel=1e-6)
        assert lazy[name].std_error == pytest.approx(one.std_error, rel=1e-6, nan_ok=True)
    assert lazy["twonn"].provenance.parameters["guarantee"] == "exact to 1e-6"
    assert lazy["twonn"].provenance.inputs[0].parameters["where"] == "dask"
    assert float(ds.TwoNN()(array)) == pytest.approx(float(here["twonn"]), rel=1e-6)


def test_searches_among_some_of_the_points():
    points = cloud()
    points[333] = points[4]
    lazy = ds.nearest_neighbors(da.from_array(points, chunks=(90, 13)))
    here = ds.nearest_neighbors(points)
    order = np.random.default_rng(0).permutation(399)
    groups = [order[:200], order[200:207], order[210:390]]
    for one, other in zip(lazy.split(groups), here.split(groups), strict=True):
        np.testing.assert_allclose(one.distances, other.distances, rtol=1e-6)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.rows, other.rows)
    again, same = lazy.within(order[:200]).within(np.arange(50)), here.within(order[:50])
    np.testing.assert_allclose(again.distances, same.distances, rtol=1e-6)


def test_queries_in_several_batches(monkeypatch):
    monkeypatch.setattr(distributed, "_QUERIES", 40 * 8 * 7)
    rows = np.random.default_rng(0).permutation(400)[:100]
    found = ds.nearest_neighbors(da.from_array(cloud(), chunks=90)).within(rows)
    np.testing.assert_allclose(found.distances, brute_force(cloud()[rows])[0], rtol=1e-6)


@pytest.mark.slow
def test_scales():
    points = cloud(400, 5) @ cloud(5, 60)
    array = da.from_array(points, chunks=90)
    lazy, here = ds.scale_curve(array, ds.TwoNN()), ds.scale_curve(points, ds.TwoNN())
    np.testing.assert_allclose(
        [one.dimension for one in lazy.points], [one.dimension for one in here.points], rtol=1e-6
    )


@pytest.mark.parametrize("held", [True, False])
def test_a_zarr_array_on_disk_is_held_if_it_fits(held, tmp_path, monkeypatch):
    points = cloud().astype("float32")
    store = zarr.create_array(
        tmp_path / "points.zarr", shape=points.shape, chunks=(70, 13), dtype="float32"
    )
    store[:] = points
    reads = []
    read = scattered.Chunk.read
    monkeypatch.setattr(scattered.Chunk, "read", lambda self: reads.append(1) or read(self))
    monkeypatch.setattr(scattered, "_memory", lambda: 2 * points.nbytes - (not held))
    assert_same(ds.nearest_neighbors(da.from_zarr(tmp_path / "points.zarr")), points)
    # each of 7 chunks is checked, then multiplied with itself and with the 6 others
    assert len(reads) == (0 if held else 7 + 7 + 2 * 21)


def test_values_in_memory_are_never_read_again(monkeypatch):
    monkeypatch.setattr(scattered, "_memory", lambda: 0)
    monkeypatch.setattr(scattered.Chunk, "read", None)
    assert_same(ds.nearest_neighbors(da.from_array(cloud(), chunks=90)), cloud())


def test_the_scheduler_in_force_does_the_work():
    calls = []

    def get(graph, keys, **options):
        calls.append(keys)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=get):
        ds.nearest_neighbors(da.from_array(cloud(), chunks=90))
    assert [len(keys) for keys in calls] == [7, 7]  # chunks checked, and tables merged
    with dask.config.set(scheduler="threads", num_workers=3):
        assert_same(ds.nearest_neighbors(da.from_array(cloud(), chunks=90)), cloud())


def test_progress_ascends_to_one():
    seen = []
    ds.nearest_neighbors(
        da.from_array(cloud(), chunks=90),
        progress=lambda step, done, total: seen.append(done / total),
    )
    assert len(seen) > 28
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_a_task_has_one_thread(monkeypatch):
    seen = set()
    search = distributed.certified_neighbors

    def spied(kernel, k):
        seen.add((workers(), len(set(parallel(lambda _: threading.get_ident(), [0] * 64)))))
        return search(kernel, k)

    monkeypatch.setattr(distributed, "certified_neighbors", spied)
    before = workers()
    ds.nearest_neighbors(da.from_array(cloud(), chunks=90))
    assert seen == {(1, 1)}
    assert workers() == before
    with alone():
        with alone():
            pass
        assert workers() == 1


@pytest.mark.slow
def test_dask_is_not_loaded_for_others():
    code = (
        "import dimscope, numpy, sys; dimscope.TwoNN()(numpy.random.rand(50, 20));"
        "print({'dask', 'distributed', 'zarr'} & {m.split('.')[0] for m in sys.modules})"
    )
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(ds.__file__))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.slow
def test_a_worker_killed_half_way_changes_nothing(tmp_path):
    points = (cloud(3000, 8) @ cloud(8, 1000)).astype("float32")
    points[2500:2600] = points[:100]
    store = zarr.create_array(
        tmp_path / "points.zarr", shape=points.shape, chunks=(500, 1000), dtype="float32"
    )
    store[:] = points
    array = da.from_zarr(tmp_path / "points.zarr")
    with Cluster(tmp_path) as cluster:
        cluster.add_worker("first")
        cluster.add_worker("second")
        with cluster.client() as client, dask.config.set(scheduler=client):
            client.wait_for_workers(2, timeout=600)
            fractions = []
            whole = ds.nearest_neighbors(
                array, progress=lambda _, done, total: fractions.append(done / total)
            )
            assert fractions[-1] == 1
            killed_at = []

            def kill(_, done, total):
                if not killed_at:
                    killed_at.append(done / total)
                    os.kill(cluster.workers["second"].pid, signal.SIGKILL)
                    while len(client.nthreads()) > 1:  # results on the worker are lost
                        time.sleep(0.01)

            again = ds.nearest_neighbors(array, progress=kill)
            assert 0 < killed_at[0] < 1
            assert len(client.nthreads()) == 1
    assert whole.n_duplicates == 100
    np.testing.assert_array_equal(again.distances, whole.distances)
    np.testing.assert_array_equal(again.indices, whole.indices)
    np.testing.assert_array_equal(again.distances, ds.nearest_neighbors(points).distances)


def test_nearest_neighbors_refuses_chunks_of_another_size_than_declared():
    array = da.from_array(cloud(100, 6), chunks=(10, -1))
    for shorten in (lambda block: block[:5], lambda block: block[:, :2]):
        with pytest.raises(ds.BadPoints, match="for the chunk at row"):
            ds.nearest_neighbors(array.map_blocks(shorten, dtype=float))
