"""Tensors: find and transform the tensors in nested tuples, lists, mappings and dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["describe_tensors", "main_tensor", "map_tensors", "tensors_in"]


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples, lists, mappings and dataclasses, in order.

    Of a packed sequence, only the data are a tensor of the network.
    """
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, PackedSequence):
        yield values.data
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)
    elif is_dataclass(values) and not isinstance(values, type):
        for field in fields(values):
            yield from tensors_in(getattr(values, field.name, None))


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


def named_tensors(values: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of an output together with its path, such as ``[1]`` or ``[key]``."""
    if isinstance(values, Tensor):
        yield path, values
    elif isinstance(values, PackedSequence):
        yield path, values.data
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from named_tensors(value, f"{path}[{key}]")
    elif isinstance(values, tuple | list):
        for i, value in enumerate(values):
            yield from named_tensors(value, f"{path}[{i}]")
    elif is_dataclass(values) and not isinstance(values, type):
        for field in fields(values):
            yield from named_tensors(getattr(values, field.name, None), f"{path}[{field.name}]")


def main_tensor(output: Any) -> tuple[Tensor | None, list[tuple[str, Tensor]]]:
    """Split an output into its main tensor and the other tensors, each with its path.

    The main tensor is the first floating-point tensor of two or more axes. If there is none, it is
    the first floating-point tensor of one axis, then of none, or else the first tensor.

    Examples
    --------
    >>> import torch
    >>> main, others = main_tensor({"loss": torch.tensor(0.5), "logits": torch.zeros(4, 3)})
    >>> main.shape, [path for path, _ in others]
    (torch.Size([4, 3]), ['[loss]'])
    """
    tensors = list(named_tensors(output))
    if not tensors:
        return None, []
    ranks = [(not t.is_floating_point(), -min(t.ndim, 2)) for _, t in tensors]
    floats = any(not integer for integer, _ in ranks)
    best = ranks.index(min(ranks)) if floats else 0
    return tensors[best][1], tensors[:best] + tensors[best + 1 :]
