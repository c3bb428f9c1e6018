import numpy as np
import pytest

from dimscope import PCA, Neighbors, Resampled, TwoNN, nearest_neighbors
from dimscope.errors import DegeneratePoints, RepeatedPoints
from dimscope.manifolds import sphere, torus

POINTS = sphere(300, 3, seed=1)


@pytest.mark.parametrize("keep", [0.9, 0.5])
@pytest.mark.parametrize("fit", ["mle", "regression", "triplets"])
def test_resamples_equal_the_estimates_of_their_subsets(fit, keep):
    estimator = TwoNN(fit=fit)
    resampled = Resampled(estimator, n=3, keep=keep, seed=5)
    estimate = resampled(POINTS)
    fresh = [float(estimator(POINTS[rows])) for rows in resampled.subsets(300)]
    np.testing.assert_allclose(estimate.resamples, fresh, rtol=1e-9)
    assert estimate.resample_std == pytest.approx(np.std(fresh, ddof=1))


def test_resampled_dimension_is_that_of_all_points():
    plain, resampled = TwoNN()(POINTS), Resampled(TwoNN())(POINTS)
    assert resampled.dimension == pytest.approx(plain.dimension, rel=1e-12)
    assert resampled.std_error == pytest.approx(plain.std_error, rel=1e-12)
    assert resampled.goodness_of_fit == plain.goodness_of_fit
    assert plain.resample_std is None


def test_subsets_draw_without_replacement():
    subsets = list(Resampled(n=4, keep=0.9).subsets(100))
    assert len(subsets) == 4
    for rows in subsets:
        assert len(set(rows.tolist())) == len(rows) == 90
        assert (np.diff(rows) > 0).all()
    assert len({rows.tobytes() for rows in subsets}) == 4


def test_resampled_depends_on_the_seed():
    assert Resampled(seed=3)(POINTS) == Resampled(seed=3)(POINTS)
    assert Resampled(seed=3)(POINTS).resamples != Resampled(seed=4)(POINTS).resamples


def test_resampled_collapses_duplicates_first():
    with pytest.warns(RepeatedPoints):
        estimate = Resampled(n=3)(np.concatenate([POINTS, POINTS[:100]]))
    assert estimate.n_duplicates == 100
    assert estimate.resamples == Resampled(n=3)(POINTS).resamples


def test_wished_grows_as_less_is_kept():
    assert Resampled(keep=0.99).wished < Resampled(keep=0.7).wished < Resampled(keep=0.5).wished
    assert Resampled(keep=0.01).wished == 16


def test_resampled_refuses_too_few_points_or_neighbours():
    with pytest.raises(DegeneratePoints, match="too few for 2 neighbours each"):
        Resampled()(POINTS[:3])
    searched = nearest_neighbors(POINTS)
    by_hand = Neighbors(searched.distances, searched.indices)
    with pytest.raises(DegeneratePoints, match="give Neighbors with more neighbours"):
        Resampled()(by_hand)


def test_resampled_works_on_few_points_and_few_neighbours():
    assert len(Resampled()(POINTS[:6]).resamples) == 5
    assert Resampled()(nearest_neighbors(POINTS)).resamples == Resampled()(POINTS).resamples


def test_resampled_refuses_estimators_that_read_no_neighbours():
    with pytest.raises(TypeError, match="only estimators that read neighbours"):
        Resampled(PCA())


@pytest.mark.parametrize("wrong", [{"n": 1}, {"keep": 0}, {"keep": 1}, {"keep": 1.5}])
def test_resampled_refuses_bad_parameters(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Resampled(**wrong)


def test_resampled_repr_evaluates_to_the_estimator():
    resampled = Resampled(TwoNN(fit="regression"), n=4, keep=0.8, seed=2)
    assert eval(repr(resampled)) == resampled
    assert resampled.name == "twonn"


@pytest.mark.parametrize(("keep", "low", "high"), [(0.9, 0.45, 0.75), (0.5, 1.05, 1.75)])
def test_resample_std_is_the_documented_part_of_the_spread(keep, low, high):
    estimates = [
        Resampled(TwoNN(), n=10, keep=keep, seed=seed)(torus(300, 2, seed=seed))
        for seed in range(100)
    ]
    spread = np.std([float(e) for e in estimates], ddof=1)
    assert low < np.sqrt(np.mean([e.resample_std**2 for e in estimates])) / spread < high
