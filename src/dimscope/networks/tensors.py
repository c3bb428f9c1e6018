"""Tensors: find and transform the tensors in nested tuples, lists and mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["dense", "describe_tensors", "main_tensor", "map_tensors", "named_tensors", "tensors_in"]


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples, lists and mappings, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)


def map_tensors(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    """Apply a function to every tensor in nested tuples, lists and mappings."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(function, value) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(map_tensors(function, value) for value in values)
    return values


def describe_tensors(values: Any) -> str:
    """Describe the shapes and dtypes of all tensors, for messages.

    Examples
    --------
    >>> import torch
    >>> describe_tensors({"a": torch.zeros(2, 3)})
    'float32 of shape (2, 3)'
    """
    return " and ".join(
        f"{str(t.dtype).removeprefix('torch.')} of shape {tuple(t.shape)}"
        for t in tensors_in(values)
    )


def dense(tensor: Tensor, length: int | None = None) -> Tensor:
    """Convert a quantised or nested tensor to a plain one; return any other unchanged.

    Parameters
    ----------
    tensor : Tensor
    length : int, optional
        Number of positions to which nested sequences are padded, with zeros; the longest by
        default.

    Examples
    --------
    >>> import torch
    >>> dense(torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8))
    tensor([1., 1.])
    """
    if tensor.is_quantized:
        return tensor.dequantize()
    if not tensor.is_nested:
        return tensor
    padded: Tensor = torch.nested.to_padded_tensor(tensor, 0.0)
    if length is not None and padded.ndim == 3 and padded.shape[1] < length:
        padded = torch.nn.functional.pad(padded, (0, 0, 0, length - padded.shape[1]))
    return padded


def named_tensors(values: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of an output together with its path, such as ``[1]`` or ``[key]``."""
    if isinstance(values, Tensor):
        yield path, values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from named_tensors(value, f"{path}[{key}]")
    elif isinstance(values, tuple | list):
        for i, value in enumerate(values):
            yield from named_tensors(value, f"{path}[{i}]")


def main_tensor(output: Any) -> tuple[Tensor | None, list[tuple[str, Tensor]]]:
    """Split an output into its main tensor and the other tensors, each with its path.

    The main tensor is the first floating-point tensor of two or more dimensions. If there is none,
    it is the first one of one dimension, then the first floating-point number, then the first
    tensor.
    """
    tensors = list(named_tensors(output))
    ranks = [(not t.is_floating_point(), -min(t.ndim, 2)) for _, t in tensors]
    if not tensors:
        return None, []
    best = ranks.index(min(ranks))
    return tensors[best][1], tensors[:best] + tensors[best + 1 :]
