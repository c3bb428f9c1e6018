"""What a monitor costs: ``python -m benchmarks.monitoring FOLDER [--steps N] [--device cuda]``.

Two networks are trained on CIFAR-10 in batches of 128; eight profiles of 500 stimuli are measured
per epoch. FOLDER has one folder of images for each class. Fewer steps than an epoch has give the
same share, from fewer measurements.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import dimscope as ds
from benchmarks.timing import machine, table

EPOCH, BATCH, PROFILES = 391, 128, 8
N_IMAGES = 2500  # 500 of them are the probe


def small_cnn() -> nn.Module:
    """Return a network of two convolutional and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10),
    )  # fmt: skip


def vgg16_bn() -> nn.Module:
    """Return VGG-16 with batch norm, with the small classifier that is usual for CIFAR-10."""
    network = torchvision.models.vgg16_bn(num_classes=10)
    network.avgpool = nn.Identity()
    network.classifier = nn.Sequential(
        nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 10)
    )
    return network


NETWORKS = {"small CNN": small_cnn, "VGG-16-BN": vgg16_bn}


def images_of(folder: Path) -> tuple[Tensor, Tensor]:
    """Read images of all classes, in random order, and their labels."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(name.iterdir())[: N_IMAGES // len(classes)]
    ]
    pixels = np.stack([np.asarray(Image.open(path)) for path, _ in files])
    images = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0))
    return images[order], torch.tensor([label for _, label in files])[order]


def run(name: str, images: Tensor, labels: Tensor, steps: int, device: str) -> list[str]:
    """Train a network with a monitor, and return a row of the table."""
    torch.manual_seed(0)
    network = NETWORKS[name]().to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    probe, images, labels = images[:500], images[500:].to(device), labels[500:].to(device)

    def step() -> Tensor:
        rows = torch.randint(len(images), (BATCH,), device=device)
        loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(3):  # the first steps are slower
        step()
    every = EPOCH // PROFILES
    monitor = ds.IDMonitor(network, probe, every=every, max_overhead=None, alarms=None)
    first = monitor.overhead.spent
    monitor.record()  # training begins
    costs = []
    for _ in range(steps):
        before = monitor.overhead.spent
        monitor.step(loss=step())
        costs.append(monitor.overhead.spent - before)
    if device != "cpu":
        torch.cuda.synchronize()
    later = [cost for cost in costs if cost > 0]
    seconds = monitor.overhead.trained / steps
    share = PROFILES * statistics.mean(later) / (EPOCH * seconds)
    return [
        name, str(len(monitor.profile)), f"{seconds:.3g}", f"{first:.2g}",
        f"{statistics.median(later):.2g}", f"{share:.1%}",
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.monitoring")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=EPOCH)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=NETWORKS, action="append")
    arguments = parser.parse_args()
    images, labels = images_of(arguments.folder)
    columns = ["network", "layers", "step, s", "first, s", "later, s", "share of training time"]
    rows = [
        run(name, images, labels, arguments.steps, arguments.device)
        for name in arguments.only or NETWORKS
    ]
    print(table(columns, rows))
    print(f"\n_{machine()}, {arguments.device}._")


if __name__ == "__main__":
    main()
