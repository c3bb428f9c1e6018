"""Tensors: find and transform the tensors in nested tuples, lists and mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

__all__ = ["describe_tensors", "main_tensor", "map_tensors", "tensors_in"]


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


def main_tensor(
    output: Any, n_rows: int | None = None
) -> tuple[Tensor | None, list[tuple[str, Tensor]]]:
    """Split an output into its main tensor and the other tensors, each with its path.

    The main tensor is the first floating-point tensor with one row for each stimulus. If there is
    none, it is the first floating-point tensor, or else the first tensor.
    """
    tensors = list(named_tensors(output))
    ranks = [
        (not t.is_floating_point(), n_rows is not None and (t.ndim == 0 or len(t) != n_rows))
        for _, t in tensors
    ]
    if not tensors:
        return None, []
    best = ranks.index(min(ranks))
    return tensors[best][1], tensors[:best] + tensors[best + 1 :]
