"""Input that once gave a wrong number or an error from within: now the right one, or a sentence."""

import numpy as np
import pandas as pd
import pytest

import dimscope as ds
from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.files import open_array, write_beside
from dimscope.manifolds import cube, gaussian, torus

P, G = torus(500, 3), gaussian(500, 6)


# -- the local dimension ------------------------------------------------------------------


def test_a_local_dimension_needs_its_neighbours():
    with pytest.raises(ds.DegeneratePoints, match="needs 20 neighbours"):
        ds.local_dimension(ds.nearest_neighbors(P, 5))
    found = ds.nearest_neighbors(P, 20)
    np.testing.assert_array_equal(ds.local_dimension(found), ds.local_dimension(P))


def test_a_local_dimension_has_a_value_for_every_row():
    with pytest.raises(ds.DegeneratePoints, match="sample"):
        ds.local_dimension(P, engine=ds.Sampled(rtol=0.1))
    with pytest.raises(ds.DegeneratePoints, match="50 of 550 rows repeat"):
        ds.local_dimension(ds.nearest_neighbors(np.r_[P, P[:50]], 20))


def test_a_variance_that_is_infinite_has_no_error():
    assert np.isnan(ds.MLE(3, average="dimension")(P).std_error)
    assert ds.MLE(4, average="dimension")(P).std_error > 0


def test_neighbours_that_are_all_equally_far():
    with pytest.raises(ds.DegeneratePoints, match="same distance"):
        ds.scale_curve(np.eye(100), ds.MLE(3), blocks=[2, 4])


# -- spectra ------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("factor", [1e-20, 5e13, 1e100])
def test_features_of_any_size_count_when_normalised(wide, factor):
    points = G[:, :4] if not wide else np.random.default_rng(0).standard_normal((50, 80))
    scaled = points * np.r_[factor, np.ones(points.shape[1] - 1)]
    wanted = ds.spectrum(points, normalized=True).eigenvalues
    found = ds.spectrum(scaled, normalized=True).eigenvalues
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("constant", [1e8 / 3, 1e14, 1e140])
@pytest.mark.parametrize("normalized", [False, True])
def test_a_constant_feature_adds_nothing(constant, normalized):
    points = np.c_[np.full(500, constant), G * 1e-8]
    found = ds.spectrum(points, normalized=normalized).eigenvalues
    wanted = ds.spectrum(G * 1e-8, normalized=normalized).eigenvalues
    np.testing.assert_allclose(found[:6], wanted, rtol=1e-9)
    assert found[6] <= 1e-12 * found[0]


def test_a_surrogate_stays_in_range_or_says_why():
    cloud = ds.surrogate(P * 1e300, seed=1) / 1e300
    np.testing.assert_allclose(cloud, ds.surrogate(P, seed=1), rtol=1e-12, atol=1e-14)
    with pytest.raises(ds.BadPoints, match="a cloud around such points exceeds the range"):
        ds.surrogate(np.random.default_rng(0).choice([-4.4e307, 4.4e307], (20, 1)), 400_000)


# -- whole numbers beyond 2^53 --------------------------------------------------------------


def test_whole_numbers_that_would_be_rounded_are_refused():
    big = 2**60 + (np.random.default_rng(0).random((30, 2)) * 500).astype(np.int64)
    mixed = pd.DataFrame({"a": big[:, 0], "b": big[:, 1], "c": np.linspace(0, 1, 30)})
    with pytest.raises(ds.BadPoints, match=r"beyond 2\^53"):
        ds.TwoNN()(mixed)
    with pytest.raises(ds.BadPoints, match=r"beyond 2\^53"):
        ds.TwoNN()([[int(a), 0.5 * i] for i, (a, _) in enumerate(big)])
    rows = [[2.0**60, float(i) ** 2] for i in range(30)]
    assert ds.TwoNN()(rows).dimension > 0


# -- samples ------------------------------------------------------------------------------


class Median(NeighborEstimator):
    """Without an error."""

    def evaluate(self, neighbors):
        mu = neighbors.distances[:, 1] / neighbors.distances[:, 0]
        return Fit(np.log(2) / np.log(np.median(mu)), n_used=len(mu))


def test_a_sample_grows_whatever_the_order_of_the_estimators():
    points = gaussian(20_000, 3)
    for several in ([Median(), ds.TwoNN()], [ds.TwoNN(), Median()]):
        found = ds.estimate(points, several, ds.Sampled(rtol=0.05))["twonn"]
        assert found.std_error / found.dimension <= 0.05


def test_a_loose_tolerance_takes_a_sample_that_can_be_measured():
    assert ds.TwoNN()(cube(5000, 2), ds.Sampled(rtol=0.9)).n_queries == 100


def test_a_sample_that_is_all_tied_grows():
    rng = np.random.default_rng(0)
    points = np.r_[np.stack(np.meshgrid(*[np.arange(20.0)] * 3), -1).reshape(-1, 3),
                   rng.random((2000, 3)) * 20]  # fmt: skip
    with pytest.warns(ds.TiedPoints):
        assert ds.TwoNN()(points, ds.Sampled(rtol=0.5)).dimension > 0


# -- scales -------------------------------------------------------------------------------


def test_blocks_hold_as_many_points_as_the_estimator_needs():
    curve = ds.scale_curve(cube(400, 2), ds.MLE(k=30))
    assert min(one.n_points for one in curve.points) > 30


@pytest.mark.parametrize("call", [ds.scale_curve, ds.curvature_test])
def test_an_estimator_that_reads_no_neighbours_is_said(call):
    with pytest.raises(TypeError, match="give one that reads"):
        call(P, ds.PCA())


# -- neighbours by hand --------------------------------------------------------------------

GIVEN = {
    "distances": [[1.0, 2.0]] * 4,
    "indices": [[1, 2], [0, 2], [0, 1], [0, 1]],
}


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("names a neighbour twice", {"indices": [[1, 1], [0, 2], [0, 1], [0, 1]]}),
        ("rows must name every", {"rows": [0, 1, 1, 2]}),
        ("queries must be", {"queries": [0, 1], "n_distinct": 5}),
        ("queries must be", {"queries": [0, 1, 2, 2], "n_distinct": 5}),
        ("queries must be", {"queries": [0, 1, 2, 9], "n_distinct": 5}),
        ("n_points is 2", {"n_points": 2}),
        ("indices must be whole numbers", {"indices": [[1.5, 2]] * 4}),
        ("distances must be real", {"distances": [[1j, 2]] * 4}),
        ("ragged", {"distances": [[1.0, 2.0], [1.0]]}),
    ],
)
def test_what_is_wrong_with_given_neighbours_is_said(word, change):
    with pytest.raises(ds.BadPoints, match=word):
        ds.Neighbors(**GIVEN | change)


def test_more_neighbours_within_than_were_searched():
    few = ds.nearest_neighbors(P, 2).within(np.arange(100), 5)
    np.testing.assert_allclose(few.distances, ds.nearest_neighbors(P[:100], 5).distances)


# -- classes --------------------------------------------------------------------------------


def activations(labels, **keywords):
    clouds = np.r_[P[:100], P[100:200][:, [0] * 6] + 0.01 * P[200:300], P[300:400]]
    return ds.Activations({"a": clouds}, labels=labels, **keywords)


def test_classes_of_one_name_are_all_measured():
    labels = np.repeat([0, 1, 2], 100)
    apart = ds.profile(activations(labels, class_names=("a", "b", "c")), by_class=True)
    alike = ds.profile(activations(labels, class_names=("a", "a", "b")), by_class=True)
    assert list(alike.classes) == ["a (0)", "a (1)", "b"]
    assert alike["a"] == apart["a"]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.repeat([-1, 0, 1], 100), ("a", "b")),
        (np.repeat([7, 8, 9], 100), ("a", "b")),
        (np.repeat(["x", "y", "z"], 100), ("a", "b", "c")),
        (np.repeat([0.0, np.nan, 2.0], 100), None),
        (np.repeat([0, None, 2], 100), None),
        (np.zeros((300, 2), int), None),
    ],
)
def test_labels_that_are_no_classes_are_said(labels, names):
    with pytest.raises(ds.BadPoints, match="labels"):
        activations(labels, class_names=names)


# -- stores and files -----------------------------------------------------------------------


@pytest.fixture(params=["folder", "memory://"])
def store(request, tmp_path):
    torch = pytest.importorskip("torch")
    out = str(tmp_path / "s.zarr") if request.param == "folder" else f"memory://{tmp_path.name}"
    labels = np.repeat([0, 1], 150)
    net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 5))
    ds.capture(net, (G[:300].astype(np.float32), labels), out=out, batch_size=50)
    return out


def lose(store, name):
    import fsspec

    files, root = fsspec.core.url_to_fs(store)
    found = [one for one in files.find(root) if name in one and "/c/" in one]
    assert found
    files.rm(found[0])


def test_a_chunk_that_is_lost_is_not_zeros(store):
    lose(store, "layers/")
    with pytest.raises(ds.BadSource, match="damaged"):
        ds.profile(store)


def test_labels_that_are_lost_are_not_zeros(store):
    lose(store, "labels/")
    with pytest.raises(ds.BadSource, match="its labels are missing"):
        ds.profile(store, by_class=True)


def test_rows_beyond_the_end_are_an_error(store):
    stored = ds.open_store(store).stored("input")
    with pytest.raises(IndexError, match="row 300 is out of range: there are 300 rows"):
        stored[300]
    assert sum(1 for _ in stored) == 300


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 not a zip",
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10,",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (-10, 3)}\n",
    ],
)
def test_a_file_that_is_damaged_is_said(tmp_path, content):
    path = tmp_path / "points.npy"
    path.write_bytes(content)
    with pytest.raises(ds.BadSource, match=r"points\.npy"):
        open_array(path)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ds.BadSource, match="cannot write"):
        write_beside(tmp_path / "file" / "x.json", lambda path: path.write_text("x"))
    with pytest.raises(ds.BadSource, match="it is a folder"):
        write_beside(tmp_path, lambda path: path.write_text("x"))


# -- dask and libraries ----------------------------------------------------------------------


def test_dask_chunks_of_another_size_than_declared_are_said():
    da = pytest.importorskip("dask.array")
    array = da.from_array(P[:100], chunks=(10, -1))
    for shorter in (lambda b: b[:5], lambda b: b[:, :2]):
        with pytest.raises(ds.BadPoints, match="says that its chunk at row"):
            ds.nearest_neighbors(array.map_blocks(shorter, dtype=float))


def test_a_search_that_finds_little_warns():
    pytest.importorskip("faiss")
    points = np.random.default_rng(0).random((5000, 50))
    engine = ds.Approximate("faiss-ivf", parameters={"nlist": 500, "nprobe": 1})
    with pytest.warns(ds.PoorRecall, match="of the nearest neighbours"):
        ds.nearest_neighbors(points, engine=engine)


@pytest.mark.parametrize(
    ("method", "parameters", "word"),
    [
        ("faiss-ivf", {"nlists": 5}, "it has nlist, nprobe"),
        ("faiss-hnsw", {"X": 1}, "it has M, efConstruction, efSearch"),
        ("faiss-ivf", {"nlist": 10**6}, "does not take"),
        ("pynndescent", {"X": 1}, "does not take"),
    ],
)
def test_parameters_of_a_library_are_said(method, parameters, word):
    with pytest.raises(ValueError, match=word):
        ds.nearest_neighbors(P, engine=ds.Approximate(method, parameters=parameters))


@pytest.mark.parametrize(
    "call", [lambda: ds.nearest_neighbors(P, 2.5), lambda: ds.I3D(far=2.5, near=1)]
)
def test_numbers_that_must_be_whole(call):
    with pytest.raises(TypeError, match="integer"):
        call()


# -- what else is said ------------------------------------------------------------------------


def test_a_score_that_is_no_number_is_said():
    layer = ds.Layer("fc", "last_hidden")
    profiles = [ds.Profile((layer,), {"t": {"fc": ds.Estimate(float(d))}}, str(d)) for d in "123"]
    for score in (np.nan, "high"):
        with pytest.raises(ds.BadPoints, match="score of '2'"):
            ds.compare(profiles, {"1": 0.5, "2": score, "3": 0.7})


@pytest.mark.parametrize("none", [[], {}])
def test_no_estimator_is_said(none):
    with pytest.raises(ValueError, match="at least one"):
        ds.estimate(P, none)


@pytest.mark.parametrize("change", [{"layers": 5}, {"layers": [{}]}, {"classes": 5}])
def test_a_damaged_profile_is_said(tmp_path, change):
    import json

    path = tmp_path / "p.json"
    ds.profile(ds.Activations({"a": P})).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ds.BadSource, match="damaged"):
        ds.Profile.load(path)


def test_data_that_are_no_numbers_are_said():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    with pytest.raises(ds.BadPoints, match="values, not numbers"):
        ds.capture(net, np.array([["a", "b", "c"]] * 5))
    with pytest.raises(ds.BadPoints, match="to_dense"):
        ds.capture(net, torch.eye(3).to_sparse())
