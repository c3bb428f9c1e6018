"""Fingerprints: what tells one set of weights from another."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["weights_sha256"]


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all parameters and buffers.

    The tensors are hashed one by one on two threads (hashing releases the interpreter), and
    the hash of their hashes is returned.

    Examples
    --------
    >>> weights_sha256(nn.ReLU()) == weights_sha256(nn.Tanh())
    True
    """
    state = {
        name: value
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor) and not is_lazy(value)
    }
    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(_digest, state.values()))
    total = hashlib.sha256()
    for (name, tensor), digest in zip(state.items(), digests, strict=True):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(digest)
    return total.hexdigest()


def _digest(tensor: Tensor) -> bytes:
    try:
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        return hashlib.sha256(plain.view(torch.uint8).numpy().data).digest()
    except (RuntimeError, TypeError):  # a packed (quantised, sparse) tensor: by its values
        return hashlib.sha256(repr(tensor).encode()).digest()
