"""Batches: split the items of an iterable into inputs for the network and labels of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.errors import BadSource
from dimscope.networks.tensors import describe_tensors, map_tensors, tensors_in

__all__ = ["Batch", "as_batch", "as_labels", "as_tensor"]


LABEL_KEYS = ("labels", "label")


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of the network and the labels of their rows.

    ``masks`` holds a tensor of shape (n_rows, n_tokens) for each mask, True at real tokens.
    """

    inputs: Any
    labels: np.ndarray[Any, Any] | None
    n_rows: int
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def is_padded(self) -> bool:
        """Whether a mask leaves out any position."""
        return any(not bool(mask.all()) for mask in self.masks.values())

    @property
    def n_tokens(self) -> int | None:
        """Number of positions of the first mask; None without a mask."""
        return next((mask.shape[1] for mask in self.masks.values()), None)

    def take(self, rows: np.ndarray[Any, Any]) -> Batch:
        """Return some of the rows."""
        index = torch.from_numpy(rows)
        labels = None if self.labels is None else self.labels[rows]
        inputs = map_tensors(
            lambda t: t[index.to(t.device)] if t.ndim and len(t) == self.n_rows else t, self.inputs
        )
        masks = {name: mask[index.to(mask.device)] for name, mask in self.masks.items()}
        return Batch(inputs, labels, len(rows), masks)


def as_batch(batch: Any) -> Batch:
    """Split a tensor, tuple or dict into inputs and labels.

    Raises
    ------
    BadSource
        If it holds no tensor of stimuli, or the inputs and the labels differ in their numbers of
        rows.
    """
    inputs, labels = batch, None
    if isinstance(batch, Mapping):
        labels = next((batch[key] for key in LABEL_KEYS if key in batch), None)
        inputs = {key: as_tensor(v) for key, v in batch.items() if key not in LABEL_KEYS}
    elif isinstance(batch, tuple | list):
        if len(batch) == 2 and _is_target(*batch):
            inputs, labels = batch
        elif len(batch) == 1:
            inputs = batch[0]
        if isinstance(inputs, Mapping):
            inputs = {key: as_tensor(value) for key, value in inputs.items()}
        elif isinstance(inputs, tuple | list):
            inputs = tuple(as_tensor(value) for value in inputs)
    inputs = as_tensor(inputs)
    tensors = list(tensors_in(inputs))
    if not tensors or tensors[0].ndim == 0:
        raise BadSource(
            f"a batch is a {type(batch).__name__} without a tensor of stimuli; use a tensor, "
            "(inputs, labels), or a dict of tensors"
        )
    n_rows = len(tensors[0])
    if isinstance(inputs, tuple) and any(t.ndim and len(t) != n_rows for t in tensors):
        raise BadSource(
            f"a batch holds {describe_tensors(inputs)}, which differ in their numbers of rows; "
            "give inputs and labels with one row for each stimulus, and anything else in a forward "
            "function"
        )
    return Batch(inputs, as_labels(labels, n_rows), n_rows)


def as_tensor(value: Any) -> Any:
    """Convert an array of numbers to a tensor; return anything else unchanged."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(
            np.ascontiguousarray(value) if value.flags.writeable else value.copy()
        )
    return value


def as_labels(labels: Any, n_rows: int) -> np.ndarray[Any, Any] | None:
    """Return labels as an array if there is one integer or word for each row, else None.

    Raises
    ------
    BadSource
        If there are more or fewer labels than rows.
    """
    if labels is None:
        return None
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim and len(values) != n_rows:
        raise BadSource(
            f"a batch has {n_rows} inputs but labels of shape {values.shape}; give one label for "
            "each input"
        )
    return values if values.shape == (n_rows,) and values.dtype.kind in "iubU" else None


def _is_target(inputs: Any, second: Any) -> bool:
    """Whether the second of two items is a training target rather than an input."""
    if isinstance(second, np.ndarray):
        second = torch.from_numpy(second) if second.dtype.kind in "iubf" else second.tolist()
    if not isinstance(second, Tensor):
        return not isinstance(second, tuple | Mapping)
    if isinstance(inputs, Tensor | np.ndarray) and len(inputs) != len(second):
        return False
    # classes, masks and one number for each row are targets; more numbers may be inputs
    return not second.is_floating_point() or second.numel() == len(second)
