import pytest

from dimscope import Estimate, Resampled, TwoNN, estimate, nearest_neighbors
from dimscope.estimators import inputs
from dimscope.estimators.measure import named_estimators
from dimscope.manifolds import cube
from dimscope.neighbors.search import Search

POINTS = cube(200, 2)


def test_one_estimator_gives_one_estimate():
    assert estimate(POINTS) == TwoNN()(POINTS)
    assert isinstance(estimate(POINTS, TwoNN(fit="regression")), Estimate)


def test_several_give_a_dict_and_equal_what_each_gives_alone():
    line = TwoNN(fit="regression")
    both = estimate(POINTS, [TwoNN(), line])
    assert both == {"twonn": TwoNN()(POINTS), "twonn_2": line(POINTS)}
    assert estimate(POINTS, {"a": line}) == {"a": line(POINTS)}


def test_one_search_serves_all(monkeypatch):
    searches = []

    def counted(points, k=2, engine=None, **kwargs):
        searches.append(k)
        return Search(points, k, engine, **kwargs)

    monkeypatch.setattr(inputs, "Search", counted)
    estimate(POINTS, [TwoNN(), Resampled(TwoNN()), TwoNN(fit="triplets")])
    assert searches == [Resampled().wished]


def test_neighbours_are_taken_as_they_are():
    assert estimate(nearest_neighbors(POINTS)) == TwoNN()(POINTS)


def test_progress_is_passed_on():
    seen = []
    estimate(POINTS, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("searching", 1, 1)


def test_names():
    assert list(named_estimators(None)) == ["twonn"]
    assert list(named_estimators(TwoNN())) == ["twonn"]
    assert list(named_estimators([TwoNN()] * 3)) == ["twonn", "twonn_2", "twonn_3"]
    assert list(named_estimators({"x": TwoNN()})) == ["x"]
    assert list(named_estimators(one for one in (TwoNN(), Resampled()))) == ["twonn", "twonn_2"]


@pytest.mark.parametrize("wrong", [TwoNN, [TwoNN], {"a": TwoNN}, "twonn", ["twonn"], 3])
def test_what_is_not_an_estimator(wrong):
    with pytest.raises(TypeError, match="is not an estimator; give an instance"):
        estimate(POINTS, wrong)


def test_no_estimator():
    with pytest.raises(ValueError, match="at least one"):
        estimate(POINTS, [])


def test_estimate_refuses_an_empty_mapping_of_estimators():
    with pytest.raises(ValueError, match="at least one"):
        estimate(POINTS, {})
