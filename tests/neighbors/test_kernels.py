"""The compiled kernels agree with NumPy, on the instructions of every processor."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.manifolds import embed, gaussian
from dimscope.neighbors import kernels
from dimscope.neighbors.codes import Codes
from dimscope.neighbors.search import nearest_neighbors
from dimscope.neighbors.tiles import pair_squares

RNG = np.random.default_rng(0)


@pytest.fixture(params=kernels.levels, ids=lambda level: f"level {level}")
def _level(request, monkeypatch):
    monkeypatch.setattr(kernels, "level", request.param)


def encoded(points):
    coded = kernels.empty(*points.shape)
    kernels.encode(points, coded)
    return coded


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_kernels_are_compiled_where_they_can_be():
    """A build without a compiler would pass every other test of this file."""
    cpus = Path("/proc/cpuinfo")  # Linux
    flags = cpus.read_text() if cpus.exists() else ""
    assert (1 in kernels.levels) >= (" avx2 " in flags and " fma " in flags)
    assert (3 in kernels.levels) >= (" avx512_vnni " in flags and " avx512dq " in flags)


ROWS = {
    "noise": floats(100, 77),
    "one feature": floats(20, 1),
    "a panel": floats(16, 64),
    "one more": floats(17, 65),
    "several runs": floats(40, 9000),
    "strided": floats(60, 200)[::2, :150],
    "columns": np.asfortranarray(floats(30, 50)),
    "reversed": floats(30, 50)[:, ::-1],
    "spikes": np.where(RNG.random((50, 300)) < 0.01, 1e6, floats(50, 300)).astype(np.float32),
    "scales": floats(40, 100) * np.float32(10) ** RNG.integers(-20, 6, (40, 1)).astype(np.float32),
    "zeros": np.zeros((5, 10), np.float32),
}


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("name", ROWS)
def test_codes_are_near_their_points(name):
    points = ROWS[name]
    coded = encoded(points)
    decoded = coded.decoded()
    assert not decoded[:, points.shape[1] :].any()
    lost = np.linalg.norm(points - decoded[:, : points.shape[1]], axis=1)
    # squares underflow; and a compiler that does not fuse operations rounds the decoded value
    rounding = 2.0**-23 * np.linalg.norm(points, axis=1) + 1e-18
    assert (np.abs(coded.error - lost) <= 1e-4 * lost + rounding).all()
    assert (np.abs(lost) <= coded.scale * np.sqrt(points.shape[1]) / 2 * (1 + 1e-5) + 1e-20).all()
    np.testing.assert_allclose(coded.square, (decoded**2).sum(axis=1), rtol=4e-6, atol=1e-37)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("name", ROWS)
def test_squares_of_codes_are_close_lower_bounds(name):
    points = ROWS[name]
    a, b = encoded(points[::-1]), encoded(points)
    left, right = a.decoded(), b.decoded()
    true = ((left[:, None] - right) ** 2).sum(axis=-1)
    size = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    squares = kernels.squares(a, b)
    assert (squares <= true + 1e-30).all()
    assert (squares >= true - 2.0**-18 * size - 1e-30).all()
    np.testing.assert_array_equal(kernels.squares(b, b), kernels.squares(b, encoded(points)))


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("n", [(21, 3), (16, 16), (300, 700), (129, 257)])
def test_hits_are_the_squares_below_the_ceilings(n, turned, monkeypatch):
    monkeypatch.setattr(kernels, "_ROOM", 10)
    a, b = (encoded(floats(size, 40)) for size in n)
    ceilings = [np.full(size, 8.3, np.float32) + RNG.random(size).astype(np.float32) for size in n]
    ceilings[0][0] = -np.inf  # a row that is left open
    i, j, found = kernels.hits(a, b, ceilings[0], ceilings[1] if turned else None)
    squares = kernels.squares(a, b)
    reach = np.maximum(ceilings[0][:, None] + b.error, 0)
    if turned:
        reach = np.maximum(reach, ceilings[1] + a.error[:, None])
    expected = squares < reach * reach
    assert expected.any()
    assert not expected.all()
    is_hit = np.zeros(squares.shape, bool)
    is_hit[i, j] = True
    assert len(i) == is_hit.sum()
    np.testing.assert_array_equal(is_hit, expected)
    np.testing.assert_array_equal(found, squares[i, j])


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("n", [(21, 3), (16, 16), (300, 700), (129, 257), (40, 40)])
@pytest.mark.parametrize("n_ids", [None, 7])
def test_nearest_are_the_smallest_of_parts_that_cover_the_others(n, n_ids):
    a, b = (encoded(floats(size, 40)) for size in n)
    if n[0] == n[1]:
        b = a  # each product is computed once, for both points
    ids = [np.arange(size) if n_ids is None else RNG.integers(0, n_ids, size) for size in n]
    ids = [ids[0], ids[0] if b is a else ids[1]]
    squares, places = kernels.nearest(a, b, (ids[0], ids[1]))
    assert squares.shape == places.shape == (n[0], 32 if b is a else 16)
    every = np.where(ids[0][:, None] == ids[1], np.inf, kernels.squares(a, b))
    is_there = np.isfinite(squares)
    np.testing.assert_array_equal(squares[is_there], np.take_along_axis(every, places, 1)[is_there])
    np.testing.assert_array_equal(squares.min(axis=1), every.min(axis=1))
    for row, found, kept in zip(every, places, is_there, strict=True):
        assert len(np.unique(found[kept])) == kept.sum() == min(kept.sum(), np.isfinite(row).sum())
        # a part without a point is one whose points are all barred
        rest = np.delete(np.arange(len(row)), found[kept])
        if b is not a:
            parts = np.setdiff1d(rest[np.isfinite(row[rest])] % 16, found[kept] % 16)
            assert not len(parts)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("n", [3, 16, 300, 513])
def test_hits_among_the_same_points_are_each_found_once(n):
    coded = encoded(floats(n, 40))
    ceilings = np.full(n, 8.3, np.float32) + RNG.random(n).astype(np.float32)
    i, j, found = kernels.hits(coded, coded, ceilings, ceilings)
    assert (i > j).all()
    all_i, all_j, all_found = kernels.hits(coded, encoded_again(coded), ceilings, ceilings)
    below = all_i > all_j
    assert below.any() or n == 3
    expected = sorted(zip(all_i[below], all_j[below], all_found[below], strict=True))
    assert sorted(zip(i, j, found, strict=True)) == expected


def encoded_again(coded):
    return dataclasses.replace(coded)


@pytest.mark.usefixtures("_level")
def test_codes_of_long_points_do_not_overflow():
    signs = np.where(RNG.random((20, 300_000)) < 0.5, -1, 1).astype(np.float32)
    points = np.concatenate([signs, -signs[:1], np.ones((1, 300_000), np.float32)])
    largest = kernels.largest_code(points.shape[1])
    assert 31 <= largest < 127
    coded = encoded(points)
    true = ((points[:, None].astype(np.float64) - points) ** 2).sum(axis=-1)
    np.testing.assert_allclose(kernels.squares(coded, coded), true, rtol=1e-5, atol=10)


_IN_A_SMALL_THREAD = """
import threading
import numpy as np
from dimscope.neighbors import kernels

def work():
    for kernels.level in kernels.levels:
        coded = kernels.empty(*points.shape)
        kernels.encode(points, coded)
        print(len(kernels.squares(coded, coded)))

points = np.ones((20, 9000), np.float32)
threading.stack_size(1 << 16)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_kernels_run_in_threads_with_small_stacks():
    run = subprocess.run(
        [sys.executable, "-c", _IN_A_SMALL_THREAD], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "20\n" * len(kernels.levels))


def test_codes_are_refused_where_their_products_would_overflow():
    assert kernels.largest_code(3 * 10**6) == 0


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 16, 100, 20_000])
def test_squared_distances_are_those_of_differences(dtype, width):
    points = as_points((floats(30, width) * 3 + 100).astype(dtype)[:, :width])
    i, j = RNG.integers(0, 30, (2, 200))
    differences = points.block(i) - points.block(j)
    expected = (differences.astype(np.float64) ** 2).sum(axis=1)
    # long rows are summed in short runs of float32
    rtol = 1e-13 if width < 8192 or dtype is np.float64 else 1e-8
    np.testing.assert_allclose(pair_squares(points, i, j), expected, rtol=rtol)
    np.testing.assert_allclose(pair_squares(points, i, j, 0.25), expected / 16, rtol=1e-13)
    some = points.select(np.arange(29, 0, -2))
    rows = some.rows_at(i % 15), some.rows_at(j % 15)
    np.testing.assert_array_equal(pair_squares(some, i % 15, j % 15), pair_squares(points, *rows))


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("width", [255, 256, 9999])
def test_squared_distances_in_runs(width):
    values = floats(40, width)
    values[0] = values[1]
    i, j = np.triu_indices(40, 1)

    def in_runs(values):
        return kernels.pair_squares(values, i, j, 1.0, in_runs=True)

    expected = kernels.pair_squares(values, i, j, 1.0)
    assert expected[0] == 0
    np.testing.assert_allclose(in_runs(values), expected, rtol=2e-7)
    # the worst case: every addition rounds the same way
    same = np.zeros((40, width), np.float32)
    same[1] = np.float32(1 + 2.0**-12)
    exact = width * float(same[1, 0]) ** 2
    np.testing.assert_allclose(in_runs(same)[0], exact, rtol=5e-7)
    # whole numbers lose nothing, so that equal distances stay equal
    whole = RNG.integers(0, 256, (40, width)).astype(np.float32)
    np.testing.assert_array_equal(in_runs(whole), kernels.pair_squares(whole, i, j, 1.0))
    # squares that underflow in float32 are summed in float64
    small = values * np.float32(1e-22)
    np.testing.assert_array_equal(in_runs(small), kernels.pair_squares(small, i, j, 1.0))


@pytest.mark.usefixtures("_level")
def test_a_centre_is_subtracted_before_points_are_encoded():
    points, centre = floats(21, 1043), floats(1043)
    coded, expected = kernels.empty(21, 1043), encoded(points - centre)
    kernels.encode(points, coded, centre=centre)
    for name in ("codes", "scale", "square", "error", "total"):
        np.testing.assert_array_equal(getattr(coded, name)[:21], getattr(expected, name)[:21])
    with pytest.raises(ValueError, match=r"centre of \(1042,\) does not fit"):
        kernels.encode(points, coded, centre=centre[1:])


@pytest.mark.parametrize("level", [0, *kernels.levels])
@pytest.mark.parametrize("has_errors", [False, True])
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 8), (50, 333)])
def test_values_below_ceilings(shape, is_turned, has_errors, level, monkeypatch):
    monkeypatch.setattr(kernels, "level", level)
    monkeypatch.setattr(kernels, "_ROOM", 10)
    values = floats(*shape) ** 2
    values[0, 0] = np.inf
    ceilings, turned = floats(shape[0]), floats(shape[1])
    errors = tuple(np.abs(floats(size)) / 10 for size in shape) if has_errors else None
    reach = np.broadcast_to(ceilings[:, None], shape)
    theirs = np.broadcast_to(turned, shape)
    if has_errors:
        reach, theirs = reach + errors[1], theirs + errors[0][:, None]
    if is_turned:
        reach = np.maximum(reach, theirs)
    if has_errors:
        reach = np.maximum(reach, 0) ** 2
    i, j, found = kernels.below(values, ceilings, turned if is_turned else None, errors)
    np.testing.assert_array_equal(np.stack([i, j]), np.nonzero(values < reach))
    np.testing.assert_array_equal(found, values[i, j])


def test_ceilings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"ceilings or errors of \[3\] do not fit"):
        kernels.below(floats(4, 5), floats(3))


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("n", [1, 16, 33])
def test_products_of_codes_are_added(n):
    coded = encoded(floats(n, 77))
    total = np.full((n, n), 3, np.float32)
    kernels.add_products(coded, total)
    expected = 3 + coded.decoded() @ coded.decoded().T
    below = np.tril_indices(n)
    np.testing.assert_allclose(total[below], expected[below], rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("_level")
def test_squared_distances_of_points_that_cannot_be_read_in_place(tmp_path, monkeypatch):
    values = floats(60, 90)
    np.save(tmp_path / "points.npy", values)
    i, j = np.triu_indices(60, 1)
    expected = pair_squares(as_points(values), i, j)
    monkeypatch.setattr("dimscope.neighbors.tiles._GATHERED", 1000)
    mapped = as_points(np.load(tmp_path / "points.npy", mmap_mode="r"))
    assert mapped.in_place is None
    np.testing.assert_array_equal(pair_squares(mapped, i, j), expected)
    for same in (values[:, ::-1], values.astype(">f4"), np.asfortranarray(values)):
        # other bytes are read as float64, whose differences are not rounded to float32
        rtol = 1e-13 if same.dtype.isnative else 1e-7
        np.testing.assert_allclose(pair_squares(as_points(same), i, j), expected, rtol=rtol)


@pytest.mark.parametrize("pair", [(0, 3), (-1, 0)])
def test_pairs_beyond_the_rows_are_refused(pair):
    i, j = np.array(pair)[:, None]
    with pytest.raises(IndexError, match="rows 0 to 2"):
        kernels.pair_squares(np.zeros((3, 4), np.float32), i, j, 1.0)


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        kernels.encode(floats(5, 8), kernels.empty(4, 8))
    with pytest.raises(ValueError, match="do not fit"):
        kernels.encode(floats(5, 8), kernels.empty(30, 8), 3)
    with pytest.raises(ValueError, match="ids are not those"):
        kernels.nearest(encoded(floats(5, 8)), encoded(floats(4, 8)), (np.arange(5), np.arange(5)))
    with pytest.raises(ValueError, match="different numbers"):
        kernels.squares(encoded(floats(5, 8)), encoded(floats(5, 9)))


def clouds():
    points = np.maximum(embed(gaussian(300, 20), 500), 0)
    yield "layer", points.astype(np.float32)
    yield "far from the origin", (points + 1e3).astype(np.float32)
    yield "float64", points + 1e-9 * RNG.standard_normal(points.shape)
    yield "half", points.astype(np.float16)
    yield "integers", (9 * points).astype(np.int32)
    yield "contrasts", (points * np.exp(2 * RNG.standard_normal((300, 1)))).astype(np.float32)
    yield "small", (points * 1e-30).astype(np.float32)
    yield "large", (points * 1e30).astype(np.float32)
    spikes = points.copy()
    spikes[::7, 0] = 1e8
    yield "spikes", spikes
    yield "nearly the same", (1 + 1e-6 * points).astype(np.float32)


CLOUDS = dict(clouds())


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize(
    "rows", [None, "tiles", np.arange(0, 300, 7)], ids=["all", "tiles", "some"]
)
def test_bounds_of_codes_hold(name, rows, monkeypatch):
    monkeypatch.setattr("dimscope.neighbors.codes._SHORTEST", 64)
    monkeypatch.setattr("dimscope.neighbors.codes.LONGEST_RUN", 64)
    if isinstance(rows, str):  # codes that are kept
        monkeypatch.setattr("dimscope.neighbors.codes.TILE", 100)
        rows = None
    points = as_points(CLOUDS[name])
    unit = points.scale
    bounds = Codes(points, unit).among(rows)
    queries = np.arange(300) if rows is None else rows
    a, b = slice(0, len(queries)), slice(0, 300)
    endless = np.full(len(queries), np.inf, np.float32)
    ((all_i, all_j, all_bounds),) = bounds.below(a, b, endless)
    values = np.empty((len(queries), 300), np.float32)
    values[all_i, all_j] = all_bounds
    assert len(all_i) == values.size
    i, j = np.divmod(np.arange(len(queries) * 300), 300)
    squares = pair_squares(points, queries[i], j, unit).reshape(-1, 300)
    for place, row in enumerate(squares):
        ceilings = bounds.ceiling(row, slice(place, place + 1))
        assert (values[place] <= ceilings).all()
    # each point is below the ceiling of its 5th neighbour, if its bound is
    limits = np.sort(squares, axis=1)[:, 5]
    ceilings = np.nextafter(bounds.ceiling(limits * 1.000001, a).astype(np.float32), np.inf)
    (found_i, found_j, found), *_ = bounds.below(a, b, ceilings.astype(np.float32))
    is_found = np.zeros(squares.shape, bool)
    is_found[found_i, found_j] = True
    assert is_found[squares <= limits[:, None]].all()
    assert (found < ceilings[found_i]).all()
    if rows is None:
        # the turned pairs of a tile are those of the tile on the other side
        half, rest = slice(0, 140), slice(140, 300)
        bounds = Codes(points, unit).among(None)
        turned = bounds.below(half, rest, ceilings[half], ceilings[rest])[1]
        other = bounds.below(rest, half, ceilings[rest])[0]
        assert set(zip(*turned[:2], strict=True)) == set(zip(*other[1::-1], strict=True))
        assert len(other[0])


@pytest.mark.parametrize("level", [0, *kernels.levels])
@pytest.mark.parametrize("name", ["layer", "float64", "contrasts", "half"])
def test_searches_of_every_processor_agree(name, level, monkeypatch):
    points = np.concatenate([CLOUDS[name][:, :400] + np.float16(i) for i in range(8)])
    expected = nearest_neighbors(points, 5)
    monkeypatch.setattr(kernels, "level", level)
    monkeypatch.setattr("dimscope.neighbors.pilot._BEGUN", 0)
    found = nearest_neighbors(points, 5)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-13)
