"""Rows: which axis of a tensor holds the stimuli, and which the positions of a sequence.

A shape alone proves nothing, because a sequence can be as long as a batch. The network runs on two
stimuli and on four, and the axis whose length changes with their number is the axis of the stimuli.
In the same way, the axis whose length changes with that of the texts is the axis of the tokens. The
values of a stimulus must be the same in both runs, whatever its place in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = [
    "FEW",
    "MORE",
    "Layout",
    "difference",
    "find_layout",
    "find_layout_by_order",
    "find_tokens",
    "tolerance",
]

FEW = (0, 1)
# another order, so that each stimulus has other neighbours and another place
MORE = (2, 3, 1, 0)


@dataclass(frozen=True)
class Layout:
    """Where a tensor holds the stimuli and the tokens.

    Parameters
    ----------
    axis : int
        The axis of the stimuli.
    folded : bool
        Whether a stimulus has several entries on this axis, such as the windows of an image.
    spread : bool
        Whether these entries are not consecutive: entry *i* of every stimulus comes before entry
        *i* + 1 of any.
    mask : str or None
        The mask that has one entry for each token; None if there is no axis of tokens.
    tokens : int
        The axis of the tokens after the axis of the stimuli has been moved to the front.
    ragged : bool
        Whether the tensor holds padded sequences of unequal length, which have a mask of their own.
    problem : str or None
        Why padding cannot be left out of the points; None if it can.

    Examples
    --------
    >>> Layout(axis=1).rows_first(torch.zeros(7, 3, 2), n_rows=3).shape
    torch.Size([3, 7, 2])
    >>> Layout(folded=True).rows_first(torch.zeros(6, 5), n_rows=3).shape
    torch.Size([3, 2, 5])
    """

    axis: int = 0
    folded: bool = False
    spread: bool = False
    mask: str | None = None
    tokens: int = 1
    ragged: bool = False
    problem: str | None = None

    def rows_first(self, tensor: Tensor, n_rows: int) -> Tensor | None:
        """Move the stimuli to the first axis.

        Parameters
        ----------
        tensor : Tensor
        n_rows : int
            Number of stimuli.

        Returns
        -------
        Tensor or None
            One entry for each stimulus on the first axis; None if the shape does not allow it.
        """
        if tensor.ndim <= self.axis:
            return None
        moved = tensor.movedim(self.axis, 0)
        count, rest = divmod(len(moved), n_rows)
        if rest or not count or (count > 1 and not self.folded):
            return None
        if not self.folded:
            return moved
        if self.spread:
            return moved.reshape(count, n_rows, *moved.shape[1:]).transpose(0, 1)
        return moved.reshape(n_rows, count, *moved.shape[1:])


def tolerance(values: Tensor) -> float:
    """Return the largest relative difference of values that is ascribed to rounding, eps^0.57.

    Slightly more than half of the digits agree. On CUDA devices, torch rounds the float32
    inputs of convolutions to 11 bits (TF32), unless it is told not to.

    Examples
    --------
    >>> [round(tolerance(torch.ones(1, dtype=d)), 4) for d in (torch.float32, torch.bfloat16)]
    [0.0001, 0.0629]
    """
    eps = torch.finfo(values.dtype).eps
    in_tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    if values.is_cuda and values.dtype == torch.float32 and in_tf32:
        eps = 2.0**-10
    return float(eps**0.57)


def difference(first: Tensor, second: Tensor) -> float:
    """Return the norm of the difference over the norm of ``first``.

    Equal infinities, and NaN in both tensors, do not differ; tensors of different shapes, or with
    NaN in one of them, differ by infinity.

    Examples
    --------
    >>> difference(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
    0.1
    """
    if first.shape != second.shape:
        return float("inf")
    first, second = _in_float64(first), _in_float64(second)
    is_equal = (first.isnan() & second.isnan()) | (first == second)
    distance = float(torch.where(is_equal, 0.0, first - second).norm())
    if distance == 0.0:
        return 0.0
    size = float(first.nan_to_num(0.0, 0.0, 0.0).norm())
    return distance / size if size and not math.isnan(distance) else float("inf")


def _in_float64(tensor: Tensor) -> Tensor:
    # Apple's devices have no float64
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def _columns(tensor: Tensor, layout: Layout, order: Sequence[int], rows: Sequence[int]) -> Tensor:
    """Return the entries of the stimuli ``rows`` in a batch of the stimuli ``order``."""
    values = layout.rows_first(tensor, len(order))
    assert values is not None
    return values[[order.index(row) for row in rows]]


def find_layout(
    few: Tensor, more: Tensor, orders: tuple[Sequence[int], Sequence[int]] = (FEW, MORE)
) -> tuple[Layout, float] | str:
    """Find the axis of the stimuli of a tensor.

    Parameters
    ----------
    few, more : Tensor
        What the network computed for the stimuli in ``orders``.
    orders : pair of sequences of int
        The stimuli in each of the two batches.

    Returns
    -------
    (Layout, float) or str
        The layout, and the difference between the values of the same stimuli relative to their
        norm; or the reason why the tensor does not have one row for each stimulus.

    Examples
    --------
    >>> find_layout(torch.zeros(9, 2, 5), torch.zeros(9, 4, 5))[0].axis
    1
    >>> find_layout(torch.zeros(2, 2), torch.zeros(4, 4))
    'axes 0 and 1 of its shape (4, 4) both follow the number of stimuli, as in a table of pairs'
    """
    n_few, n_more = map(len, orders)
    shape = tuple(more.shape)
    if few.ndim != more.ndim:
        return f"its shape is {tuple(few.shape)} for {n_few} stimuli but {shape} for {n_more}"
    axes = [axis for axis in range(few.ndim) if few.shape[axis] != more.shape[axis]]
    if not axes:
        return f"no axis of its shape {shape} follows the number of stimuli"
    if len(axes) > 1:
        listed = " and ".join(map(str, axes))
        both = "both" if len(axes) == 2 else "all"
        return (
            f"axes {listed} of its shape {shape} {both} follow the number of stimuli, as in a "
            "table of pairs"
        )
    axis = axes[0]
    count, rest = divmod(few.shape[axis], n_few)
    if rest or not count or more.shape[axis] != count * n_more:
        return (
            f"axis {axis} has {few.shape[axis]} entries for {n_few} stimuli and "
            f"{more.shape[axis]} for {n_more}, not the same number for each"
        )
    rows = sorted(set(orders[0]) & set(orders[1]))
    layouts = [Layout(axis, folded=count > 1, spread=spread) for spread in (False, True)]
    if count == 1:
        layouts = layouts[:1]
    gaps = [
        difference(_columns(few, layout, orders[0], rows), _columns(more, layout, orders[1], rows))
        for layout in layouts
    ]
    if count == 1:
        return layouts[0], gaps[0]
    limit = tolerance(few)
    fits = [layout for layout, gap in zip(layouts, gaps, strict=True) if gap <= limit]
    if not fits or (len(fits) == 2 and len(rows) > 1):
        return (
            f"axis {axis} has {count} entries for each stimulus, but the values do not show "
            "which entries belong to which stimulus"
        )
    return fits[0], min(gaps)


def find_layout_by_order(
    batch: Tensor, reordered: Tensor, order: Sequence[int]
) -> tuple[Layout, float] | str:
    """Find the axis of the stimuli for a network that accepts only one batch size.

    Parameters
    ----------
    batch, reordered : Tensor
        What the network computed for a batch, and for the same batch in another order.
    order : sequence of int
        For each stimulus of the reordered batch, its place in the first one.

    Returns
    -------
    (Layout, float) or str
        As for :func:`find_layout`.

    Examples
    --------
    >>> batch = torch.arange(6.0).reshape(2, 3)
    >>> find_layout_by_order(batch, batch[:, [2, 0, 1]], [2, 0, 1])[0].axis
    1
    """
    shape = tuple(batch.shape)
    if batch.shape != reordered.shape:
        return f"its shape {shape} changes with the order of the stimuli"
    if len(order) == 1 and batch.numel():  # all of it belongs to the one stimulus
        return Layout(shape.index(1) if 1 in shape else 0, folded=1 not in shape), 0.0
    gaps: dict[Layout, float] = {}
    for axis, size in enumerate(batch.shape):
        count, rest = divmod(size, len(order))
        if rest or not count:
            continue
        for spread in (False, True) if count > 1 else (False,):
            layout = Layout(axis, folded=count > 1, spread=spread)
            before = layout.rows_first(batch, len(order))
            after = layout.rows_first(reordered, len(order))
            assert before is not None
            assert after is not None
            gap = difference(before[list(order)], after)
            if gap <= tolerance(batch):
                gaps[layout] = gap
    if not gaps:
        return f"no axis of its shape {shape} follows the order of the stimuli"
    if len(gaps) > 1:
        return f"several axes of its shape {shape} follow the order of the stimuli"
    return next(iter(gaps.items()))


def find_tokens(
    layout: Layout,
    mask: str,
    lengths: tuple[int, int],
    whole: Tensor,
    part: Tensor,
    kept: Tensor | None,
) -> tuple[Layout, float]:
    """Find the axis of the tokens of a tensor.

    Parameters
    ----------
    layout : Layout
        The layout found so far.
    mask : str
        Name of the mask.
    lengths : (int, int)
        Number of positions in the two runs.
    whole, part : Tensor
        What the network computed for the same two rows, whole and cut to ``kept``.
    kept : Tensor or None
        The positions that were kept, if they are all the real ones; None if real ones were cut
        too, so that the values cannot be compared.

    Returns
    -------
    (Layout, float)
        The layout with its axis of tokens, and the difference between the values at real tokens in
        the two runs, relative to their norm.

    Examples
    --------
    >>> whole, part = torch.zeros(2, 9, 5), torch.zeros(2, 6, 5)
    >>> find_tokens(Layout(), "mask", (9, 6), whole, part, torch.arange(6))[0].tokens
    1
    """
    before, after = layout.rows_first(whole, 2), layout.rows_first(part, 2)
    if before is None or after is None or before.ndim != after.ndim:
        return replace(layout, problem="its shape changes with the padding"), 0.0
    axes = [axis for axis in range(1, before.ndim) if before.shape[axis] != after.shape[axis]]
    if not axes:
        gap = difference(after, before) if kept is not None else 0.0
        return layout, gap
    if len(axes) > 1:
        listed = " and ".join(map(str, axes))
        problem = f"axes {listed} both follow the number of tokens, as in an attention map"
        return replace(layout, problem=problem), 0.0
    axis = axes[0]
    sizes = before.shape[axis], after.shape[axis]
    if sizes != lengths:
        problem = (
            f"it has {sizes[0]} positions for {lengths[0]} tokens and {sizes[1]} for "
            f"{lengths[1]}, so that the mask does not say which of them are padding"
        )
        return replace(layout, problem=problem), 0.0
    gap = 0.0
    if kept is not None:
        gap = difference(after, before.index_select(axis, kept.to(before.device)))
    return replace(layout, mask=mask, tokens=axis), gap
