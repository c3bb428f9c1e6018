"""Run: train one network on noisy labels, and measure its last hidden layer after every epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dimscope as ds
from dimscope.files import write_beside
from dimscope.provenance import versions
from dimscope_experiments.digits import accuracy
from dimscope_experiments.ma2018.noise import noisy
from dimscope_experiments.ma2018.rules import lasting_rise, turn

__all__ = ["LAYER", "SETTINGS", "Run", "Settings", "run"]

LAYER = "hidden"  # the last hidden layer, after its activation
_K, _BATCH = 20, 128  # neighbours, and images of a batch, in the paper


def build(seed: int) -> nn.Module:
    """Build a network of two convolutions with pooling, 128 hidden units and ten outputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        )
        network.add_module(LAYER, nn.Sequential(nn.Linear(32 * 7 * 7, 128), nn.ReLU()))
        network.add_module("output", nn.Linear(128, 10))
    return network


@dataclass(frozen=True)
class Settings:
    """How the networks are trained and measured.

    Parameters
    ----------
    held_out : int
        Number of images, with clean labels, for the test accuracy.
    epochs : int
    learning_rate : float
        Of gradient descent with momentum 0.9, in batches of 128.
    batches : int
        Number of batches in which the local dimension is measured, of 128 training images.
    n_probe : int
        Number of training images in the fixed set.
    shares : tuple of float
        Shares of wrong labels.
    seeds : tuple of int
    """

    held_out: int = 2000
    epochs: int = 30
    learning_rate: float = 0.05
    batches: int = 10
    n_probe: int = 2000
    shares: tuple[float, ...] = (0.0, 0.2, 0.4)
    seeds: tuple[int, ...] = (0, 1, 2)


SETTINGS = {
    "smoke": Settings(
        held_out=200, epochs=7, batches=2, n_probe=200, shares=(0.0, 0.4), seeds=(0,)
    ),
    "small": Settings(),
}


@dataclass(frozen=True)
class Run:
    """What was measured in one run, after 0, 1, 2, ... epochs.

    Parameters
    ----------
    share : float
        Share of wrong labels.
    seed : int
        Seed of the split, the noise, the weights and the order of the images.
    test, training : tuple of float
        Accuracy on the held-out images with clean labels, and on the training images with the
        labels that were learned.
    batches : tuple of float
        Local dimension in batches, as in the paper.
    mle, two_nn, errors : tuple of float
        Dimension of the fixed set by ``MLE(20)`` and ``TwoNN()``, and the errors of the former.
    lasting : int or None
        The result of :func:`~dimscope_experiments.ma2018.rules.lasting_rise` for ``mle``.
    """

    share: float
    seed: int
    test: tuple[float, ...]
    training: tuple[float, ...]
    batches: tuple[float, ...]
    mle: tuple[float, ...]
    errors: tuple[float, ...]
    two_nn: tuple[float, ...]
    lasting: int | None

    @property
    def best(self) -> int:
        """The epoch with the best test accuracy; the first of several."""
        return self.test.index(max(self.test))

    @property
    def turns(self) -> dict[str, int | None]:
        """The turn by each rule; the first is that of the paper."""
        return {
            "batches": turn(self.batches),
            "MLE(20)": turn(self.mle),
            "TwoNN()": turn(self.two_nn),
            "lasting rise": self.lasting,
        }

    def agrees(self, rule: str) -> bool:
        """Whether the turn is as stated: near the best accuracy with noise, none without."""
        epoch = self.turns[rule]
        if not self.share:
            return epoch is None
        return epoch is not None and abs(epoch - self.best) <= 2


def run(
    images: torch.Tensor,
    labels: torch.Tensor,
    share: float,
    seed: int,
    settings: Settings,
    folder: Path,
    progress: Callable[[str, float, float | None], object] = lambda step, done, total: None,
) -> Run:
    """Train and measure one network, unless the folder has its record with the same settings.

    Parameters
    ----------
    images : tensor of shape (n, 1, 28, 28)
    labels : tensor of shape (n,)
    share : float
        Share of wrong labels.
    seed : int
    settings : Settings
    folder : Path
        Folder for the records.
    progress : callable, optional
        ``progress(step, done, total)``.
    """
    path = folder / f"noise-{share:.0%}-seed-{seed}.json".replace("%", "")
    # as JSON gives them back
    key = json.loads(json.dumps({**asdict(settings), "n": len(images)}))
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["settings"] == key:
            saved: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in record["run"].items()
            }
            return Run(**saved)
    result = _measured(images, labels, share, seed, settings, progress)
    text = json.dumps(
        {"settings": key, "versions": versions("scipy", "torch"), "run": asdict(result)}, indent=1
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_beside(path, lambda beside: beside.write_text(text + "\n", encoding="utf-8"))
    return result


def _measured(
    images: torch.Tensor,
    labels: torch.Tensor,
    share: float,
    seed: int,
    settings: Settings,
    progress: Callable[[str, float, float | None], object],
) -> Run:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    test, rows = order[: settings.held_out], order[settings.held_out :]
    shown, learned = images[rows], noisy(labels[rows], share, seed)
    probe = shown[: settings.n_probe]
    network = build(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=settings.learning_rate, momentum=0.9)
    tests, trainings, batches = [], [], []
    mle, two_nn = [], []
    for epoch in range(settings.epochs + 1):
        if epoch:
            network.train()
            for part in torch.randperm(len(shown), generator=generator).split(_BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(shown[part]), learned[part]).backward()
                optimizer.step()
        network.eval()
        tests.append(accuracy(network, images[test], labels[test]))
        trainings.append(accuracy(network, shown, learned))
        drawn = torch.randperm(len(shown), generator=generator)[: settings.batches * _BATCH]
        batches.append(_in_batches(network, shown[drawn]))
        profile = ds.profile(network, probe, [ds.MLE(_K), ds.TwoNN()], layers=[LAYER])
        mle.append(profile[LAYER])
        two_nn.append(float(profile.of("twonn")[LAYER]))
        progress(f"training with {share:.0%} noise, seed {seed}", epoch, settings.epochs)
    return Run(
        share,
        seed,
        tuple(tests),
        tuple(trainings),
        tuple(batches),
        tuple(map(float, mle)),
        tuple(estimate.std_error for estimate in mle),
        tuple(two_nn),
        lasting_rise(mle),
    )


def _in_batches(network: nn.Module, images: torch.Tensor) -> float:
    """Measure the mean local dimension in batches of 128 images, as in the paper.

    The paper divides k by the sum of ln(r_k / r_j); :func:`dimscope.local_dimension` divides k - 2,
    which is unbiased.
    """
    activations = ds.capture(network, images, layers=[LAYER])
    local = [
        ds.local_dimension(part, _K).mean()
        for part in torch.tensor(activations[LAYER]).split(_BATCH)
    ]
    return float(_K / (_K - 2) * sum(local) / len(local))
