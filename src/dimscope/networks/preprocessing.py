"""Preprocessing: turn images into inputs as the weights of a network expect.

:func:`~dimscope.load_model` notes on the network where its weights come from, so a folder of images
that is given with the network is preprocessed as its weights were trained, and no other way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dimscope.arrays.files import read_stimuli
from dimscope.arrays.formats.registry import format_of, open_array
from dimscope.errors import BadSource, CaptureWarning, DimscopeError, first_line, warn
from dimscope.extras import needed
from dimscope.files import load_module, near
from dimscope.networks.structure import unwrap

__all__ = [
    "MEAN",
    "STD",
    "Preprocessing",
    "Source",
    "for_network",
    "image_folder",
    "imagenet",
    "note_source",
    "open_data",
    "preprocess_in",
    "preprocessing_of",
    "source_of",
    "torchvision_weights",
]


MEAN = (0.485, 0.456, 0.406)


STD = (0.229, 0.224, 0.225)


_SIZE = 224


Chosen = Literal["weights", "default", "user"]


@dataclass(frozen=True)
class Preprocessing:
    """A conversion of images into inputs of a network.

    Parameters
    ----------
    text : str
        A description, which is printed and stored in the provenance.
    transform : callable
        Takes a PIL image and returns a tensor.
    source : {"weights", "default", "user"}
        Who chose it: the weights of the network, nobody (``"default"``, as for most ImageNet
        classifiers), or the user.
    at_size : callable, optional
        Returns the same preprocessing for images of another size; None if there is none.

    Examples
    --------
    >>> print(imagenet())
    as for ImageNet classifiers: resize 256, crop 224, bilinear, mean 0.485 0.456 0.406, \
std 0.229 0.224 0.225
    """

    text: str
    transform: Callable[[Any], Tensor] = field(repr=False)
    source: Chosen = "user"
    at_size: Callable[[int], Preprocessing] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def __call__(self, image: Any) -> Tensor:
        """Preprocess a PIL image.

        Raises
        ------
        BadSource
            If the transform fails or does not return a tensor.
        """
        try:
            values = self.transform(image)
        except DimscopeError:
            raise
        except Exception as error:
            raise BadSource(
                f"the preprocessing ({self.text}) failed on an image: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(values, Tensor):
            raise BadSource(
                f"the preprocessing ({self.text}) returned a {type(values).__name__}; it must "
                "take a PIL image and return a tensor"
            )
        return values

    def resized(self, size: int) -> Preprocessing:
        """Return the same preprocessing for square images of ``size`` pixels.

        Raises
        ------
        BadSource
            If this preprocessing has a fixed size.
        """
        if self.at_size is None:
            raise BadSource(
                f"the preprocessing ({self.text}) has a fixed size; omit the image size, or use "
                "the preprocessing of ImageNet classifiers (--preprocess imagenet)"
            )
        return replace(self.at_size(size), source="user")

    def agrees_with(self, other: Preprocessing) -> bool:
        """Whether two preprocessings turn a test image into the same input, up to rounding."""
        from PIL import Image

        # colours vary from pixel to pixel; the image is wider than high, and larger than most crops
        values = torch.arange(3 * 520 * 600).reshape(520, 600, 3) * 7919 % 251
        image = Image.fromarray(values.to(torch.uint8).numpy())
        first, second = self(image), other(image)
        return first.shape == second.shape and torch.allclose(
            first.float(), second.float(), rtol=0, atol=1e-3
        )


def imagenet(size: int = _SIZE, why: str = "", source: Chosen = "default") -> Preprocessing:
    """Return the preprocessing of most ImageNet classifiers.

    Parameters
    ----------
    size : int
        Side of the preprocessed images in pixels. An image is resized so that its shorter side is
        8/7 of ``size``, the central square is cropped, and the values are normalised by ImageNet's
        mean and standard deviation.
    why : str
        The reason for using it, for the description.
    source : {"weights", "default", "user"}

    Examples
    --------
    >>> imagenet(112, why="no other is known").text
    'as for ImageNet classifiers (no other is known): resize 128, crop 112, bilinear, \
mean 0.485 0.456 0.406, std 0.229 0.224 0.225'
    """
    with needed("preprocessing of images"):
        from torchvision import transforms

    resize = round(size * 8 / 7)
    transform = transforms.Compose(
        [
            transforms.Resize(resize),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    reason = f" ({why})" if why else ""
    details = _described(resize, size, "bilinear", MEAN, STD)
    return Preprocessing(
        f"as for ImageNet classifiers{reason}: {details}",
        transform,
        source,
        partial(imagenet, why=why, source=source),
    )


def _described(
    resize: Any = None,
    crop: Any = None,
    interpolation: Any = None,
    mean: Any = None,
    std: Any = None,
) -> str:
    parts = [
        f"resize {_numbers(resize)}" if resize else "",
        f"crop {_numbers(crop)}" if crop else "",
        str(interpolation or ""),
        f"mean {_numbers(mean)}" if mean is not None else "",
        f"std {_numbers(std)}" if std is not None else "",
    ]
    return ", ".join(filter(None, parts))


def _numbers(values: Any) -> str:
    if isinstance(values, dict):
        return " ".join(f"{key} {value:g}" for key, value in values.items() if value is not None)
    several = values if isinstance(values, list | tuple) else [values]
    return " ".join(f"{float(value):.4g}" for value in several)


# --- the network and its preprocessing ---------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where a network and its weights come from.

    Parameters
    ----------
    spec : str
        The name that :func:`~dimscope.load_model` was given.
    weights : str or None
        ``"random"``, or the file with the weights; None for the weights that the name implies.
    revision : str or None
    preprocess : callable, optional
        The function ``preprocess`` or ``transform`` in the ``.py`` file that builds the network.
    """

    spec: str
    weights: str | None = None
    revision: str | None = None
    preprocess: Callable[[Any], Any] | None = field(default=None, compare=False)

    def __deepcopy__(self, memo: Any) -> Source:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # functions of a file that was run are not importable, so they cannot be pickled
        return Source, (self.spec, self.weights, self.revision)


_NOTE = "_dimscope_source"


def note_source(network: nn.Module, source: Source) -> None:
    """Record on a network where its weights come from."""
    object.__setattr__(network, _NOTE, source)


def source_of(network: nn.Module) -> Source | None:
    """Return where the weights of a network come from; None if it was not loaded by its name."""
    source = getattr(network, _NOTE, None)
    return source if isinstance(source, Source) else None


def preprocessing_of(
    model: str | nn.Module,
    weights: str | os.PathLike[str] | None = None,
    revision: str | None = None,
) -> Preprocessing:
    """Return the preprocessing that a network expects of its images.

    Parameters
    ----------
    model : str or torch.nn.Module
        A name as for :func:`~dimscope.load_model`, or a network. The preprocessing is known for
        networks from ``load_model`` or timm, and for image models from transformers.
    weights, revision : optional
        As for :func:`~dimscope.load_model`; only with a name.

    Returns
    -------
    Preprocessing
        That of the weights if it is known; otherwise that of most ImageNet classifiers, whose
        ``source`` is ``"default"``.

    Raises
    ------
    BadSource
        If the name is unknown, or the preprocessing belongs to the weights but cannot be loaded.

    Examples
    --------
    >>> print(preprocessing_of("torchvision/resnet18@IMAGENET1K_V1"))
    torchvision ResNet18_Weights.IMAGENET1K_V1: resize 256, crop 224, bilinear, \
mean 0.485 0.456 0.406, std 0.229 0.224 0.225
    """
    if isinstance(model, str):
        text = None if weights is None else str(weights)
        return _of_source(Source(model, text, revision, _function_in(model)), None)
    if weights is not None or revision is not None:
        raise TypeError("weights and revision belong to a name; omit them with a network")
    network = unwrap(model)
    source = source_of(network)
    if source is not None:
        return _of_source(source, network)
    if type(network).__module__.startswith("timm.") and hasattr(network, "pretrained_cfg"):
        return _of_timm(network)
    if (name := getattr(network, "name_or_path", None)) and _takes_images(network):
        commit = getattr(getattr(network, "config", None), "_commit_hash", None)
        return _of_transformers(str(name), commit)
    return imagenet(why="the weights of this network name no other")


def _of_source(source: Source, network: nn.Module | None) -> Preprocessing:
    library, _, name = source.spec.partition("/")
    if source.preprocess is not None:
        file = source.spec.rpartition(":")[0]
        title = getattr(source.preprocess, "__name__", "preprocess")
        return Preprocessing(f"{title} of {file}", source.preprocess, "weights")
    if source.weights in ("random", "none"):
        return imagenet(why="the weights are random")
    if source.weights is not None:
        return imagenet(why=f"the weights file {Path(source.weights).name} names no other")
    if library == "torchvision":
        name, _, tag = name.partition("@")
        return _of_torchvision(torchvision_weights(name, tag or "DEFAULT"))
    if library == "timm":
        return _of_timm(name if network is None else network)
    if library == "hf" and (network is None or _takes_images(network)):
        return _of_transformers(name, source.revision)
    return imagenet(why=f"{source.spec} names no other")


def _function_in(spec: str) -> Callable[[Any], Any] | None:
    file, _, _ = spec.rpartition(":")
    return preprocess_in(load_module(Path(file))) if file.endswith(".py") else None


def preprocess_in(module: Any) -> Callable[[Any], Any] | None:
    """Return the function ``preprocess`` or ``transform`` of a module that was run, if any."""
    for name in ("preprocess", "transform"):
        function = getattr(module, name, None)
        if callable(function):
            return function  # type: ignore[no-any-return]
    return None


def torchvision_weights(name: str, tag: str) -> Any:
    """Return the member ``tag`` of the weights of torchvision's network ``name``.

    Raises
    ------
    BadSource
        If the network or these weights do not exist; the error lists the names.
    """
    with needed(f"torchvision/{name}"):
        from torchvision.models import get_model_weights, list_models
    names = list_models()
    if name not in names:
        raise BadSource(f"torchvision has no model {name!r}.{near(name, names)}")
    members = dict(get_model_weights(name).__members__)
    if tag not in members:
        listed = ", ".join(key for key in members if key != "DEFAULT") or "none"
        raise BadSource(f"torchvision/{name} has no weights {tag!r}; its weights are {listed}")
    return members[tag]


def _of_torchvision(weights: Any, size: int | None = None) -> Preprocessing:
    transform = weights.transforms()
    crop = getattr(transform, "crop_size", None)
    resize = getattr(transform, "resize_size", None)
    at_size = None
    if crop is not None and resize is not None:
        at_size = partial(_of_torchvision, weights)
        if size is not None:
            resize, crop = [round(resize[0] * size / crop[0])], [size]
            transform = weights.transforms(resize_size=resize[0], crop_size=size)
    interpolation = getattr(transform, "interpolation", None)
    details = _described(
        resize, crop, getattr(interpolation, "value", None),
        getattr(transform, "mean", None), getattr(transform, "std", None),
    )  # fmt: skip
    details = details or " ".join(repr(transform).split())
    return Preprocessing(f"torchvision {weights}: {details}", transform, "weights", at_size)


def _of_timm(model: str | nn.Module, size: int | None = None) -> Preprocessing:
    with needed(f"timm/{model}" if isinstance(model, str) else "preprocessing of timm"):
        import timm
        from timm.data import create_transform, resolve_data_config
    if isinstance(model, str):
        try:
            registered = timm.get_pretrained_cfg(model, allow_unregistered=False)
        except (RuntimeError, ValueError) as error:
            base = model.split(".")[0]
            raise BadSource(
                f"timm has no model {model!r}.{near(base, timm.list_models())}"
            ) from error
        config = resolve_data_config(pretrained_cfg=registered.to_dict())
        name = model
    else:
        config = resolve_data_config(model=model)
        pretrained: Any = model.pretrained_cfg
        name = ".".join(filter(None, (pretrained.get("architecture"), pretrained.get("tag"))))
        name = name or type(model).__name__
    if size is not None:
        config = {**config, "input_size": (config["input_size"][0], size, size)}
    sides = config["input_size"][1:]
    details = _described(
        None, sides if len(set(sides)) > 1 else sides[0], config["interpolation"],
        config["mean"], config["std"],
    )  # fmt: skip
    return Preprocessing(
        f"timm {name}: crop_pct {config['crop_pct']:g}, crop_mode {config['crop_mode']}, {details}",
        create_transform(**config, is_training=False),
        "weights",
        partial(_of_timm, model),
    )


def _takes_images(network: nn.Module) -> bool:
    """Whether a network of transformers has an input for images."""
    main = str(getattr(network, "main_input_name", ""))
    return main == "pixel_values" or hasattr(getattr(network, "config", None), "vision_config")


_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def _of_transformers(name: str, revision: str | None) -> Preprocessing:
    with needed(f"hf/{name}"):
        from transformers import AutoImageProcessor
    folder = Path(name)
    if name.endswith(".gguf"):
        return imagenet(why=f"hf/{name} has no image processor")
    if folder.is_dir() and not any((folder / file).is_file() for file in _PROCESSOR_FILES):
        return imagenet(why=f"hf/{name} has no image processor")
    try:
        processor = AutoImageProcessor.from_pretrained(
            name, revision=revision or "main", trust_remote_code=False
        )
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise BadSource(
            f"the image processor of hf/{name} cannot be loaded ({first_line(error)}); choose the "
            "preprocessing yourself: --preprocess imagenet or FILE.py:NAME, or "
            "image_folder(path, preprocessing=...)"
        ) from error
    config = processor.to_dict()
    from PIL import Image

    resample = config.get("resample")
    details = _described(
        config.get("size") if config.get("do_resize") else None,
        config.get("crop_size") if config.get("do_center_crop") else None,
        Image.Resampling(int(resample)).name.lower() if resample is not None else None,
        config.get("image_mean") if config.get("do_normalize") else None,
        config.get("image_std") if config.get("do_normalize") else None,
    )
    return Preprocessing(
        f"{type(processor).__name__} of hf/{name}: {details}",
        partial(_processed, processor),
        "weights",
    )


def _processed(processor: Any, image: Any) -> Any:
    return processor(images=image, return_tensors="pt")["pixel_values"][0]


# --- folders of images -------------------------------------------------------------------------


def open_data(path: Path, preprocessing: Preprocessing | None = None) -> Any:
    """Open an image folder or a file of stimuli.

    Parameters
    ----------
    path : Path
        A folder of images with one folder for each class, or a file with one row for each stimulus:
        ``.npy``, or another format of :func:`dimscope.read_points`, of which ``.txt`` is excepted.
    preprocessing : Preprocessing, optional
        For images; by default, as by :func:`image_folder`.

    Returns
    -------
    Dataset or array
        An array is a read-only memory map where the format allows it.

    Raises
    ------
    BadSource
        If the path does not exist or cannot be read safely.
    """
    if path.is_dir():
        return image_folder(path, preprocessing=preprocessing)
    if not path.exists():
        raise BadSource(f"{path} does not exist; give an image folder or a .npy file")
    if format_of(path) is None or ".txt" in path.suffixes:
        raise BadSource(
            f"{path} is neither a folder of images nor a file of an array, such as .npy; save the "
            "array with numpy.save"
        )
    array = open_array(path) if path.suffix == ".npy" else read_stimuli(path)
    if array.ndim == 0:
        raise BadSource(
            f"{path} holds a single number; give an array with one row for each stimulus"
        )
    return array


def image_folder(
    path: str | os.PathLike[str],
    size: int | None = None,
    *,
    preprocessing: Preprocessing | Callable[[Any], Tensor] | None = None,
) -> Any:
    """Open a folder of images, one folder for each class, preprocessed for a network.

    Parameters
    ----------
    path : path
    size : int, optional
        Side of the preprocessed images in pixels; that of the preprocessing by default.
    preprocessing : Preprocessing or callable, optional
        From :func:`preprocessing_of`, or a function that takes a PIL image and returns a tensor. By
        default, that of most ImageNet classifiers: an image is resized so that its shorter side is
        256 pixels (8/7 of ``size``), the central 224 x 224 square is cropped, and the values are
        normalised by ImageNet's mean and standard deviation.

    Returns
    -------
    torchvision.datasets.ImageFolder
        With the attribute ``preprocessing``.

    Raises
    ------
    BadSource
        If it is unclear which files are the stimuli of which class, or a file cannot be an image.

    Notes
    -----
    Classes, their order and the pixels of ordinary images are those of torchvision's
    ``ImageFolder``. 16-bit images are scaled by their full range and EXIF orientations are applied.
    Files that are skipped cause a :class:`~dimscope.errors.CaptureWarning`.
    """
    from dimscope.networks.data.images import ClassFolders, Reader

    if preprocessing is None:
        prepare = imagenet()
    elif isinstance(preprocessing, Preprocessing):
        prepare = preprocessing
    else:
        prepare = Preprocessing(
            str(getattr(preprocessing, "__qualname__", repr(preprocessing))), preprocessing
        )
    if size is not None:
        prepare = prepare.resized(size)
    images = ClassFolders(os.fspath(path), prepare, loader=Reader())
    images.preprocessing = prepare
    return images


def for_network(data: Any, model: nn.Module) -> tuple[Any, str | None]:
    """Open a folder of images with the preprocessing of a network; return other data as they are.

    Parameters
    ----------
    data : data as for :func:`~dimscope.capture`
    model : torch.nn.Module

    Returns
    -------
    data : object
    preprocessing : str or None
        The description of the preprocessing; None if the data do not state it.

    Raises
    ------
    BadSource
        If the data were opened with the default preprocessing, but the network needs another.

    Warns
    -----
    CaptureWarning
        If images are much enlarged for a network that states no preprocessing.
    """
    if isinstance(data, str | os.PathLike) and Path(data).is_dir():
        data = image_folder(data, preprocessing=preprocessing_of(model))
    preprocessing = _carried_by(data)
    if preprocessing is None:
        return data, None
    if isinstance(preprocessing, Preprocessing) and preprocessing.source == "default":
        needed = preprocessing_of(model)
        if needed.source == "weights" and not needed.agrees_with(preprocessing):
            raise BadSource(
                f"the images were preprocessed {preprocessing}, but the network needs {needed}; "
                "give the folder itself, or image_folder(path, "
                "preprocessing=preprocessing_of(model))"
            )
        _warn_of_enlarged(data, model)
    return data, str(preprocessing)


_ENLARGED = 2


def _warn_of_enlarged(data: Any, model: nn.Module) -> None:
    """Warn if images are much enlarged for a network of the user's own that states no size."""
    from PIL import Image

    source = source_of(model)
    if source is not None and ".py:" not in source.spec:
        return
    while not hasattr(data, "samples"):
        data = getattr(data, "dataset", None)
        if data is None:
            return
    with Image.open(data.samples[0][0]) as image:
        width, height = image.size
    side = data[0][0].shape[-1]
    if side > _ENLARGED * min(width, height):
        warn(
            f"images of {width} x {height} pixels are enlarged to {side} x {side}, as for "
            f"ImageNet, because {'the network' if source is None else source.spec} states no "
            "preprocessing; give that of its test set: image_folder(path, preprocessing=...), or "
            "--preprocess FILE.py:NAME",
            CaptureWarning,
        )


def _carried_by(data: Any) -> Preprocessing | str | None:
    """Return the preprocessing, or its description, of a data set inside any loader or subset.

    An attribute of another type is ignored: the repr of a function changes from run to run.
    """
    while data is not None:
        preprocessing = getattr(data, "preprocessing", None)
        if isinstance(preprocessing, Preprocessing | str):
            return preprocessing
        data = getattr(data, "dataset", None)
    return None
