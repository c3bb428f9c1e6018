"""Passes: layers in groups, one run over the data each, where neither memory nor disk has room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from dimscope.activations import Activations
from dimscope.capturing.collecting import Keeper, capture
from dimscope.capturing.preparing import Session
from dimscope.capturing.ranks import Ranks
from dimscope.capturing.selection import Layers
from dimscope.plans import Plan, budget_from

__all__ = ["captured"]


def captured(
    model: nn.Module,
    batches: Any,
    layers: Layers = "checkpoints",
    *,
    memory: int | str | None = None,
    out: Any = None,
    progress: Callable[[int, int | None], object] | None = None,
    on_plan: Callable[[Plan], object] | None = None,
    **options: Any,
) -> Iterator[Activations]:
    """Yield all layers at once or, where they fit nowhere, one group after the other.

    Parameters
    ----------
    model, batches, layers, memory, out, on_plan, **options
        As for :func:`dimscope.capture`.
    progress : callable, optional
        ``progress(done, total)``; rows of all passes together.

    Yields
    ------
    Activations
        Of some layers, then of others, until all had their turn. The rows are the same in
        every group, and a network that draws random numbers draws the same ones again.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [list(some) for some in captured(net, torch.zeros(5, 4))]
    [['input', '0', 'output']]
    """
    if out is not None:
        yield capture(
            model, batches, layers, memory=memory, out=out, progress=progress,
            on_plan=on_plan, **options,
        )  # fmt: skip
        return
    budget = budget_from(memory)
    plans: list[Plan] = []

    def told(plan: Plan) -> None:
        plans.append(plan)
        if on_plan is not None:
            on_plan(plan)

    def run(number: int, only: tuple[str, ...] | None = None) -> Activations:
        def ran(rows: int, total: int | None) -> None:
            if progress is not None and total is None:
                progress(rows, None)
            elif progress is not None and total is not None:
                progress(rows + number * total, total * plans[0].passes)

        session = Session(model, batches, layers, only=only, **options)
        first = only is None
        keeper = Keeper(session, budget, told if first else None, ran, repeats=first)
        keeper.run(Ranks())
        return keeper.result()

    yield run(0)
    for number, group in enumerate(plans[-1].groups[1:], 1):
        yield run(number, group)
