"""Identity: what tells one network, function or capture from another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dimscope.networks.capturing.batches import Batch
from dimscope.networks.tensors import tensors_in

__all__ = ["architecture_sha256", "batch_sha256", "differing", "function_of", "weights_sha256"]


_PLAIN = (bool, float, str)  # whole numbers are often counters, which change as it runs


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all parameters and buffers.

    Buffers that are not saved with the network count too, and so do the parts of packed
    parameters, as quantised layers have them.

    The tensors are hashed one by one on two threads (hashing releases the interpreter), and
    the hash of their hashes is returned.

    Examples
    --------
    >>> weights_sha256(nn.ReLU()) == weights_sha256(nn.Tanh())
    True
    """
    found = {**dict(model.named_buffers()), **model.state_dict()}
    state = dict(one for name, value in found.items() for one in _tensors(name, value))
    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(_digest, state.values()))
    total = hashlib.sha256()
    for (name, tensor), digest in zip(state.items(), digests, strict=True):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(digest)
    return total.hexdigest()


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of an entry of a state, however deep they lie."""
    if isinstance(value, Tensor) and not is_lazy(value):
        yield name, value
    elif isinstance(value, tuple | list):
        for number, one in enumerate(value):
            yield from _tensors(f"{name}.{number}", one)


def _digest(tensor: Tensor) -> bytes:
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        how = repr((tensor.qscheme(), torch.dequantize(tensor[:0])))
        per_channel = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        steps = (
            (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
            if per_channel
            else (torch.tensor([tensor.q_scale(), tensor.q_zero_point()], dtype=torch.float64),)
        )
        parts = (tensor.int_repr(), *steps)
        return hashlib.sha256(how.encode() + b"".join(map(_digest, parts))).digest()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    plain = tensor.contiguous().reshape(-1)
    return hashlib.sha256(plain.view(torch.uint8).numpy().data).digest()


def architecture_sha256(model: nn.Module) -> str:
    """SHA-256 over the modules: their names, classes, plain attributes and what they say.

    Examples
    --------
    >>> architecture_sha256(nn.ReLU()) == architecture_sha256(nn.Tanh())
    False
    """
    lines = []
    for name, module in model.named_modules():
        kind = type(module)
        lines.append(f"{name}: {kind.__module__}.{kind.__qualname__}({module.extra_repr()})")
        for key, value in sorted(vars(module).items()):
            if isinstance(value, _PLAIN) and key != "training" and not key.startswith("_"):
                lines.append(f"{key} = {value!r}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def function_of(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """What tells a function from others, in values that JSON holds: its name and its code.

    Objects that can be called are known by their class and their attributes; addresses in memory
    do not count.

    Parameters
    ----------
    value : object
        A function, or what one holds.
    inside : tuple of int
        Identities of what holds it, so that what holds itself comes to an end.

    Examples
    --------
    >>> first, second = (lambda x: x[:, :1]), (lambda x: x[:, 1:2])
    >>> function_of(first) == function_of(second), function_of(first) == function_of(first)
    (False, True)
    """
    if id(value) in inside:
        return "itself"

    def each(values: Iterable[Any]) -> list[Any]:
        return [function_of(one, (*inside, id(value))) for one in values]

    if isinstance(value, partial):
        bound = sorted(value.keywords.items())
        return ["partial", each([value.func, *value.args]), each(bound)]
    if isinstance(value, CodeType):
        return [value.co_code.hex(), list(value.co_names), each(value.co_consts)]
    if isinstance(value, FunctionType):
        cells = each(_held(cell) for cell in value.__closure__ or ())
        given = each([value.__code__, *(value.__defaults__ or ())])
        return [value.__module__, value.__qualname__, given, cells]
    if isinstance(value, MethodType):
        return each([value.__self__, value.__func__])
    if isinstance(value, nn.Module):
        return [architecture_sha256(value), weights_sha256(value)]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), _digest(value).hex()]
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, tuple | list):
        return each(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return [value.__module__, value.__qualname__]
    if callable(value):
        own = sorted(getattr(value, "__dict__", {}).items())
        return [type(value).__module__, type(value).__qualname__, each(own)]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def differing(known: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """In what a store, or one that was begun, is not that of a capture.

    Examples
    --------
    >>> differing({"identity": {"seed": 0, "layers": "all"}}, {"seed": 1, "layers": "all"})
    ['seed']
    """
    before = known.get("identity", {})
    found = [key for key in identity if before.get(key) != identity[key]]
    if "batch size" in found:  # the values are hashed batch by batch
        found = [key for key in found if key != "values of the data"]
    return found


def batch_sha256(batch: Batch) -> str:
    """SHA-256 over the tensors and the labels of a batch."""
    total = hashlib.sha256()
    for tensor in tensors_in(batch.inputs):
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(values.view(torch.uint8).numpy().tobytes())
    if batch.labels is not None:
        total.update(repr(batch.labels.tolist()).encode())
    return total.hexdigest()
