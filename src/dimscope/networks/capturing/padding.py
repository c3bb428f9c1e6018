"""Padding: what it changes in the layers of a network, and which axes count the tokens.

A padded stimulus runs with and without its padding; values that change are not those of the
stimulus alone. Without padding, only the axes of the tokens are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dimscope.errors import BadSource
from dimscope.networks.capturing.rows import Layout, find_tokens, tolerance
from dimscope.networks.capturing.run import Run
from dimscope.networks.data.batches import Batch, is_plain_tuple
from dimscope.networks.data.signature import Signature, is_padding_mask, marks_padding
from dimscope.networks.tensors import fields_of, map_tensors, with_fields

__all__ = ["PaddingEvidence", "Side", "most_padded", "padded_once", "sides_of"]

Side = Literal["left", "right"]


@dataclass
class PaddingEvidence:
    """Examine what padding changes in a network's layers.

    Parameters
    ----------
    run : Run
    signature : Signature
        Parameters of the network's call.
    layouts : dict of str to Layout or str
        The layouts of the layers, which are completed here with the axes of the tokens.
    values : callable
        Runs the network on a batch, and returns the values that may become layers.

    Attributes
    ----------
    gaps : dict of str to float
        How much the values of a layer without an axis of tokens change with the padding, for
        example because the network takes a mean over all positions.
    """

    run: Run
    signature: Signature
    layouts: dict[str, Layout | str]
    values: Callable[[Batch], Mapping[str, Tensor]]
    gaps: dict[str, float] = field(default_factory=dict)
    _checked: set[tuple[str, Side]] = field(default_factory=set)

    def check(self, batch: Batch, hooked: Callable[[], AbstractContextManager[None]]) -> bool:
        """Compare a padded stimulus with itself alone, for each side not checked yet.

        Returns
        -------
        bool
            Whether layouts have changed.

        Raises
        ------
        BadSource
            If a stimulus has no real token, or padding on the left changes the network's output.
        """
        changed = False
        for name, mask in batch.masks.items():
            empty = torch.nonzero(~mask.any(dim=1)).flatten()
            if len(empty):
                raise BadSource(
                    f"the mask {name} leaves out every token of stimulus {int(empty[0])} in batch "
                    f"{self.run.n_batches + 1}; remove such stimuli from the data"
                )
            for side, row in sides_of(mask).items():
                if (name, side) not in self._checked:
                    self._checked.add((name, side))
                    self.find_tokens(batch, name, row, side, hooked)
                    changed = True
        return changed

    def find_tokens(
        self,
        batch: Batch,
        name: str,
        row: int,
        side: Side | None,
        hooked: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Find the axes of the tokens, and whether values change with the padding of a row.

        Parameters
        ----------
        batch : Batch
        name : str
            Name of a mask.
        row : int
            A padded row.
        side : {"left", "right"} or None
            Side of the padding; None if there is none, so that only the axes are found.
        hooked : callable
            Returns a context in which the network can be traced.
        """
        mask = batch.masks[name][row]
        whole = batch.take(np.array([row, row]))
        length = len(mask)
        kept = torch.nonzero(mask).flatten() if side is not None else torch.arange(length - 1)
        if not len(kept):
            return
        part = _cut(whole, name, kept)
        with nullcontext() if self.run.untraced else hooked():
            try:
                gaps = self._compare(whole, part, name, kept, compare=side is not None)
            except BadSource:
                try:
                    self._find_tokens_by_padding(whole, name)
                except BadSource:  # it takes batches of one size only
                    self._find_tokens_by_padding(batch, name)
                return
            leaking = _beyond_rounding(gaps)
            if side == "left" and leaking and self._takes_positions(batch, name):
                self.run.gives_positions = True
                try:
                    gaps = self._compare(whole, part, name, kept, compare=True)
                except BadSource:
                    self.run.gives_positions = False
                else:
                    leaking = _beyond_rounding(gaps)
        of_tokens = {layer: gap for layer, gap in leaking.items() if self._has_tokens(layer)}
        self.gaps |= {layer: gap for layer, gap in leaking.items() if layer not in of_tokens}
        if side == "left" and of_tokens and "output" in leaking:
            raise BadSource(
                f"texts of batch {self.run.n_batches + 1} are padded on the left, which changes "
                f"the output of the network by {leaking['output']:.2g} of its norm, as in networks "
                "that count positions from the first padding; pad on the right "
                "(tokenizer.padding_side = 'right')"
            )
        for layer, gap in of_tokens.items():
            layout = self.layouts[layer]
            assert isinstance(layout, Layout)
            self.layouts[layer] = replace(
                layout,
                problem=f"its values at real tokens change with it, by {gap:.2g} of their norm",
            )

    def _has_tokens(self, layer: str) -> bool:
        layout = self.layouts[layer]
        return isinstance(layout, Layout) and layout.mask is not None

    def _find_tokens_by_padding(self, batch: Batch, name: str) -> None:
        """Find the axes of the tokens in a network that accepts only one length of sequences.

        The input is changed at the padding. The axis of the tokens is the second one of a tensor
        that changes only at the padding; in all other tensors, padding is refused.
        """
        mask, n_rows = batch.masks[name], batch.n_rows
        if bool(mask.all()):
            return
        before = self.values(batch)
        after = self.values(_repadded(batch, name))
        for layer, layout in self.layouts.items():
            if isinstance(layout, str) or layer not in before or layer not in after:
                continue
            first, second = (layout.rows_first(values[layer], n_rows) for values in (before, after))
            if first is None or second is None or first.shape != second.shape:
                continue
            if first.ndim == 2 and first.shape[1] != mask.shape[1]:
                continue  # a vector for each stimulus
            changed = (first - second).abs() > tolerance(first) * first.abs().max()
            if 2 <= first.ndim < 4 and first.shape[1] == mask.shape[1]:
                positions = changed.reshape(*mask.shape, -1).any(dim=2).to(mask.device)
                if bool(positions.any()) and not bool((positions & mask).any()):
                    self.layouts[layer] = replace(layout, mask=name, tokens=1)
                    continue
            problem = (
                "its values at real tokens change with it"
                if bool(changed.any())
                else "which of its axes counts the tokens is unknown"
            )
            problem += ", in a network that does not run on the real tokens alone"
            self.layouts[layer] = replace(layout, problem=problem)

    def _takes_positions(self, batch: Batch, name: str) -> bool:
        inputs = batch.inputs
        if not isinstance(inputs, dict) or "position_ids" in inputs:
            return False
        given = inputs.get("attention_mask")
        is_same = isinstance(given, Tensor) and torch.equal(given, batch.masks[name].to(given))
        return (name == "attention_mask" or is_same) and "position_ids" in self.signature

    def _compare(
        self, whole: Batch, part: Batch, name: str, kept: Tensor, *, compare: bool
    ) -> dict[str, tuple[float, float]]:
        before = self.values(whole)
        gives_positions, self.run.gives_positions = self.run.gives_positions, False
        try:  # the text alone has the positions that the network gives it
            after = self.values(part)
        finally:
            self.run.gives_positions = gives_positions
        lengths = whole.masks[name].shape[1], len(kept)
        gaps = {}
        for layer, layout in self.layouts.items():
            if isinstance(layout, str) or layer not in before or layer not in after:
                continue
            pair = before[layer], after[layer]
            self.layouts[layer], gap = find_tokens(
                layout, name, lengths, *pair, kept if compare else None
            )
            gaps[layer] = gap, tolerance(pair[0])
        return gaps


def _beyond_rounding(gaps: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {layer: gap for layer, (gap, limit) in gaps.items() if gap > limit}


def sides_of(mask: Tensor) -> dict[Side, int]:
    """Return the row with the most padding on each side that has padding.

    Examples
    --------
    >>> sides_of(torch.tensor([[True, True, False], [True, False, False]]))
    {'right': 1}
    """
    left = mask.int().argmax(dim=1)
    right = mask.flip(1).int().argmax(dim=1)
    sides: dict[Side, int] = {}
    if bool(left.any()):
        sides["left"] = int(left.argmax())
    if bool(right.any()):
        sides["right"] = int(right.argmax())
    return sides


def _cut(batch: Batch, name: str, kept: Tensor) -> Batch:
    """Keep some positions of every input that has the length of a mask."""
    length = batch.masks[name].shape[1]
    decoder = _is_decoder(name)

    def part(tensor: Tensor) -> Tensor:
        index = kept.to(tensor.device)
        if tensor.ndim > 1 and tensor.shape[0] == batch.n_rows and tensor.shape[1] == length:
            return tensor.index_select(1, index)
        if tensor.ndim > 1 and tensor.shape[1] == batch.n_rows and tensor.shape[0] == length:
            return tensor.index_select(0, index)
        return tensor

    inputs = _changed(
        batch,
        lambda key, value: map_tensors(part, value) if _is_decoder(key) == decoder else value,
    )
    masks = {
        key: part(mask) if _is_decoder(key) == decoder else mask
        for key, mask in batch.masks.items()
    }
    return replace(batch, inputs=inputs, masks=masks)


def _repadded(whole: Batch, name: str) -> Batch:
    """Put other values at the padding in the first input of the mask's length."""
    mask = whole.masks[name]
    is_done = False

    def changed(tensor: Tensor) -> Tensor:
        nonlocal is_done
        if is_done or tensor.shape[:2] != mask.shape or tensor.dtype == torch.bool:
            return tensor
        is_done = True
        real = mask.to(tensor.device)
        others = torch.unique(tensor[real]) if not tensor.is_floating_point() else None
        copy = tensor.clone()
        if others is None:
            copy[~real] += 1
        else:
            pads = torch.unique(tensor[~real])
            others = others[~torch.isin(others, pads)]
            copy[~real] = others[-1] if len(others) else pads[-1]
        return copy

    def change(key: str, value: Any) -> Any:
        return value if is_padding_mask(key) else map_tensors(changed, value)

    return replace(whole, inputs=_changed(whole, change))


def _changed(batch: Batch, change: Callable[[str, Any], Any]) -> Any:
    """Return the inputs of a batch with each argument changed."""
    inputs = batch.inputs
    fields = None if is_plain_tuple(inputs) else fields_of(inputs)
    if fields is not None:  # keywords, or a network that takes the whole batch
        return with_fields(inputs, {key: change(str(key), value) for key, value in fields.items()})
    changed = [change(str(key), value) for key, value in batch.layout.named(inputs).items()]
    return tuple(changed) if is_plain_tuple(inputs) else changed[0]


def padded_once(batch: Batch) -> Batch:
    """Mark the last position of every row of an unpadded batch as padding.

    Examples
    --------
    >>> mask = torch.ones(1, 3, dtype=torch.long)
    >>> padded_once(Batch({"attention_mask": mask}, None, 1)).inputs["attention_mask"]
    tensor([[1, 1, 0]])
    """

    def change(key: str, value: Any) -> Any:
        is_mask = isinstance(value, Tensor) and value.ndim == 2 and is_padding_mask(key)
        if not is_mask or value.is_floating_point():
            return value
        value = value.clone()
        value[:, -1] = int(marks_padding(key))
        return value

    return replace(batch, inputs=_changed(batch, change))


def _is_decoder(name: str) -> bool:
    return name.startswith(("decoder_", "tgt"))


def most_padded(batch: Batch, n_rows: int) -> Batch:
    """Return the rows of a batch with the most padding, at most ``n_rows``."""
    padding = torch.zeros(batch.n_rows, dtype=torch.long)
    for mask in batch.masks.values():
        padding += (~mask).sum(dim=1).cpu()
    return batch.take(padding.argsort(descending=True, stable=True)[:n_rows].numpy())
