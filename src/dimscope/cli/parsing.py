"""Arguments -> values: the estimator that the options describe, files that exist."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from dimscope import NeighborEstimator

__all__ = ["estimator_from", "existing"]


def existing(path: Path, option: str) -> Path:
    """The path, if there is something."""
    if not path.exists():
        raise typer.BadParameter(f"there is no file or folder {path}", param_hint=option)
    return path


def estimator_from(
    name: str, fit: str, discard: float, resamples: int, keep: float, seed: int
) -> NeighborEstimator:
    """Build the estimator that the options describe."""
    import dimscope as ds

    try:
        if name == "twonn":
            chosen: NeighborEstimator = ds.TwoNN(fit=fit, discard=discard, seed=seed)
        elif ":" in name:
            chosen = _own_estimator(name)
        else:
            raise ValueError(f"there is no estimator {name!r}; use twonn, or FILE.py:NAME")
        if resamples:
            chosen = ds.Resampled(chosen, n=resamples, keep=keep, seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return chosen


def _own_estimator(spec: str) -> Any:
    from dimscope import NeighborEstimator

    file, _, name = spec.rpartition(":")
    path = existing(Path(file), "--estimator")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be run: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    found = found() if isinstance(found, type) else found
    if not isinstance(found, NeighborEstimator):
        raise ValueError(f"{name} in {path} is not a NeighborEstimator")
    return found
