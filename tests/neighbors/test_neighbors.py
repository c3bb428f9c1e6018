import numpy as np
import pytest

from dimscope import Exact, Neighbors, nearest_neighbors
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.manifolds import torus
from dimscope.neighbors import searchers
from reference import brute_force

RNG = np.random.default_rng(0)
TREE, TILES = RNG.standard_normal((200, 3)), RNG.standard_normal((200, 30))


@pytest.mark.parametrize("points", [TREE, TILES], ids=["tree", "tiles"])
@pytest.mark.parametrize("k", [2, 5, 50, 199])
def test_any_number_of_neighbours(points, k):
    found = nearest_neighbors(points, k)
    distances, indices = brute_force(points, k)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
    np.testing.assert_array_equal(found.indices, indices)
    assert found.distances.dtype == np.float64
    assert found.k == k
    assert found.n_distinct == found.n_points == 200
    assert found.n_duplicates == 0


@pytest.mark.parametrize("width", [1, 15, 16, 17, 18])
def test_tree_and_tiles_agree_where_one_takes_over_from_the_other(width):
    points = RNG.standard_normal((150, width))
    found = nearest_neighbors(points)
    assert found.provenance.parameters["where"] == ("tree" if width <= 16 else "tiles")
    np.testing.assert_allclose(found.distances, brute_force(points)[0], rtol=1e-12)


def test_asking_for_too_many_or_too_few():
    with pytest.raises(DegeneratePoints, match="200 distinct points; give k < 200"):
        nearest_neighbors(TILES, 200)
    with pytest.raises(ValueError, match="at least 2"):
        nearest_neighbors(TILES, 1)


def test_engine_must_be_an_engine():
    nearest_neighbors(TILES, engine=Exact())
    with pytest.raises(TypeError, match="Exact"):
        nearest_neighbors(TILES, engine="exact")


def test_same_points_same_numbers():
    one, two = nearest_neighbors(TILES), nearest_neighbors(TILES.copy())
    np.testing.assert_array_equal(one.distances, two.distances)
    np.testing.assert_array_equal(one.indices, two.indices)


def test_rows_lead_back_to_the_rows_given():
    points = np.concatenate([TILES[:5], TILES[:5], TILES])
    found = nearest_neighbors(points)
    assert found.n_points == 210
    assert found.n_duplicates == 10
    np.testing.assert_array_equal(points[found.rows], TILES)


@pytest.mark.parametrize("points", [TREE, TILES], ids=["tree", "tiles"])
def test_progress_rises_to_one(points):
    seen = []
    nearest_neighbors(points, progress=lambda _, done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)


def test_provenance_says_how():
    found = nearest_neighbors(TILES.astype("float32"))
    assert found.provenance.step == "nearest_neighbors"
    told = found.provenance.parameters
    assert told["shape"] == [200, 30]
    assert told["dtype"] == "float32"
    assert told["engine"] == "Exact()"


@pytest.mark.parametrize("points", [TREE, TILES], ids=["tree", "tiles"])
def test_a_range_that_float64_cannot_square_is_refused(points):
    wide = points * 1e-100
    wide[3] *= 1e300
    with pytest.raises(DegeneratePoints, match="row 0 has a neighbour nearer than"):
        nearest_neighbors(wide)


# -- within ----------------------------------------------------------------------------


@pytest.mark.parametrize("points", [TREE, TILES], ids=["tree", "tiles"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("few", [0, 1000])
def test_within_is_a_search_among_some_points(points, share, few, monkeypatch):
    monkeypatch.setattr(searchers, "_FEW", few)
    rows = np.random.default_rng(1).permutation(200)[: int(200 * share)]
    some = nearest_neighbors(points, 5).within(rows)
    fresh = nearest_neighbors(points[rows])
    np.testing.assert_allclose(some.distances, fresh.distances, rtol=1e-12)
    np.testing.assert_array_equal(some.indices, fresh.indices)
    np.testing.assert_array_equal(some.rows, rows)


def test_within_after_duplicates_counts_distinct_points():
    points = np.concatenate([TILES[:20], TILES])
    found = nearest_neighbors(points, 4)
    rows = np.arange(30, 120)
    np.testing.assert_allclose(
        found.within(rows).distances, brute_force(TILES[rows])[0], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 0, 1], "must not repeat"),
        ([0, 1, 200], "between 0 and 199"),
        ([-1, 1, 2], "between 0 and 199"),
        (np.ones(200, bool), "flatnonzero"),
        ([0.5, 1.5, 2.5], "whole numbers"),
    ],
)
def test_within_refuses_rows_that_mean_nothing(rows, message):
    with pytest.raises(BadPoints, match=message):
        nearest_neighbors(TILES).within(rows)


def test_within_what_is_within():
    half, few = np.arange(0, 200, 2), np.arange(0, 100, 7)
    found = nearest_neighbors(TILES).within(half).within(few)
    fresh = nearest_neighbors(TILES[half][few])
    np.testing.assert_allclose(found.distances, fresh.distances, rtol=1e-12)
    np.testing.assert_array_equal(found.indices, fresh.indices)
    np.testing.assert_array_equal(found.rows, half[few])


def test_within_too_few_rows():
    with pytest.raises(DegeneratePoints, match="2 chosen points"):
        nearest_neighbors(TILES).within([0, 1])


def test_within_of_neighbours_given_by_hand_cannot_search_again():
    found = nearest_neighbors(TILES)
    by_hand = Neighbors(found.distances, found.indices)
    with pytest.raises(DegeneratePoints, match="give Neighbors with more neighbours"):
        by_hand.within(np.arange(50))


# -- by hand ---------------------------------------------------------------------------

GOOD = ([[1.0, 2.0], [1.0, 3.0], [2.0, 3.0]], [[1, 2], [0, 2], [0, 1]])


@pytest.mark.parametrize(
    ("distances", "indices", "error", "message"),
    [
        ([[1.0], [1.0], [2.0]], [[1], [0], [0]], BadPoints, "k >= 2"),
        (GOOD[0], GOOD[1][:2], BadPoints, "both have shape"),
        (GOOD[0][:2], GOOD[1][:2], DegeneratePoints, "only 2 distinct"),
        ([*GOOD[0][:2], [3.0, 2.0]], GOOD[1], BadPoints, "row 2 are not in ascending order"),
        ([*GOOD[0][:2], [2.0, np.nan]], GOOD[1], BadPoints, "row 2 is negative or not finite"),
        ([*GOOD[0][:2], [-2.0, 2.0]], GOOD[1], BadPoints, "row 2 is negative or not finite"),
        ([[1.0, 2.0], [0.0, 3.0], [2.0, 3.0]], GOOD[1], DegeneratePoints, "row 1 has a neighbour"),
        (GOOD[0], [[1, 2], [0, 2], [0, 3]], BadPoints, "positions among"),
        (GOOD[0], [[1, 2], [0, 1], [0, 1]], BadPoints, "row 1 lists the point as its own"),
    ],
)
def test_neighbors_by_hand_are_checked(distances, indices, error, message):
    with pytest.raises(error, match=message):
        Neighbors(distances, indices)


def test_rows_by_hand_are_counted():
    with pytest.raises(BadPoints, match="each of the 3 distinct points"):
        Neighbors(*GOOD, rows=[4, 5])


def test_neighbors_by_hand():
    found = Neighbors(*GOOD)
    assert found.n_points == found.n_distinct == 3
    assert str(found.guarantee) == "as given"
    np.testing.assert_array_equal(found.rows, [0, 1, 2])


def test_no_groups_are_no_neighbours():
    assert nearest_neighbors(np.random.default_rng(0).standard_normal((20, 3))).split([]) == []


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("lists a neighbour twice", {"indices": [[1, 1], [0, 2], [0, 1], [0, 1]]}),
        ("rows must contain every", {"rows": [0, 1, 1, 2]}),
        ("queries must hold", {"queries": [0, 1], "n_distinct": 5}),
        ("queries must hold", {"queries": [0, 1, 2, 2], "n_distinct": 5}),
        ("queries must hold", {"queries": [0, 1, 2, 9], "n_distinct": 5}),
        ("n_points is 2", {"n_points": 2}),
        ("indices must be whole numbers", {"indices": [[1.5, 2]] * 4}),
        ("distances must be real", {"distances": [[1j, 2]] * 4}),
        ("ragged", {"distances": [[1.0, 2.0], [1.0]]}),
    ],
)
def test_neighbors_refuses_wrong_fields(message, change):
    fields = {"distances": [[1.0, 2.0]] * 4, "indices": [[1, 2], [0, 2], [0, 1], [0, 1]]}
    with pytest.raises(BadPoints, match=message):
        Neighbors(**fields | change)


def test_within_finds_more_neighbours_than_were_searched():
    points = torus(500, 3)
    neighbors = nearest_neighbors(points, 2).within(np.arange(100), 5)
    np.testing.assert_allclose(neighbors.distances, nearest_neighbors(points[:100], 5).distances)


def test_nearest_neighbors_needs_a_whole_k():
    with pytest.raises(TypeError, match="integer"):
        nearest_neighbors(TILES, 2.5)
