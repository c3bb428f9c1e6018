"""Engines, array kinds and estimators from outside the package, in a profile."""

from dataclasses import dataclass

import numpy as np
import pytest

import dimscope as ds
from dimscope.arrays import ArrayKind, Blocks, as_points, register, unregister
from dimscope.manifolds import torus

POINTS = torus(300, 2)


# -- an engine: one method ----------------------------------------------------------------


@dataclass(frozen=True)
class BruteForce(ds.Engine):
    """All distances at once."""

    def search(self, points, k):
        values = points.block(slice(None), dtype=np.dtype(np.float64))
        distances = np.linalg.norm(values[:, None] - values, axis=2)
        np.fill_diagonal(distances, np.inf)
        indices = np.argsort(distances, axis=1)[:, :k]
        nearest = np.take_along_axis(distances, indices, axis=1)
        return ds.SearchResult(nearest, indices, ds.Guarantee.stated("all distances, in float64"))


# -- an array kind: its blocks, and how to recognise it -------------------------------------


class Factored:
    """The product of two thin matrices, which is never formed whole."""

    def __init__(self, left, right):
        self.left, self.right = left, right
        self.shape = len(left), right.shape[1]

    def __len__(self):
        return len(self.left)


class FactoredBlocks(Blocks):
    def __init__(self, array):
        super().__init__(array.shape, np.dtype(np.float64))
        self._array = array

    def read(self, rows, columns):
        return self._array.left[rows] @ self._array.right[:, columns]


class FactoredKind(ArrayKind):
    def accepts(self, array):
        return isinstance(array, Factored)

    def open(self, array, memory=None):
        return as_points(FactoredBlocks(array), memory=memory)

    def take(self, array, rows):
        return Factored(array.left[rows], array.right)


@pytest.fixture
def factored():
    register(FactoredKind())
    yield Factored(POINTS, np.random.default_rng(0).standard_normal((4, 50)))
    unregister(FactoredKind)


def whole(array):
    return array.left @ array.right


# -- an estimator that fails -----------------------------------------------------------------


@dataclass(frozen=True)
class Fails(ds.NeighborEstimator):
    def evaluate(self, neighbors):
        raise ds.DegeneratePoints("this estimator measures nothing")


def test_profile_takes_engine_and_array_kind_from_outside(factored):
    activations = ds.Activations({"dense": whole(factored), "factored": factored})
    profile = ds.profile(activations, engine=BruteForce())
    exact = ds.profile(ds.Activations({"dense": whole(factored)}))["dense"]
    for estimate in profile.values():
        assert estimate.dimension == pytest.approx(exact.dimension, rel=1e-9)
        assert estimate.provenance.parameters["guarantee"] == "all distances, in float64"


def test_profile_by_class_takes_rows_of_an_array_kind_from_outside(factored):
    labels = np.arange(300) % 2
    kept = ds.profile(ds.Activations({"a": factored}, labels=labels), by_class=True)
    dense = ds.profile(ds.Activations({"a": whole(factored)}, labels=labels), by_class=True)
    for label in ("0", "1"):
        expected = dense.classes[label]["a"].dimension
        assert kept.classes[label]["a"].dimension == pytest.approx(expected, rel=1e-9)


def test_array_kind_from_outside_is_unknown_once_unregistered(factored):
    assert ds.estimate(factored).n_points == 300
    unregister(FactoredKind)
    with pytest.raises(ds.BadPoints, match="points are a Factored, not an array"):
        ds.estimate(factored)
    register(FactoredKind())


def test_spectrum_reads_an_array_kind_from_outside(factored):
    found, expected = ds.spectrum(factored), ds.spectrum(whole(factored))
    np.testing.assert_allclose(found.eigenvalues[:4], expected.eigenvalues[:4], rtol=1e-12)


def test_neighbors_of_an_engine_from_outside_serve_decimation():
    neighbors = ds.nearest_neighbors(POINTS, 5, BruteForce())
    rows = np.arange(0, 300, 3)
    expected = ds.nearest_neighbors(POINTS[rows]).distances
    np.testing.assert_allclose(neighbors.within(rows).distances, expected, rtol=1e-9)


def test_profile_keeps_the_reason_of_an_estimator_from_outside_that_fails():
    profile = ds.profile(ds.Activations({"a": POINTS}), estimators=Fails())
    assert np.isnan(profile["a"].dimension)
    assert profile["a"].reason == "this estimator measures nothing"


def test_engine_without_a_method_says_so():
    class Empty(ds.Engine):
        pass

    with pytest.raises(TypeError, match="Empty must define search or searcher"):
        ds.estimate(POINTS, engine=Empty())


# -- an engine that would have no effect -------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ds.estimate(POINTS, ds.PCA(), ds.Exact()), "PCA.* reads no neighbours"),
        (lambda: ds.PCA()(POINTS, ds.Sketched()), "PCA.* reads no neighbours"),
        (lambda: ds.estimate(POINTS, [ds.PCA(), ds.I3D()], ds.Exact()), "read no neighbours"),
        (lambda: ds.estimate(ds.nearest_neighbors(POINTS), engine=ds.Exact()), "not searched"),
        (lambda: ds.TwoNN()(ds.nearest_neighbors(POINTS), ds.Exact()), "not searched again"),
        (
            lambda: ds.profile(
                ds.Activations({"a": POINTS}), estimators=ds.PCA(), engine=ds.Exact()
            ),
            "PCA",
        ),
    ],
)
def test_engine_without_effect_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("engine", ["exact", ds.Exact, "skethced"])
@pytest.mark.parametrize("estimator", [ds.TwoNN(), ds.PCA()], ids=["twonn", "pca"])
def test_anything_but_an_engine_is_refused(engine, estimator):
    with pytest.raises(TypeError, match="engine must be an Engine such as"):
        ds.estimate(POINTS, estimator, engine)


def test_engine_that_one_of_several_estimators_uses_is_accepted():
    both = ds.estimate(POINTS, [ds.PCA(), ds.TwoNN()], BruteForce())
    assert both["twonn"].dimension == pytest.approx(ds.TwoNN()(POINTS).dimension)
