"""The verb model -> Profile."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dimscope.activations.activations import Activations
from dimscope.activations.store import open_store
from dimscope.networks.capturing.plan import Plan
from dimscope.profiles.layerwise import measure_layers
from dimscope.profiles.profile import Profile

if TYPE_CHECKING:
    from dimscope.estimators.measure import Estimators
    from dimscope.neighbors.engines import Engine

__all__ = ["profile"]


def profile(
    source: Any,
    batches: Any = None,
    estimators: Estimators | None = None,
    *,
    by_class: bool = False,
    engine: Engine | None = None,
    name: str | None = None,
    memory: int | str | None = None,
    progress: Callable[[str, float, float | None], None] | None = None,
    on_plan: Callable[[Plan], object] | None = None,
    **capture_options: Any,
) -> Profile:
    """Measure the dimension of every layer of a network.

    Parameters
    ----------
    source : torch.nn.Module, Activations, or path of a store
        A network, or activations already captured.
    batches : tensor, Dataset, DataLoader, iterable of batches, or path
        What the network is shown; not given with activations.
    estimators : estimator, list of estimators, or dict of name -> estimator
        :class:`~dimscope.TwoNN` by default.
    by_class : bool
        One profile for each class, with their mean and standard deviation.
    engine : Engine, optional
        How neighbours are searched; exact by default.
    name : str, optional
        Name of the profile; by default the class of the network.
    memory : int or str, optional
        Budget for captured layers, such as ``"4GB"``; half of what is free by default. What
        takes more is written to disk, and measured layer by layer or, where a layer does not
        fit, block by block. If the disk has no room for it, the network runs several times, for
        as many layers as fit each time.
    progress : callable, optional
        Called with (step, done, total or None).
    on_plan : callable, optional
        Called after the first batch with the :class:`~dimscope.Plan`.
    **capture_options
        ``layers``, ``readout``, ``forward``, ``n_points``, ``per_class``, ``seed``,
        ``batch_size``, ``out``: see :func:`dimscope.capture`.

    Returns
    -------
    Profile

    Raises
    ------
    BadSource, BadPoints
        If the data cannot be read, or no layer of that name exists.

    Notes
    -----
    The network runs once over the data, in evaluation mode, whatever the number of
    layers, unless neither memory nor disk has room for all of them.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 50), torch.nn.ReLU(), torch.nn.Linear(50, 9))
    >>> p = profile(net, torch.rand(1000, 2), name="net")
    >>> list(p), [round(float(e)) for e in p.values()]
    (['input', '0', 'output'], [2, 2, 2])
    """
    if isinstance(source, str | os.PathLike):
        source = open_store(source)
    if isinstance(source, Activations):
        if batches is not None or capture_options:
            raise TypeError("activations are captured already: give no batches or capture options")
        parts: Iterable[Activations] = [source]
    else:
        from dimscope.networks.capturing.capture import capture, captured

        _check_options(capture_options, capture)
        step = "running the network"

        def ran(done: int, total: int | None) -> None:
            if progress is not None:
                progress(step, done, total)

        def planned(plan: Plan) -> None:
            nonlocal step
            if plan.how != "memory":
                step = f"running the network, {plan.where}"
            if on_plan is not None:
                on_plan(plan)

        parts = captured(
            source,
            batches,
            name=name,
            memory=memory,
            progress=ran,
            on_plan=planned,
            **capture_options,
        )
    found = []
    for activations in parts:
        found.append(
            measure_layers(
                activations,
                estimators,
                by_class=by_class,
                engine=engine,
                name=name,
                memory=memory,
                progress=progress,
            )
        )
        del activations  # before the next are captured
    return Profile.joined(found)


def _check_options(given: dict[str, Any], function: Callable[..., Any]) -> None:
    known = list(inspect.signature(function).parameters)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, [*known, "batches", "estimators"], cutoff=0.4)
            hint = f"; did you mean {' or '.join(close)}" if close else ""
            if name in ("labels", "targets", "y"):
                hint = "; labels go with the data: batches=(inputs, labels)"
            raise TypeError(f"profile has no parameter {name!r}{hint}")
