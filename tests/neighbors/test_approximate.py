"""Approximate engines: exact distances to what was found, and a recall that is true."""

import re
import sys

import dask.array as da
import numpy as np
import pytest

import dimscope as ds
from dimscope.manifolds import cube, embed
from dimscope.neighbors.approximate import recall
from dimscope.neighbors.guarantee import Guarantee
from dimscope.neighbors.tiles import Tiles
from reference import brute_force

METHODS = [
    pytest.param("pynndescent", marks=pytest.mark.slow),  # it compiles for a minute
    "faiss-ivf",
    "faiss-hnsw",
]


def cloud(n=1500, width=40):
    return np.random.default_rng(0).standard_normal((n, 6)) @ np.random.default_rng(
        1
    ).standard_normal((6, width))


def stated(guarantee):
    """Recall, error and rows of the text."""
    form = r"approximate \(([\w-]+)\), recall ([\d.]+) ± ([\d.]+) on (\d+) rows"
    method, *numbers = re.fullmatch(form, str(guarantee)).groups()
    return method, *map(float, numbers)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [
        ("float16", 1, 100), ("float32", 1, 1e4), ("float64", 1, 1e9), ("float64", 1e200, 0),
        ("float64", 1e-200, 0), ("int32", 1000, 10**6),
    ],
)  # fmt: skip
def test_distances_are_those_of_direct_differences(dtype, scale, offset, method):
    points = (cloud() * scale + offset).astype(dtype)
    found = ds.nearest_neighbors(points, 3, ds.Approximate(method))
    x = points.astype(float)[found.rows]
    difference = (x[found.indices] - x[:, None]) / scale
    np.testing.assert_allclose(
        found.distances, scale * np.sqrt((difference**2).sum(axis=-1)), rtol=1e-6
    )
    exact, _ = brute_force(points[found.rows], 3)
    assert (found.distances >= exact * (1 - 1e-6)).all()
    name, fraction, error, rows = stated(found.guarantee)
    assert (name, rows) == (method, 500)
    assert 0.002 < error < 0.02
    assert abs(fraction - recall(found.distances, exact)[0]) < 4 * error
    assert fraction > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("faiss-ivf", {"nlist": 60, "nprobe": 1}),
        ("faiss-ivf", {"nlist": 200, "nprobe": 1}),  # cells with fewer points than are listed
        ("faiss-hnsw", {"M": 4, "efSearch": 3, "efConstruction": 4}),
        ("pynndescent", {"n_neighbors": 40, "n_trees": 1, "n_iters": 0, "leaf_size": 20}),
    ],
)
def test_a_poor_search_says_so(method, parameters):
    points = np.random.default_rng(0).standard_normal((3000, 15))
    engine = ds.Approximate(method, sample=1000, parameters=parameters)
    with pytest.warns(ds.PoorRecall, match="of the nearest neighbours"):
        found = ds.nearest_neighbors(points, 2, engine)
    exact, _ = brute_force(points)
    true, _ = recall(found.distances, exact)
    _, fraction, error, rows = stated(found.guarantee)
    assert rows == 1000
    assert 0.05 < true < 0.9
    assert abs(fraction - true) < 4 * error
    assert np.isfinite(found.distances).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_numbers(method):
    points = cloud(3000)
    one, other = (ds.nearest_neighbors(points, 2, ds.Approximate(method, seed=7)) for _ in "ab")
    np.testing.assert_array_equal(one.distances, other.distances)
    np.testing.assert_array_equal(one.indices, other.indices)
    assert one.guarantee == other.guarantee


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_are_collapsed_and_counted(method):
    points = cloud()
    points[1000:1100] = points[:100]
    found = ds.nearest_neighbors(points, 2, ds.Approximate(method))
    assert found.n_duplicates == 100
    np.testing.assert_array_equal(found.rows, ds.nearest_neighbors(points).rows)
    assert (found.distances > 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [3, 4, 25, 60])
def test_few_points(n, method):
    points = np.random.default_rng(n).standard_normal((n, 5))
    found = ds.nearest_neighbors(points, 2, ds.Approximate(method))
    np.testing.assert_allclose(found.distances, brute_force(points)[0], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_carries_the_guarantee(method):
    points = embed(cube(2000, 4), 30)
    engine = ds.Approximate(method, sample=50)
    estimate = ds.TwoNN()(points, engine)
    assert float(estimate) == pytest.approx(float(ds.TwoNN()(points)), rel=0.01)
    guarantee = estimate.provenance.parameters["guarantee"]
    assert stated(guarantee)[0] == method
    how = estimate.provenance.inputs[0].parameters
    assert how["engine"] == repr(engine)
    assert how["where"] == method
    assert re.fullmatch(r"(pynndescent|faiss-cpu) \d.*", how["library"])
    assert stated(guarantee)[1] == pytest.approx(how["recall"], abs=6e-4)
    assert eval(repr(engine), {"Approximate": ds.Approximate}) == engine
    both = ds.estimate(points, [ds.TwoNN(), ds.Gride(2, 4)], engine)
    assert float(both["twonn"]) == pytest.approx(float(estimate), rel=0.01)


def test_nothing_approximate_is_chosen_unasked():
    assert ds.nearest_neighbors(cloud()).guarantee == Guarantee.exact()


@pytest.mark.parametrize("method", METHODS)
def test_later_searches_use_the_lists(method, monkeypatch):
    points = cloud()
    found = ds.nearest_neighbors(points, 2, ds.Approximate(method))
    bounds, searched = Tiles.row_bounds, []
    monkeypatch.setattr(
        Tiles,
        "row_bounds",
        lambda self, rows, among: searched.append(rows) or bounds(self, rows, among),
    )
    order = np.random.default_rng(0).permutation(len(points))
    for one in (order[:700], order[700:1400]):
        some = found.within(one)
        assert recall(some.distances, brute_force(points[one])[0])[0] > 0.99
        assert str(some.guarantee) == f"{found.guarantee} measured in the search among all points"
    assert sum(map(len, searched)) < 20
    few = found.within(order[:10])  # lists hold too few of them: searched again
    np.testing.assert_allclose(few.distances, brute_force(points[order[:10]])[0], rtol=1e-6)


@pytest.mark.parametrize(("method", "package"), [("pynndescent",) * 2, ("faiss-ivf", "faiss")])
def test_a_library_that_is_missing(method, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ds.BadSource, match=r"pip install 'dimscope\[approximate\]'"):
        ds.nearest_neighbors(cloud(), 2, ds.Approximate(method))


def test_what_is_no_engine():
    with pytest.raises(ValueError, match="use one of 'pynndescent', 'faiss-ivf', 'faiss-hnsw'"):
        ds.Approximate("annoy")
    with pytest.raises(ValueError, match="at least 1 row"):
        ds.Approximate(sample=0)
    with pytest.raises(ValueError, match="nonsense"):
        ds.nearest_neighbors(cloud(), 2, ds.Approximate("faiss-ivf", parameters={"nonsense": 1}))
    with pytest.raises(ds.BadPoints, match=r"points\.compute\(\) for a dask array"):
        ds.nearest_neighbors(da.from_array(cloud()), 2, ds.Approximate())


def test_recall_counts_ties_as_found():
    exact = np.array([[1.0, 1.0], [1.0, 2.0]])
    assert recall(np.array([[1.0, 1.0 + 1e-9], [2.0, 2.0]]), exact)[0] == 1
    assert recall(np.array([[1.0, 1.1], [2.0, 2.1]]), exact)[0] == 0.5
    fraction, error = recall(np.ones((500, 2)), np.ones((500, 2)))
    assert fraction == 1
    assert error == pytest.approx(0.0028, abs=1e-4)
    assert recall(2 * np.ones((500, 2)), np.ones((500, 2)))[1] == pytest.approx(error)


@pytest.mark.slow
def test_approximate_warns_when_it_finds_little():
    points = np.random.default_rng(0).random((5000, 50))
    engine = ds.Approximate("faiss-ivf", parameters={"nlist": 500, "nprobe": 1})
    with pytest.warns(ds.PoorRecall, match="of the nearest neighbours"):
        ds.nearest_neighbors(points, engine=engine)


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("faiss-ivf", {"nlists": 5}, "it has nlist, nprobe"),
        ("faiss-hnsw", {"X": 1}, "it has M, efConstruction, efSearch"),
        ("faiss-ivf", {"nlist": 10**6}, "rejects"),
        ("pynndescent", {"X": 1}, "rejects"),
    ],
)
def test_approximate_refuses_parameters_that_the_library_does_not_have(method, parameters, message):
    with pytest.raises(ValueError, match=message):
        ds.nearest_neighbors(cloud(500, 6), engine=ds.Approximate(method, parameters=parameters))
