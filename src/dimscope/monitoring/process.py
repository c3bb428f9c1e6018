"""The process that trains: which rank measures, and the random state that it keeps."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["from_main_process", "is_main_process", "is_sharded", "undisturbed"]


def is_main_process() -> bool:
    """Whether this process is rank 0 of its process group, or there is none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return True
    return bool(distributed.get_rank() == 0)


def from_main_process(values: dict[str, float]) -> dict[str, float]:
    """Return the values of rank 0; every rank of the process group has to call this."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return values
    sent = [values]
    distributed.broadcast_object_list(sent, src=0)
    return sent[0]


def is_sharded(network: nn.Module) -> bool:
    """Whether the weights are divided among ranks, so that one rank alone cannot run the network.

    Examples
    --------
    >>> is_sharded(nn.Linear(2, 2))
    False
    """
    return any(
        type(module).__name__ == "FullyShardedDataParallel" for module in network.modules()
    ) or any(type(parameter).__name__ == "DTensor" for parameter in network.parameters())


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the random state of Python, NumPy and torch as it was."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.callback(random.setstate, python)
        stack.callback(np.random.set_state, numpy)
        stack.enter_context(torch.random.fork_rng(devices=devices))
        for device in devices:  # training that still runs there is not part of the measurement
            torch.cuda.synchronize(device)
        yield
