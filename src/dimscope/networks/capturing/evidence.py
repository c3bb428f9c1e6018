"""Evidence: what a few stimuli show about a network before it runs on all of them.

The network runs on two and on four of the first stimuli (:mod:`dimscope.networks.capturing.rows`),
and once more on two of them, unobserved, to compare the outputs. If the data have a mask,
:mod:`dimscope.networks.capturing.padding` also examines a padded stimulus. Each run draws random
numbers from the seed, so the numbers drawn for the data stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from dimscope.errors import BadSource, CaptureWarning, warn
from dimscope.networks.capturing.padding import PaddingEvidence, padded_once
from dimscope.networks.capturing.recording import Candidates
from dimscope.networks.capturing.rows import (
    FEW,
    MORE,
    Layout,
    difference,
    find_layout,
    find_layout_by_order,
    tolerance,
)
from dimscope.networks.capturing.run import PrivateRandom, Run
from dimscope.networks.data.batches import Batch
from dimscope.networks.data.signature import Signature
from dimscope.networks.tensors import (
    dense,
    map_tensors,
    named_tensors,
    padded,
    tensors_in,
)
from dimscope.networks.tracing import Event, Node, Tracer

__all__ = ["Evidence", "few_rows", "outputs_differ", "reason_against", "telling", "telling_rows"]


class Values:
    """Observe a run on a few stimuli, and keep the values that may become layers.

    Attributes
    ----------
    tensors : dict of str to Tensor
    ragged : set of str
        Names of sequences of unequal length, which have one row for each stimulus.
    missed : set of str
        Names of values that were not kept, although they proved to be layers at the end of the run.
    """

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._inputs: list[Node] = []
        self._kept: set[Node] = set()
        self._nodes: dict[str, Node] = {}
        self._dynamic: set[Node] = set()
        self.tensors: dict[str, Tensor] = {}
        self.ragged: set[str] = set()
        self.missed: set[str] = set()

    def begin(self, batch: Batch) -> None:
        """Do nothing."""

    def enter(self, tensor: Tensor, node: Node, mask: Tensor | None) -> None:
        """Keep the input."""
        self._inputs.append(node)
        if self._candidates.accept_input(tensor):
            self._kept.add(node)
            self.add("input", tensor, mask)

    def also(self, node: Node) -> None:
        """Register another input."""
        self._inputs.append(node)

    def watch(self, event: Event) -> None:
        """Keep a value that may become a layer."""
        if event.site is not None and event.site.dynamic:
            self._dynamic.add(event.node)
        if self._candidates.accept(event):
            self._kept.add(event.node)
            self._nodes[event.name] = event.node
            self.add(event.name, event.tensor, event.mask)

    def leave(self, tensor: Tensor, node: Node, tracer: Tracer) -> None:
        """Keep the output."""
        self.add("output", tensor)
        self._nodes["output"] = node
        if self._candidates.selection.checkpoints:
            hidden = self._candidates.between(self._inputs, node, tracer)
            self.missed = {point.event for point in hidden if point.node not in self._kept}

    def add(self, name: str, tensor: Tensor, mask: Tensor | None = None) -> None:
        """Keep a value."""
        tensor = dense(tensor.detach())
        if mask is not None:
            self.ragged.add(name)
        elif _has_axes(tensor):
            # a copy, which later operations in place do not change
            self.tensors.setdefault(name, tensor.clone())

    def end(self) -> None:
        """Do nothing."""

    def quantised(self) -> set[str]:
        """Return the names of values that depend on a scale taken from the whole batch."""
        if not self._dynamic:
            return set()
        return {name for name, node in self._nodes.items() if self._dynamic & node.ancestors()}


@dataclass
class _Observer:
    """Runs a network and keeps the values that may become layers."""

    run: Run
    candidates: Callable[[Collection[str]], Candidates]
    finer: set[str]

    def values(
        self, batch: Batch, random: PrivateRandom | None = None
    ) -> tuple[Values, dict[str, Tensor]]:
        """Run the network; return the values that may become layers, and the output."""
        while True:
            values = Values(self.candidates(self.finer))
            # of a copy: the network may overwrite its inputs
            copy = few_rows(batch, range(batch.n_rows))
            output = self.run.observed(copy, values, random or self.run.fresh_random())
            if values.missed <= self.finer:
                break
            self.finer |= values.missed
            random = None if random is None else self.run.fresh_random()
        return values, {path: tensor.detach().clone() for path, tensor in named_tensors(output)}

    def tensors(self, batch: Batch) -> dict[str, Tensor]:
        """Run the network; return the tensors of the values alone."""
        return self.values(batch)[0].tensors


@dataclass
class Evidence:
    """Examine a network's layers on a few stimuli.

    Parameters
    ----------
    run : Run
    candidates : callable
        Makes the :class:`Candidates` of one run, given the names of finer values.
    signature : Signature
        Parameters of the network's call.

    Attributes
    ----------
    layouts : dict of str to Layout or str
        Where the tensors of each layer hold the stimuli and the tokens, or the reason why they do
        not have one row for each stimulus.
    dependent : dict of str to float
        How much the values of a layer change with the other stimuli in the batch, relative to their
        norm. Layers that do not change beyond rounding are absent.
    padding : PaddingEvidence
        What the padding of stimuli changes.
    finer : set of str
        Names of values that prove to be layers only at the end of a run.
    draws : bool
        Whether the network draws random numbers.
    """

    run: Run
    candidates: Callable[[Collection[str]], Candidates]
    signature: Signature
    layouts: dict[str, Layout | str] = field(default_factory=dict)
    dependent: dict[str, float] = field(default_factory=dict)
    padding: PaddingEvidence = field(init=False)
    finer: set[str] = field(default_factory=set)
    draws: bool = False
    _one_size: bool = False  # whether the network takes batches of one size only

    def __post_init__(self) -> None:
        self._observer = _Observer(self.run, self.candidates, self.finer)
        self.padding = PaddingEvidence(
            self.run, self.signature, self.layouts, self._observer.tensors
        )

    def collect(
        self,
        batch: Batch,
        whole: Callable[[], Batch],
        hooked: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Run the network on a few stimuli of its first batch.

        Parameters
        ----------
        batch : Batch
            The first stimuli.
        whole : callable
            Returns the first batch.
        hooked : callable
            Returns a context in which the network can be traced.

        Raises
        ------
        BadSource
            If the rows of the data are not stimuli, or the network fails.
        """
        if any(map(is_lazy, self.run.network.parameters())):
            with suppress(BadSource):  # it draws its weights, from the seed
                self.run.plain(few_rows(batch, FEW))
        with hooked():
            rows, output = self._find_layouts(batch, whole)
        gap = outputs_differ(output, self.run.plain(rows))
        if not gap and rows.masks and not rows.is_padded:
            # later batches may be padded, and some networks then take another path
            padded_rows = padded_once(rows)
            with hooked():
                output = self._observer.values(padded_rows)[1]
            gap = outputs_differ(output, self.run.plain(padded_rows))
        if gap:
            self.run.untraced = True
            self.layouts.clear()
            self.dependent.clear()
            rows, output = self._find_layouts(batch, whole)
            gap = outputs_differ(output, self.run.plain(rows))
            if gap:
                warn(
                    f"the output of the network changes by {gap:.2g} of its norm when the network "
                    "is observed; the values of its layers may have changed too, so check them",
                    CaptureWarning,
                )
        if self._one_size:
            return  # the other checks run on a few stimuli
        self._refuse_other_axis(batch)
        if not self.padding.check(batch, hooked):
            for name in batch.masks:
                self.padding.find_tokens(batch, name, 0, None, hooked)

    def _find_layouts(
        self, batch: Batch, whole: Callable[[], Batch]
    ) -> tuple[Batch, dict[str, Tensor]]:
        """Fill ``layouts``; return the stimuli of the first run, and the output for them."""
        random = self.run.fresh_random()
        try:
            rows = few_rows(batch, FEW)
            few, output = self._observer.values(rows, random)
            more, _ = self._observer.values(few_rows(batch, MORE))
        except BadSource:
            # perhaps it takes batches of one size only; if not, it fails here too
            rows, random = whole(), self.run.fresh_random()
            order = np.roll(np.arange(rows.n_rows)[::-1], rows.n_rows > 2)
            few, output = self._observer.values(rows, random)
            more, _ = self._observer.values(rows.take(order))
            self._one_size = True

            def find(first: Tensor, second: Tensor) -> tuple[Layout, float] | str:
                return find_layout_by_order(first, second, order.tolist())
        else:

            def find(first: Tensor, second: Tensor) -> tuple[Layout, float] | str:
                return find_layout(first, second)

        self.draws = random.used
        layouts = {
            name: find(value, more.tensors[name])
            for name, value in few.tensors.items()
            if name in more.tensors
        }
        self.layouts |= {name: Layout(ragged=True) for name in few.ragged | more.ragged}
        for name, layout in layouts.items():
            if isinstance(layout, str):
                self.layouts[name] = f"its rows are not stimuli: {layout}"
                continue
            self.layouts[name] = layout[0]
            if batch.layout.graph and layout[0].folded:
                self.layouts[name] = "its rows are the nodes of graphs, not stimuli"
            if random.used:
                continue  # random numbers differ with the number of stimuli
            if layout[1] > tolerance(few.tensors[name]):
                self.dependent[name] = layout[1]
        # a few stimuli may happen to have the range of them all
        self.dependent |= dict.fromkeys(few.quantised() - self.dependent.keys(), 0.0)
        return rows, output

    def _refuse_other_axis(self, batch: Batch) -> None:
        """Refuse data that hold the stimuli on the second axis."""
        main = next(tensors_in(batch.inputs))
        gap, layout = self.dependent.get("output"), self.layouts.get("output")
        if (gap is None and not isinstance(layout, str)) or main.ndim < 2 or main.shape[1] < 2:
            return
        length = main.shape[1]

        def run(rows: Sequence[int]) -> Any:
            index = torch.tensor([row % length for row in rows])
            inputs = map_tensors(
                lambda t: (
                    t.index_select(1, index.to(t.device))
                    if t.ndim > 1 and t.shape[1] == length
                    else t
                ),
                batch.inputs,
            )
            return self.run.plain(replace(batch, inputs=inputs))

        try:
            reason = reason_against(run(FEW), run(MORE))
        except BadSource:
            return
        if reason is None:
            observation = (
                "the output of the network has one row for each entry on the second axis of the "
                "data, not on the first"
                if gap is None
                else "the entries on the first axis of the data change each other's values, by "
                f"{gap:.2g} of their norm, but those on the second axis do not"
            )
            raise BadSource(
                f"{observation}, as in data whose first axis is time; give batch_axis=1 if the "
                "stimuli are on the second axis"
            )


def few_rows(batch: Batch, order: Sequence[int]) -> Batch:
    """Return the rows ``order`` of a batch; a batch with too few rows starts again from its first.

    Examples
    --------
    >>> few_rows(Batch(torch.tensor([5, 6, 7]), None, 3), [2, 3]).inputs
    tensor([7, 5])
    """
    return batch.take(np.array([row % batch.n_rows for row in order]))


def telling_rows(batch: Batch, n: int) -> list[int]:
    """Return the first ``n`` rows that differ from each other and are not constant.

    Equal stimuli, such as blank images, cannot show which values belong to which stimulus.

    Examples
    --------
    >>> telling_rows(Batch(torch.tensor([[0, 0], [1, 2], [1, 2], [3, 4]]), None, 4), 2)
    [1, 3]
    """
    seen: list[Tensor] = []
    rows: list[int] = []
    for row in range(batch.n_rows):
        values = next(tensors_in(batch.take(np.array([row])).inputs))
        if values.is_nested or values.layout != torch.strided:
            return list(range(min(n, batch.n_rows)))
        if values.numel() > 1 and bool((values == values.flatten()[0]).all()):
            continue
        if any(torch.equal(values, other) for other in seen):
            continue
        seen.append(values)
        rows.append(row)
        if len(rows) == n:
            break
    return rows


def telling(batch: Batch) -> Batch:
    """Return a few rows of a batch, starting with those that differ from each other."""
    rows = telling_rows(batch, len(MORE))
    others = [row for row in range(batch.n_rows) if row not in rows]
    return batch.take(np.array([*rows, *others][: len(MORE)]))


def reason_against(few: Any, more: Any) -> str | None:
    """Return why the outputs do not have one row for each stimulus; None if they do.

    Parameters
    ----------
    few, more : object
        Outputs of the network for the stimuli FEW and MORE.

    Examples
    --------
    >>> x = torch.arange(8.0).reshape(4, 2)
    >>> reason_against(x[list(FEW)], x[list(MORE)]) is None
    True
    >>> reason_against(x[list(FEW)] - x[0], x[list(MORE)] - x[2])
    'the values of a stimulus depend on the others in its batch, by 2.8 of their norm'
    """
    lists = isinstance(few, list) and isinstance(more, list)
    if lists and len(few) == len(FEW) and len(more) == len(MORE):
        return None  # one entry for each image, as detectors return them
    reasons = []
    others = dict(named_tensors(more))
    for path, tensor in named_tensors(few):
        if path not in others or not _has_axes(tensor):
            continue
        layout = find_layout(tensor, others[path])
        if isinstance(layout, str):
            reasons.append(layout)
        elif layout[1] <= tolerance(tensor):
            return None
        else:
            reasons.append(
                "the values of a stimulus depend on the others in its batch, by "
                f"{layout[1]:.2g} of their norm"
            )
    return reasons[0] if reasons else "the output holds no floating-point tensor"


def outputs_differ(observed: Mapping[str, Tensor], output: Any) -> float:
    """Return the largest relative difference between two outputs; 0 if it is within rounding.

    Parameters
    ----------
    observed : Mapping of str to Tensor
        The tensors of an output, by their paths.
    output : object
        The other output.

    Examples
    --------
    >>> x = torch.ones(2)
    >>> outputs_differ({"": x}, x + 1e-9), outputs_differ({"": x}, 2 * x)
    (0.0, 0.5)
    """
    others = dict(named_tensors(output))
    worst = 0.0
    for path, tensor in observed.items():
        if not tensor.is_floating_point():
            continue
        other = others.get(path)
        values = plain_values(tensor)
        gap = float("inf") if other is None else difference(plain_values(other), values)
        worst = max(worst, gap if gap > tolerance(values) else 0.0)
    return worst


def _has_axes(tensor: Tensor) -> bool:
    """Whether a tensor is a plain array of floating-point numbers."""
    plain = tensor.layout == torch.strided and not tensor.is_nested
    return plain and tensor.is_floating_point()


def plain_values(tensor: Tensor) -> Tensor:
    """Convert a quantised or nested tensor to a plain one, which can be compared."""
    values = padded(None, dense(tensor))
    return dense(tensor) if values is None else values[0]
