"""Small networks whose arithmetic is exact, in whatever order sums are taken.

All weights and inputs are whole numbers, and so small that every sum is one that the type holds;
biases are positive, so that no zero has a sign.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def whole_numbers(network: nn.Module, seed: int = 0, largest: int = 2) -> nn.Module:
    """Give a network whole numbers as weights."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for weight in network.parameters():
            low = 1 if weight.ndim == 1 else -largest
            drawn = rng.integers(low, largest + 1, tuple(weight.shape))
            weight.copy_(torch.from_numpy(drawn).to(weight.dtype))
    return network.eval()


def mlp() -> nn.Sequential:
    """Three linear layers in float32."""
    network = nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
    )
    whole_numbers(network)
    return network


def mlp_inputs(n: int = 300, seed: int = 1) -> Tensor:
    """Whole numbers in six features, for :func:`mlp`."""
    drawn = np.random.default_rng(seed).integers(-256, 256, (n, 6))
    return torch.from_numpy(drawn).to(torch.float32)


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.second(self.relu(self.first(x))))


class ResidualNet(nn.Module):
    """A convolutional network with two residual blocks, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.average = nn.AvgPool2d(2)
        self.head = nn.Linear(16, 5)
        self.double()
        whole_numbers(self, seed=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(self.relu(self.stem(x))))
        return self.head(self.average(x).flatten(1))


def images(n: int = 60, seed: int = 3) -> Tensor:
    """Images of whole numbers, for :class:`ResidualNet`."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 16, (n, 3, 8, 8))).double()


class Tokens(nn.Module):
    """A network of sequences: an embedding and two linear layers, token by token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 4)
        whole_numbers(self, seed=4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(self.embedding(ids))))


class TwoInputs(nn.Module):
    """A network that is not called with one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 6)
        self.right = nn.Linear(2, 6)
        self.join = nn.Linear(6, 3)
        whole_numbers(self, seed=5)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"score": self.join(torch.relu(self.left(left) + self.right(right)))}


SOURCE = """
import numpy as np
import torch
from torch import nn


def make_model():
    network = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4))
    rng = np.random.default_rng(6)
    with torch.no_grad():
        for weight in network.parameters():
            low = 1 if weight.ndim == 1 else -2
            drawn = rng.integers(low, 3, tuple(weight.shape))
            weight.copy_(torch.from_numpy(drawn).to(weight.dtype))
    return network
"""
