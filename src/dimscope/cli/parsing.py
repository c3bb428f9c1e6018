"""Arguments -> values: the estimator that the options describe, files that exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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


def _own_estimator(spec: str) -> NeighborEstimator:
    from dimscope import NeighborEstimator
    from dimscope.sources.scripts import load_name

    file, _, name = spec.rpartition(":")
    found = load_name(Path(file), name)
    if isinstance(found, type) and issubclass(found, NeighborEstimator):
        try:
            found = found()
        except TypeError as error:
            raise ValueError(
                f"{name} in {file} cannot be made without parameters: {error}"
            ) from error
    if not isinstance(found, NeighborEstimator):
        raise ValueError(f"{name} in {file} is not a NeighborEstimator")
    return found
