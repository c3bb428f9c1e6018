import pytest
import torch
from torch import nn

INITS = ("kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "normal_")


def _random(tensor, *args, **kwargs):
    with torch.no_grad():
        fan_in = tensor[0].numel() if tensor.ndim > 1 else tensor.numel()
        return tensor.uniform_(-1, 1).mul_((3 / fan_in) ** 0.5)


def _constant(tensor, *args, **kwargs):
    with torch.no_grad():
        return tensor.fill_(0.01)


@pytest.fixture
def quick_init(monkeypatch):
    """Weights of large networks from one cheap draw: their statistics do not matter here."""
    for name in INITS:
        monkeypatch.setattr(nn.init, name, _random)


@pytest.fixture
def constant_init(monkeypatch):
    """Constant weights, where only the anatomy of a large network matters."""
    for name in INITS:
        monkeypatch.setattr(nn.init, name, _constant)
