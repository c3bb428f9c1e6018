"""Small networks whose condition is known: untrained, trained, with shuffled labels, dead layers.

``python -m benchmarks.conditions FOLDER`` trains those that are missing there, in about an hour on
two processors, and keeps their profiles. ``DIMSCOPE_IMAGES`` names the folder with the MNIST test
set (``t10k-*.gz``) and CIFAR-10 (``cifar10/train/CLASS/*.jpg``).
"""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import dimscope as ds

__all__ = ["ARCHITECTURES", "CONDITIONS", "SEEDS", "networks"]

# The data of each architecture.
ARCHITECTURES = {"mlp": "mnist", "cnn": "mnist", "vgg": "cifar", "resnet": "cifar"}
CONDITIONS = (
    "untrained", "trained", "over-trained", "shuffled 20", "shuffled 50", "shuffled 100",
    "dead", "collapsed",
)  # fmt: skip
SEEDS = range(3)
_N_TRAINING, _N_PROFILE = 2000, 1000
_EPOCHS = {"mnist": 8, "cifar": 12}
_OVER_TRAINED, _MOST = 40, 150  # epochs


# -- data ---------------------------------------------------------------------------------


def images_of(
    data: str, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images and labels, test images and labels; another seed gives other images."""
    folder = Path(os.environ["DIMSCOPE_IMAGES"])
    if data == "mnist":
        raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
        images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)
        raw = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
        labels = np.frombuffer(raw, np.uint8, offset=8)
    else:
        kept = folder / "cifar10_16.npz"
        if not kept.exists():
            _reduce_cifar(folder / "cifar10" / "train", kept)
        with np.load(kept) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    order = np.random.default_rng(seed).permutation(len(labels))[: _N_TRAINING + 1000]
    x = torch.from_numpy(images[order].astype(np.float32) / 255)
    if data == "mnist":
        x = nn.functional.avg_pool2d(x, 2)
    y = torch.from_numpy(labels[order].astype(np.int64))
    if data == "cifar":
        x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
    return x[:_N_TRAINING], y[:_N_TRAINING], x[_N_TRAINING:], y[_N_TRAINING:]


def _reduce_cifar(folder: Path, kept: Path) -> None:
    """Halve the side of the first 2000 images of each class."""
    from PIL import Image

    images, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for path in sorted((folder / name).iterdir())[:2000]:
            small = Image.open(path).convert("RGB").reduce(2)
            images.append(np.asarray(small).transpose(2, 0, 1))
            labels.append(label)
    np.savez(kept, images=np.stack(images), labels=np.array(labels))


def shuffled(labels: torch.Tensor, percent: int, seed: int) -> torch.Tensor:
    """Permute the labels of some of the images among themselves."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(labels), generator=generator)[: len(labels) * percent // 100]
    mixed = labels.clone()
    mixed[rows] = labels[rows[torch.randperm(len(rows), generator=generator)]]
    return mixed


# -- networks -----------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions with batch norm, and a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(shortcut + convolutions)."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and four residual stages of one block each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.layer1, self.layer2 = Block(16, 16, 1), Block(16, 32, 2)
        self.layer3, self.layer4 = Block(32, 32, 1), Block(32, 64, 2)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        for part in (self.stem, self.layer1, self.layer2, self.layer3, self.layer4):
            x = part(x)
        return self.fc(self.avgpool(x).flatten(1))


def network_of(kind: str, seed: int) -> nn.Module:
    """Make a network with random weights."""
    torch.manual_seed(1000 + seed)
    if kind == "resnet":
        return ResNet()
    layers: list[nn.Module] = []
    if kind == "mlp":
        layers.append(nn.Flatten())
        for n_in in (196, 256, 256, 256, 256):
            layers += [nn.Linear(n_in, 256), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(256, 10))
    if kind == "cnn":
        for n_in, n_out in ((1, 32), (32, 64)):
            layers += [nn.Conv2d(n_in, n_out, 3), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(256, 128), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(128, 10))
    for n_in, n_out in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 10))


def train(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int, seed: int,
    *, to_zero_error: bool = False,
) -> int:  # fmt: skip
    """Train with Adam; stop once all labels are learned, if wanted."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        network.train()
        for rows in torch.randperm(len(labels), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
        if to_zero_error and epoch % 5 == 0 and accuracy(network, images, labels) >= 0.999:
            return epoch
    return epochs


@torch.inference_mode()
def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Fraction of images that are classified correctly, in evaluation mode."""
    network.eval()
    right = sum(
        int((network(x).argmax(1) == y).sum())
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    )
    return right / len(labels)


def kill(network: nn.Module, kind: str, seed: int, alive: int) -> str:
    """Silence the units of one layer by their bias, all or all but a few, and name the layer."""
    if kind == "resnet":
        name = "layer4" if alive else f"layer{2 + seed % 3}"
        bias = getattr(network, name).bn2.bias
    else:
        linear = [n for n, m in network.named_modules() if isinstance(m, nn.Linear)][:-1]
        norms = [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
        convolutions = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
        choice = linear if alive else (norms or convolutions)[1:] + linear
        if kind == "mlp":
            choice = choice[1:]  # not the first layer
        name = choice[seed % len(choice)]
        bias = network.get_submodule(name).bias
    with torch.no_grad():
        bias[alive:] = -1e4
    return name


# -- profiles -----------------------------------------------------------------------------


def make(kind: str, seed: int) -> Iterator[tuple[str, nn.Module, dict[str, Any]]]:
    """Yield condition, network and what is known about it."""
    data = ARCHITECTURES[kind]
    images, labels, test_images, test_labels = images_of(data, seed)
    trained = None
    for condition in CONDITIONS:
        start = time.perf_counter()
        network = network_of(kind, seed)
        target, epochs, killed = labels, 0, ""
        if condition == "trained":
            epochs = train(network, images, labels, _EPOCHS[data], seed)
            trained = copy.deepcopy(network)
        elif condition == "over-trained":
            epochs = train(network, images, labels, _OVER_TRAINED, seed)
        elif condition.startswith("shuffled"):
            target = shuffled(labels, int(condition.split()[1]), seed)
            epochs = train(network, images, target, _MOST, seed, to_zero_error=True)
        elif condition in ("dead", "collapsed"):
            network = copy.deepcopy(trained)
            killed = kill(network, kind, seed, 0 if condition == "dead" else 2)
        yield condition, network.eval(), {
            "kind": kind, "seed": seed, "condition": condition, "epochs": epochs,
            "killed": killed, "training_accuracy": accuracy(network, images, target),
            "test_accuracy": accuracy(network, test_images, test_labels),
            "seconds": time.perf_counter() - start,
        }  # fmt: skip


def networks(folder: Path) -> None:
    """Train all networks that are missing, and keep their profiles and what is known of them.

    ``NAME.p.json`` is the profile of half of the training images, with influences, and
    ``NAME.q.json`` that of the other half.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, kind in itertools.product(SEEDS, ARCHITECTURES):
        lock = folder / f"{kind}_{seed}.lock"
        try:
            lock.touch(exist_ok=False)
        except FileExistsError:
            continue  # done, or in another process
        images, labels, _, _ = images_of(ARCHITECTURES[kind], seed)
        for condition, network, facts in make(kind, seed):
            stem = f"{kind}_{seed}_{condition.replace(' ', '_')}"
            for part, rows in (("p", slice(_N_PROFILE)), ("q", slice(_N_PROFILE, None))):
                with warnings.catch_warnings(action="ignore"):
                    profile = ds.profile(
                        network, (images[rows], labels[rows]), name="network", batch_size=250,
                        companions=["distance", "hubness", "effective_rank", "participation_ratio"],
                    )  # fmt: skip
                profile.save(folder / f"{stem}.{part}.json", influences=part == "p")
            (folder / f"{stem}.facts.json").write_text(json.dumps(facts))
            line = " ".join(f"{float(e):.3g}" for e in profile.values())
            print(stem, f"{facts['training_accuracy']:.3f} {facts['test_accuracy']:.3f}",
                  facts["epochs"], f"{facts['seconds']:.0f} s |", line, flush=True)  # fmt: skip


if __name__ == "__main__":
    networks(Path(sys.argv[1]))
