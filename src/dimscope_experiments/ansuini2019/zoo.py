"""Zoo: the networks trained on CIFAR-10, which several figures share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import cfgs, make_layers

from dimscope_experiments.ansuini2019.images import Pictures
from dimscope_experiments.ansuini2019.study import Study
from dimscope_experiments.ansuini2019.training import Course, at_epoch, train

__all__ = ["Member", "alexnet", "members", "resnet18", "vgg16_bn"]

_CLASSES = 10


def vgg16_bn(width: float) -> nn.Module:
    """Build VGG-16 with batch norm for 32 x 32 images, with all widths multiplied by ``width``."""
    plan = [one if one == "M" else max(8, int(one * width)) for one in cfgs["D"]]
    last = int(plan[-2])
    return nn.Sequential(
        *make_layers(plan, batch_norm=True),
        nn.Flatten(),
        nn.Linear(last, last), nn.ReLU(),
        nn.Linear(last, last), nn.ReLU(),
        nn.Linear(last, _CLASSES),
    )  # fmt: skip


class _NarrowResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet-18 with a different stem and different widths, for 32 x 32 images."""

    def __init__(self, width: float) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], _CLASSES)
        widths = [max(8, int(one * width)) for one in (64, 128, 256, 512)]
        self.inplanes = widths[0]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.Identity()
        self.layer1 = self._make_layer(BasicBlock, widths[0], 2)
        self.layer2 = self._make_layer(BasicBlock, widths[1], 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, widths[2], 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, widths[3], 2, stride=2)
        self.fc = nn.Linear(widths[3], _CLASSES)


def resnet18(width: float) -> nn.Module:
    """Build ResNet-18 for 32 x 32 images, with all widths multiplied by ``width``."""
    return _NarrowResNet(width)


def alexnet(width: float) -> nn.Module:
    """Build five convolutions, three poolings and three fully connected layers, as in AlexNet."""
    a, b, c, d, e = (max(8, int(one * width)) for one in (64, 192, 384, 256, 256))
    hidden = max(16, int(1024 * width))
    return nn.Sequential(
        nn.Conv2d(3, a, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(e * 16, hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, _CLASSES),
    )  # fmt: skip


_FAMILIES = {"vgg16_bn": vgg16_bn, "resnet18": resnet18, "alexnet": alexnet}


@dataclass(frozen=True)
class Member:
    """A network in the zoo after a number of epochs.

    Parameters
    ----------
    family : {"vgg16_bn", "resnet18", "alexnet"}
    width : float
        Factor by which all widths of the published network are multiplied.
    epochs : int
    """

    family: str
    width: float
    epochs: int

    @property
    def name(self) -> str:
        """Name, such as ``resnet18 x 0.25, 12 epochs``."""
        return f"{self.family} x {self.width:g}, {self.epochs} epochs"

    def build(self) -> nn.Module:
        """Build the network, untrained."""
        return _FAMILIES[self.family](self.width)

    def network(self, study: Study, pictures: Pictures, settings: dict[str, Any]) -> nn.Module:
        """Return the network from the cache; train it if it is missing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            network = self.build()
        network = network.to(memory_format=torch.channels_last)
        most = max(settings["epochs"])
        key = {"family": self.family, "width": self.width, "data": pictures.hash,
               "rate": settings["learning_rate"], "seed": settings["seed"]}  # fmt: skip
        folder = study.kept("cifar", key)
        course = Course(most, settings["learning_rate"], batch_size=128, seed=settings["seed"])
        train(network, pictures.training, pictures.training_labels, course, study, folder,
              f"{self.family} x {self.width:g}")  # fmt: skip
        at_epoch(network, folder, self.epochs)
        return network


def members(settings: dict[str, Any]) -> list[Member]:
    """Return every combination of family, width and number of epochs."""
    return [
        Member(family, width, epochs)
        for family in settings["families"]
        for width in settings["widths"]
        for epochs in settings["epochs"]
    ]
