"""The data sets, from a folder; pictures made here for the smallest scale."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimscope_experiments.ansuini2019.study import Study

__all__ = ["digits", "fingerprint", "imagenet"]

_SIDE = 224


def digits(study: Study) -> tuple[torch.Tensor, torch.Tensor]:
    """Handwritten digits: the MNIST test set, or those of scikit-learn at the smallest scale.

    Returns
    -------
    images : tensor of shape (n, 1, 28, 28), float32, between 0 and 1
    labels : tensor of shape (n,), int64
    """
    if study.scale == "smoke":
        from dimscope.sources.digits import load_digit_images

        images, labels = load_digit_images()
        return torch.nn.functional.interpolate(images, (28, 28), mode="bilinear"), labels
    from torchvision.datasets.mnist import read_image_file, read_label_file

    stem = "t10k-{}-ubyte"
    found = [_unpacked(study, stem.format(kind)) for kind in ("images-idx3", "labels-idx1")]
    images, labels = read_image_file(str(found[0])), read_label_file(str(found[1]))
    return images[:, None].float() / 255, labels


def _unpacked(study: Study, name: str) -> Path:
    path = study.find("MNIST", name, f"{name}.gz", f"MNIST/raw/{name}", f"MNIST/raw/{name}.gz")
    if path.suffix != ".gz":
        return path
    plain = study.kept("mnist", {"file": name}) / name
    with gzip.open(path) as packed, plain.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return plain


def imagenet(study: Study, n_points: int) -> Any:
    """A folder of ImageNet images, or smooth random pictures at the smallest scale."""
    if study.scale == "smoke":
        rng = np.random.default_rng(study.settings["seed"])
        coarse = torch.from_numpy(rng.standard_normal((n_points, 3, 8, 8)).astype(np.float32))
        return torch.nn.functional.interpolate(coarse, (_SIDE, _SIDE), mode="bilinear")
    return study.find("ImageNet", "imagenet_samples", "imagenet", "train")


def fingerprint(*tensors: torch.Tensor) -> str:
    """A hash of the values of tensors."""
    digest = hashlib.sha256()
    for one in tensors:
        digest.update(one.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
