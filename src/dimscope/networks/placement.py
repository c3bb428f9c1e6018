"""Placement: networks that accelerate has spread over devices, memory and disk.

Such a network moves its weights and inputs to the right device, layer by layer, so it must not be
moved, and its inputs stay where they are. Offloaded weights are on the device ``meta`` until they
are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["is_dispatched", "offloaded_values"]


def is_dispatched(network: nn.Module) -> bool:
    """Whether accelerate has placed the parts of this network and moves its inputs.

    Examples
    --------
    >>> is_dispatched(nn.Linear(2, 2))
    False
    """
    device_map: Any = getattr(network, "hf_device_map", {})
    if len(set(device_map.values())) > 1:
        return True
    return next(_hooks(network), None) is not None


def _hooks(network: nn.Module) -> Iterator[tuple[str, nn.Module, Any]]:
    """Yield the name, the module and the hook of every module that has one of accelerate's."""
    for name, module in network.named_modules():
        hook = getattr(module, "_hf_hook", None)
        if hook is not None:
            for part in getattr(hook, "hooks", (hook,)):  # of a SequentialHook
                yield name, module, part


def offloaded_values(network: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Return functions that read the weights offloaded to memory or disk, by the weights' names.

    Examples
    --------
    >>> offloaded_values(nn.Linear(2, 2))
    {}
    """
    values: dict[str, Callable[[], Tensor]] = {}
    for name, module, hook in _hooks(network):
        stored = getattr(hook, "weights_map", None)
        if stored is None:
            continue
        recurse = bool(getattr(hook, "place_submodules", False))
        tensors = dict(module.named_parameters(recurse=recurse)) | dict(
            module.named_buffers(recurse=recurse)
        )
        for key, tensor in tensors.items():
            if tensor.is_meta:
                full = f"{name}.{key}" if name else key
                values[full] = _reader(stored, key)
    return values


def _reader(stored: Any, key: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        tensor: Tensor = stored[key]
        return tensor

    return read
