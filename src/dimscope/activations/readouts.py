"""Readouts: make one vector of the tokens, or positions, of each stimulus in a saved array."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.activations.dominance import Dominance
from dimscope.arrays.block_points import Blocks, FlatBlocks, H5Kind, ZarrKind
from dimscope.arrays.dask_points import DaskKind
from dimscope.arrays.files import checked_array
from dimscope.arrays.formats.base import SavedArray
from dimscope.arrays.memory import is_mapped
from dimscope.arrays.tensor_points import is_tensor, tensor_values
from dimscope.arrays.threads import spans
from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VectorReadout", "is_stored", "points_of"]

VectorReadout = Literal["flatten", "mean", "max", "first", "last"]
"""The readouts that give one vector a stimulus, of saved arrays and of a capture."""

_READ_BYTES = 1 << 26


def points_of(
    saved: SavedArray, readout: VectorReadout | None, mask: NDArray[np.bool_] | None
) -> tuple[Any, Dominance]:
    """Return the points of a layer: a view where possible, otherwise a new and smaller array.

    With them, for a mean over tokens, whether single tokens decide it, in the first rows.
    """
    shape = saved.shape
    if readout is None and len(shape) == 3:
        raise BadPoints(
            f"its shape is {shape}, whose second axis may be that of tokens; give "
            "readout='mean', 'max', 'first' or 'last', with mask= if there is padding, or "
            "readout='flatten'"
        )
    array = saved.read()
    if not is_tensor(array) and not is_stored(array):
        array = checked_array(array)
    if readout in (None, "flatten") or len(shape) == 2:
        if mask is not None and len(shape) > 2 and not mask.all():
            raise BadPoints(
                "its rows contain padding, which 'flatten' would include; use readout 'mean', "
                "'max', 'first' or 'last'"
            )
        if len(shape) == 2 or isinstance(array, Blocks):
            return array, Dominance()
        if is_mapped(array) and not array.flags.c_contiguous:
            return FlatBlocks(array), Dominance()  # reshape would copy the file
        return array.reshape(shape[0], -1), Dominance()
    if mask is not None and shape[1] != mask.shape[1]:
        raise BadPoints(
            f"its shape is {shape}, but the mask has {mask.shape[1]} tokens; name the layers with "
            "an axis of tokens: layers=[...]"
        )
    width = int(np.prod(shape[1:], dtype=np.int64)) * 8
    parts, dominance = [], Dominance()
    for rows in spans(shape[0], max(1, _READ_BYTES // width)):
        part = tensor_values(array[rows]) if is_tensor(array) else np.asarray(array[rows])
        part = part.reshape(-1, *shape[1:])
        tokens = None if mask is None else mask[rows]
        if readout == "mean" and part.ndim == 3 and not dominance.is_known:
            lengths = np.linalg.norm(part.astype(np.float32), axis=2)
            dominance = dominance.with_more(Dominance.of(lengths, tokens))
        parts.append(_READOUTS[readout](part, tokens).reshape(len(part), -1))
    return np.concatenate(parts), dominance


def _wide(part: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask.reshape(*mask.shape, *(1,) * (part.ndim - 2))


def _mean(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    wide = np.result_type(part.dtype, np.float32)
    if mask is None:
        axes = 1 if part.ndim == 3 else tuple(range(2, part.ndim))
        return np.asarray(part.mean(axis=axes, dtype=wide))
    total = np.where(_wide(part, mask), part, 0).sum(axis=1, dtype=wide)
    return np.asarray(total / mask.sum(axis=1).reshape(-1, *(1,) * (part.ndim - 2)).astype(wide))


def _max(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    if mask is None:
        return np.asarray(part.max(axis=1 if part.ndim == 3 else tuple(range(2, part.ndim))))
    wide = np.result_type(part.dtype, np.float32)
    return np.asarray(np.where(_wide(part, mask), part.astype(wide), -np.inf).max(axis=1))


def _first(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    if mask is None:
        return part[:, 0] if part.ndim == 3 else part
    return np.asarray(part[np.arange(len(part)), mask.argmax(axis=1)])


def _last(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    if mask is None:
        return part[:, -1] if part.ndim == 3 else part
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return np.asarray(part[np.arange(len(part)), last])


# the same as those of a capture, for NumPy
_READOUTS: dict[VectorReadout, Callable[[NDArray[Any], NDArray[np.bool_] | None], NDArray[Any]]] = {
    "mean": _mean,
    "max": _max,
    "first": _first,
    "last": _last,
}


def is_stored(value: Any) -> bool:
    """Tell whether an array is of h5py, Zarr or dask."""
    return any(kind.accepts(value) for kind in (H5Kind(), ZarrKind(), DaskKind()))
