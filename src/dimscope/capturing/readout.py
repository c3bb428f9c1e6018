"""Readout: how the tensor of a layer becomes one point for each stimulus."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dimscope.errors import BadSource

__all__ = ["READOUTS", "Readout", "as_readout"]

Readout = Callable[[Tensor], Tensor]


def _flatten(tensor: Tensor) -> Tensor:
    return tensor  # the rows are written as they lie; the column knows their shape


def _mean(tensor: Tensor) -> Tensor:
    if tensor.ndim == 3:
        return tensor.mean(dim=1)
    return tensor.flatten(2).mean(dim=2) if tensor.ndim > 3 else tensor


def _first(tensor: Tensor) -> Tensor:
    return tensor[:, 0] if tensor.ndim == 3 else tensor


def _last(tensor: Tensor) -> Tensor:
    return tensor[:, -1] if tensor.ndim == 3 else tensor


READOUTS: dict[str, Readout] = {
    "flatten": _flatten,
    "mean": _mean,
    "first": _first,
    "last": _last,
}


def as_readout(readout: str | Readout) -> Readout:
    """Return the function that a readout names.

    Parameters
    ----------
    readout : {"flatten", "mean", "first", "last"} or callable
        ``"flatten"`` takes every unit; ``"mean"`` averages over the places of a feature map
        or over the tokens of a sequence; ``"first"`` and ``"last"`` take one token. Where a word
        does not apply (a plain vector, a map without tokens) the tensor is flattened. What
        an axis means is told by their number alone: three are (points, tokens, channels), more are
        (points, channels, places...). For others, such as the (points, channels, places) of a
        one-dimensional convolution or maps whose channels come last, give a callable, which
        takes a tensor and returns one of shape (n_points, n_features):
        ``lambda t: t.mean(dim=2)``.

    Raises
    ------
    BadSource
        If the name is unknown.
    """
    if callable(readout):
        return readout
    if readout not in READOUTS:
        names = ", ".join(map(repr, READOUTS))
        raise BadSource(f"readout {readout!r} is unknown; use {names} or a function of a tensor")
    return READOUTS[readout]
