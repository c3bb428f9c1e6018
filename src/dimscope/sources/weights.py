"""Weights from a file: a state dict, read without running any code in it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimscope.errors import BadSource

__all__ = ["load_weights"]

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("_orig_mod.", "module.")


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a state dict into a network, all of it.

    Parameters
    ----------
    model : torch.nn.Module
        The network, changed in place.
    path : str or Path
        A ``.safetensors`` file, or what ``torch.save`` made of a state dict. A training
        checkpoint that holds one under ``"state_dict"`` or ``"model"`` will do; the prefixes
        of ``torch.compile`` and DataParallel are dropped.

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
            problems.append(f"{len(missing)} entries are missing ({_some(missing)})")
        if extra:
            problems.append(f"{len(extra)} are unknown ({_some(extra)})")
        if shapes:
            problems.append(f"{len(shapes)} have another shape ({_some(shapes)})")
        raise BadSource(
            f"weights file {path} is not of this {type(model).__name__}: {', '.join(problems)}; "
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
                "it may be cut short, copy it again"
            ) from error
    try:
        with warnings.catch_warnings():  # about odd pickles, which are then refused anyway
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with path.open("rb") as file:
            magic = file.read(2)
        if magic not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise _unreadable(path, "it is not a pickle") from error
        raise BadSource(
            f"weights file {path} holds Python objects, which could run code and are not "
            "read; save the state dict alone: torch.save(model.state_dict(), file)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _unreadable(path, _first_line(error)) from error


def _unreadable(path: Path, reason: str) -> BadSource:
    return BadSource(
        f"weights file {path} cannot be read ({reason}); it is cut short or not a "
        "file of torch.save, copy or save it again"
    )


def _clean(state: Any, path: Path) -> dict[str, Tensor]:
    """State dict inside a training checkpoint, with wrappers' prefixes dropped."""
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


def _some(words: list[str]) -> str:
    return ", ".join(words[:2]) + (", ..." if len(words) > 2 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
