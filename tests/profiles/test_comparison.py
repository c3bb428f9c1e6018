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


def test_compare_gives_the_correlations_of_scipy():
    rng = np.random.default_rng(0)
    dimensions = rng.uniform(10, 20, 15)
    errors = dimensions + rng.normal(0, 2, 15)
    comparison = ds.compare(networks(dimensions), {f"net{i}": e for i, e in enumerate(errors)})
    expected = pearsonr(dimensions, errors)
    assert comparison.pearson.r == pytest.approx(expected.statistic)
    assert comparison.pearson.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert comparison.spearman.r == pytest.approx(spearmanr(dimensions, errors).statistic)
    lower, upper = comparison.spearman.interval
    assert lower < comparison.spearman.r < upper
    assert list(comparison.to_frame()["network"][:2]) == ["net0", "net1"]
    assert len(comparison.plot().texts) == 15


def test_interval_of_correlation_covers_the_truth():
    rng = np.random.default_rng(1)
    n_covered = 0
    for _ in range(1000):
        x = rng.standard_normal(20)
        y = 0.8 * x + 0.6 * rng.standard_normal(20)
        r = pearsonr(x, y)
        lower, upper = Correlation(float(r.statistic), 20, float(r.pvalue)).interval
        n_covered += lower <= 0.8 <= upper
    assert 930 <= n_covered <= 970


@pytest.mark.parametrize(
    ("profiles", "scores", "message"),
    [
        (networks([1, 2]), {}, "at least 3 networks"),
        (networks([1, 2, 3]), {"net0": 1, "net1": 2}, "no score for 'net2'"),
        (networks([1, 2, 3])[:1] * 3, {"net0": 1}, "the same name"),
        (networks([1, np.nan, 3]), {f"net{i}": i for i in range(3)}, "of 'net1' has no dimension"),
        ([Profile((Layer("a"),), {"t": {"a": Estimate(1.0)}}, str(i)) for i in range(3)],
         {str(i): i for i in range(3)}, "no last hidden layer"),
    ],
)  # fmt: skip
def test_compare_refuses_bad_input(profiles, scores, message):
    with pytest.raises(ds.BadPoints, match=message):
        ds.compare(profiles, scores)


def test_compare_of_equal_scores_has_no_correlation():
    comparison = ds.compare(networks([1, 2, 3, 4]), {f"net{i}": 0.5 for i in range(4)})
    assert np.isnan(comparison.pearson.r)
    assert comparison.to_dict()["spearman"]["r"] is None
