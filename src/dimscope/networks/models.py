"""Models: build networks by name, and load weights without running code from their files."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimscope.errors import BadSource
from dimscope.files import importable, load_name, near

__all__ = ["load_model", "load_weights"]


_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")


_PREFIXES = ("_orig_mod.", "module.")


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a complete state dict into a network.

    Parameters
    ----------
    model : torch.nn.Module
        The network, changed in place.
    path : str or Path
        A ``.safetensors`` file, or a file saved with ``torch.save`` that holds a state dict, either
        directly or under ``"state_dict"`` or ``"model"`` as in a training checkpoint. Key prefixes
        added by ``torch.compile`` and DataParallel are removed.

    Raises
    ------
    BadSource
        If the file is missing, cannot be read safely, or belongs to another network.
    """
    path = Path(path)
    if not path.is_file():
        raise BadSource(
            f"weights file {path} does not exist; use 'random' for an untrained network"
        )
    state = _clean(_read(path), path)
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    if missing or extra or shapes:
        problems = []
        if missing:
            problems.append(f"{len(missing)} entries are missing ({_first_two(missing)})")
        if extra:
            problems.append(f"{len(extra)} are unknown ({_first_two(extra)})")
        if shapes:
            problems.append(f"{len(shapes)} have another shape ({_first_two(shapes)})")
        raise BadSource(
            f"weights file {path} does not fit this {type(model).__name__}: {', '.join(problems)}; "
            "give the weights of the same network"
        )
    model.load_state_dict(state)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError as error:
            raise BadSource(
                f"{path} needs safetensors; run pip install dimscope[transformers]"
            ) from error
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadSource(
                f"weights file {path} cannot be read as safetensors: {_first_line(error)}; "
                "it may be truncated: copy it again"
            ) from error
    try:
        with warnings.catch_warnings():  # torch warns of odd pickles, which are refused anyway
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with path.open("rb") as file:
            magic = file.read(2)
        if magic not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise _unreadable(path, "it is not a pickle") from error
        raise BadSource(
            f"weights file {path} holds Python objects, which are not loaded because they could "
            "run code; save the state dict alone: torch.save(model.state_dict(), file)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _unreadable(path, _first_line(error)) from error


def _unreadable(path: Path, reason: str) -> BadSource:
    return BadSource(
        f"weights file {path} cannot be read ({reason}); it is truncated or was not written by "
        "torch.save: copy or save it again"
    )


def _clean(state: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a training checkpoint, without the prefixes of wrappers."""
    for key in _NESTED:
        inner = state.get(key) if isinstance(state, Mapping) else None
        if isinstance(inner, Mapping):
            state = inner
            break
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise BadSource(
            f"weights file {path} holds no state dict; save torch.save(model.state_dict(), file)"
        )
    cleaned = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in cleaned):
            cleaned = {key.removeprefix(prefix): value for key, value in cleaned.items()}
    return cleaned


def _first_two(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")


_RANDOM = ("none", "random")


def load_model(spec: str, weights: str | Path | None = None, seed: int = 0) -> nn.Module:
    """Build a network from its name.

    Parameters
    ----------
    spec : str
        ``torchvision/NAME``, ``timm/NAME``, ``hf/NAME_OR_FOLDER``, or ``path/file.py:NAME``,
        where NAME is a ``torch.nn.Module`` or a function without arguments that returns one.
    weights : str or Path, optional
        A file with a state dict, or ``"random"`` or ``"none"`` for an untrained network. By
        default, the pretrained weights; for a ``.py`` file, the weights that its network already
        has.
    seed : int
        Seed for the weights of an untrained network.

    Returns
    -------
    torch.nn.Module
        In eval mode.

    Raises
    ------
    BadSource
        If the name is unknown, a package is missing, or the weights cannot be downloaded or read.

    Examples
    --------
    >>> type(load_model("torchvision/resnet18", weights="random")).__name__
    'ResNet'
    """
    trained = weights is None
    with _seeded(seed):
        model = _make(str(spec), trained)
    if weights is not None and str(weights) not in _RANDOM:
        load_weights(model, weights)
    return model.eval()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Keep the caller's random numbers apart from those of an untrained network."""
    # torch.manual_seed would also seed the devices that are not in use yet
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    with torch.random.fork_rng(devices=devices):
        for generator in (
            torch.default_generator,
            *(torch.cuda.default_generators[i] for i in devices),
        ):
            generator.manual_seed(seed)
        yield


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
        f"there is no model or store {spec!r}; use torchvision/NAME, timm/NAME, hf/NAME, "
        "path/file.py:function, or the path of a store."
        + near(spec, [f"torchvision/{name}" for name in _torchvision_names()])
    )


def _from_torchvision(name: str, trained: bool) -> nn.Module:
    names = _torchvision_names()
    if name not in names:
        raise BadSource(f"torchvision has no model {name!r}.{near(name, names)}")
    from torchvision.models import get_model

    # these constructors warn that their slow default initialisation will change
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
    if base not in (names := timm.list_models()):
        raise BadSource(f"timm has no model {name!r}.{near(base, names)}")
    model: nn.Module = _fetch(f"timm/{name}", lambda: timm.create_model(name, pretrained=trained))
    return model


def _from_transformers(name: str, trained: bool) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise BadSource(
            f"hf/{name} needs transformers; run pip install dimscope[transformers]"
        ) from error
    # only safetensors are loaded, and code from the hub is never run
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
            f"{spec} cannot be loaded ({first}); without a network connection, give a state dict "
            "with weights=FILE, or weights='random' for an untrained network (--weights on the "
            "command line)"
        ) from error


def _from_file(path: Path, function: str) -> nn.Module:
    maker = load_name(path, function)
    if isinstance(maker, nn.Module):
        return maker
    if not callable(maker):
        raise BadSource(
            f"{function} in {path} is a {type(maker).__name__}; name a torch.nn.Module or a "
            "function that returns one"
        )
    try:
        with importable(path):
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
