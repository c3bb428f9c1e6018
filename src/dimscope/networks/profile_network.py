"""The function ``profile``: from a network, activations or a store to a Profile.

Torch is loaded only if the source is a network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack, cast

from dimscope.activations.activations import Activations
from dimscope.activations.saved import open_activations
from dimscope.arrays.memory import budget_from
from dimscope.arrays.threads import Progress
from dimscope.errors import BadPoints, Interrupted
from dimscope.extras import needed
from dimscope.networks.capturing.plan import Plan
from dimscope.networks.options import (
    CaptureOptions,
    ProfileKeywords,
    takes_capture_options,
)
from dimscope.profiles.layerwise import check_classes, measure_layers
from dimscope.profiles.profile import Profile

if TYPE_CHECKING:
    from dimscope.estimators.estimates import ClassesAre
    from dimscope.estimators.measure import Estimators
    from dimscope.neighbors.copies import Copies
    from dimscope.neighbors.engines import Engine

__all__ = ["profile"]


@takes_capture_options
def profile(
    source: Any,
    batches: Any = None,
    estimators: Estimators | None = None,
    *,
    by_class: bool = False,
    companions: Iterable[str] = (),
    classes: ClassesAre = "random",
    exclude: Any = None,
    groups: Any = None,
    engine: Engine | None = None,
    copies: Copies = "keep",
    progress: Progress | None = None,
    on_plan: Callable[[Plan], object] | None = None,
    **options: Unpack[ProfileKeywords],
) -> Profile:
    """Measure the dimension of every layer of a network.

    Parameters
    ----------
    source : torch.nn.Module, Activations, or whatever open_activations takes
        A network, or activations that have already been captured: those of :func:`dimscope.capture`
        or the path of their store, or a folder, a file or a mapping of arrays that another program
        has made (:func:`dimscope.open_activations`).
    batches : tensor, Dataset, DataLoader, iterable of batches, or path
        The stimuli, as for :func:`dimscope.capture`; omit them with activations.
    estimators : estimator, list of estimators, or dict of name -> estimator
        :class:`~dimscope.TwoNN` by default.
    by_class : bool
        Measure each class separately, and return the mean and standard deviation over the classes.
    companions : iterable of {"distance", "hubness", "effective_rank", "participation_ratio"}
        What to show beside the dimension, in tables and in ``profile.plot(companions=True)``: the
        median distance to the nearest neighbour (the scale of the measurement), the skewness of the
        in-degree of the neighbour graph, and linear dimensions of the covariance, which are
        measured in the same pass.
    classes : {"random", "fixed"}
        For which classes the standard error of a mean over classes holds. ``"random"``: for other
        classes of the same kind, of which these are a sample. ``"fixed"``: for the same classes
        with other stimuli.
    exclude : array-like of shape (n_points,), "ids" or "labels", optional
        An id for each row: rows of equal id are not each other's neighbours
        (:func:`dimscope.nearest_neighbors`). ``"ids"`` and ``"labels"`` are those of the data; with
        ``readout="tokens"``, for example, ``ids`` tells the tokens of each text.
    groups : array-like of shape (n_points,), "ids" or "labels", optional
        An id for each row: rows of equal id are one independent unit of the standard errors
        (:func:`dimscope.estimate`).
    engine : Engine, optional
        How to search for neighbours; exact by default.
    copies : {"keep", "collapse"}
        What to do with near copies in each layer: stimuli whose activations differ by no more than
        rounding, as those of one stimulus in batches of two shapes do. ``"collapse"`` keeps the
        first of them only, for estimators that use neighbours.
    progress : callable, optional
        ``progress(step, done, total)``, such as a :class:`~dimscope.ProgressBar`; ``total`` may be
        None.
    on_plan : callable, optional
        Called with the :class:`~dimscope.Plan` after the first batch.
    **options
        The fields of CaptureOptions.

    Returns
    -------
    Profile

    Raises
    ------
    BadSource, BadPoints
        If the data cannot be read, a requested layer does not exist, or there is not one id of
        ``exclude`` or ``groups`` for each row.
    Interrupted
        On Ctrl-C while layers are measured; ``partial`` is the profile of what was done.
    ValueError
        If ``classes`` is unknown, or given without ``by_class``.
    TypeError
        If ``source`` holds activations, but batches or capture options are given too.

    Notes
    -----
    The network runs once over the data, in eval mode, however many layers there are. If the layers
    exceed the budget ``memory``, they are written to disk and measured one at a time; a layer that
    does not fit into memory is read block by block. If they do not fit on the disk either, the
    network runs several times, each time for as many layers as fit into memory.

    Points of a network on a CUDA device stay there, and are searched there, if they fit in the
    budget and in half of what is free on the device, and if their number is known beforehand (it is
    not for ``readout="tokens"``).

    Use ``classes="fixed"`` to compare layers, networks or training runs on the same classes, and
    ``"random"`` for statements about classes that were not measured. The error for random classes
    is the larger one where classes differ, and needs two classes. See :func:`measure_layers
    <dimscope.profiles.layerwise.measure_layers>` for the formulas.

    If ``source`` holds activations, only the options ``name`` and ``memory`` apply and, for those
    that another program has made, ``layers``, ``readout`` and ``mask``; the others are for a
    network. Labels of saved activations are given to :func:`dimscope.open_activations`.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 50), torch.nn.ReLU(), torch.nn.Linear(50, 9))
    >>> p = profile(net, torch.rand(1000, 2), name="net")
    >>> list(p), [round(float(e)) for e in p.values()]
    (['input', '0', 'output'], [2, 2, 2])
    """
    check_classes(classes, by_class=by_class)
    name = options.get("name")
    if hasattr(source, "shape") and not callable(source):
        raise BadPoints(
            f"the source is one array, a {type(source).__name__}; use dimscope.estimate(points), "
            "or give a dict of layers"
        )
    if _is_saved(source):
        given: dict[str, Any] = {**options}
        opening = {key: given.pop(key) for key in ("layers", "readout", "mask") if key in given}
        options = cast("ProfileKeywords", given)
        source = open_activations(source, **opening)
    if isinstance(source, Activations):
        if batches is not None or set(options) - {"name", "memory"}:
            hint = "; give the ids of their rows as exclude= or groups=" if "ids" in options else ""
            raise TypeError(
                f"activations have already been captured; omit batches and capture options{hint}"
            )
        captured: Iterable[Activations] = [source]
        memory = budget_from(options.get("memory"))
    else:
        with needed("profile of a network"):
            from dimscope.networks.capturing.capture import capture_groups

        capture_options = CaptureOptions(**options)
        # one budget: that of the capture is not computed again when its layers take up memory
        memory = budget_from(capture_options.memory)
        capture_options = replace(capture_options, memory=memory)
        _refuse_ids_of_drawn_rows(capture_options, exclude, groups)
        captured = capture_groups(
            source, batches, capture_options, progress=progress, on_plan=on_plan
        )
    profiles: list[Profile] = []
    try:
        for activations in captured:
            profiles.append(
                measure_layers(
                    activations,
                    estimators,
                    by_class=by_class,
                    companions=companions,
                    classes=classes,
                    exclude=exclude,
                    groups=groups,
                    engine=engine,
                    copies=copies,
                    name=name,
                    memory=memory,
                    progress=progress,
                )
            )
            del activations  # before the next group is captured
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, Interrupted):
            profiles.append(interrupt.partial)
        if not profiles:
            raise
        raise Interrupted(Profile.joined(profiles)) from interrupt
    return Profile.joined(profiles)


def _is_saved(source: Any) -> bool:
    """Tell whether a source holds activations that another program has made, or is their path."""
    if isinstance(source, Activations) or callable(source):
        return False
    return isinstance(source, str | os.PathLike | tuple | list) or hasattr(source, "keys")


def _refuse_ids_of_drawn_rows(options: CaptureOptions, exclude: Any, groups: Any) -> None:
    """Refuse arrays of ids if the capture draws rows: they would belong to other rows."""
    if options.n_points is None and options.per_class is None:
        return
    for name, ids in (("exclude", exclude), ("groups", groups)):
        if ids is not None and not isinstance(ids, str):
            raise BadPoints(
                f"{name} is an array, but n_points or per_class draws some of the rows; give the "
                f'array as ids=, which follows the rows, and {name}="ids"'
            )
