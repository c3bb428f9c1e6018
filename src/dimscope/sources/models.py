"""Models by name: ``torchvision/resnet18``, ``timm/...``, ``hf/...``, ``file.py:make_model``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dimscope.errors import BadSource
from dimscope.sources.scripts import load_name, near
from dimscope.sources.weights import load_weights

__all__ = ["load_model"]

_RANDOM = ("none", "random")


def load_model(spec: str, weights: str | Path | None = None, seed: int = 0) -> nn.Module:
    """Make a network from its name.

    Parameters
    ----------
    spec : str
        ``torchvision/NAME``, ``timm/NAME``, ``hf/NAME_OR_FOLDER``, or ``path/file.py:function``,
        where the function is called without arguments and returns a ``torch.nn.Module``, or is
        one itself.
    weights : str or Path, optional
        By default the published weights (for a file: whatever the function returns);
        ``"random"`` or ``"none"`` for an untrained network; else a file with a state dict.
    seed : int
        Of an untrained network.

    Returns
    -------
    torch.nn.Module
        In eval mode.

    Raises
    ------
    BadSource
        If the name is unknown, a package is missing, weights cannot be fetched or read.

    Examples
    --------
    >>> type(load_model("torchvision/resnet18", weights="random")).__name__
    'ResNet'
    """
    trained = weights is None
    # An untrained network must not depend on, or change, the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _make(str(spec), trained)
    if weights is not None and str(weights) not in _RANDOM:
        load_weights(model, weights)
    return model.eval()


def _make(spec: str, trained: bool) -> nn.Module:
    library, _, name = spec.partition("/")
    makers: dict[str, Callable[[str, bool], nn.Module]] = {
        "torchvision": _from_torchvision,
        "timm": _from_timm,
        "hf": _from_transformers,
    }
    file, colon, function = spec.rpartition(":")
    if colon and file.endswith(".py"):
        return _from_file(Path(file), function)
    if library in makers and name:
        return makers[library](name, trained)
    if spec.endswith(".py"):
        raise BadSource(f"{spec} is a file; name the function in it, as {spec}:make_model")
    raise BadSource(
        f"model {spec!r} is not understood; use torchvision/NAME, timm/NAME, hf/NAME, "
        "path/file.py:function or a store that is there."
        + near(spec, [f"torchvision/{known}" for known in _torchvision_names()])
    )


def _from_torchvision(name: str, trained: bool) -> nn.Module:
    known = _torchvision_names()
    if name not in known:
        raise BadSource(f"torchvision has no model {name!r}.{near(name, known)}")
    from torchvision.models import get_model

    # Some constructors warn about, or are slow in, an initialisation that is overwritten.
    extra: dict[str, Any] = {}
    if not trained and name in ("googlenet", "inception_v3"):
        extra["init_weights"] = True
    model: nn.Module = _fetch(
        f"torchvision/{name}",
        lambda: get_model(name, weights="DEFAULT" if trained else None, **extra),
    )
    return model


def _torchvision_names() -> list[str]:
    try:
        from torchvision.models import list_models
    except ImportError as error:
        raise BadSource("torchvision is missing; run pip install dimscope[torch]") from error
    return list(list_models())


def _from_timm(name: str, trained: bool) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise BadSource(f"timm/{name} needs timm; run pip install dimscope[timm]") from error
    base = name.split(".")[0]
    if base not in (known := timm.list_models()):
        raise BadSource(f"timm has no model {name!r}.{near(base, known)}")
    model: nn.Module = _fetch(f"timm/{name}", lambda: timm.create_model(name, pretrained=trained))
    return model


def _from_transformers(name: str, trained: bool) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise BadSource(
            f"hf/{name} needs transformers; run pip install dimscope[transformers]"
        ) from error
    # Weights come as safetensors only; code from the hub is never run.
    safe = {"trust_remote_code": False}

    def make() -> Any:
        if trained:
            return AutoModel.from_pretrained(name, use_safetensors=True, **safe)
        config = AutoConfig.from_pretrained(name, **safe)
        return AutoModel.from_config(config, **safe)

    model: nn.Module = _fetch(f"hf/{name}", make)
    return model


def _fetch(spec: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise BadSource(
            f"{spec} cannot be loaded ({first}); without a connection give a state dict with "
            "--weights FILE, or --weights random for an untrained network"
        ) from error


def _from_file(path: Path, function: str) -> nn.Module:
    maker = load_name(path, function)
    if isinstance(maker, nn.Module):
        return maker
    if not callable(maker):
        raise BadSource(f"{function} in {path} is not a function; it must return the network")
    try:
        model = maker()
    except Exception as error:
        raise BadSource(
            f"{function}() in {path} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise BadSource(
            f"{function} in {path} returned a {type(model).__name__}; return a torch.nn.Module"
        )
    return model
