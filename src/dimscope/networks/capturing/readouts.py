"""Readouts: turn the tensors of a layer into points, and collect them in a growing array."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.activations.dominance import Dominance
from dimscope.networks.capturing.growing import Growing, GrowingArray, GrowingTensor, are_same
from dimscope.networks.capturing.rows import Layout
from dimscope.networks.data.batches import Batch
from dimscope.networks.options import Readout, ReadoutName
from dimscope.networks.tensors import dense

__all__ = ["READOUTS", "Column", "MaskedReadout", "Sink", "UncapturableError", "as_readout"]

BATCH_FIRST = Layout()


class UncapturableError(Exception):
    """A layer has no points, for the reason given in the message."""


# A readout takes a tensor with the stimuli on its first axis and, if the tensor has an axis of
# tokens, which is then its second, the mask of shape (n_points, n_tokens), True at real tokens.
MaskedReadout = Callable[[Tensor, Tensor | None], Tensor]


def _flatten(tensor: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None and not mask.all():
        raise UncapturableError(
            "its rows contain padding, and texts of unequal length have points of unequal length; "
            "use readout 'mean', 'max', 'first', 'last' or 'tokens'"
        )
    return tensor  # Column reshapes the rows when it writes them


def _mean(tensor: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        if tensor.ndim == 3:
            return tensor.mean(dim=1)
        return tensor.flatten(2).mean(dim=2) if tensor.ndim > 3 else tensor
    if mask.all():
        return tensor.mean(dim=1)
    counts = mask.sum(dim=1).reshape(-1, *(1,) * (tensor.ndim - 2))
    wide = torch.promote_types(tensor.dtype, torch.float32)
    total = torch.where(_wide(mask, tensor), tensor, 0).sum(dim=1, dtype=wide)
    return (total / counts).to(tensor.dtype)


def _max(tensor: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        if tensor.ndim == 3:
            return tensor.amax(dim=1)
        return tensor.flatten(2).amax(dim=2) if tensor.ndim > 3 else tensor
    return torch.where(_wide(mask, tensor), tensor, -torch.inf).amax(dim=1)


def _first(tensor: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return tensor[:, 0] if tensor.ndim == 3 else tensor
    return tensor[torch.arange(len(tensor), device=tensor.device), mask.int().argmax(dim=1)]


def _last(tensor: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return tensor[:, -1] if tensor.ndim == 3 else tensor
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    return tensor[torch.arange(len(tensor), device=tensor.device), last]


def _tokens(tensor: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None:
        return tensor[mask]
    if tensor.ndim != 3:
        raise UncapturableError(f"its shape {tuple(tensor.shape)} has no axis of tokens")
    return tensor.flatten(0, 1)


def _wide(mask: Tensor, tensor: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (tensor.ndim - 2))


READOUTS: dict[ReadoutName, MaskedReadout] = {
    "flatten": _flatten,
    "mean": _mean,
    "max": _max,
    "first": _first,
    "last": _last,
    "tokens": _tokens,
}


def as_readout(readout: ReadoutName | Readout) -> MaskedReadout:
    """Return the function for a readout name, or make one of a user's function.

    A function with two parameters takes the tensor and the mask, or None. A function of the tensor
    alone is not called with a tensor that holds padding.
    """
    if not callable(readout):
        return READOUTS[readout]
    function: Callable[..., Tensor] = readout
    if _takes_mask(function):
        return function

    def without_mask(tensor: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and not mask.all():
            raise UncapturableError(
                "its rows contain padding, which a readout function of the tensor alone would "
                "include; give the function a second parameter, the mask"
            )
        return function(tensor)

    return without_mask


def _takes_mask(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 2


Sink = Callable[[int, np.ndarray[Any, Any]], None]


_DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float16: np.float16,
    torch.float64: np.float64,
}  # all others, bfloat16 among them, are exact in float32


class Column:
    """The points of one layer, collected batch by batch.

    Parameters
    ----------
    name : str
        Name of the layer, for error messages.
    readout : callable
        Turns a tensor, with its mask or None, into points.
    layout : Layout or str
        Where its tensors hold the stimuli and the tokens, or the reason why they do not have one
        row for each stimulus.
    n_points : int, optional
        Expected number of rows; if given, the array is allocated once, at its full size.
    device : torch.device, optional
        Where to collect the points; in memory by default.

    Attributes
    ----------
    dominance : Dominance
        Whether single tokens decide the means over tokens, in the first batches.
    """

    def __init__(
        self,
        name: str,
        readout: MaskedReadout,
        layout: Layout | str = BATCH_FIRST,
        n_points: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.name = name
        self.layout = layout
        self.n_points = n_points
        self.device = device
        self.used = 0
        self.reason: str | None = None
        self.dominance = Dominance()
        self.dtype = np.dtype(np.float32)
        self._width = 0
        self._readout = readout
        self._rows: Growing | None = None
        self._sink: Sink | None = None

    @property
    def n_features(self) -> int:
        """Number of units; 0 before the first batch, and for a layer that failed."""
        return 0 if self.reason else self._width

    @property
    def row_bytes(self) -> int:
        """Number of bytes per point."""
        return self.n_features * self.dtype.itemsize

    def append(self, tensor: Tensor, batch: Batch, mask: Tensor | None = None) -> None:
        """Add the points of one batch, or record in ``reason`` why the layer has none.

        ``mask`` belongs to a tensor of padded sequences; by default, a mask of the batch is used.
        """
        if self.reason is not None:
            return
        try:
            points = self._points(dense(tensor.detach()), batch, mask)
            self._write(points, len(points))
        except UncapturableError as reason:
            self.fail(str(reason))

    def fail(self, reason: str) -> None:
        """Record why the layer has no points, and free its memory."""
        self.reason, self._rows, self._sink = reason, None, None

    def divert(self, sink: Sink) -> None:
        """Pass the points collected in memory so far, and all later ones, to ``sink``.

        Parameters
        ----------
        sink : callable
            ``sink(first_row, points)``, called with whole rows.
        """
        self._sink = sink
        if isinstance(self._rows, GrowingArray):
            sink(0, self._rows.first(self.used))
        self._rows = None

    def resume(self, n_features: int, dtype: str, used: int, sink: Sink) -> None:
        """Continue after the ``used`` rows that the sink has already received."""
        self._width, self.dtype, self.used, self._sink = n_features, np.dtype(dtype), used, sink

    def equals(self, other: Column) -> bool:
        """Whether another column, of the same batches, holds the same points or none at all."""
        if other.reason is not None:
            return True
        if self.n_features != other.n_features or self.used != other.used:
            return False
        assert self._rows is not None
        assert other._rows is not None
        return are_same(self._rows, other._rows, self.used)

    def _points(self, tensor: Tensor, batch: Batch, mask: Tensor | None) -> Tensor:
        if not tensor.is_floating_point():
            raise UncapturableError(
                f"its values are {_word(tensor.dtype)}, not floating-point numbers"
            )
        if tensor.is_sparse or tensor.is_nested:
            raise UncapturableError(
                "its tensor is sparse or nested, so it cannot become an array of points"
            )
        if isinstance(self.layout, str):
            raise UncapturableError(self.layout)
        rows = self.layout.rows_first(tensor, batch.n_rows)
        if rows is None:
            raise UncapturableError(
                f"its shape {tuple(tensor.shape)} does not have the same number of rows for each "
                f"of the {batch.n_rows} stimuli in the batch"
            )
        if mask is None:
            rows, mask = self._masked(rows, batch)
        if self._readout is _mean and not self.dominance.is_known:
            self.dominance = self.dominance.with_more(_dominance(rows, mask))
        try:
            points = self._readout(rows, mask)
        except UncapturableError:
            raise
        except Exception as error:  # a fault of the user's function spares the other layers
            raise UncapturableError(
                f"the readout failed on shape {tuple(rows.shape)}: {error}"
            ) from error
        expected = batch.n_rows if self._readout is not _tokens else None
        if (
            not isinstance(points, Tensor)
            or points.ndim == 0
            or len(points) != (expected or len(points))
        ):
            shape = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise UncapturableError(f"the readout returned {shape}, not one row for each stimulus")
        if points.numel() == 0:
            raise UncapturableError("it has no units")
        return points.detach()

    def _masked(self, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the tensor with its tokens on the second axis, and its mask or None."""
        layout = self.layout
        assert isinstance(layout, Layout)
        if layout.problem is not None and batch.is_padded:
            raise UncapturableError(f"padding cannot be left out of its points: {layout.problem}")
        if layout.mask is None:
            is_named = self._readout in READOUTS.values() and self._readout is not _flatten
            return _positions_together(rows) if layout.folded and is_named else rows, None
        mask = batch.masks[layout.mask].to(rows.device)
        rows = rows.movedim(layout.tokens, 1)
        if rows.shape[1] != mask.shape[1]:
            raise UncapturableError(
                f"it has {rows.shape[1]} positions, but the mask has {mask.shape[1]}"
            )
        return rows, mask

    def _write(self, points: Tensor, n_rows: int) -> None:
        n_features = points.numel() // n_rows
        if not self._width:
            self._width, self.dtype = n_features, np.dtype(_DTYPES.get(points.dtype, np.float32))
        elif self._width != n_features:
            raise UncapturableError(
                f"its number of units changes from {self._width} to {n_features} "
                "between batches; use readout 'mean', 'max', 'first' or 'last', which give rows of "
                "equal length"
            )
        if self._sink is not None:
            kind = torch.from_numpy(np.empty(0, self.dtype)).dtype
            plain = points.to("cpu", kind).contiguous().reshape(n_rows, n_features)
            self._sink(self.used, plain.numpy())
            self.used += n_rows
            return
        if self._rows is None:
            self._rows = self._empty(self.n_points or n_rows)
        self._rows.write(self.used, points, n_rows)
        self.used += n_rows

    def _empty(self, n_rows: int) -> Growing:
        shape = n_rows, self._width
        if self.device is None:
            return GrowingArray(self.name, shape, self.dtype)
        return GrowingTensor(shape, self.dtype, self.device)

    def move(self, device: torch.device | None) -> None:
        """Collect the points on a device from now on, or in memory; move those collected so far."""
        if device == self.device:
            return
        self.device, before = device, self._rows
        if before is not None:
            self._rows = self._empty(self.used)
            self._rows.write(0, torch.as_tensor(before.first(self.used)), self.used)

    def reserve(self, n_points: int) -> None:
        """Allocate all ``n_points`` rows at once."""
        self.n_points = n_points
        if self._rows is not None:
            self._rows.reserve(n_points, self.used)

    def finish(self) -> Any:
        """Return the array or tensor, trimmed to the rows that were written."""
        assert self._rows is not None
        return self._rows.finish(self.used)


def _dominance(rows: Tensor, mask: Tensor | None) -> Dominance:
    """Count how often one token outweighs the others; nothing without an axis of tokens."""
    if rows.ndim < 3 or (mask is None and rows.ndim > 3):
        return Dominance()
    lengths = torch.linalg.vector_norm(rows.detach().float().flatten(2), dim=2)
    return Dominance.of(lengths.cpu().numpy(), None if mask is None else mask.cpu().numpy() > 0)


def _positions_together(rows: Tensor) -> Tensor:
    """Join the entries of a stimulus, on the second axis, with the axes of its positions."""
    if rows.ndim == 4:
        return rows.flatten(1, 2)  # the tokens of windows
    return rows.movedim(1, 2) if rows.ndim > 4 else rows


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
