"""The verb ``profile``: wrong calls are refused with a hint."""

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds

X = torch.rand(200, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: ds.profile(net, X, np.zeros(200)), "labels go with the data"),
        (lambda net: ds.profile(net, X, labels=np.zeros(200)), "labels go with the data"),
        (lambda net: ds.profile(net, X, layer="0"), "did you mean layers"),
        (lambda net: ds.profile(net, X).plot("x.png"), r"savefig\('profile.png'\)"),
    ],
)
def test_profile_refuses_wrong_arguments(call, message):
    with pytest.raises(TypeError, match=message):
        call(nn.Linear(6, 3))


def texts():
    """A tagger of 40 texts of 6 tokens each, and the texts."""
    torch.manual_seed(0)
    tokens = torch.randn(40, 6, 5, generator=torch.Generator().manual_seed(1)).cumsum(dim=1)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)), tokens


@pytest.mark.filterwarnings("ignore::dimscope.TightGroups")
def test_profile_of_tokens_excludes_and_groups_by_the_ids_of_the_texts():
    network, tokens = texts()
    ids = [f"text {i}" for i in range(40)]
    options = {"readout": "tokens", "ids": ids}
    profile = ds.profile(network, tokens, exclude="ids", groups="ids", **options)
    of_tokens = np.repeat(ids, 6)
    expected = ds.estimate(tokens.reshape(240, 5), exclude=of_tokens, groups=of_tokens)
    assert profile["input"].dimension == pytest.approx(expected.dimension, rel=1e-9)
    assert profile["input"].std_error == pytest.approx(expected.std_error, rel=1e-9)
    assert {estimate.n_groups for estimate in profile.values()} == {40}
    given = ds.profile(network, tokens, exclude=of_tokens, groups=of_tokens, **options)
    assert dict(given) == dict(profile)


def test_profile_refuses_arrays_of_ids_where_rows_are_drawn():
    network, tokens = texts()
    for option in ("exclude", "groups"):
        with pytest.raises(ds.BadPoints, match=f"{option} is an array, but n_points or per_class"):
            ds.profile(network, tokens[:, 0], n_points=20, **{option: np.arange(20)})
    drawn = ds.profile(network, tokens[:, 0], n_points=30, ids=np.arange(40) // 2, groups="ids")
    assert 15 <= drawn["input"].n_groups <= 20


def test_profile_takes_the_kind_of_classes():
    network, tokens = texts()
    labels = np.repeat(np.arange(2), 20)
    profile = ds.profile(network, (tokens[:, 0], labels), by_class=True, classes="fixed")
    assert profile["output"].classes_are == "fixed"
    with pytest.raises(ValueError, match="no effect without by_class"):
        ds.profile(network, (tokens[:, 0], labels), classes="fixed")
