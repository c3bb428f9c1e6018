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
