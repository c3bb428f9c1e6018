"""Tensors: find and transform the tensors in nested containers and objects.

Containers are tuples, lists and mappings; named tuples, dataclasses, packed sequences and objects
with tensors as attributes (such as the graphs of torch_geometric) keep their type.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

__all__ = [
    "dense", "describe_tensors", "fields_of", "is_named_tuple", "main_tensor", "map_tensors",
    "named_tensors", "padded", "shapes_differ", "tensors_in", "with_fields",
]  # fmt: skip


def is_named_tuple(value: Any) -> bool:
    """Return whether a value is a tuple with named fields, other than a packed sequence."""
    return (
        isinstance(value, tuple)
        and hasattr(value, "_fields")
        and not isinstance(value, PackedSequence)
    )


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the named fields of a mapping, a named tuple, a dataclass or an object, else None.

    An object has fields if one of its attributes is a tensor. Modules, and caches of keys and
    values, have none.

    Examples
    --------
    >>> fields_of({"x": 1}), fields_of([1])
    ({'x': 1}, None)
    """
    if isinstance(value, Mapping):
        return dict(value)
    if is_named_tuple(value):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, Tensor | tuple | list | str | nn.Module | type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if not hasattr(value, "__dict__") or "Cache" in type(value).__name__:
        return None
    if _has_keys(value):
        fields = {str(key): value[key] for key in value.keys()}  # noqa: SIM118
    else:
        shared = {k: v for k, v in vars(type(value)).items() if isinstance(v, Tensor)}
        fields = shared | dict(vars(value))
    return fields if any(isinstance(field, Tensor) for field in fields.values()) else None


def _has_keys(value: Any) -> bool:
    """Whether an object has items by name, as the graphs of torch_geometric have."""
    return (
        hasattr(value, "to_dict")
        and callable(getattr(value, "keys", None))
        and hasattr(value, "__setitem__")
        and not hasattr(value, "iloc")
    )


def with_fields(value: Any, fields: Mapping[str, Any]) -> Any:
    """Return a copy of a value with other values in its named fields.

    Examples
    --------
    >>> with_fields({"x": 1, "y": 2}, {"x": 3})
    {'x': 3, 'y': 2}
    """
    if type(value) is dict:
        return {**value, **fields}
    if is_named_tuple(value):
        return value._replace(**fields)
    try:
        changed = copy.copy(value)
    except TypeError:  # a view of a mapping
        return {**value, **fields}
    if isinstance(value, Mapping) and not hasattr(value, "__setitem__"):
        return {**value, **fields}
    by_item = isinstance(value, Mapping) or (
        not dataclasses.is_dataclass(value) and _has_keys(value)
    )
    for name, field in fields.items():
        if by_item:
            changed[name] = field
        else:
            object.__setattr__(changed, name, field)
    return changed


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested containers and objects, in order.

    Of a packed sequence, only the data are a tensor of the network.
    """
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, PackedSequence):
        yield values.data
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors_in(value)
    elif (fields := fields_of(values)) is not None:
        for value in fields.values():
            yield from tensors_in(value)


def map_tensors(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    """Apply a function to every tensor in nested containers and objects, and keep their types."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, PackedSequence):
        order = (values.sorted_indices, values.unsorted_indices)
        indices = (None if index is None else function(index) for index in order)
        return PackedSequence(function(values.data), values.batch_sizes, *indices)
    if isinstance(values, tuple | list) and not is_named_tuple(values):
        return type(values)(map_tensors(function, value) for value in values)
    fields = fields_of(values)
    if fields is None:
        return values
    changed = {name: map_tensors(function, value) for name, value in fields.items()}
    return with_fields(values, {k: v for k, v in changed.items() if v is not fields[k]})


def shapes_differ(values: Iterable[Any]) -> bool:
    """Return whether arrays differ in shape; values of other types differ if their types do.

    Examples
    --------
    >>> shapes_differ([torch.zeros(2), torch.zeros(3)]), shapes_differ([1, 2])
    (True, False)
    """
    shapes = {
        tuple(value.shape) if isinstance(value, Tensor | np.ndarray) else type(value)
        for value in values
    }
    return len(shapes) > 1


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


def dense(tensor: Tensor) -> Tensor:
    """Convert a quantised tensor to a plain one; return any other unchanged.

    Examples
    --------
    >>> import torch
    >>> dense(torch.ones(2))
    tensor([1., 1.])
    """
    return tensor.dequantize() if tensor.is_quantized else tensor


def padded(output: Any, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """Pad sequences of unequal length that a packed sequence or a nested tensor holds.

    Parameters
    ----------
    output : object
        What a module returned.
    tensor : Tensor
        One of the tensors in it.

    Returns
    -------
    (Tensor, Tensor) or None
        Values of shape (n_sequences, n_positions, ...), zero in the padding, and the mask of shape
        (n_sequences, n_positions), True at real positions; None if the tensor holds something else.

    Examples
    --------
    >>> import torch
    >>> packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    >>> values, mask = padded(packed, packed.data)
    >>> values.shape, mask.sum(dim=1).tolist()
    (torch.Size([2, 3, 2]), [3, 1])
    """
    if tensor.is_nested and tensor.dim() > 2:
        sizes = [len(part) for part in tensor.unbind()]
        values: Tensor = torch.nested.to_padded_tensor(tensor, 0.0)
        lengths = torch.tensor(sizes, device=values.device)
    else:
        packed = _packed_with(output, tensor)
        if packed is None:
            return None
        values, lengths = pad_packed_sequence(packed, batch_first=True)
        lengths = lengths.to(values.device)
    return values, torch.arange(values.shape[1], device=values.device) < lengths[:, None]


def _packed_with(output: Any, tensor: Tensor) -> PackedSequence | None:
    if isinstance(output, PackedSequence):
        return output if output.data is tensor else None
    if isinstance(output, tuple | list):
        inner = (_packed_with(value, tensor) for value in output)
        return next((packed for packed in inner if packed is not None), None)
    return None


def named_tensors(values: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of an output together with its path, such as ``[1]`` or ``[key]``."""
    if isinstance(values, Tensor):
        yield path, values
    elif isinstance(values, PackedSequence):
        yield path, values.data
    elif isinstance(values, tuple | list):
        for i, value in enumerate(values):
            yield from named_tensors(value, f"{path}[{i}]")
    elif (fields := fields_of(values)) is not None:
        for key, value in fields.items():
            yield from named_tensors(value, f"{path}[{key}]")


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
