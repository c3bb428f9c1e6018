"""A sample of the points, whose neighbours are sought among all."""

import numpy as np
import pytest

from dimscope import (
    PCA,
    Gride,
    Neighbors,
    Resampled,
    Sampled,
    Sketched,
    TwoNN,
    difference,
    estimate,
    nearest_neighbors,
    scale_curve,
)
from dimscope.errors import BadPoints, DegeneratePoints, TiedPoints
from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.manifolds import cube, embed, gaussian, sphere, torus
from dimscope.neighbors import kernels

CLOUDS = {
    "tree": torus(6000, 3),
    "tiles": embed(sphere(6000, 3), 40),
    "sketches": np.maximum(embed(gaussian(6000, 4), 500), 0).astype(np.float32),
    "codes": np.maximum(embed(gaussian(6000, 30), 500), 0).astype(np.float32),
}
each_cloud = pytest.mark.parametrize("where", CLOUDS)


@pytest.fixture(autouse=True)
def _without_codes(request, monkeypatch):
    """Search with tiles and sketches, where codes would take less time."""
    if "codes" not in request.node.name:
        monkeypatch.setattr(kernels, "level", 0)


@each_cloud
def test_sampled_distances_equal_those_of_all_points(where):
    points = CLOUDS[where]
    sample, exact = nearest_neighbors(points, engine=Sampled(rtol=0.03)), nearest_neighbors(points)
    assert sample.provenance.parameters["where"] == where
    assert sample.n_queries == sample.distances.shape[0] == 1112
    assert sample.n_distinct == sample.n_points == 6000
    np.testing.assert_allclose(sample.distances, exact.distances[sample.queries], rtol=1e-6)
    np.testing.assert_array_equal(sample.indices, exact.indices[sample.queries])
    np.testing.assert_array_equal(sample.rows, sample.queries)
    assert str(sample.guarantee).endswith(", 1112 of 6000 points")


@each_cloud
def test_sampled_grows_until_the_error_is_small_enough(where):
    points = CLOUDS[where]
    estimate = TwoNN()(points, Sampled(rtol=0.025))
    assert 1600 < (estimate.n_queries or 6000) <= 6000
    assert estimate.std_error / estimate.dimension <= 0.025
    queries = "" if estimate.n_queries is None else f", {estimate.n_queries} queries"
    assert repr(estimate).endswith(f"n=6000{queries})")
    assert estimate.to_dict()["n_queries"] == estimate.n_queries
    exact = TwoNN()(points)
    assert exact.n_queries is None
    assert abs(estimate.dimension - exact.dimension) < 4 * estimate.std_error


def test_sampled_uses_all_points_if_rtol_is_out_of_reach():
    estimate = TwoNN()(CLOUDS["tiles"], Sampled(rtol=1e-3))
    assert estimate.n_queries is None
    assert estimate.dimension == TwoNN()(CLOUDS["tiles"]).dimension
    guarantee = estimate.provenance.parameters["guarantee"]
    assert guarantee == "exact to 1e-6, all points, rtol 0.001 not reached"


def test_sampled_takes_all_points_from_half_of_them_on():
    neighbors = nearest_neighbors(CLOUDS["tiles"], engine=Sampled(rtol=0.018))
    assert neighbors.queries is None
    assert neighbors.n_distinct == 6000


def test_sampled_shares_one_sample_among_estimators():
    both = estimate(CLOUDS["tiles"], [TwoNN(), Gride(2, 4), PCA()], Sampled(rtol=0.03))
    assert both["twonn"].n_queries == both["gride"].n_queries
    assert both["twonn"].std_error / float(both["twonn"]) <= 0.03
    assert float(both["pca"]) == 4


@pytest.mark.slow
def test_sampled_std_error_equals_the_spread():
    """Each time other points and another sample of them."""
    estimates = [
        TwoNN()(torus(4000, 2, seed), Sampled(rtol=0.06, seed=seed)) for seed in range(200)
    ]
    spread = np.std([float(estimate) for estimate in estimates], ddof=1)
    stated = np.sqrt(np.mean([estimate.std_error**2 for estimate in estimates]))
    assert 0.85 < stated / spread < 1.15


def test_sampled_collapses_repeated_rows_first():
    points = CLOUDS["tiles"]
    again = np.concatenate([points[:500], points])
    sample = nearest_neighbors(again, engine=Sampled(rtol=0.05))
    assert (sample.n_points, sample.n_distinct, sample.n_duplicates) == (6500, 6000, 500)
    exact = nearest_neighbors(again)
    np.testing.assert_allclose(sample.distances, exact.distances[sample.queries], rtol=1e-6)
    np.testing.assert_array_equal(sample.rows, exact.rows[sample.queries])


def test_difference_of_sampled_layers_is_paired():
    x = gaussian(5000, 3)
    first, second = (
        TwoNN()(layer, Sampled(rtol=0.04)) for layer in (embed(x, 30), embed(x**3, 30))
    )
    plain = np.hypot(first.std_error, second.std_error)
    assert 0 < difference(first, second).std_error <= plain * 1.01


def test_samples_are_refused_where_all_points_are_needed():
    sample = nearest_neighbors(CLOUDS["tree"], engine=Sampled(rtol=0.05))
    for call in (
        lambda: sample.within(np.arange(100)),
        lambda: TwoNN(fit="triplets")(sample),
        lambda: Resampled(TwoNN())(CLOUDS["tree"], Sampled(rtol=0.05)),
        lambda: scale_curve(sample),
    ):
        with pytest.raises(DegeneratePoints, match=r"needs the neighbours of all points"):
            call()


def test_neighbors_of_a_sample_need_queries():
    with pytest.raises(BadPoints, match="pass queries"):
        Neighbors([[1.0, 2.0]] * 3, [[1, 2]] * 3, n_distinct=9)
    sample = Neighbors([[1.0, 2.0]] * 3, [[1, 2], [0, 8], [7, 1]], queries=[0, 4, 5], n_distinct=9)
    assert sample.places.tolist() == [[-1, -1], [0, -1], [-1, -1]]


@pytest.mark.parametrize("bad", [{"rtol": 0}, {"rtol": 1}, {"failure": 0}])
def test_sampled_refuses_bad_parameters(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sampled(**bad)


def test_sampled_depends_on_the_seed():
    first, again, other = (
        nearest_neighbors(CLOUDS["tree"], engine=Sampled(rtol=0.05, seed=s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.queries, again.queries)
    assert (first.queries != other.queries).any()
    assert Sketched() != Sampled()


class Median(NeighborEstimator):
    """Without an error."""

    def evaluate(self, neighbors):
        mu = neighbors.distances[:, 1] / neighbors.distances[:, 0]
        return Fit(np.log(2) / np.log(np.median(mu)), n_used=len(mu))


def test_sampled_grows_whatever_the_order_of_the_estimators():
    points = gaussian(20_000, 3)
    for estimators in ([Median(), TwoNN()], [TwoNN(), Median()]):
        result = estimate(points, estimators, Sampled(rtol=0.05))["twonn"]
        assert result.std_error / result.dimension <= 0.05


def test_sampled_takes_enough_points_at_a_loose_tolerance():
    assert TwoNN()(cube(5000, 2), Sampled(rtol=0.9)).n_queries == 100


def test_sampled_grows_where_the_whole_sample_is_tied():
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[np.arange(20.0)] * 3), -1).reshape(-1, 3)
    points = np.r_[lattice, rng.random((2000, 3)) * 20]
    with pytest.warns(TiedPoints):
        assert TwoNN()(points, Sampled(rtol=0.5)).dimension > 0
