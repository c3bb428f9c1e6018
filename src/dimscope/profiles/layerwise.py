"""Activations -> Profile: the estimators applied to every layer, one search a layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.activations.activations import Activations
from dimscope.activations.store import StoredActivations
from dimscope.arrays.blocks import PANELS_BYTES, Blocks, Panels, SomeRows
from dimscope.arrays.memory import budget_from
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate
from dimscope.estimators.measure import Estimators, estimate, named_estimators
from dimscope.estimators.uncertainty import Influence
from dimscope.profiles.profile import Profile
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.estimators.base import Estimator
    from dimscope.neighbors.engines import Engine

__all__ = ["measure_layers"]


Progress = Callable[[str, float, float], None]


def measure_layers(
    activations: Activations,
    estimators: Estimators | None = None,
    *,
    by_class: bool = False,
    engine: Engine | None = None,
    name: str | None = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure the dimension of every layer.

    Parameters
    ----------
    activations : Activations
    estimators : estimator, list of estimators, or dict of name -> estimator
        :class:`~dimscope.TwoNN` by default.
    by_class : bool
        Measure the points of each class on their own (object manifolds): the profile
        then holds the mean and standard deviation over classes, and ``classes``.
    engine : Engine, optional
    name : str, optional
        Name of the profile; that of the activations by default.
    memory : int or str, optional
        How many bytes a layer may take in memory that is on disk; one that takes more is
        read block by block. Half of what is free by default.
    progress : callable, optional
        Called with (step, done, total).

    Returns
    -------
    Profile
        A layer that cannot be measured has NaN and the reason.

    Raises
    ------
    BadPoints
        If ``by_class`` is asked of activations without labels.

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> profile = measure_layers(Activations({"a": cube(500, 2), "b": np.zeros((500, 3))}))
    >>> round(float(profile["a"])), profile["b"]
    (2, Estimate(not measured: all 500 points are the same: they have no dimension, n=500))
    """
    named = named_estimators(estimators)
    name = activations.name if name is None else name
    tell = progress or (lambda step, done, total: None)
    budget = budget_from(memory)
    provenance = Provenance(
        "profile",
        {"estimators": {key: repr(one) for key, one in named.items()}, "by_class": by_class},
        versions(),
        (activations.provenance,),
    )
    if not by_class:
        found = _measure(activations, named, None, engine, budget, tell, 0, len(activations.layers))
        return Profile(activations.layers, found, name, provenance=provenance)
    if activations.labels is None:
        raise BadPoints(
            "by_class needs labels, but the data have none; give (inputs, labels), a folder with "
            "one folder of images for each class, or --labels on the command line"
        )
    labels = np.unique(activations.labels)
    total = len(labels) * len(activations.layers)
    classes: dict[str, Profile] = {}
    for number, label in enumerate(labels):
        rows = np.flatnonzero(activations.labels == label)
        done = number * len(activations.layers)
        found = _measure(activations, named, rows, engine, budget, tell, done, total)
        title = _title(activations.class_names, label)
        classes[title] = Profile(activations.layers, found, title, provenance=provenance)
    means, spread = _over_classes(activations, named, classes, provenance)
    return Profile(activations.layers, means, name, classes, spread, provenance)


def _title(names: tuple[str, ...] | None, label: Any) -> str:
    """The name of a class; with its number where another has the same name.

    >>> _title(("crane", "dog", "crane"), 2), _title(("crane", "dog"), 1)
    ('crane (2)', 'dog')
    """
    if names is None:
        return str(label)
    name = names[label]
    return f"{name} ({label})" if names.count(name) > 1 else name


def _measure(
    activations: Activations,
    named: Mapping[str, Estimator],
    rows: np.ndarray[Any, Any] | None,
    engine: Engine | None,
    budget: int,
    tell: Progress,
    done: int,
    total: int,
) -> dict[str, dict[str, Estimate]]:
    found: dict[str, dict[str, Estimate]] = {key: {} for key in named}
    for number, layer in enumerate(activations.layers):
        step, start = f"measuring {layer.name}", done + number
        tell(step, start, total)
        n_points = activations.n_points if rows is None else len(rows)
        if layer.name in activations.failures:
            reason = activations.failures[layer.name]
            several = {key: Estimate(math.nan, n_points=n_points, reason=reason) for key in named}
        else:
            try:
                several = estimate(
                    _points(activations, layer.name, rows, budget),
                    named,
                    engine,
                    progress=lambda part, step=step, start=start: tell(step, start + part, total),
                )
            except (BadPoints, DegeneratePoints) as error:
                several = {
                    key: Estimate(math.nan, n_points=n_points, reason=str(error)) for key in named
                }
        for key, one in several.items():
            found[key][layer.name] = one
    tell("measured", done + len(activations.layers), total)
    return found


def _points(
    activations: Activations, name: str, rows: np.ndarray[Any, Any] | None, budget: int
) -> NDArray[Any] | Blocks:
    """Points of a layer; those on disk are read only if they fit the budget."""
    if not isinstance(activations, StoredActivations):
        return activations[name] if rows is None else activations[name][rows]
    stored: Blocks = activations.stored(name)
    if rows is not None:
        stored = SomeRows(stored, rows)
    if stored.nbytes <= budget:
        return np.asarray(stored)
    return Panels(stored, min(PANELS_BYTES, budget // 2))


def _over_classes(
    activations: Activations,
    named: Mapping[str, Estimator],
    classes: Mapping[str, Profile],
    provenance: Provenance,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, float]]]:
    """Mean over the classes that could be measured, and their standard deviation."""
    means: dict[str, dict[str, Estimate]] = {key: {} for key in named}
    spread: dict[str, dict[str, float]] = {key: {} for key in named}
    for key in named:
        for layer in activations.layers:
            each = [one.of(key)[layer.name] for one in classes.values()]
            every = np.array([e.dimension for e in each])
            places = np.flatnonzero(~np.isnan(every))
            measured = every[places]
            missing = next((e.reason for e in each if e.reason), "")
            mean = float(measured.mean()) if len(measured) else math.nan
            std = float(measured.std(ddof=1)) if len(measured) > 1 else math.nan
            spread[key][layer.name] = std
            means[key][layer.name] = Estimate(
                mean,
                std / math.sqrt(len(measured)) if len(measured) > 1 else math.nan,
                n_points=sum(e.n_points for e in each),
                n_used=sum(e.n_used for e in each),
                n_duplicates=sum(e.n_duplicates for e in each),
                is_lower_bound=mean > LOWER_BOUND_ABOVE,
                reason=missing,
                degrees_of_freedom=max(1, len(measured) - 1),
                influence=_of_classes(measured, places) if len(measured) > 1 else None,
                provenance=Provenance(
                    "mean over classes",
                    {"estimator": repr(named[key]), "classes": len(measured)},
                    inputs=(provenance,),
                ),
            )
    return means, spread


def _of_classes(measured: NDArray[np.float64], places: NDArray[np.intp]) -> Influence:
    """What each class adds to the mean over classes; n / (n - 1) for the mean being measured."""
    n = len(measured)
    scores = (measured - measured.mean()) * math.sqrt(n / (n - 1))
    return Influence(scores, np.empty((2, 0), dtype=np.intp), places)
