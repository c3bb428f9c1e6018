"""Data from disk: a folder of images, or a ``.npy`` file; never a pickle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dimscope.errors import BadSource
from dimscope.files import open_array

__all__ = ["image_folder", "open_data"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def open_data(path: Path) -> Any:
    """Open what a path points to.

    Parameters
    ----------
    path : Path
        A folder of images with one folder for each class (resized to 256, centre crop 224,
        ImageNet mean and standard deviation), or a ``.npy`` file with one row for each stimulus.

    Returns
    -------
    Dataset or array
        The array is a read-only memory map.

    Raises
    ------
    BadSource
        If there is nothing, or nothing that can be read safely.
    """
    if path.is_dir():
        return image_folder(path)
    if not path.exists():
        raise BadSource(f"{path} does not exist; give an image folder or a .npy file")
    if path.suffix != ".npy":
        raise BadSource(
            f"{path} is neither a folder of images nor a .npy file; save the array with numpy.save"
        )
    array = open_array(path)
    if array.ndim == 0:
        raise BadSource(f"{path} holds one number; give an array with one row for each stimulus")
    return array


def image_folder(path: str | os.PathLike[str], size: int = 224) -> Any:
    """A folder of images, with one folder for each class, as networks for ImageNet see them.

    Parameters
    ----------
    path : path
    size : int
        Images are resized so that their shorter side is 8 / 7 of it, and the middle ``size`` x
        ``size`` is taken; then ImageNet's mean and standard deviation are applied.

    Returns
    -------
    torchvision.datasets.ImageFolder
        For images that are to be prepared in another way give it, or any data set, yourself.

    Raises
    ------
    BadSource
        If there are no such folders, or no images in one of them.
    """
    path = Path(path)
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import default_loader

    def load(file: str) -> Any:
        try:
            return default_loader(file)
        except (OSError, SyntaxError) as error:
            raise BadSource(f"{file} is not an image that can be read: {error}") from error

    prepare = transforms.Compose(
        [
            transforms.Resize(round(size * 8 / 7)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    try:
        return ImageFolder(str(path), prepare, loader=load)
    except FileNotFoundError as error:
        hint = "put the images of each class into a folder of its own, such as cat/1.jpg"
        if not any(path.iterdir()):
            raise BadSource(f"{path} is an empty folder; {hint}") from error
        if not any(entry.is_dir() for entry in path.iterdir()):
            raise BadSource(f"{path} has no folder for each class in it; {hint}") from error
        raise BadSource(f"a class folder in {path} has no images: {error}") from error
