"""Identities: by what a capture is known as the same that was begun before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from dimscope.capturing.batches import Batch
from dimscope.capturing.tensors import tensors_in

__all__ = ["batch_sha256", "differing"]


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
