"""The staged search with codes or sketches finds the neighbours that the exact search finds."""

import tracemalloc

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.manifolds import embed, gaussian
from dimscope.neighbors import kernels
from dimscope.neighbors import survivors as survivors_module
from dimscope.neighbors import tiles as tiles_module
from dimscope.neighbors.certificate import certified_neighbors
from dimscope.neighbors.codes import Codes
from dimscope.neighbors.exclusion import Exclusion
from dimscope.neighbors.sketches import SketchBounds, Sketcher
from dimscope.neighbors.survivors import Survivors
from dimscope.neighbors.tiles import Tiles

RNG = np.random.default_rng(0)


def curved(n, d=4, width=120):
    return np.maximum(embed(gaussian(n, d), width), 0).astype(np.float32)


def with_outliers():
    points = curved(600)
    points[::60] += 50 * RNG.standard_normal((10, 120)).astype(np.float32)
    return points


def clustered():
    centres = 30 * RNG.standard_normal((20, 120))
    return (np.repeat(centres, 40, axis=0) + RNG.standard_normal((800, 120))).astype(np.float32)


def grid():
    """Equal distances: many neighbours are tied."""
    lattice = np.stack(np.meshgrid(*[np.arange(5.0)] * 4), axis=-1).reshape(-1, 4)
    return np.pad(lattice, ((0, 0), (0, 60))).astype(np.float32)


CLOUDS = {
    "curved": lambda: curved(700),
    "several tiles": lambda: curved(4500, width=64),
    "noise": lambda: RNG.standard_normal((500, 200)).astype(np.float32),
    "outliers": with_outliers,
    "clusters": clustered,
    "ties": grid,
    "far from the origin": lambda: curved(600) + np.float32(1000),
    "float64": lambda: curved(500).astype(np.float64) * 1e-30,
    "few": lambda: curved(40),
}


@pytest.fixture(params=["sketches", *(f"codes of level {level}" for level in kernels.levels)])
def prepare(request, monkeypatch):
    """Prepare a search with each kind of screen."""
    if request.param == "sketches":
        return prepared
    monkeypatch.setattr(kernels, "level", int(request.param[-1]))
    return prepared_codes


@pytest.fixture
def without_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "level", 0)


def prepared_codes(points, exclusion=None):
    checked = as_points(points)
    exact = Tiles(checked, None, exclusion)
    return exact, Codes(checked, exact.unit)


def prepared(points, widths=(24, 32), failure=1e-9, exclusion=None):
    checked = as_points(points)
    exact = Tiles(checked, None, exclusion)
    return exact, Sketcher(checked, exact.unit, widths, failure).sketch(checked)


def check(survivors, squares, exact, k):
    """Compare closed rows with the exact search; return the fraction that is closed."""
    distances, _, _, _ = certified_neighbors(exact, k)
    closed = ~survivors.is_open
    rows = survivors.rows[closed]
    np.testing.assert_allclose(
        np.sqrt(squares[closed]) / exact.unit, distances[rows], rtol=1e-12, atol=0
    )
    return closed.mean()


@pytest.mark.parametrize("k", [2, 7, 33])
@pytest.mark.parametrize("name", CLOUDS)
def test_survivors_include_all_neighbors(name, k, prepare):
    exact, screen = prepare(CLOUDS[name]())
    survivors = Survivors(exact, screen, k)
    squares, indices = survivors.search()
    closed = check(survivors, squares, exact, k)
    measured = exact.pair_squares(
        np.repeat(survivors.rows, k)[np.repeat(~survivors.is_open, k)],
        indices[~survivors.is_open].ravel(),
    )
    np.testing.assert_array_equal(measured, squares[~survivors.is_open].ravel())
    if name in ("curved", "several tiles", "far from the origin"):
        assert closed > 0.95


def test_codes_that_are_not_kept_give_the_same(monkeypatch):
    points = CLOUDS["several tiles"]()
    expected, _ = Survivors(*prepared_codes(points), 2).search()
    monkeypatch.setattr("dimscope.neighbors.codes._KEPT", 0)
    monkeypatch.setattr("dimscope.neighbors.codes._RECENT", 1)
    dropped = Survivors(*prepared_codes(points), 2)
    np.testing.assert_array_equal(dropped.search()[0], expected)

    def encoded_anew(codes, tile):  # as if other threads had dropped it
        coded = codes.encoded(tile)
        codes.errors[tile] = coded.error
        return coded

    monkeypatch.setattr("dimscope.neighbors.codes.Codes.of_tile", encoded_anew)
    squares, indices = Survivors(*prepared_codes(points), 2).search()
    np.testing.assert_array_equal(squares, expected)
    assert (indices[:, 0] != indices[:, 1]).all()


@pytest.mark.parametrize("rows", [[3], np.arange(0, 4500, 7), np.arange(4499, 0, -2)])
def test_survivors_of_some_rows_are_those_of_all(rows, prepare):
    exact, screen = prepare(CLOUDS["several tiles"]())
    rows = np.asarray(rows)
    survivors = Survivors(exact, screen, 2, rows)
    squares, indices = survivors.search()
    check(survivors, squares, exact, 2)
    assert not (indices == rows[:, None])[~survivors.is_open].any()


def test_outliers_in_the_sample_of_directions_leave_other_rows_closed():
    points = curved(900)
    points[np.random.default_rng(0).permutation(900)[:3]] *= 10_000
    exact, sketch = prepared(points)
    survivors = Survivors(exact, sketch, 2)
    squares, _ = survivors.search()
    assert check(survivors, squares, exact, 2) > 0.95


def test_survivors_never_are_of_the_same_group(prepare):
    points, groups = curved(900), np.repeat(np.arange(300), 3)
    exact, screen = prepare(points, exclusion=Exclusion(groups))
    survivors = Survivors(exact, screen, 2)
    squares, indices = survivors.search()
    assert check(survivors, squares, exact, 2) > 0.95
    assert (groups[indices] != groups[:, None]).all()


def test_rows_whose_tile_is_one_group_are_left_open():
    groups = np.concatenate([np.zeros(2100, int), np.arange(1, 200)])
    exact, sketch = prepared(curved(2299, width=64), exclusion=Exclusion(groups))
    survivors = Survivors(exact, sketch, 2)
    survivors.search()
    assert survivors.is_open.any()


def test_search_is_repeatable_and_measures_few_pairs():
    exact, sketch = prepared(CLOUDS["several tiles"](), widths=(32, 64))
    first, second = Survivors(exact, sketch, 2), Survivors(exact, sketch, 2)
    np.testing.assert_array_equal(first.search()[0], second.search()[0])
    assert first.n_measured == second.n_measured < 8 * exact.n_points


def test_search_does_not_depend_on_the_number_of_processors(monkeypatch):
    exact, sketch = prepared(curved(4500, d=6, width=300), widths=(16, 32))
    counts = []
    for n_workers in (1, 64):
        monkeypatch.setattr(tiles_module, "workers", lambda n=n_workers: n)
        survivors = Survivors(exact, sketch, 2)
        survivors.search()
        counts.append(survivors.n_measured)
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("without_kernels")
def test_long_points_are_first_ruled_out_by_products(monkeypatch):
    points = embed(gaussian(300, 9), 9000).astype(np.float32)
    exact, sketch = prepared(points, widths=(4, 32))
    counts = []
    for quick in (False, True):
        monkeypatch.setattr(Tiles, "has_quick_bounds", quick)
        monkeypatch.setattr(survivors_module, "_CROWD", 1)
        survivors = Survivors(exact, sketch, 2)
        squares, _ = survivors.search()
        assert check(survivors, squares, exact, 2) == 1
        counts.append(survivors.n_measured)
    assert counts[1] < counts[0] / 2


def test_product_bounds_of_pairs_hold_and_are_close():
    points = as_points((embed(gaussian(50, 9), 20_000) + 0.01).astype(np.float32))
    exact = Tiles(points)
    i, j = np.triu_indices(50, 1)
    bounds, squares = exact.pair_bounds(i, j), exact.pair_squares(i, j)
    assert (bounds <= squares).all()
    assert (bounds > 0.95 * squares).all()


def test_products_of_pairs_release_a_memory_map(tmp_path, monkeypatch):
    np.save(tmp_path / "points.npy", embed(gaussian(100, 9), 9000).astype(np.float32))
    exact = Tiles(as_points(np.load(tmp_path / "points.npy", mmap_mode="r")))
    in_memory = Tiles(as_points(np.load(tmp_path / "points.npy")))
    i, j = np.triu_indices(100, 1)
    released, release = [], type(exact.points).release

    def count(points):
        released.append(1)
        release(points)

    monkeypatch.setattr(type(exact.points), "release", count)
    np.testing.assert_array_equal(exact.pair_bounds(i, j), in_memory.pair_bounds(i, j))
    assert len(released) >= len(i) // 32


@pytest.mark.usefixtures("without_kernels")
def test_product_bounds_of_pairs_hold_where_products_underflow():
    """Some products round up to the smallest float32, others down to 0."""
    smallest, signs = 2.0**-149, RNG.choice([-1, 1], (20, 9000))
    tiny = np.concatenate([signs * np.sqrt(0.51 * smallest), signs * np.sqrt(0.45 * smallest)])
    exact = Tiles(as_points(np.concatenate([tiny, np.ones((1, 9000))]).astype(np.float32)))
    i = np.arange(20)
    assert exact.has_quick_bounds
    assert (exact.pair_bounds(i, i + 20) <= exact.pair_squares(i, i + 20)).all()


def test_survivors_held_at_once_are_bounded(monkeypatch):
    """Outliers are nearer to all other points than to each other."""
    points = curved(9000, width=64)
    points[:4000] = 1000 * RNG.standard_normal((4000, 64))
    exact, sketch = prepared(points)
    monkeypatch.setattr(tiles_module, "TILE", 512)
    peaks = []
    for most, batch in ((1 << 25, 1 << 25), (200_000, 1)):
        monkeypatch.setattr(survivors_module, "_MOST", most)
        monkeypatch.setattr(survivors_module, "_BATCH", batch)
        survivors = Survivors(exact, sketch, 2)
        tracemalloc.start()
        squares, _ = survivors.search()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert check(survivors, squares, exact, 2) > 0.5
    assert peaks[1] < 0.7 * peaks[0]


def test_bounds_that_are_too_high_lose_neighbors(monkeypatch):
    """The ceilings of the sketches decide: with wrong ones, neighbours are missed."""
    exact, sketch = prepared(CLOUDS["several tiles"]())
    true_ceiling = SketchBounds.ceiling
    monkeypatch.setattr(
        SketchBounds, "ceiling", lambda self, squares, rows: 0.1 * true_ceiling(self, squares, rows)
    )
    survivors = Survivors(exact, sketch, 2)
    squares, _ = survivors.search()
    with pytest.raises(AssertionError):
        assert check(survivors, squares, exact, 2) == 1
