"""plan: the first batch of a capture, and what it says of the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from dimscope.capturing.preparing import Session
from dimscope.capturing.readout import Readout
from dimscope.capturing.selection import Layers
from dimscope.plans import Plan, budget_from

__all__ = ["plan"]


def plan(
    model: nn.Module,
    batches: Any,
    layers: Layers = "checkpoints",
    *,
    readout: str | Readout = "flatten",
    forward: Callable[[nn.Module, Any], Any] | None = None,
    n_points: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    name: str | None = None,
    memory: int | str | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Plan:
    """Say what :func:`dimscope.capture` would take, called in the same way.

    The first batch runs, and nothing is written; of an iterator that can be read
    once, it is used up.

    Parameters
    ----------
    model, batches, layers, readout, forward, n_points, per_class, seed, batch_size, name
        As for :func:`dimscope.capture`.
    memory, out
        As for :func:`dimscope.capture`.

    Returns
    -------
    Plan
        ``bytes``, ``passes``, ``seconds``, and ``how``: ``"memory"``, ``"store"``, or
        ``"passes"`` where the disk has no room: then :func:`dimscope.profile` runs the network
        several times.

    Raises
    ------
    BadSource, BadPoints
        As :func:`dimscope.capture`.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> found = plan(net, torch.zeros(500, 4), memory="10 kB")
    >>> found.bytes, found.passes, found.how  # 500 points of 4 + 3 + 2 numbers of 4 bytes
    (18000, 1, 'store')
    """
    session = Session(
        model, batches, layers, readout=readout, forward=forward, n_points=n_points,
        per_class=per_class, seed=seed, batch_size=batch_size, name=name,
    )  # fmt: skip
    budget = budget_from(memory)
    with session.ready():
        batch = session.stream.first()
        start = time.perf_counter()
        session.run(batch)
        seconds = time.perf_counter() - start
    return session.plan(budget, batch.n_rows, seconds, out=out is not None)
