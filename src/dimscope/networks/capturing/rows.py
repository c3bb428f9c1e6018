"""Rows: which axis of a tensor holds the stimuli, and which the positions of a sequence.

Nothing is concluded from a shape alone, because a sequence can be as long as a batch. The network
runs on two stimuli and on four, and the axis that follows their number is the axis of the stimuli.
In the same way, the axis that follows the length of the texts is the axis of the tokens. The values
of a stimulus must be the same in both runs, wherever it stands in the batch.
"""

from __future__ import annotations

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
MORE = (
    2,
    3,
    1,
    0,
)  # in another order, so that each stimulus has other neighbours and another place


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
        The mask whose length the axis of the tokens follows; None without such an axis.
    tokens : int
        The axis of the tokens, once the axis of the stimuli is the first.
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
        """Return the tensor with one entry for each stimulus on its first axis, or None."""
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


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative difference that rounding explains: a little over half of the digits.

    Examples
    --------
    >>> [round(tolerance(dtype), 4) for dtype in (torch.float32, torch.bfloat16)]
    [0.0001, 0.0629]
    """
    return float(torch.finfo(dtype).eps ** 0.57)


def difference(first: Tensor, second: Tensor) -> float:
    """Return the norm of the difference over the norm of ``first``; NaN equals NaN."""
    if first.shape != second.shape:
        return float("inf")
    one, other = first.double(), second.double()
    both = one.isnan() & other.isnan() | (one == other)  # equal infinities too
    gap = torch.where(both, 0.0, one - other)
    size = float(one.nan_to_num(0.0, 0.0, 0.0).norm())
    distance = float(gap.norm())
    if distance == 0.0:
        return 0.0
    return distance / size if size and distance == distance else float("inf")


def _columns(tensor: Tensor, layout: Layout, order: Sequence[int], rows: Sequence[int]) -> Tensor:
    """Return the entries of some stimuli of a batch that holds the stimuli ``order``."""
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
        The layout, and by how much the values of the same stimuli differ, relative to their norm;
        or the reason why the tensor has no row for each stimulus.

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
    limit = tolerance(few.dtype)
    fits = [layout for layout, gap in zip(layouts, gaps, strict=True) if gap <= limit]
    if not fits or (len(fits) == 2 and len(rows) > 1):
        return (
            f"axis {axis} has {count} entries for each stimulus, but which of them belong to "
            "which stimulus cannot be told from the values"
        )
    return fits[0], min(gaps)


def find_layout_by_order(
    batch: Tensor, reordered: Tensor, order: Sequence[int]
) -> tuple[Layout, float] | str:
    """Find the axis of the stimuli of a network that takes one batch size only.

    Parameters
    ----------
    batch, reordered : Tensor
        What the network computed for a batch, and for the same batch in another order.
    order : sequence of int
        The place in the batch of each stimulus of the other order.

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
            if gap <= tolerance(batch.dtype):
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
        Number of positions of the sequences in the two runs.
    whole, part : Tensor
        What the network computed for the same two rows, whole and cut to ``kept``.
    kept : Tensor or None
        The positions that the cut kept, which are all real ones; None if real ones were cut too,
        so that the values cannot be compared.

    Returns
    -------
    (Layout, float)
        The layout with its axis of tokens, and by how much the values at real tokens differ between
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
