"""Other libraries' estimators through our adapter, and ours through scikit-learn's protocol."""

import numpy as np
import pytest

from dimscope import BadPoints, BadSource, Gride, SkDim, TwoNN, estimate, nearest_neighbors
from dimscope.manifolds import cube, embed, sphere

skdim = pytest.importorskip("skdim")
sklearn_checks = pytest.importorskip("sklearn.utils.estimator_checks")

POINTS = embed(sphere(300, 3), 8)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("FisherS", {}), ("lPCA", {}), ("MOM", {}), ("TLE", {}), ("MADA", {}),
        ("CorrInt", {}), ("KNN", {}), ("lPCA", {"ver": "ratio", "alphaRatio": 0.9}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_peers_give_what_they_give_alone(method, parameters):
    np.random.seed(0)  # noqa: NPY002  (some of them draw from the global state)
    own = SkDim(method, parameters)(POINTS)
    np.random.seed(0)  # noqa: NPY002
    alone = getattr(skdim.id, method)(**parameters).fit(POINTS).dimension_
    assert own.dimension == pytest.approx(alone)
    assert np.isnan(own.std_error)
    assert own.provenance.parameters["estimator"] == repr(SkDim(method, parameters))


@pytest.mark.filterwarnings("ignore")
def test_ess():
    assert 1.5 <= float(SkDim("ESS", {"random_state": 0})(sphere(60, 2))) <= 3.5


@pytest.mark.filterwarnings("ignore")
def test_danco():
    assert 2 <= float(SkDim("DANCo", {"random_state": 0})(sphere(200, 2))) <= 4


@pytest.mark.filterwarnings("ignore")
def test_repeated_rows_are_left_out():
    twice = np.concatenate([POINTS, POINTS[:30]])
    own = SkDim("MOM")(twice)
    assert own.n_duplicates == 30
    assert own.dimension == SkDim("MOM")(POINTS).dimension


@pytest.mark.filterwarnings("ignore")
def test_beside_our_own_in_one_call():
    both = estimate(POINTS, [TwoNN(), SkDim("lPCA")])
    assert list(both) == ["twonn", "lpca"]


def test_what_is_not_there():
    with pytest.raises(BadSource, match=r"has no estimator 'Nothing'; use one of .*DANCo"):
        SkDim("Nothing")(POINTS)
    with pytest.raises(BadPoints, match="needs the points themselves"):
        SkDim("MOM")(nearest_neighbors(POINTS))


# -- scikit-learn ----------------------------------------------------------------------


def adapter(*arguments):
    from dimscope.sklearn import IntrinsicDimension

    return IntrinsicDimension(*arguments)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_accepts_it():
    sklearn_checks.check_estimator(adapter(), on_skip=None)


def test_fitted_attributes():
    fitted = adapter(Gride(2, 4)).fit(cube(300, 2))
    expected = Gride(2, 4)(cube(300, 2))
    assert fitted.estimate_ == expected
    assert (fitted.dimension_, fitted.std_error_) == (expected.dimension, expected.std_error)
    assert adapter().get_params() == {"estimator": None}
