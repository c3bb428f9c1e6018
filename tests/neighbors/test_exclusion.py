"""Neighbours of equal id are barred, in every search that promises exactness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dimscope as ds
from dimscope.arrays import as_points
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.neighbors import kernels
from dimscope.neighbors.exclusion import Exclusion, group_numbers
from dimscope.neighbors.kd_tree import tree_neighbors_of_others
from dimscope.neighbors.search import Search

# the groups of most tests are tight, which is where searches are hardest
pytestmark = pytest.mark.filterwarnings("ignore::dimscope.TightGroups")


def brute_force(points, ids, k, among=None):
    """Return the distances to the k nearest distinct rows of another id, in float64."""
    values = np.asarray(points, dtype=np.float64)
    _, first = np.unique(values, axis=0, return_index=True)
    rows = np.sort(first)
    values, ids = values[rows], np.asarray(ids)[rows]
    distances = np.array([np.linalg.norm(values - row, axis=1) for row in values])
    distances[ids[:, None] == ids] = np.inf
    if among is not None:
        distances = distances[np.ix_(among, among)]
    return np.sort(distances, axis=1)[:, :k]


def clustered(n_groups, sizes, n_features, seed=0, spread=0.05):
    """Draw groups of rows that lie close together, and their ids in shuffled order."""
    rng = np.random.default_rng(seed)
    sizes = np.broadcast_to(sizes, n_groups)
    ids = np.repeat(np.arange(n_groups), sizes)
    centres = rng.standard_normal((n_groups, n_features))
    points = centres[ids] + spread * rng.standard_normal((len(ids), n_features))
    order = rng.permutation(len(ids))
    return points[order], ids[order]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(2, 20),
    largest=st.integers(1, 50),
    n_features=st.sampled_from([1, 3, 16, 17, 40]),
    dtype=st.sampled_from(["float64", "float32", "float16", "int8"]),
    ties=st.booleans(),
)
def test_excluded_neighbours_agree_with_brute_force(seed, k, largest, n_features, dtype, ties):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, largest + 1, size=rng.integers(25, 40))
    points, ids = clustered(len(sizes), sizes, n_features, seed, spread=rng.choice([0.01, 1.0]))
    scale = 3 if ties else 40
    points = np.round(scale * points) if ties or dtype == "int8" else points
    points = np.clip(points, -100, 100).astype(dtype)
    expected = brute_force(points, ids, k)
    if len(expected) < 3 or not np.isfinite(expected).all() or expected.shape[1] < k:
        with pytest.raises(DegeneratePoints):
            ds.nearest_neighbors(points, k, exclude=ids)
        return
    neighbors = ds.nearest_neighbors(points, k, exclude=ids)
    np.testing.assert_allclose(neighbors.distances, expected, rtol=1e-6)
    kept = ids[neighbors.rows]
    assert (kept[neighbors.indices] != kept[:, None]).all()
    values = points.astype(np.float64)[neighbors.rows]
    direct = np.linalg.norm(values[:, None] - values[neighbors.indices], axis=2)
    np.testing.assert_allclose(direct, neighbors.distances, rtol=1e-6)


@pytest.mark.parametrize("n_features", [5, 60])
def test_excluded_neighbours_of_a_tight_group_of_1000_are_exact(n_features):
    points, ids = clustered(60, [1000, *[5] * 59], n_features, spread=1e-3)
    expected = brute_force(points, ids, 5)
    neighbors = ds.nearest_neighbors(points, 5, exclude=ids)
    np.testing.assert_allclose(neighbors.distances, expected, rtol=1e-6)


@pytest.mark.parametrize("n_features", [5, 60])
def test_excluded_neighbours_are_exact_if_half_of_all_rows_are_one_group(n_features):
    points, ids = clustered(300, 2, n_features, spread=0.3)
    ids[: len(ids) // 2] = -1
    neighbors = ds.nearest_neighbors(points, 8, exclude=ids)
    np.testing.assert_allclose(neighbors.distances, brute_force(points, ids, 8), rtol=1e-6)


def test_tree_of_other_groups_finds_each_neighbour_once():
    points, ids = clustered(37, 40, 2, spread=1e-4)
    distances, indices = tree_neighbors_of_others(as_points(points), 45, Exclusion(ids))
    np.testing.assert_allclose(distances, brute_force(points, ids, 45), rtol=1e-9)
    assert (np.diff(np.sort(indices, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("where", ["sketches", "codes"])
def test_search_with_a_screen_excludes_equal_ids(where, monkeypatch):
    if where == "sketches":
        monkeypatch.setattr(kernels, "level", 0)
    points, ids = clustered(500, 5, 6, spread=0.05)
    lift = np.linalg.qr(np.random.default_rng(1).standard_normal((2000, 6)))[0].T
    engine = ds.Sketched() if where == "sketches" else ds.Exact()
    neighbors = ds.nearest_neighbors(points @ lift, 4, engine, exclude=ids)
    assert neighbors.provenance.parameters["where"] == where
    # the rows of lift are orthonormal, so it keeps every distance
    np.testing.assert_allclose(neighbors.distances, brute_force(points, ids, 4), rtol=1e-6)


@pytest.mark.parametrize("n_features", [3, 40])
def test_sampled_search_excludes_equal_ids(n_features):
    points, ids = clustered(300, 5, n_features, spread=0.05)
    neighbors = ds.nearest_neighbors(points, 4, ds.Sampled(rtol=0.09), exclude=ids)
    assert len(neighbors.queries) < 200
    expected = brute_force(points, ids, 4)[neighbors.queries]
    np.testing.assert_allclose(neighbors.distances, expected, rtol=1e-6)


@pytest.mark.parametrize("chunk", [7, 90, 1000])
def test_dask_search_excludes_equal_ids(chunk, monkeypatch):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr("dimscope.arrays.dask_points._LEAST", chunk)
    monkeypatch.setattr("dimscope.arrays.dask_points._n_threads", lambda: 64)
    points, ids = clustered(20, [60, *[7] * 19], 4, spread=0.01)
    ordered = np.argsort(ids, kind="stable")  # whole chunks of one group
    points, ids = points[ordered], ids[ordered]
    array = da.from_array(points, chunks=(chunk, -1))
    assert len(as_points(array).edges) - 1 == -(-len(points) // chunk)
    neighbors = ds.nearest_neighbors(array, 6, exclude=ids)
    np.testing.assert_allclose(neighbors.distances, brute_force(points, ids, 6), rtol=1e-6)
    some = np.arange(0, len(points), 2)
    within = neighbors.within(some, 6)
    expected = brute_force(points, ids, 6, among=some)
    np.testing.assert_allclose(within.distances, expected, rtol=1e-6)


def test_approximate_search_excludes_equal_ids_and_measures_the_recall_of_others():
    pytest.importorskip("faiss")
    points, ids = clustered(300, 5, 6, spread=0.05)
    engine = ds.Approximate("faiss-ivf", parameters={"nlist": 1})
    neighbors = ds.nearest_neighbors(points, 4, engine, exclude=ids)
    np.testing.assert_allclose(neighbors.distances, brute_force(points, ids, 4), rtol=1e-6)
    assert neighbors.guarantee.kind == "recall"
    assert neighbors.guarantee.recall == 1


@pytest.mark.parametrize("n_features", [3, 40])
def test_within_and_split_keep_the_exclusion(n_features):
    points, ids = clustered(60, 10, n_features, spread=0.02)
    neighbors = ds.nearest_neighbors(points, 5, exclude=ids)
    halves = np.split(np.random.default_rng(0).permutation(len(points)), 2)
    for half, within in zip(halves, neighbors.split(halves, 5), strict=True):
        expected = brute_force(points, ids, 5, among=half)
        np.testing.assert_allclose(within.distances, expected, rtol=1e-6)
        # again, of the part of a part
        part = np.arange(0, len(half), 2)
        expected = brute_force(points, ids, 4, among=half[part])
        np.testing.assert_allclose(within.within(part, 4).distances, expected, rtol=1e-6)


@pytest.mark.parametrize("n_features", [3, 40])
def test_the_few_points_that_within_searches_again_exclude_equal_ids(n_features):
    points, ids = clustered(300, 2, n_features, spread=1e-3)
    neighbors = ds.nearest_neighbors(points, 2, exclude=ids)
    most = np.sort(np.random.default_rng(0).permutation(600)[:588])
    within = neighbors.within(most, 2)
    expected = brute_force(points, ids, 2, among=most)
    np.testing.assert_allclose(within.distances, expected, rtol=1e-6)


def test_points_with_more_allowed_neighbours_than_others_are_certified():
    # Clusters far apart: products in float32 say nothing about the one without the centre. The
    # large group leaves its points 6 possible neighbours, which must not limit the other points.
    rng = np.random.default_rng(0)
    points = 1e-3 * rng.standard_normal((120, 50)).astype(np.float32)
    points += np.where(np.arange(120) < 60, 1e3, -1e3)[:, None].astype(np.float32)
    ids = np.zeros(120, dtype=int)
    ids[[0, 1, 2, 60, 61, 62]] = np.arange(1, 7)
    neighbors = ds.nearest_neighbors(points, 4, exclude=ids)
    np.testing.assert_allclose(neighbors.distances, brute_force(points, ids, 4), rtol=1e-6)


def test_within_refuses_points_of_one_group():
    points, ids = clustered(10, 10, 3)
    neighbors = ds.nearest_neighbors(points, 2, exclude=ids)
    with pytest.raises(
        DegeneratePoints, match=r"20 chosen points are too few for 15 .* another id"
    ):
        neighbors.within(np.flatnonzero(ids < 2), 15)


def test_excluding_ids_that_all_differ_has_no_effect():
    points, _ = clustered(30, 4, 3)
    ids = [f"row {i}" for i in range(len(points))]
    assert ds.nearest_neighbors(points, 3, exclude=ids) == ds.nearest_neighbors(points, 3)
    assert ds.estimate(points, exclude=ids) == ds.estimate(points)


def test_excluding_duplicates_keeps_the_id_of_the_first_row():
    points = np.array([[0.0], [1.0], [1.0], [3.0], [7.0]])
    #  the second row is that of "b"; its copy of "a" is gone, so row 0 may see it
    neighbors = ds.nearest_neighbors(points, 2, exclude=["a", "b", "a", "c", "d"])
    assert neighbors.distances[0].tolist() == [1.0, 3.0]
    neighbors = ds.nearest_neighbors(points, 2, exclude=["a", "a", "b", "c", "d"])
    assert neighbors.distances[0].tolist() == [3.0, 7.0]


def test_exclusion_is_recorded_in_the_provenance():
    points, ids = clustered(30, 4, 3)
    plain = ds.nearest_neighbors(points, 2).provenance.parameters
    excluded = ds.nearest_neighbors(points, 2, exclude=ids).provenance.parameters
    assert "exclude" not in plain
    assert excluded["exclude"]["ids"] == 30
    assert excluded["exclude"]["largest"] == 4


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1], "exclude has 2 ids, but there are 5 rows; give one id for each row"),
        ([0.0, 1, np.nan, 2, 3], "no id for row 2"),
        (["a", "b", None, "c", "d"], r"no id for row 2 \(None\)"),
        (np.zeros((5, 2)), r"one-dimensional, .* shape \(5, 2\)"),
        (7, r"one-dimensional, .* shape \(\)"),
        ([[0], [1, 2], [3], [4], [5]], "one-dimensional"),
    ],
)
def test_excluding_bad_ids_is_refused(ids, message):
    with pytest.raises(BadPoints, match=message):
        ds.nearest_neighbors(np.arange(5.0)[:, None] ** 2, 2, exclude=ids)


def test_excluding_one_group_of_all_rows_is_refused():
    points = np.arange(5.0)[:, None] ** 2
    with pytest.raises(DegeneratePoints, match="all 5 distinct points the same id"):
        ds.nearest_neighbors(points, 2, exclude=["a"] * 5)
    with pytest.raises(DegeneratePoints, match=r"4 of the 5 distinct points, .* 1 neighbours"):
        ds.nearest_neighbors(points, 2, exclude=["a"] * 4 + ["b"])
    with pytest.raises(DegeneratePoints, match="only 2 of another id"):
        ds.MLE(3).from_neighbors(
            ds.nearest_neighbors(points, 3, at_most=True, exclude=["a", "a", "a", "b", "c"])
        )


@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, 3, 1, 1, 2]),
        np.array(["x", "x", "b", "b", "c"]),
        np.array([b"x", b"x", b"b", b"b", b"c"]),
        ["x", "x", 1, 1, 2.5],
        [True, True, False, False, 2],
        np.array([5.0, 5.0, 1.5, 1.5, 2.0]),
        np.array(["2020", "2020", "2021", "2021", "2022"], dtype="datetime64[Y]"),
        np.array(["x", "x", "b", "b", ("t", 1)], dtype=object),
    ],
)
def test_group_numbers_takes_any_kind_of_id(ids):
    assert group_numbers(ids, 5, "groups").tolist() == [0, 0, 1, 1, 2]


def test_excluding_is_refused_where_it_has_no_effect():
    points, ids = clustered(30, 4, 3)
    with pytest.raises(ValueError, match="exclude has no effect: Neighbors are not searched"):
        ds.estimate(ds.nearest_neighbors(points), exclude=ids)
    with pytest.raises(ValueError, match="exclude has no effect: PCA"):
        ds.estimate(points, ds.PCA(), exclude=ids)


class BruteForce(ds.Engine):
    """An engine that only searches."""

    def search(self, points, k):
        values = points.block(slice(None), dtype=np.dtype(np.float64))
        distances = np.linalg.norm(values[:, None] - values, axis=2)
        np.fill_diagonal(distances, np.inf)
        indices = np.argsort(distances, axis=1)[:, :k]
        nearest = np.take_along_axis(distances, indices, axis=1)
        return ds.SearchResult(nearest, indices, ds.Guarantee.stated("all pairs"))


class OldSearcher(ds.Engine):
    """An engine whose searcher knows nothing of exclusions."""

    def searcher(self, points, progress=None):
        return ds.Exact().searcher(points, progress)


def test_excluding_works_with_an_engine_that_only_searches():
    points, ids = clustered(30, 10, 3, spread=0.01)
    neighbors = ds.nearest_neighbors(points, 4, BruteForce(), exclude=ids)
    np.testing.assert_allclose(neighbors.distances, brute_force(points, ids, 4), rtol=1e-9)
    half = np.arange(0, 300, 2)
    expected = brute_force(points, ids, 4, among=half)
    np.testing.assert_allclose(neighbors.within(half, 4).distances, expected, rtol=1e-6)


def test_excluding_is_refused_by_an_engine_that_cannot():
    points, ids = clustered(30, 4, 3)
    with pytest.raises(BadPoints, match="OldSearcher cannot exclude neighbours of equal id"):
        ds.nearest_neighbors(points, 2, OldSearcher(), exclude=ids)
    assert ds.nearest_neighbors(points, 2, OldSearcher()).k == 2


@pytest.mark.filterwarnings("ignore::dimscope.errors.NearTies")  # pairs are nearly equidistant
def test_excluded_resamples_and_curves_never_see_equal_ids():
    # pairs of near rows: with its partner in sight, each point has a very near neighbour
    points, ids = clustered(500, 2, 3, spread=1e-3)
    for estimator in (ds.Resampled(ds.TwoNN(), n=3), ds.TwoNN()):
        with pytest.warns(ds.TightGroups, match="two nearest neighbours of another id"):
            excluded = ds.estimate(points, estimator, exclude=ids)
        assert excluded.dimension > 10
    points, ids = clustered(500, 2, 3, spread=1.0)
    excluded = ds.estimate(points, ds.Resampled(ds.TwoNN(), n=3), exclude=ids)
    assert abs(float(excluded) - 3) < 0.5
    assert np.mean(excluded.resamples) == pytest.approx(float(excluded), abs=0.3)
    curve = ds.scale_curve(points, blocks=[1, 4], exclude=ids)
    assert ds.rank_curve(points, 8, exclude=ids).points[0].distance == pytest.approx(
        curve.points[0].distance
    )


def test_search_samples_grow_with_the_exclusion():
    points, ids = clustered(400, 5, 40, spread=0.01)
    search = Search(points, 3, ds.Sampled(rtol=0.09), exclude=ids)
    search.sample(200)
    sample = search.sample(400)
    expected = brute_force(points, ids, 3)[sample.queries]
    np.testing.assert_allclose(sample.distances, expected, rtol=1e-6)
