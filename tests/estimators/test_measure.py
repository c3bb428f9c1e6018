import pickle

import numpy as np
import pytest

from broken import FAILURES, REASONS, Broken, without_provenance
from dimscope import (
    MLE,
    PCA,
    DegeneratePoints,
    Estimate,
    EstimatorsFailed,
    Gride,
    Interrupted,
    Resampled,
    Sampled,
    TwoNN,
    estimate,
    nearest_neighbors,
)
from dimscope.estimators import inputs
from dimscope.estimators.measure import named_estimators
from dimscope.manifolds import cube
from dimscope.neighbors.search import Search

POINTS = cube(200, 2)


def test_estimate_with_one_estimator_returns_an_estimate():
    assert estimate(POINTS) == TwoNN()(POINTS)
    assert isinstance(estimate(POINTS, TwoNN(fit="regression")), Estimate)


def test_estimate_with_several_estimators_equals_each_alone():
    line = TwoNN(fit="regression")
    both = estimate(POINTS, [TwoNN(), line])
    assert both == {"twonn": TwoNN()(POINTS), "twonn_2": line(POINTS)}
    assert estimate(POINTS, {"a": line}) == {"a": line(POINTS)}


def test_estimate_searches_once_for_all_estimators(monkeypatch):
    searches = []

    def counted(points, k=2, engine=None, **kwargs):
        searches.append(k)
        return Search(points, k, engine, **kwargs)

    monkeypatch.setattr(inputs, "Search", counted)
    estimate(POINTS, [TwoNN(), Resampled(TwoNN()), TwoNN(fit="triplets")])
    assert searches == [Resampled().wished]


def test_estimate_accepts_neighbors():
    assert estimate(nearest_neighbors(POINTS, TwoNN().wished)) == TwoNN()(POINTS)


def test_estimate_reports_progress():
    seen = []
    estimate(POINTS, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("searching", 1, 1)


def test_named_estimators_numbers_equal_names():
    assert list(named_estimators(None)) == ["twonn"]
    assert list(named_estimators(TwoNN())) == ["twonn"]
    assert list(named_estimators([TwoNN()] * 3)) == ["twonn", "twonn_2", "twonn_3"]
    assert list(named_estimators({"x": TwoNN()})) == ["x"]
    assert list(named_estimators(estimator for estimator in (TwoNN(), Resampled()))) == [
        "twonn",
        "twonn_2",
    ]


@pytest.mark.parametrize("wrong", [TwoNN, [TwoNN], {"a": TwoNN}, "twonn", ["twonn"], 3])
def test_estimate_refuses_what_is_not_an_estimator(wrong):
    with pytest.raises(TypeError, match="is not an estimator; give an instance"):
        estimate(POINTS, wrong)


def test_estimate_refuses_an_empty_list():
    with pytest.raises(ValueError, match="at least one"):
        estimate(POINTS, [])


def test_estimate_refuses_an_empty_mapping_of_estimators():
    with pytest.raises(ValueError, match="at least one"):
        estimate(POINTS, {})


# -- failures --------------------------------------------------------------------------


def test_estimate_keeps_the_estimates_of_those_that_do_not_fail():
    with pytest.raises(EstimatorsFailed, match="1 of 2 estimators failed: twonn: all 50") as caught:
        estimate(np.eye(50), [TwoNN(), PCA()])
    assert caught.value.estimates == {"pca": PCA()(np.eye(50))}
    assert float(caught.value.estimates["pca"]) == 45
    assert isinstance(caught.value.failures["twonn"], DegeneratePoints)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.estimates, str(again)) == (caught.value.estimates, str(caught.value))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_estimator_leaves_the_others_as_they_are_alone(failure):
    with pytest.raises(EstimatorsFailed) as caught:
        estimate(POINTS, {"before": TwoNN(), "broken": Broken(failure), "after": Gride(2, 4)})
    estimates = caught.value.estimates
    assert list(estimates) == ["before", "after"]
    for name, alone in (("before", TwoNN()), ("after", Gride(2, 4))):
        assert without_provenance(estimates[name]) == without_provenance(alone(POINTS))
    assert list(caught.value.failures) == ["broken"]
    assert REASONS[failure] in str(caught.value)


@pytest.mark.parametrize("failure", FAILURES)
def test_estimate_with_one_estimator_raises_its_own_error(failure):
    with pytest.raises(FAILURES[failure]):
        estimate(POINTS, Broken(failure))
    with pytest.raises(FAILURES[failure]):
        Broken(failure)(POINTS)


def test_an_error_of_the_shared_search_is_raised_as_it_is_and_searched_for_once(monkeypatch):
    searches = []

    def counted(points, k=2, engine=None, **kwargs):
        searches.append(k)
        return Search(points, k, engine, **kwargs)

    monkeypatch.setattr(inputs, "Search", counted)
    with pytest.raises(DegeneratePoints, match="all 5 points are the same"):
        estimate(np.ones((5, 2)), [TwoNN(), Gride(2, 4)])
    assert len(searches) == 1


def test_an_estimator_that_needs_more_neighbours_than_there_are_fails_alone():
    few = POINTS[:20]
    with pytest.raises(EstimatorsFailed, match="only 20 distinct points") as caught:
        estimate(few, [TwoNN(), MLE(30)])
    (measured,) = caught.value.estimates.values()
    assert without_provenance(measured) == without_provenance(TwoNN()(few))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_estimator_does_not_disturb_a_sampled_search(failure):
    engine, points = Sampled(rtol=0.2), cube(2000, 2)
    with pytest.raises(EstimatorsFailed) as caught:
        estimate(points, [TwoNN(), Broken(failure)], engine)
    assert caught.value.estimates["twonn"].std_error <= 0.2 * float(TwoNN()(points))


def test_ctrl_c_keeps_the_estimates_made_so_far():
    with pytest.raises(Interrupted) as caught:
        estimate(POINTS, [TwoNN(), Broken("Ctrl-C"), Gride(2, 4)])
    (measured,) = caught.value.partial.values()
    assert without_provenance(measured) == without_provenance(TwoNN()(POINTS))
    assert isinstance(caught.value, KeyboardInterrupt)


def test_an_error_of_the_progress_callback_is_no_failure_of_an_estimator():
    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        estimate(POINTS, [TwoNN(), PCA()], progress=stop)
