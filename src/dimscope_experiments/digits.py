"""Digits: handwritten digits and a network for them, for experiments without downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dimscope.extras import needed

__all__ = ["DigitsNet", "DigitsSplit", "accuracy", "load_digit_images", "split_digits", "train"]


def load_digit_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Load the 1797 digits that ship with scikit-learn.

    Returns
    -------
    images : tensor of shape (1797, 1, 8, 8), float32, between 0 and 1
    labels : tensor of shape (1797,), int64

    Raises
    ------
    BadSource
        If scikit-learn is not installed.

    Examples
    --------
    >>> images, labels = load_digit_images()
    >>> tuple(images.shape), int(labels.max())
    ((1797, 1, 8, 8), 9)
    """
    with needed("the data set of digits"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    images = torch.from_numpy((bunch.images / 16).astype(np.float32)).unsqueeze(1)
    return images, torch.from_numpy(bunch.target.astype(np.int64))


@dataclass(frozen=True)
class DigitsSplit:
    """Training digits with true and with shuffled labels, and test digits."""

    images: torch.Tensor
    labels: torch.Tensor
    shuffled: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def split_digits(seed: int = 0, held_out: int = 500) -> DigitsSplit:
    """Split the digits at random into test and training digits, and shuffle the training labels.

    Examples
    --------
    >>> split = split_digits()
    >>> len(split.images), len(split.test_images)
    (1297, 500)
    >>> bool((split.labels.sort().values == split.shuffled.sort().values).all())
    True
    """
    images, labels = load_digit_images()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    test, training = order[:held_out], order[held_out:]
    own = labels[training]
    shuffled = own[torch.randperm(len(own), generator=generator)]
    return DigitsSplit(images[training], own, shuffled, images[test], labels[test])


class DigitsNet(nn.Module):
    """A network of two convolutions with pooling, a hidden fully connected layer and ten outputs.

    It has the layers of the paper's MNIST network in the same order, for images of 8 x 8.

    Parameters
    ----------
    seed : int
        Seed for the initial weights.

    Examples
    --------
    >>> tuple(DigitsNet()(torch.zeros(2, 1, 8, 8)).shape)
    (2, 10)
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
            self.pool1 = nn.MaxPool2d(2)
            self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
            self.pool2 = nn.MaxPool2d(2)
            self.fc1 = nn.Linear(64 * 2 * 2, 128)
            self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (n, 10) for images of shape (n, 1, 8, 8)."""
        x = self.pool1(torch.relu(self.conv1(x)))
        x = self.pool2(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)  # type: ignore[no-any-return]


def train(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[str, float, float | None], object] | None = None,
) -> int:
    """Train until all images are classified correctly, but for at most ``epochs`` epochs.

    Parameters
    ----------
    network : nn.Module
    images : tensor of shape (n, ...)
    labels : tensor of shape (n,), int64
    epochs : int
        Largest number of epochs.
    seed : int
        Seed for the order of the images.
    batch_size : int
    progress : callable, optional
        ``progress("training", done, total)``, called after every epoch.

    Returns
    -------
    int
        Number of epochs trained.
    """
    shuffling = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    for epoch in range(1, epochs + 1):
        right = 0
        for rows in torch.randperm(len(images), generator=shuffling).split(batch_size):
            optimizer.zero_grad()
            scores = network(images[rows])
            nn.functional.cross_entropy(scores, labels[rows]).backward()
            optimizer.step()
            right += int((scores.argmax(1) == labels[rows]).sum())
        if progress is not None:
            progress("training", epoch, epochs)
        # the count is of a moving network; confirm it before stopping
        if right == len(images) and accuracy(network, images, labels) == 1:
            return epoch
    return epochs


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of images that are classified correctly.

    Examples
    --------
    >>> accuracy(nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
    0.75
    """
    training = network.training
    network.eval()
    with torch.inference_mode():
        right = (network(images).argmax(1) == labels).double().mean()
    network.train(training)
    return float(right)
