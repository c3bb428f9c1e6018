import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

import dimscope as ds
from dimscope import Estimate, Layer, Profile
from dimscope.profiles.comparison import Correlation


def networks(dimensions):
    layer = Layer("fc", "last_hidden")
    return [
        Profile((layer,), {"twonn": {"fc": Estimate(d, 0.1)}}, f"net{i}")
        for i, d in enumerate(dimensions)
    ]


def test_both_correlations_and_their_intervals():
    rng = np.random.default_rng(0)
    dimensions = rng.uniform(10, 20, 15)
    errors = dimensions + rng.normal(0, 2, 15)
    found = ds.compare(networks(dimensions), {f"net{i}": e for i, e in enumerate(errors)})
    plain = pearsonr(dimensions, errors)
    assert found.pearson.r == pytest.approx(plain.statistic)
    assert found.pearson.interval == pytest.approx(tuple(plain.confidence_interval()))
    assert found.spearman.r == pytest.approx(spearmanr(dimensions, errors).statistic)
    lower, upper = found.spearman.interval
    assert lower < found.spearman.r < upper
    assert list(found.to_frame()["network"][:2]) == ["net0", "net1"]
    assert len(found.plot().texts) == 15


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        x = rng.standard_normal(20)
        y = 0.8 * x + 0.6 * rng.standard_normal(20)
        r = pearsonr(x, y)
        lower, upper = Correlation(float(r.statistic), 20, float(r.pvalue)).interval
        held += lower <= 0.8 <= upper
    assert 930 <= held <= 970


@pytest.mark.parametrize(
    ("several", "scores", "says"),
    [
        (networks([1, 2]), {}, "at least 3 networks"),
        (networks([1, 2, 3]), {"net0": 1, "net1": 2}, "no score for 'net2'"),
        (networks([1, 2, 3])[:1] * 3, {"net0": 1}, "the same name"),
        (networks([1, np.nan, 3]), {f"net{i}": i for i in range(3)}, "of 'net1' could not be"),
        ([Profile((Layer("a"),), {"t": {"a": Estimate(1.0)}}, str(i)) for i in range(3)],
         {str(i): i for i in range(3)}, "no last hidden layer"),
    ],
)  # fmt: skip
def test_bad_input(several, scores, says):
    with pytest.raises(ds.BadPoints, match=says):
        ds.compare(several, scores)


def test_nothing_to_correlate():
    found = ds.compare(networks([1, 2, 3, 4]), {f"net{i}": 0.5 for i in range(4)})
    assert np.isnan(found.pearson.r)
    assert found.to_dict()["spearman"]["r"] is None


def test_compare_refuses_a_score_that_is_no_number():
    profiles = networks([1.0, 2.0, 3.0])
    for score in (np.nan, "high"):
        with pytest.raises(ds.BadPoints, match="score of 'net1'"):
            ds.compare(profiles, {"net0": 0.5, "net1": score, "net2": 0.7})
