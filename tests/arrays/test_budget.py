"""The memory budget reaches every step, and nothing copies a memory map."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import dimscope as ds
from dimscope.arrays import as_points
from dimscope.arrays.formats.registry import open_array
from dimscope.manifolds import cube, gaussian

COUNTS = np.random.default_rng(0).integers(0, 60, (3000, 4))


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The path of an array of 96 MB."""
    path = tmp_path_factory.mktemp("mapped") / "points.npy"
    np.save(path, gaussian(60_000, 400).astype(np.float32))
    return path


def peak(work):
    """Bytes that NumPy and Python allocate at most while something runs."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_checks_of_a_memory_map_allocate_little(mapped):
    assert peak(lambda: as_points(open_array(mapped))) < 4e6


@pytest.mark.slow
def test_estimate_of_a_memory_map_does_not_copy_it(mapped):
    engine = ds.Sampled(rtol=0.2)
    assert peak(lambda: ds.estimate(open_array(mapped), ds.TwoNN(), engine)) < 60e6


def test_rows_of_a_memory_map_are_not_copied(mapped):
    rows = np.arange(0, 60_000, 2)
    assert peak(lambda: as_points(open_array(mapped), rows=rows, memory=10**6)) < 30e6


@pytest.mark.parametrize("points", [COUNTS, COUNTS.astype(np.uint8), COUNTS.astype(float)])
@pytest.mark.parametrize("radii", [(None, None), (9, None), (9, 4)])
def test_i3d_in_blocks_equals_i3d_at_once(points, radii):
    whole = ds.I3D(*radii)(points)
    part = ds.estimate(points, ds.I3D(*radii), memory=20_000)
    assert (part.dimension, part.std_error) == (whole.dimension, whole.std_error)
    assert part.provenance == whole.provenance


@pytest.mark.slow
def test_i3d_keeps_to_its_budget():
    points = np.random.default_rng(0).integers(0, 60, (1000, 2000)).astype(np.uint8)
    estimator = ds.I3D(200, 100, metric="hamming")
    with pytest.raises(ds.DegeneratePoints):  # no two of these points are so near
        ds.estimate(points, estimator, memory=10**6)

    def measure():
        with pytest.raises(ds.DegeneratePoints):
            ds.estimate(points, estimator, memory=10**6)

    assert peak(measure) < 9e6  # in float64 the points take 16 MB, at once


def test_surrogate_in_parts_equals_the_formula():
    points = cube(3000, 5)
    drawn = ds.surrogate(points, 4000, seed=3)
    mixing = np.random.default_rng(3).standard_normal((4000, 3000)) / np.sqrt(2999)
    mean = points.mean(axis=0)
    np.testing.assert_allclose(drawn, mixing @ (points - mean) + mean, rtol=1e-9, atol=1e-12)


def test_surrogate_allocates_no_square_matrix():
    points = gaussian(6000, 10)
    assert peak(lambda: ds.surrogate(points)) < 6000**2 * 8 / 1.9


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda x: ds.surrogate(x, memory="10kB"), "the surrogate"),
        (lambda x: ds.spectrum(x, memory="10kB"), "the spectrum"),
        (lambda x: ds.estimate(x, ds.PCA(), memory="10kB"), "the spectrum"),
        (lambda x: ds.estimate(x, ds.SkDim("FisherS"), memory="10kB"), "reads all points"),
        (lambda x: ds.curvature_test(x, memory="10kB"), "the surrogate"),
    ],
)
def test_steps_over_the_budget_are_refused_with_the_size(call, what):
    with pytest.raises(ds.OverBudget, match=rf"{what}.* needs .* GB .* memory='1GB'"):
        call(gaussian(500, 40))


def test_an_estimator_over_the_budget_leaves_the_others():
    points = gaussian(500, 40)
    with pytest.raises(ds.EstimatorsFailed, match="pca: the spectrum needs") as caught:
        ds.estimate(points, [ds.TwoNN(), ds.PCA()], memory="10kB")
    assert float(caught.value.estimates["twonn"]) == float(ds.estimate(points))


def test_a_budget_without_effect_is_refused():
    neighbors = ds.nearest_neighbors(cube(100, 2))
    for call in (ds.estimate, ds.scale_curve, ds.rank_curve):
        with pytest.raises(ValueError, match="memory='1GB' has no effect"):
            call(neighbors, memory="1GB")


def test_a_dask_array_over_the_budget_is_not_computed_whole():
    da = pytest.importorskip("dask.array")
    array = da.from_array(gaussian(500, 40), chunks=(100, 40))
    with pytest.raises(ds.OverBudget, match="copying the points into memory"):
        ds.spectrum(array, memory="10kB")


BIG = """
import sys
import threading
import time
from pathlib import Path

import numpy as np

import dimscope as ds
from dimscope.arrays.formats.registry import open_array


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def watch():
    global highest
    while True:
        highest = max(highest, resident())
        time.sleep(0.001)


array = open_array("big.npy")
ds.estimate(np.random.default_rng(0).random((2000, 40), dtype=np.float32))  # loads what it needs
before = highest = resident()
threading.Thread(target=watch, daemon=True).start()
ds.estimate(array, ds.TwoNN(), ds.Sampled(rtol=0.1), memory="50MB")
print(highest - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_estimate_of_a_memory_map_keeps_few_of_its_pages(tmp_path):
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (400_000, 250))
    for start in range(0, len(array), 20_000):
        array[start : start + 20_000] = rng.random((20_000, 250), dtype=np.float32)
    del array
    done = subprocess.run(
        [sys.executable, "-c", BIG], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 250e6  # of 400 MB


@pytest.mark.slow
def test_a_profile_looks_at_the_free_memory_once(monkeypatch):
    from torch import nn

    from dimscope.arrays import memory

    looks = []

    def counted():
        looks.append(free())
        return looks[-1]

    free = memory.free_memory
    monkeypatch.setattr(memory, "free_memory", counted)
    estimators = [ds.TwoNN(), ds.PCA(), ds.SkDim("FisherS")]
    ds.profile(nn.Sequential(nn.Linear(9, 6), nn.ReLU()), gaussian(90, 9), estimators)
    assert len(looks) == 1
    ds.profile(nn.Sequential(nn.Linear(9, 6), nn.ReLU()), gaussian(90, 9), memory="1GB")
    assert len(looks) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_arrays_of_other_libraries_bring_no_warning_of_numpy(dtype):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(f"memory://{dtype}.zarr", shape=(200, 3), dtype=dtype)
    array[:] = cube(200, 3).astype(dtype)
    assert ds.estimate(array).dimension == ds.estimate(np.asarray(array)).dimension


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "i4"])
def test_a_zarr_array_over_the_budget_is_read_in_blocks(dtype):
    zarr = pytest.importorskip("zarr")
    points = np.round(900 * cube(4000, 30)).astype(dtype)
    array = zarr.create_array(
        "memory://blocks.zarr", shape=points.shape, dtype=dtype, overwrite=True
    )
    array[:] = points
    whole, part = (ds.estimate(array, memory=size) for size in ("1GB", "60kB"))
    assert whole.dimension == part.dimension == ds.estimate(points).dimension
    if dtype == "<f4":
        rows = np.arange(0, 4000, 3)
        chosen = as_points(array, rows=rows, memory=60_000)
        np.testing.assert_array_equal(chosen.block(slice(None)), points[rows])


def test_checks_of_a_zarr_array_over_the_budget_read_a_part_at_a_time():
    zarr = pytest.importorskip("zarr")
    shape = (600_000, 30)
    array = zarr.create_array(
        "memory://parts.zarr", shape=shape, chunks=(2000, 30), dtype="f4", overwrite=True
    )
    array[:] = np.arange(18_000_000, dtype="f4").reshape(shape)
    assert peak(lambda: as_points(array, memory=10**6)) < 36e6  # of 72 MB
