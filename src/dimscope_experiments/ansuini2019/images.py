"""Images: read data sets from a folder, or make small ones for the smallest scale."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dimscope as ds
from dimscope.files import write_beside
from dimscope_experiments.ansuini2019.networks import preprocessing
from dimscope_experiments.ansuini2019.study import Study

__all__ = [
    "Pictures",
    "cifar",
    "digits",
    "fingerprint",
    "imagenet",
    "photographs",
    "pixels",
    "source_hash",
]

# of the training images of CIFAR-10
_MEAN = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
_STD = torch.tensor([0.2470, 0.2435, 0.2616])[:, None, None]


# where the data sets are looked for in the data folder
IMAGENET = ("imagenet_samples", "imagenet", "train")


MNIST_FILES = tuple(
    (name, f"{name}.gz", f"MNIST/raw/{name}", f"MNIST/raw/{name}.gz")
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
)


CIFAR_FOLDERS = tuple((f"cifar10/{part}", part) for part in ("train", "test"))


def digits(study: Study) -> tuple[torch.Tensor, torch.Tensor]:
    """Load handwritten digits: the MNIST test set, or scikit-learn's at the smallest scale.

    Returns
    -------
    images : tensor of shape (n, 1, 28, 28), float32, between 0 and 1
    labels : tensor of shape (n,), int64
    """
    if study.scale == "smoke":
        from dimscope_experiments.digits import load_digit_images

        images, labels = load_digit_images()
        return torch.nn.functional.interpolate(images, (28, 28), mode="bilinear"), labels
    from torchvision.datasets.mnist import read_image_file, read_label_file

    found = [_unpacked(study, names) for names in MNIST_FILES]
    images, labels = read_image_file(str(found[0])), read_label_file(str(found[1]))
    return images[:, None].float() / 255, labels


@dataclass(frozen=True)
class Pictures:
    """Normalised training and test images, with a hash of all of them.

    Parameters
    ----------
    training, test : tensors of shape (n, 3, 32, 32), float32
    training_labels, test_labels : tensors of shape (n,), int64
    hash : str
    """

    training: torch.Tensor
    training_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    hash: str


def cifar(study: Study, n_training: int | None = None) -> Pictures:
    """Load equally many CIFAR-10 images of each class; coloured noise at the smallest scale.

    Parameters
    ----------
    study : Study
    n_training : int, optional
        Number of training images; by default, the number in the settings of the zoo.
    """
    zoo = study.of("zoo")
    wanted = zoo["n_training"] if n_training is None else n_training
    parts = []
    for part, n in (("train", wanted), ("test", zoo["n_test"])):
        if study.scale == "smoke":
            rng = np.random.default_rng([zoo["seed"], n])
            labels = torch.arange(n) % 10
            coarse = rng.standard_normal((n, 3, 4, 4)) + labels.numpy()[:, None, None, None] / 5
            images = torch.nn.functional.interpolate(
                torch.from_numpy(coarse.astype(np.float32)), (32, 32), mode="bilinear"
            )
        else:
            images, labels = _cifar_part(study, part, n)
        parts += [images.contiguous(memory_format=torch.channels_last), labels]
    return Pictures(parts[0], parts[1], parts[2], parts[3], fingerprint(*parts))


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Return normalised CIFAR-10 images as pixels from 0 to 255."""
    return (images * _STD + _MEAN) * 255


def _cifar_part(study: Study, part: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Load the first n / 10 images of every class, in a fixed random order."""
    kept = study.kept("cifar_images", {"part": part, "n": n})
    path = kept / "images.npz"
    if not path.exists():
        images, labels = [], []
        for label, image in _cifar_files(study, part, n // 10):
            images.append(image)
            labels.append(label)
        order = np.random.default_rng(0).permutation(len(labels))
        shown, classes = np.stack(images)[order], np.array(labels)[order]
        write_beside(path, lambda beside: np.savez(beside, images=shown, labels=classes))
    with np.load(path) as found:
        values = torch.from_numpy(found["images"]).permute(0, 3, 1, 2).float() / 255
        return (values - _MEAN) / _STD, torch.from_numpy(found["labels"])


def _cifar_files(study: Study, part: str, each: int) -> Iterator[tuple[int, np.ndarray]]:
    from PIL import Image

    if study.data is None:
        from torchvision.datasets import CIFAR10

        whole = CIFAR10(str(study.cache / "cifar10"), train=part == "train", download=True)
        for label in range(10):
            for row in np.flatnonzero(np.array(whole.targets) == label)[:each]:
                yield label, whole.data[row]
        return
    folder = study.find("CIFAR-10", *CIFAR_FOLDERS[("train", "test").index(part)])
    for label, name in enumerate(sorted(one.name for one in folder.iterdir() if one.is_dir())):
        for path in sorted((folder / name).iterdir())[:each]:
            yield label, np.asarray(Image.open(path).convert("RGB"))


def _unpacked(study: Study, names: tuple[str, ...]) -> Path:
    path, name = study.find("MNIST", *names), names[0]
    if path.suffix != ".gz":
        return path
    plain = study.kept("mnist", {"file": name}) / name
    with gzip.open(path) as packed:
        content = packed.read()
    write_beside(plain, lambda beside: beside.write_bytes(content))
    return plain


def imagenet(study: Study, n_points: int) -> Any:
    """Find a folder of ImageNet images, or make smooth random images at the smallest scale."""
    if study.scale == "smoke":
        rng = np.random.default_rng(study.settings["seed"])
        coarse = torch.from_numpy(rng.standard_normal((n_points, 3, 8, 8)).astype(np.float32))
        return torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")
    return study.find("ImageNet", *IMAGENET)


def photographs(study: Study, n_points: int, name: str, preprocess: str) -> Any:
    """Open the ImageNet images for a network.

    Parameters
    ----------
    study : Study
    n_points : int
        Number of images that are made at the smallest scale.
    name : str
        Name of the network.
    preprocess : {"weights", "imagenet"}
        Prepare the images as the published weights of the network expect, or all alike.
    """
    data = imagenet(study, n_points)
    if isinstance(data, torch.Tensor):
        return data
    chosen = preprocessing(name) if preprocess == "weights" else None
    return ds.image_folder(data, preprocessing=chosen)


def fingerprint(*tensors: torch.Tensor) -> str:
    """Return a hash of the values of tensors."""
    digest = hashlib.sha256()
    for one in tensors:
        digest.update(one.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def source_hash(data: Any) -> str:
    """Return a hash of a tensor, or of the names and bytes of the files in a folder."""
    if isinstance(data, torch.Tensor):
        return fingerprint(data)
    digest = hashlib.sha256()
    for path in sorted(one for one in Path(data).rglob("*") if one.is_file()):
        digest.update(path.relative_to(data).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
