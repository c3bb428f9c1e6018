"""Readouts: turn the tensors of a layer into points, and collect them in a growing array."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.arrays.memory import own_pages
from dimscope.errors import BadPoints
from dimscope.networks.capturing.options import Readout, ReadoutName

__all__ = ["READOUTS", "Column", "Sink", "UncapturableError", "as_readout"]


def _flatten(tensor: Tensor) -> Tensor:
    return tensor  # Column reshapes the rows when it writes them


def _mean(tensor: Tensor) -> Tensor:
    if tensor.ndim == 3:
        return tensor.mean(dim=1)
    return tensor.flatten(2).mean(dim=2) if tensor.ndim > 3 else tensor


def _first(tensor: Tensor) -> Tensor:
    return tensor[:, 0] if tensor.ndim == 3 else tensor


def _last(tensor: Tensor) -> Tensor:
    return tensor[:, -1] if tensor.ndim == 3 else tensor


READOUTS: dict[ReadoutName, Readout] = {
    "flatten": _flatten,
    "mean": _mean,
    "first": _first,
    "last": _last,
}


def as_readout(readout: ReadoutName | Readout) -> Readout:
    """Return the function for a readout name; return a function unchanged."""
    return readout if callable(readout) else READOUTS[readout]


Sink = Callable[[int, np.ndarray[Any, Any]], None]


_DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float16: np.float16,
    torch.float64: np.float64,
}  # all others, bfloat16 among them, are exact in float32


class UncapturableError(Exception):
    """A layer has no points, for the reason given in the message."""


class Column:
    """The points of one layer, collected batch by batch.

    Parameters
    ----------
    name : str
        Name of the layer, for error messages.
    readout : callable
        Turns a tensor into points.
    n_points : int, optional
        Expected number of rows; if given, the array is allocated once, at its full size.
    """

    def __init__(self, name: str, readout: Readout, n_points: int | None = None) -> None:
        self.name = name
        self.n_points = n_points
        self.used = 0
        self.reason: str | None = None
        self.dtype = np.dtype(np.float32)
        self._width = 0
        self._readout = readout
        self._array: np.ndarray[Any, Any] | None = None
        self._pages: mmap.mmap | None = None
        self._sink: Sink | None = None

    @property
    def n_features(self) -> int:
        """Number of units; 0 before the first batch, and for a layer that failed."""
        return 0 if self.reason else self._width

    @property
    def row_bytes(self) -> int:
        """Number of bytes per point."""
        return self.n_features * self.dtype.itemsize

    def append(self, tensor: Tensor, n_rows: int) -> None:
        """Add the points of one batch, or record in ``reason`` why the layer has none."""
        if self.reason is not None:
            return
        try:
            self._write(self._points(tensor.detach(), n_rows), n_rows)
        except UncapturableError as reason:
            self.fail(str(reason))

    def fail(self, reason: str) -> None:
        """Record why the layer has no points, and free its memory."""
        self.reason, self._array, self._pages, self._sink = reason, None, None, None

    def divert(self, sink: Sink) -> None:
        """Pass the points collected so far, and all later ones, to ``sink``.

        Parameters
        ----------
        sink : callable
            ``sink(first_row, points)``, called with whole rows.
        """
        self._sink = sink
        if self._array is not None:
            sink(0, self._array[: self.used])
        self._array = self._pages = None

    def resume(self, n_features: int, dtype: str, used: int, sink: Sink) -> None:
        """Continue after the ``used`` rows that the sink has already received."""
        self._width, self.dtype, self.used, self._sink = n_features, np.dtype(dtype), used, sink

    def _points(self, tensor: Tensor, n_rows: int) -> Tensor:
        tensor = tensor.dequantize() if tensor.is_quantized else tensor
        if not tensor.is_floating_point():
            raise UncapturableError(
                f"its values are {_word(tensor.dtype)}, not floating-point numbers"
            )
        if tensor.is_sparse or tensor.is_nested:
            raise UncapturableError(
                "its tensor is sparse or nested, so it cannot become an array of points"
            )
        if tensor.ndim == 0 or tensor.shape[0] != n_rows:
            raise UncapturableError(
                f"its shape {tuple(tensor.shape)} does not have one row for each of the "
                f"{n_rows} stimuli in the batch"
            )
        try:
            points = self._readout(tensor)
        except Exception as error:  # a fault of the user's function spares the other layers
            raise UncapturableError(
                f"the readout failed on shape {tuple(tensor.shape)}: {error}"
            ) from error
        if not isinstance(points, Tensor) or points.ndim == 0 or points.shape[0] != n_rows:
            shape = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise UncapturableError(f"the readout returned {shape}, not one row for each stimulus")
        if points.numel() == 0:
            raise UncapturableError("it has no units")
        return points.detach()

    def _write(self, points: Tensor, n_rows: int) -> None:
        n_features = points.numel() // n_rows
        if not self._width:
            self._width, self.dtype = n_features, np.dtype(_DTYPES.get(points.dtype, np.float32))
        elif self._width != n_features:
            raise UncapturableError(
                f"its number of units changes from {self._width} to {n_features} "
                "between batches; use readout 'mean', 'first' or 'last', which give rows of "
                "equal length"
            )
        if self._sink is not None:
            kind = torch.from_numpy(np.empty(0, self.dtype)).dtype
            plain = points.to("cpu", kind).contiguous().reshape(n_rows, n_features)
            self._sink(self.used, plain.numpy())
            self.used += n_rows
            return
        if self._array is None:
            self._array = self._allocate(self.n_points or n_rows, n_features, self.dtype)
        self._grow(self.used + n_rows)
        rows = self._array[self.used : self.used + n_rows]
        # one parallel copy converts layout and dtype on the way
        torch.from_numpy(rows.reshape(points.shape)).copy_(points)
        self.used += n_rows

    def _grow(self, n_rows: int) -> None:
        assert self._array is not None
        room = len(self._array)
        if n_rows > room:
            self._resize(max(n_rows, room + room // 8))  # an eighth more: few, cheap resizes

    def reserve(self, n_points: int) -> None:
        """Allocate all ``n_points`` rows at once."""
        self.n_points = n_points
        if self._array is not None and n_points > len(self._array):
            self._resize(n_points)

    def _resize(self, n_rows: int) -> None:
        assert self._array is not None
        n_features, dtype = self._array.shape[1], self._array.dtype
        size = n_rows * n_features * dtype.itemsize
        pages, self._array = self._pages, None  # pages cannot move under an array
        assert pages is not None
        try:
            pages.resize(size)
        except (SystemError, OSError, MemoryError):  # no mremap on this system, or no room
            whole = np.frombuffer(pages, dtype).reshape(-1, n_features)
            self._array = self._allocate(n_rows, n_features, dtype)
            self._array[: self.used] = whole[: self.used]
        else:
            self._array = np.frombuffer(pages, dtype, n_rows * n_features).reshape(n_rows, -1)

    def _allocate(self, n_rows: int, n_features: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        # Pages outside the heap can grow without a copy, and are returned to the system with
        # the array.
        try:
            self._pages = pages = own_pages(n_rows * n_features * dtype.itemsize)
        except (OSError, MemoryError, OverflowError, ValueError) as error:
            raise self._too_big(n_rows, n_features, dtype) from error
        return np.frombuffer(pages, dtype).reshape(n_rows, n_features)

    def _too_big(self, n_rows: int, n_features: int, dtype: np.dtype[Any]) -> BadPoints:
        size = n_rows * n_features * dtype.itemsize / 1e9
        return BadPoints(
            f"layer {self.name!r} needs {size:.1f} GB for {n_rows} points of {n_features} units; "
            "take fewer points or layers, or readout='mean'"
        )

    def finish(self) -> np.ndarray[Any, Any]:
        """Return the array, trimmed to the rows that were written."""
        assert self._array is not None
        if len(self._array) != self.used:
            self._resize(self.used)
        return self._array


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
