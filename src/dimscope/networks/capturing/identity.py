"""Identity: hash networks, functions and batches, to tell whether two captures are the same."""

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

from dimscope.errors import BadSource
from dimscope.networks.data.batches import Batch
from dimscope.networks.placement import offloaded_values
from dimscope.networks.tensors import tensors_in

__all__ = ["architecture_sha256", "batch_sha256", "differing", "function_of", "weights_sha256"]


_PLAIN = (bool, float, str)  # no integers: they are often counters that change in a run


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of all parameters and buffers.

    Buffers outside the state dict are included, as are the packed parameters of quantised layers.

    Two threads hash the tensors separately (hashing releases the interpreter lock), and the hash of
    these hashes is returned.

    Examples
    --------
    >>> weights_sha256(nn.ReLU()) == weights_sha256(nn.Tanh())
    True
    """
    entries = {
        **dict(model.named_buffers()),
        **model.state_dict(),
        **dict(_compiled(model)),
    }
    state = dict(pair for name, value in entries.items() for pair in _tensors(name, value))
    readers = offloaded_values(model)

    def digest_of(name: str) -> bytes:
        if name in readers:  # read one at a time: together they may not fit in memory
            return _digest(readers[name]())
        if state[name].is_meta:
            raise BadSource(
                f"the weights {name} are on the device meta, which holds no values; load the "
                "weights before you run the network"
            )
        return _digest(state[name])

    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(digest_of, state))
    total = hashlib.sha256()
    for (name, tensor), digest in zip(state.items(), digests, strict=True):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(digest)
    return total.hexdigest()


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors nested in a state dict entry, with their names."""
    if isinstance(value, Tensor) and not is_lazy(value):
        yield name, value
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _tensors(f"{name}.{number}", item)
    elif isinstance(value, torch.ScriptObject):  # packed weights of a quantised recurrent layer
        try:
            packed = value.__getstate__()
        except RuntimeError:  # it cannot be saved, so it holds no weights
            return
        yield from _tensors(name, packed)


def _compiled(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the weights that scripted modules hold outside the state dict, with their names."""
    for name, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            continue
        if hasattr(module, "_packed_params"):
            yield f"{name}._packed_params", module._packed_params
        if name == "":
            yield from _constants(module)


def _constants(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that a frozen or traced network holds in its code."""
    try:
        graph: Any = module.inlined_graph
    except (AttributeError, RuntimeError):  # no forward method
        return
    for number, node in enumerate(graph.findAllNodes("prim::Constant")):
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            yield f"constant {number}", node.t("value")


def _digest(tensor: Tensor) -> bytes:
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        scheme = repr((tensor.qscheme(), torch.empty(0, *tensor.shape[1:])))
        per_channel = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        steps = (
            (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
            if per_channel
            else (torch.tensor([tensor.q_scale(), tensor.q_zero_point()], dtype=torch.float64),)
        )
        parts = (tensor.int_repr(), *steps)
        return hashlib.sha256(scheme.encode() + b"".join(map(_digest, parts))).digest()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    plain = tensor.contiguous().reshape(-1)
    return hashlib.sha256(plain.view(torch.uint8).numpy().data).digest()


def architecture_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of all modules: name, class, ``extra_repr`` and plain attributes.

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
        if isinstance(module, torch.jit.ScriptModule):
            lines.append(_code_of(module))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _code_of(module: nn.Module) -> str:
    try:
        return str(module.code)
    except (AttributeError, RuntimeError):  # no forward method
        return ""


def function_of(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Identify a function by its name and its code, in JSON-compatible values.

    Other callable objects are identified by their class and attributes. Memory addresses are left
    out.

    Parameters
    ----------
    value : object
        A function, or a value that a function refers to.
    inside : tuple of int
        The ``id`` of each object that contains the value; stops the recursion in reference cycles.

    Examples
    --------
    >>> first, second = (lambda x: x[:, :1]), (lambda x: x[:, 1:2])
    >>> function_of(first) == function_of(second), function_of(first) == function_of(first)
    (False, True)
    """
    if id(value) in inside:
        return "itself"

    def identify_all(values: Iterable[Any]) -> list[Any]:
        return [function_of(item, (*inside, id(value))) for item in values]

    if isinstance(value, partial):
        bound = sorted(value.keywords.items())
        return ["partial", identify_all([value.func, *value.args]), identify_all(bound)]
    if isinstance(value, CodeType):
        return [value.co_code.hex(), list(value.co_names), identify_all(value.co_consts)]
    if isinstance(value, FunctionType):
        cells = identify_all(_held(cell) for cell in value.__closure__ or ())
        code = identify_all([value.__code__, *(value.__defaults__ or ())])
        return [value.__module__, value.__qualname__, code, cells]
    if isinstance(value, MethodType):
        return identify_all([value.__self__, value.__func__])
    if isinstance(value, nn.Module):
        return [architecture_sha256(value), weights_sha256(value)]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), _digest(value).hex()]
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, tuple | list):
        return identify_all(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return [value.__module__, value.__qualname__]
    if callable(value):
        attributes = sorted(getattr(value, "__dict__", {}).items())
        return [type(value).__module__, type(value).__qualname__, identify_all(attributes)]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def differing(stored: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return the names of the entries in which a stored capture differs from another capture.

    Examples
    --------
    >>> differing({"identity": {"seed": 0, "layers": "all"}}, {"seed": 1, "layers": "all"})
    ['seed']
    """
    before = stored.get("identity", {})
    keys = [key for key in identity if before.get(key) != identity[key]]
    if "batch size" in keys:  # then the hash of the values, made batch by batch, differs too
        keys = [key for key in keys if key != "values of the data"]
    return keys


def batch_sha256(batch: Batch) -> str:
    """Return the SHA-256 of the tensors and the labels of a batch."""
    total = hashlib.sha256()
    for tensor in tensors_in(batch.inputs):
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(values.view(torch.uint8).numpy().tobytes())
    if batch.labels is not None:
        total.update(repr(batch.labels.tolist()).encode())
    return total.hexdigest()
