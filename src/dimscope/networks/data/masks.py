"""Masks: which positions of a batch are padding, as a mask says or as the values suggest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.data.batches import Batch, as_tensor
from dimscope.networks.data.signature import is_padding_mask, is_target, marks_padding

__all__ = [
    "has_known_meaning", "is_known_mask", "looks_like_mask", "mask_for", "mask_of_all_rows",
    "may_be_mask", "padding_without_mask", "read_mask",
]  # fmt: skip


_REAL_IS_TRUE = (
    "attention_mask", "decoder_attention_mask", "encoder_attention_mask", "input_mask",
    "text_mask", "token_mask", "valid_mask",
)  # fmt: skip
"""Masks that are 1 where a token is real; what others mean is seen in their values."""


def has_known_meaning(name: Any) -> bool:
    """Return whether a name alone tells which value of a padding mask marks padding.

    Examples
    --------
    >>> has_known_meaning("attention_mask"), has_known_meaning("mask")
    (True, False)
    """
    return isinstance(name, str) and (name in _REAL_IS_TRUE or marks_padding(name))


def is_known_mask(name: Any, value: Any) -> bool:
    """Return whether a field can only be a padding mask, by its name and its axes."""
    return has_known_meaning(name) and isinstance(value, Tensor) and value.ndim == 2


def read_mask(name: str, value: Any, n_rows: int, *, plainly: bool) -> Tensor | None:
    """Return a padding mask as booleans, True where a token is real; None if it is none.

    Raises
    ------
    BadSource
        If neither the name nor the values tell which of its two values marks padding.
    """
    if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != n_rows:
        if plainly:
            raise BadSource(
                f"mask {name!r} must have shape (n_rows, n_positions); give one row for each "
                "stimulus, True where a token is real"
            )
        return None
    if value.is_floating_point() and bool((value < 0).any()):
        return value == 0  # added to the attention: 0 where real
    if bool(((value != 0) & (value != 1)).any()):
        return None
    mask = value.bool()
    if plainly or name in _REAL_IS_TRUE:
        return mask
    if marks_padding(name):
        return ~mask
    whole = torch.cat([mask.all(dim=1), (~mask).all(dim=1)]).reshape(2, -1).any(dim=1)
    if whole[0] != whole[1]:  # a row without padding has one value
        return mask if whole[0] else ~mask
    for column in (0, -1):
        values = mask[:, column]
        if not whole.any() and bool(values.all() | (~values).all()):
            return mask if values[0] else ~mask
    raise BadSource(
        f"the values of {name!r} do not tell whether True marks padding; give mask=, with one row "
        "for each stimulus, True where a token is real"
    )


def mask_of_all_rows(mask: Any) -> Tensor | None:
    """Return the mask that the user gives for all rows of the data; None if there is none.

    Raises
    ------
    BadPoints
        If it does not have two axes of zeros and ones.
    """
    if mask is None or isinstance(mask, str):
        return None
    tensor = as_tensor(mask)
    tensor = torch.as_tensor(np.asarray(tensor)) if not isinstance(tensor, Tensor) else tensor
    if tensor.ndim != 2 or bool(((tensor != 0) & (tensor != 1)).any()):
        raise BadPoints(
            f"mask has shape {tuple(tensor.shape)}; give one row for each stimulus with True, or "
            "1, for every real position and False, or 0, for padding"
        )
    return tensor.bool()


def mask_for(parameter: str, mask: Tensor) -> Tensor:
    """Return a mask, True where real, as a parameter of this name takes it.

    Examples
    --------
    >>> mask_for("attention_mask", torch.tensor([True, False]))
    tensor([1, 0])
    """
    return mask.logical_not() if marks_padding(parameter) else mask.long()


def may_be_mask(value: Any, first: Any) -> bool:
    """Return whether a value has a 0 or 1 for each position of the first value of the batch."""
    return (
        isinstance(value, Tensor)
        and isinstance(first, Tensor)
        and value.ndim == 2
        and first.ndim >= 2
        and value.shape == first.shape[:2]
        and bool(((value == 0) | (value == 1)).all())
    )


def looks_like_mask(value: Any, first: Any) -> bool:
    """Return whether a value marks each position of the first one by 0 or 1, zeros at one end."""
    if not may_be_mask(value, first) or not value.numel():
        return False
    steps = value.to(torch.int8).diff(dim=1)
    return not (bool((steps > 0).any()) and bool((steps < 0).any()))


def padding_without_mask(batch: Batch) -> str | None:
    """Describe what looks like padding in a batch without masks; None if nothing does.

    Padding is an id that ends (or begins) rows in runs of differing lengths and hardly occurs
    elsewhere, or steps of zeros that do so in sequences of floats.

    Parameters
    ----------
    batch : Batch

    Examples
    --------
    >>> ids = torch.tensor([[5, 6, 7, 8, 4, 9], [3, 4, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0]])
    >>> padding_without_mask(Batch(torch.cat([ids, ids]), None, 6))
    'rows end in runs of id 0 of differing lengths (0 to 5)'
    """
    if batch.masks:
        return None
    for name, value in batch.layout.named(batch.inputs).items():
        if not isinstance(value, Tensor) or value.is_nested or value.ndim not in (2, 3):
            continue
        if is_padding_mask(str(name)) or is_target(str(name)):
            continue
        rows = value.movedim(batch.layout.axis_of(str(name), value), 0)
        if rows.numel() == 0 or rows.shape[1] < 2 or len(rows) != batch.n_rows:
            continue
        for end, verb in ((-1, "end"), (0, "begin")):
            text = _padding(rows, end)
            if text is not None:
                return f"rows {verb} in {text}"
    return None


_IDS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _padding(rows: Tensor, end: int) -> str | None:
    if rows.ndim == 3 and rows.is_floating_point():
        is_pad, what = (rows == 0).all(dim=2), "steps of zeros"
        share, n_candidates = 0.05, 1
    elif rows.ndim == 2 and rows.dtype in _IDS:
        pad, n_candidates = _repeated_at(rows, end)
        is_pad, what = rows == pad, f"id {pad}"
        share = 0.25
    else:
        return None
    is_pad = is_pad[~is_pad.all(dim=1)]  # a blank stimulus is not padded
    if not len(is_pad):
        return None
    runs = (is_pad.flip(1) if end else is_pad).long().cumprod(dim=1).sum(dim=1)
    n_all, n_inside = int(is_pad.sum()), int(runs.sum())
    if n_all == is_pad.numel() or int(runs.max()) < 2 or runs.min() == runs.max():
        return None
    if n_all - n_inside > share * n_inside:
        return None
    by_chance = n_candidates * _chance_of_runs(n_inside, n_all, *is_pad.shape)
    if by_chance > _RARE:
        return None
    return f"runs of {what} of differing lengths ({int(runs.min())} to {int(runs.max())})"


_RARE = 1e-3  # how often a batch of random ids may be said to be padded


def _chance_of_runs(n_inside: int, n_all: int, n_rows: int, n_positions: int) -> float:
    """Bound the probability of runs of this total length, if the ids were in random order.

    The ways to share the runs among the rows, times the probability that all their positions hold
    ``n_inside`` of the ``n_all`` occurrences.

    Examples
    --------
    >>> f"{_chance_of_runs(2, 2, 1, 4):.3f}"  # two of two at the end of a row of four: 1 of 6 pairs
    '0.167'
    """
    n = n_rows * n_positions
    ways = math.lgamma(n_inside + n_rows) - math.lgamma(n_inside + 1) - math.lgamma(n_rows)
    theirs = math.lgamma(n_all + 1) - math.lgamma(n_all - n_inside + 1)
    of_all = math.lgamma(n + 1) - math.lgamma(n - n_inside + 1)
    return math.exp(min(0.0, ways + theirs - of_all))


def _repeated_at(rows: Tensor, end: int) -> tuple[int, int]:
    """Return the id that most positions repeat at an end of their rows, of how many ids there."""
    last = rows[:, end]
    same = rows == last[:, None]
    runs = (same.flip(1) if end else same).long().cumprod(dim=1).sum(dim=1) - 1
    ids, which = torch.unique(last, return_inverse=True)
    repeats = torch.zeros(len(ids), dtype=torch.long).index_add_(0, which, runs)
    return int(ids[repeats.argmax()]), len(ids)
