"""Models: build networks by name, and load weights without running code from their files."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dimscope.errors import BadSource, first_line
from dimscope.extras import needed
from dimscope.files import importable, load_module, name_in, near
from dimscope.networks.preprocessing import (
    Source,
    note_source,
    preprocess_in,
    torchvision_weights,
)

__all__ = ["Dtype", "load_model", "load_weights"]


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
        with needed(str(path)):
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadSource(
                f"weights file {path} cannot be read as safetensors: {first_line(error)}; "
                "it may be truncated: copy it again"
            ) from error
    try:
        with warnings.catch_warnings():  # torch warns about odd pickles, which are refused anyway
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
    except (
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise _unreadable(path, first_line(error)) from error


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


_RANDOM = ("none", "random")


Dtype = Literal["float32", "bfloat16", "float16", "float64", "auto"]


def load_model(
    spec: str,
    weights: str | Path | None = None,
    seed: int = 0,
    *,
    revision: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
) -> nn.Module:
    """Build a network from its name.

    Parameters
    ----------
    spec : str
        ``torchvision/NAME``, ``torchvision/NAME@WEIGHTS``, ``timm/NAME``, ``hf/NAME_OR_FOLDER``,
        ``hf/FOLDER/FILE.gguf``, or ``path/file.py:NAME``, where NAME is a ``torch.nn.Module`` or a
        function without arguments that returns one.
    weights : str or Path, optional
        A file with a state dict, or ``"random"`` or ``"none"`` for an untrained network. By
        default, the pretrained weights; for a ``.py`` file, the weights that its network already
        has.
    seed : int
        Seed for the weights of an untrained network.
    revision : str, optional
        The branch, tag or commit of pretrained weights on the Hugging Face hub, for ``timm/`` and
        ``hf/``.
    dtype : {"float32", "bfloat16", "float16", "float64", "auto"}, optional
        The type of the weights and of the computation: by default that of the library, or float32
        for a GGUF file. ``"auto"``, for ``hf/``, is the type in which the weights are stored.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or, for ``hf/``, ``"auto"``, which spreads
        the network over all devices with accelerate. The CPU by default.

    Returns
    -------
    torch.nn.Module
        In eval mode. :func:`~dimscope.preprocessing_of` returns the preprocessing of its images.

    Raises
    ------
    BadSource
        If the name is unknown, a package is missing, an option has no effect, or the weights cannot
        be downloaded or read.

    Examples
    --------
    >>> type(load_model("torchvision/resnet18", weights="random")).__name__
    'ResNet'
    """
    request = _Request(str(spec), weights is None, revision, dtype, device)
    if weights is not None:
        request.refuse_weights()
    with _seeded(seed):
        model, preprocess = _make(request)
    if weights is not None and str(weights) not in _RANDOM:
        load_weights(model, weights)
    note_source(
        model, Source(request.spec, None if weights is None else str(weights), revision, preprocess)
    )
    return request.placed(model.eval())


@dataclass(frozen=True)
class _Request:
    """A network to load, with the options checked against the library that loads it."""

    spec: str
    trained: bool
    revision: str | None = None
    dtype: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        library = self.library
        if self.revision is not None and (library not in ("timm", "hf") or not self.trained):
            raise BadSource(
                f"revision is {self.revision!r}, but only pretrained weights of timm/ and hf/ have "
                f"revisions, and {self.spec} {'has' if self.trained else 'is loaded with'} others; "
                "omit revision"
            )
        if self.revision is not None and Path(self.name).exists():
            raise BadSource(f"{self.name} is on this disk and has no revisions; omit revision")
        if self.dtype is not None and self.dtype not in get_args(Dtype):
            words = ", ".join(get_args(Dtype))
            raise BadSource(f"dtype is {self.dtype!r}; use one of {words}")
        if self.dtype == "auto" and (library != "hf" or not self.trained or self.is_gguf):
            raise BadSource(
                "dtype 'auto' is the type in which the pretrained weights of hf/ are stored; "
                f"for {self.spec}, name the type, such as float32"
            )
        if self.device == "auto":
            if library != "hf" or not self.trained:
                raise BadSource(
                    "device 'auto' spreads pretrained networks of hf/ over all devices; "
                    f"for {self.spec}, name a device, such as cuda"
                )
        elif self.device is not None:
            _check_device(self.device)

    @property
    def library(self) -> str:
        return "" if self.file else self.spec.partition("/")[0]

    @property
    def name(self) -> str:
        return self.spec.partition("/")[2]

    @property
    def file(self) -> tuple[Path, str] | None:
        file, colon, function = self.spec.rpartition(":")
        return (Path(file), function) if colon and file.endswith(".py") else None

    @property
    def is_gguf(self) -> bool:
        return self.name.endswith(".gguf")

    def refuse_weights(self) -> None:
        """Refuse ``weights`` where the name already says which."""
        if self.library == "torchvision" and "@" in self.name:
            raise BadSource(
                f"{self.spec} already names its weights; omit weights, or omit "
                f"@{self.name.partition('@')[2]}"
            )

    def placed(self, model: nn.Module) -> nn.Module:
        """Return the network with the type and on the device that were asked for."""
        if self.library == "hf" and self.trained:  # the type was given to the loader
            return model if self.device in (None, "auto") else self._moved(model, self.device, None)
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        return self._moved(model, self.device, dtype)

    def _moved(self, model: nn.Module, device: str | None, dtype: torch.dtype | None) -> nn.Module:
        try:
            return model.to(device=device, dtype=dtype)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            wanted = " ".join(filter(None, (device, str(dtype or ""))))
            raise BadSource(
                f"{self.spec} cannot be moved to {wanted}: {first_line(error)}; omit dtype and "
                "device"
            ) from error


def _check_device(name: str) -> None:
    try:
        kind = torch.device(name)
        torch.empty(0, device=kind)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadSource(
            f"device {name!r} cannot be used here ({first_line(error)}); use cpu, cuda, cuda:1, "
            "mps or, for hf/, auto"
        ) from error
    if kind.type == "meta":
        raise BadSource("device 'meta' holds no values; use cpu, cuda, cuda:1 or mps")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw the weights of an untrained network from ``seed``; restore the caller's state."""
    # torch.manual_seed would also seed the devices that are not in use yet
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    with torch.random.fork_rng(devices=devices):
        for generator in (
            torch.default_generator,
            *(torch.cuda.default_generators[i] for i in devices),
        ):
            generator.manual_seed(seed)
        yield


def _make(request: _Request) -> tuple[nn.Module, Callable[[Any], Any] | None]:
    """Return the network, and the preprocessing beside it if it was built by a ``.py`` file."""
    makers: dict[str, Callable[[_Request], nn.Module]] = {
        "torchvision": _from_torchvision,
        "timm": _from_timm,
        "hf": _from_transformers,
    }
    if request.file is not None:
        return _from_file(*request.file)
    if request.library in makers and request.name:
        return makers[request.library](request), None
    spec = request.spec
    if spec.endswith(".py"):
        raise BadSource(f"{spec} is a file; name the function in it, as {spec}:make_model")
    raise BadSource(
        f"there is no model or store {spec!r}; use torchvision/NAME, timm/NAME, hf/NAME, "
        "path/file.py:function, or the path of a store."
        + near(spec, [f"torchvision/{name}" for name in _torchvision_names(spec)])
    )


def _from_torchvision(request: _Request) -> nn.Module:
    name, _, tag = request.name.partition("@")
    names = _torchvision_names(request.spec)
    if name not in names:
        raise BadSource(f"torchvision has no model {name!r}.{near(name, names)}")
    with needed(request.spec):
        from torchvision.models import get_model

    # these constructors warn that their slow default initialisation will change
    extra: dict[str, Any] = {}
    if not request.trained and name in ("googlenet", "inception_v3"):
        extra["init_weights"] = True
    weights = None
    if request.trained:
        weights = torchvision_weights(name, tag or "DEFAULT")
    model: nn.Module = _fetch(request, lambda: get_model(name, weights=weights, **extra))
    return model


def _torchvision_names(what: str) -> list[str]:
    with needed(what):
        from torchvision.models import list_models
    return list(list_models())


def _from_timm(request: _Request) -> nn.Module:
    name = request.name
    with needed(request.spec):
        import timm
    if "@" in name:
        raise BadSource(
            f"timm/{name}: timm names weights by a tag, as timm/resnet18.a1_in1k; a version "
            "of them is a revision (--revision on the command line)"
        )
    base = name.split(".")[0]
    if base not in (names := timm.list_models()):
        raise BadSource(f"timm has no model {name!r}.{near(base, names)}")
    extra: dict[str, Any] = {}
    if request.revision is not None:
        config = _fetch(request, lambda: timm.get_pretrained_cfg(name))
        hub = None if config is None else config.hf_hub_id
        if not hub:
            raise BadSource(
                f"the weights of timm/{name} are not on the Hugging Face hub, so they have no "
                "revisions; omit revision"
            )
        extra["pretrained_cfg_overlay"] = {"hf_hub_id": f"{hub}@{request.revision}"}
    model: nn.Module = _fetch(
        request, lambda: timm.create_model(name, pretrained=request.trained, **extra)
    )
    return model


def _from_transformers(request: _Request) -> nn.Module:
    name = request.name
    with needed(request.spec):
        from transformers import AutoConfig, AutoModel
    # only safetensors and GGUF are loaded, and code from the hub is never run
    options: dict[str, Any] = {"trust_remote_code": False}
    if request.revision is not None:
        options["revision"] = request.revision
    if request.is_gguf:
        folder, _, file = name.rpartition("/")
        if Path(folder or ".").is_dir() and not Path(name).is_file():
            raise BadSource(f"{name} does not exist; give hf/FOLDER/FILE.gguf")
        name, options["gguf_file"] = folder or ".", file

    def make() -> Any:
        if not request.trained:
            return AutoModel.from_config(
                AutoConfig.from_pretrained(name, **options), trust_remote_code=False
            )
        if request.is_gguf:
            options["dtype"] = torch.float32
        else:
            options["use_safetensors"] = True
        if request.dtype is not None:
            options["dtype"] = "auto" if request.dtype == "auto" else getattr(torch, request.dtype)
        if request.device == "auto":
            options["device_map"] = "auto"
        return AutoModel.from_pretrained(name, **options)

    model: nn.Module = _fetch(request, make)
    return model


def _fetch(request: _Request, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        folder = Path(request.name)
        gguf = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
        if gguf and not (folder / "config.json").exists():
            raise BadSource(
                f"{request.spec} is a folder with GGUF files; name one of them: "
                f"{request.spec.rstrip('/')}/{gguf[0].name}"
            ) from error
        raise BadSource(
            f"{request.spec} cannot be loaded ({first_line(error)}); without a network "
            "connection, give a state dict with weights=FILE, or weights='random' for an untrained "
            "network (--weights on the command line)"
        ) from error


def _from_file(path: Path, function: str) -> tuple[nn.Module, Callable[[Any], Any] | None]:
    module = load_module(path)
    maker, preprocess = name_in(module, path, function), preprocess_in(module)
    if isinstance(maker, nn.Module):
        return maker, preprocess
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
    return model, preprocess
