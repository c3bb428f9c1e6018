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

CLOUDS = {
    "tree": torus(6000, 3),
    "tiles": embed(sphere(6000, 3), 40),
    "sketches": np.maximum(embed(gaussian(6000, 4), 500), 0).astype(np.float32),
}
each_cloud = pytest.mark.parametrize("where", CLOUDS)


@each_cloud
def test_the_distances_are_those_of_all_points(where):
    points = CLOUDS[where]
    found, every = nearest_neighbors(points, engine=Sampled(rtol=0.03)), nearest_neighbors(points)
    assert found.provenance.parameters["where"] == where
    assert found.n_queries == found.distances.shape[0] == 1112
    assert found.n_distinct == found.n_points == 6000
    np.testing.assert_allclose(found.distances, every.distances[found.queries], rtol=1e-6)
    np.testing.assert_array_equal(found.indices, every.indices[found.queries])
    np.testing.assert_array_equal(found.rows, found.queries)
    assert str(found.guarantee).endswith(", 1112 of 6000 points")


@each_cloud
def test_the_sample_grows_until_the_error_is_small_enough(where):
    points = CLOUDS[where]
    found = TwoNN()(points, Sampled(rtol=0.025))
    assert 1600 < found.n_queries < 3000
    assert found.std_error / found.dimension <= 0.025
    assert f"{found.n_queries} queries" in repr(found)
    assert found.to_dict()["n_queries"] == found.n_queries
    every = TwoNN()(points)
    assert every.n_queries is None
    assert abs(found.dimension - every.dimension) < 4 * found.std_error


def test_what_cannot_be_reached_uses_all_points_and_says_so():
    found = TwoNN()(CLOUDS["tiles"], Sampled(rtol=1e-3))
    assert found.n_queries is None
    assert found.dimension == TwoNN()(CLOUDS["tiles"]).dimension
    said = found.provenance.parameters["guarantee"]
    assert said == "exact to 1e-6, all points, rtol 0.001 not reached"


def test_from_half_of_the_points_on_all_are_taken():
    found = nearest_neighbors(CLOUDS["tiles"], engine=Sampled(rtol=0.018))
    assert found.queries is None
    assert found.n_distinct == 6000


def test_several_estimators_share_a_sample_that_is_enough_for_all():
    both = estimate(CLOUDS["tiles"], [TwoNN(), Gride(2, 4), PCA()], Sampled(rtol=0.03))
    assert both["twonn"].n_queries == both["gride"].n_queries
    assert both["twonn"].std_error / float(both["twonn"]) <= 0.03
    assert float(both["pca"]) == 4


@pytest.mark.slow
def test_the_error_is_the_spread_over_samples_and_points():
    """Each time other points and another sample of them."""
    found = [TwoNN()(torus(4000, 2, seed), Sampled(rtol=0.06, seed=seed)) for seed in range(200)]
    spread = np.std([float(one) for one in found], ddof=1)
    stated = np.sqrt(np.mean([one.std_error**2 for one in found]))
    assert 0.85 < stated / spread < 1.15


def test_repeated_rows_are_collapsed_first():
    points = CLOUDS["tiles"]
    again = np.concatenate([points[:500], points])
    found = nearest_neighbors(again, engine=Sampled(rtol=0.05))
    assert (found.n_points, found.n_distinct, found.n_duplicates) == (6500, 6000, 500)
    exact = nearest_neighbors(again)
    np.testing.assert_allclose(found.distances, exact.distances[found.queries], rtol=1e-6)
    np.testing.assert_array_equal(found.rows, exact.rows[found.queries])


def test_layers_of_the_same_stimuli_are_compared_on_the_same_sample():
    x = gaussian(5000, 3)
    one, two = (TwoNN()(layer, Sampled(rtol=0.04)) for layer in (embed(x, 30), embed(x**3, 30)))
    plain = np.hypot(one.std_error, two.std_error)
    assert 0 < difference(one, two).std_error <= plain * 1.01


def test_what_needs_all_points_says_so():
    found = nearest_neighbors(CLOUDS["tree"], engine=Sampled(rtol=0.05))
    for call in (
        lambda: found.within(np.arange(100)),
        lambda: TwoNN(fit="triplets")(found),
        lambda: Resampled(TwoNN())(CLOUDS["tree"], Sampled(rtol=0.05)),
        lambda: scale_curve(found),
    ):
        with pytest.raises(DegeneratePoints, match=r"needs the neighbours of all points"):
            call()


def test_by_hand():
    with pytest.raises(BadPoints, match="give queries"):
        Neighbors([[1.0, 2.0]] * 3, [[1, 2]] * 3, n_distinct=9)
    found = Neighbors([[1.0, 2.0]] * 3, [[1, 2], [0, 8], [7, 1]], queries=[0, 4, 5], n_distinct=9)
    assert found.places.tolist() == [[-1, -1], [0, -1], [-1, -1]]


@pytest.mark.parametrize("bad", [{"rtol": 0}, {"rtol": 1}, {"failure": 0}])
def test_parameters_are_checked(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sampled(**bad)


def test_the_same_seed_draws_the_same_points():
    one, two, other = (
        nearest_neighbors(CLOUDS["tree"], engine=Sampled(rtol=0.05, seed=s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.queries, two.queries)
    assert (one.queries != other.queries).any()
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
