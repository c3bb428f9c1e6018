"""Growing arrays: the rows of a layer, written batch by batch, in memory or on a device."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.arrays.memory import own_pages
from dimscope.errors import BadPoints

__all__ = ["Growing", "GrowingArray", "GrowingTensor", "are_same"]


class GrowingArray:
    """Rows in pages outside the heap, which grow without a copy and go back to the system.

    Parameters
    ----------
    name : str
        Name of the layer, for error messages.
    shape : (int, int)
        Number of rows to make room for, and of features.
    dtype : dtype
    """

    device = None

    def __init__(self, name: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._name, self._dtype = name, dtype
        self._pages: mmap.mmap
        self._array: np.ndarray[Any, Any] | None = self._allocate(shape)

    def write(self, start: int, points: Tensor, n_rows: int) -> None:
        """Write rows from ``start`` on; points of any shape are flattened."""
        assert self._array is not None
        room = len(self._array)
        if start + n_rows > room:
            # an eighth more: few, cheap resizes
            self._resize(max(start + n_rows, room + room // 8), start)
        rows = self._array[start : start + n_rows]
        # one parallel copy converts layout and dtype on the way
        torch.from_numpy(rows.reshape(points.shape)).copy_(points)

    def reserve(self, n_rows: int, used: int) -> None:
        """Make room for all rows at once, of which ``used`` have been written."""
        if n_rows > self._room:
            self._resize(n_rows, used)

    def first(self, used: int) -> np.ndarray[Any, Any]:
        """Return the rows that have been written."""
        assert self._array is not None
        return self._array[:used]

    def finish(self, used: int) -> np.ndarray[Any, Any]:
        """Return the array, trimmed to the rows that have been written."""
        if self._room != used:
            self._resize(used, used)
        assert self._array is not None
        return self._array

    @property
    def _room(self) -> int:
        assert self._array is not None
        return len(self._array)

    def _resize(self, n_rows: int, used: int) -> None:
        assert self._array is not None
        n_features = self._array.shape[1]
        self._array = None  # pages cannot move under an array
        try:
            self._pages.resize(n_rows * n_features * self._dtype.itemsize)
        except (SystemError, OSError, MemoryError):  # no mremap on this system, or no room
            whole = np.frombuffer(self._pages, self._dtype).reshape(-1, n_features)
            self._array = self._allocate((n_rows, n_features))
            self._array[:used] = whole[:used]
        else:
            values = np.frombuffer(self._pages, self._dtype, n_rows * n_features)
            self._array = values.reshape(n_rows, -1)

    def _allocate(self, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
        n_bytes = shape[0] * shape[1] * self._dtype.itemsize
        try:
            self._pages = pages = own_pages(n_bytes)
        except (OSError, MemoryError, OverflowError, ValueError) as error:
            raise BadPoints(
                f"layer {self._name!r} needs {n_bytes / 1e9:.1f} GB for {shape[0]} points of "
                f"{shape[1]} units; take fewer points or layers, or readout='mean'"
            ) from error
        return np.frombuffer(pages, self._dtype).reshape(shape)


class GrowingTensor:
    """Rows in a tensor on a device.

    Parameters
    ----------
    shape : (int, int)
        Number of rows to make room for, and of features.
    dtype : dtype
    device : torch.device
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], device: torch.device) -> None:
        self.device = device
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        self._tensor = torch.empty(shape, dtype=kind, device=device)

    def write(self, start: int, points: Tensor, n_rows: int) -> None:
        """Write rows from ``start`` on; points of any shape are flattened."""
        self.reserve(start + n_rows, start)
        self._tensor[start : start + n_rows].view(points.shape).copy_(points)

    def reserve(self, n_rows: int, used: int) -> None:
        """Make room for all rows at once, of which ``used`` have been written."""
        if n_rows > len(self._tensor):
            before = self._tensor
            self._tensor = before.new_empty((n_rows, before.shape[1]))
            self._tensor[:used] = before[:used]

    def first(self, used: int) -> Tensor:
        """Return the rows that have been written."""
        return self._tensor[:used]

    def finish(self, used: int) -> Tensor:
        """Return the rows, always as the same tensor: several names of a layer share it."""
        if used < len(self._tensor):
            self._tensor = self.first(used)
        return self._tensor


Growing = GrowingArray | GrowingTensor


def are_same(a: Growing, b: Growing, used: int) -> bool:
    """Tell whether two arrays hold the same values, or NaN at the same places."""
    rows = a.first(used), b.first(used)
    x, y = (values if a.device == b.device else torch.as_tensor(values).cpu() for values in rows)
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return bool(((x == y) | ((x != x) & (y != y))).all())
    return np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True)
