"""Agreement with peers on the same points: scikit-dimension and scikit-learn."""

import numpy as np
import pytest

from dimscope import MLE, PCA, TwoNN, manifolds, nearest_neighbors, spectrum

skdim = pytest.importorskip("skdim")
sklearn_neighbors = pytest.importorskip("sklearn.neighbors")
sklearn_decomposition = pytest.importorskip("sklearn.decomposition")
sklearn_preprocessing = pytest.importorskip("sklearn.preprocessing")

CLOUDS = {
    "sphere": manifolds.sphere(500, 3),
    "gaussian": manifolds.gaussian(501, 10),
    "swiss_roll": manifolds.swiss_roll(400, 2),
    "embedded": manifolds.embed(manifolds.paraboloid(333, 4), 100),
}
each_cloud = pytest.mark.parametrize("name", CLOUDS)


@each_cloud
@pytest.mark.parametrize("discard", [0.1, 0.25, 0.5])
@pytest.mark.parametrize(("fit", "method"), [("regression", "linear"), ("mle", "mle")])
def test_scikit_dimension_on_the_same_points(name, discard, fit, method):
    # The conventions are the same: the int(N (1 - discard)) smallest ratios, F = i / N, a
    # line through the origin; the likelihood censors, (k - 1) over the censored sum.
    points = CLOUDS[name]
    peer = skdim.id.TwoNN(discard_fraction=discard, method=method).fit(points)
    own = TwoNN(fit=fit, discard=discard)(points)
    assert own.dimension == pytest.approx(peer.dimension_, rel=1e-6)
    assert own.n_used == len(peer.x_)


@each_cloud
def test_scikit_dimension_without_discard(name):
    # In the line the last ratio has F = 1, where -ln(1 - F) is infinite: scikit-dimension
    # has no finite fit and ours leaves that one point out, so only the likelihood can be
    # compared. It computes the line's ordinates, and warns of them, all the same.
    with np.errstate(divide="ignore"):
        peer = skdim.id.TwoNN(discard_fraction=0, method="mle").fit(CLOUDS[name])
    assert TwoNN(discard=0)(CLOUDS[name]).dimension == pytest.approx(peer.dimension_, rel=1e-6)


@each_cloud
def test_scikit_dimension_on_our_distances(name):
    found = nearest_neighbors(CLOUDS[name])
    peer = skdim.id.TwoNN(dist=True).fit(found.distances)
    assert TwoNN(fit="regression")(found).dimension == pytest.approx(peer.dimension_, rel=1e-9)


@each_cloud
@pytest.mark.parametrize("k", [2, 5])
def test_scikit_learn_distances(name, k):
    points = CLOUDS[name].astype(np.float64)
    peer = sklearn_neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
    distances, indices = peer.kneighbors()
    found = nearest_neighbors(points, k)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    np.testing.assert_array_equal(found.indices, indices)


@each_cloud
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("normalized", [False, True])
def test_scikit_learn_components(name, variance, normalized):
    points = CLOUDS[name]
    if normalized:
        points = sklearn_preprocessing.StandardScaler().fit_transform(points)
    peer = sklearn_decomposition.PCA(variance, svd_solver="full").fit(points)
    assert PCA(normalized, variance)(CLOUDS[name]).dimension == peer.n_components_
    values = spectrum(CLOUDS[name]).eigenvalues
    raw = sklearn_decomposition.PCA(svd_solver="full").fit(CLOUDS[name]).explained_variance_
    np.testing.assert_allclose(values, raw[: len(values)], atol=1e-9 * raw[0])


@each_cloud
@pytest.mark.parametrize("k", [5, 20])
def test_scikit_dimension_maximum_likelihood(name, k):
    peer = skdim.id.MLE().fit(CLOUDS[name], n_neighbors=k, comb="mle")
    own = MLE(k=k)(CLOUDS[name])
    # its sum is not corrected for the bias of order 1 / (N k)
    n = len(CLOUDS[name]) * (k - 1)
    assert own.dimension == pytest.approx(peer.dimension_ * (n - 1) / n, rel=1e-6)
