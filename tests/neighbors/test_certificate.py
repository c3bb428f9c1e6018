"""The decision rule alone: any valid lower bounds, however loose, give the right answer."""

import numpy as np
import pytest

from dimscope.neighbors.certificate import certified_among, certified_neighbors, certified_rows
from reference import brute_force


class LooseKernel:
    """Exact squares, and bounds that are too small by a random amount for each pair."""

    unit = 1.0
    extra = 4
    finer = None
    exclusion = None

    def __init__(self, points, first, second, seed=0):
        self.n_points = n = len(points)
        distances, indices = brute_force(points, n - 1)
        self.squares = np.full((n, n), np.inf)
        np.put_along_axis(self.squares, indices, distances**2, axis=1)
        rng = np.random.default_rng(seed)
        self.first = self.squares - first * rng.random((n, n))
        self.second = self.squares - second * rng.random((n, n))

    def candidates(self, m, rows=None):
        first = self.first if rows is None else self.first[rows]
        order = np.argsort(first, axis=1)[:, :m]
        return np.take_along_axis(first, order, axis=1), order

    def pair_squares(self, i, j):
        return self.squares[i, j]

    def row_bounds(self, rows, among=None):
        return self.second[rows][:, slice(None) if among is None else among].copy()


@pytest.mark.parametrize("k", [2, 3, 8, 59])
@pytest.mark.parametrize("first", [0, 0.1, 1, 100])
@pytest.mark.parametrize("second", [0, 0.1, 1, 100])
def test_loose_bounds_give_the_right_neighbours(k, first, second):
    points = np.random.default_rng(k).standard_normal((60, 3))
    distances, indices, *_ = certified_neighbors(LooseKernel(points, first, second), k)
    exact, nearest = brute_force(points, k)
    np.testing.assert_allclose(distances, exact, rtol=1e-12)
    np.testing.assert_array_equal(indices, nearest)


@pytest.mark.parametrize("first", [0, 1, 100])
def test_neighbours_of_some_points(first):
    points = np.random.default_rng(0).standard_normal((60, 3))
    rows = np.array([40, 3, 59, 0])
    distances, indices, *_ = certified_neighbors(LooseKernel(points, first, 1), 3, rows)
    exact, nearest = brute_force(points, 3)
    np.testing.assert_allclose(distances, exact[rows], rtol=1e-12)
    np.testing.assert_array_equal(indices, nearest[rows])


@pytest.mark.parametrize("seed", range(20))
def test_the_wide_search_never_worsens_what_was_found(seed):
    # The first bounds find all; the second mislead about which points come first.
    points = np.random.default_rng(seed).standard_normal((60, 3))
    kernel = LooseKernel(points, 3.0, 0.0, seed)
    rng = np.random.default_rng(seed)
    loose = rng.random((60, 60)) < 0.3
    kernel.second = np.where(loose, kernel.squares - 5 * rng.random((60, 60)), kernel.squares)
    distances, _, effort, _ = certified_neighbors(kernel, 2)
    assert effort["open_rows"] > 0
    np.testing.assert_allclose(distances, brute_force(points)[0], rtol=1e-12)


def test_good_bounds_measure_little():
    points = np.random.default_rng(0).standard_normal((60, 3))
    _, _, effort, _ = certified_neighbors(LooseKernel(points, 0, 0), 2)
    assert effort == {"pairs": 120, "open_rows": 0}


def test_the_certificate_is_what_makes_it_right(monkeypatch):
    from dimscope.neighbors import certificate as certified

    points = np.random.default_rng(0).standard_normal((60, 3))
    monkeypatch.setattr(certified, "SLACK", -np.inf)
    distances, *_ = certified_neighbors(LooseKernel(points, 1, 0), 2)
    assert np.abs(distances / brute_force(points)[0] - 1).max() > 1e-3


@pytest.mark.parametrize("first", [0, 0.1, 1, 100])
@pytest.mark.parametrize("size", [6, 20, 60])
@pytest.mark.parametrize("searched", [2, 8, 25])
def test_the_nearest_among_some_points(searched, size, first):
    points = np.random.default_rng(size).standard_normal((60, 3))
    kernel = LooseKernel(points, first, 0.1)
    *_, listed = certified_neighbors(kernel, searched)
    among = np.random.default_rng(1).permutation(60)[:size]
    labels = np.full(60, -1)
    labels[among] = 7
    for k in (2, 5):
        exact, nearest = brute_force(points[among], k)
        squares, indices, cleared = certified_among(kernel, listed, among, labels, k)
        np.testing.assert_allclose(squares[cleared], exact[cleared] ** 2, rtol=1e-12)
        np.testing.assert_array_equal(indices[cleared], among[nearest[cleared]])
        if size == 60 and searched == 25 and first < 1:
            assert cleared.all()
        squares, indices, _ = certified_rows(kernel, among[:6], k, among)
        np.testing.assert_allclose(squares, exact[:6] ** 2, rtol=1e-12)
        np.testing.assert_array_equal(indices, among[nearest[:6]])
