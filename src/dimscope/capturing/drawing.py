"""Drawing: which rows of indexed data are used, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from dimscope.errors import BadPoints

__all__ = ["draw", "labels_of"]


def draw(
    n: int,
    n_points: int | None,
    per_class: int | None,
    seed: int,
    find_labels: Callable[[], np.ndarray[Any, Any] | None],
) -> np.ndarray[Any, Any]:
    """Rows to use, ascending.

    Parameters
    ----------
    n : int
        How many there are.
    n_points, per_class : int, optional
        How many to draw, in all or of each class, without replacement.
    seed : int
        Of the draw.
    find_labels : callable
        Returns the labels of all rows; called for ``per_class`` only.

    Raises
    ------
    BadPoints
        If there are too few rows, or no labels.

    Examples
    --------
    >>> draw(6, None, 1, 0, lambda: np.array([0, 0, 0, 1, 1, 1])).shape
    (2,)
    """
    generator = np.random.default_rng(seed)
    if n_points is not None:
        if n_points > n:
            raise BadPoints(f"n_points is {n_points} but the data hold {n} rows; ask for fewer")
        return np.sort(generator.choice(n, n_points, replace=False))
    if per_class is None:
        return np.arange(n)
    labels = find_labels()
    if labels is None:
        raise BadPoints(
            "per_class needs labels, but the data have none; give (inputs, labels), a data set "
            "with labels, or use n_points"
        )
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise BadPoints(
                f"class {label} has {len(rows)} rows but per_class is {per_class}; ask for fewer"
            )
        drawn.append(generator.choice(rows, per_class, replace=False))
    return np.sort(np.concatenate(drawn))


def labels_of(data: Any) -> np.ndarray[Any, Any] | None:
    """Labels of a data set, read from its attributes if possible, else item by item."""
    if isinstance(data, Subset):
        inner = labels_of(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, ConcatDataset):
        parts = [labels_of(part) for part in data.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    if isinstance(data, TensorDataset):
        last = data.tensors[-1]
        return _classes(last, len(data)) if len(data.tensors) > 1 else None
    for name in ("targets", "labels"):
        found = _classes(getattr(data, name, None), len(data))
        if found is not None:
            return found
    labels = [_label_of(data[i]) for i in range(len(data))]
    return None if any(label is None for label in labels) else np.asarray(labels)


def _label_of(item: Any) -> Any:
    if isinstance(item, dict):
        value = item.get("labels", item.get("label"))
    else:
        value = item[1] if isinstance(item, tuple | list) and len(item) == 2 else None
    if isinstance(value, Tensor | np.ndarray | np.generic):
        count = value.numel() if isinstance(value, Tensor) else value.size
        value = value.item() if count == 1 else None
    return value if isinstance(value, int | str) else None


def _classes(values: Any, n: int) -> np.ndarray[Any, Any] | None:
    if values is None:
        return None
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array if array.shape == (n,) and array.dtype.kind in "iubU" else None
