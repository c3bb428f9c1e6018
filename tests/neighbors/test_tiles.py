import numpy as np
import pytest

from dimscope import nearest_neighbors
from dimscope.arrays import as_points
from dimscope.neighbors import tiles
from dimscope.neighbors import tiles as differences
from dimscope.neighbors.tiles import Candidates, Tiles
from reference import brute_force, worst_error


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "RUN", 32)


def clouds(n, width):
    rng = np.random.default_rng(n + width)
    yield "one", rng.standard_normal((n, width))
    # blocks of rows of different spread: thresholds from one's own tile are useless
    yield "blocks", rng.standard_normal((n, width)) * np.repeat([9, 1, 0.1], -(-n // 3))[:n, None]
    yield "pairs", np.concatenate([x := rng.standard_normal((n // 2, width)), x + 1e-3])


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n", [65, 128, 129, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", [17, 32, 33, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_tiles_and_runs(n, width, dtype):
    for name, points in clouds(n, width):
        points = points.astype(dtype)
        for k in (2, 3, 40):
            assert worst_error(nearest_neighbors(points, k), points) < 1e-6, (name, k)


@pytest.mark.usefixtures("small")
def test_more_candidates_than_a_tile_has_points():
    points = np.random.default_rng(0).standard_normal((200, 20))
    found = nearest_neighbors(points, 150)
    np.testing.assert_allclose(found.distances, brute_force(points, 150)[0], rtol=1e-12)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("tile", [256, 512])
def test_a_tile_sorted_whole_serves_its_rows_and_its_columns(tile, turned, monkeypatch):
    # The rows of the first tile are sparse, so that nearly all of the second tile passes
    # their thresholds; a few points of the second have their neighbour among the first.
    turns = []
    offer = Candidates.offer
    monkeypatch.setattr(Candidates, "offer", lambda *some: (turns.append(some), offer(*some)))
    monkeypatch.setattr(tiles, "TILE", tile)
    rng = np.random.default_rng(0)
    sparse, crowd = 9 * rng.standard_normal((tile, 20)), rng.standard_normal((tile, 20))
    crowd[-16:] = sparse[:16] + 0.01 * rng.standard_normal((16, 20))
    points = np.concatenate([crowd, sparse] if turned else [sparse, crowd])
    assert worst_error(nearest_neighbors(points), points) < 1e-6
    assert len(turns) == (4 if turned else 3)  # two diagonal tiles, one that is not


def test_columns_are_split_where_tiles_are_few(monkeypatch):
    monkeypatch.setattr(tiles, "RUN", 16)
    monkeypatch.setattr(tiles, "workers", lambda: 4)
    seen = []
    product = Tiles._product

    def counted(self, a, b, columns):
        seen.append(columns)
        return product(self, a, b, columns)

    monkeypatch.setattr(Tiles, "_product", counted)
    points = np.random.default_rng(0).standard_normal((100, 777)).astype("float32")
    assert worst_error(nearest_neighbors(points), points) < 1e-6
    assert len(seen) == 8
    assert sorted(c.start for c in seen)[1:] == sorted(c.stop for c in seen)[:-1]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e30, 1e200])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bounds_are_bounds(offset, scale, dtype):
    if scale > 1e38 and dtype == "float32":
        scale = 1e-37
    points = (offset + np.random.default_rng(0).standard_normal((150, 70))) * scale
    kernel = Tiles(as_points(points.astype(dtype)))
    exact, _ = brute_force(points.astype(dtype), 149)
    bounds, indices = kernel.candidates(6)
    i = np.repeat(np.arange(150), 6)
    squares = kernel.pair_squares(i, indices.ravel())
    assert (bounds.ravel() <= squares * (1 + 2e-7)).all()
    assert (np.diff(bounds, axis=1) >= 0).all()
    assert (indices != np.arange(150)[:, None]).all()
    # everybody else is no nearer than the last bound
    np.testing.assert_allclose(
        np.sort(kernel.row_bounds(np.arange(150)), axis=1)[:, :-1],
        (exact * kernel.unit) ** 2,
        rtol=1e-3 if offset == 1e6 and dtype == "float32" else 1e-6,
    )
    all_squares = kernel.pair_squares(np.repeat(np.arange(150), 150), np.tile(np.arange(150), 150))
    all_squares = all_squares.reshape(150, 150)
    rows = kernel.row_bounds(np.arange(150))
    np.fill_diagonal(rows, 0)
    assert (rows <= all_squares * (1 + 2e-7)).all()
    np.put_along_axis(all_squares, indices, np.inf, axis=1)
    np.fill_diagonal(all_squares, np.inf)
    assert (all_squares.min(axis=1) * (1 + 2e-7) >= bounds[:, -1]).all()


@pytest.mark.parametrize("pairs", [1, 7, 500])
@pytest.mark.parametrize("width", [1, 40, 5000])
def test_pair_squares_in_batches(pairs, width, monkeypatch):
    monkeypatch.setattr(differences, "_RUN", 64)
    monkeypatch.setattr(differences, "_VALUES", 640)
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, width)).astype("float32")
    i, j = rng.integers(0, 50, pairs), rng.integers(0, 50, pairs)
    exact = ((points[i].astype(float) - points[j]) ** 2).sum(axis=1)
    np.testing.assert_allclose(Tiles(as_points(points)).pair_squares(i, j), exact, rtol=3e-7)


@pytest.mark.usefixtures("small")
def test_selected_rows():
    points = np.random.default_rng(0).standard_normal((300, 40))
    rows = np.random.default_rng(1).permutation(300)[:170]
    bounds, indices = Tiles(as_points(points).select(rows)).candidates(3)
    again, same = Tiles(as_points(points[rows])).candidates(3)
    np.testing.assert_array_equal(indices, same)
    np.testing.assert_array_equal(bounds, again)
