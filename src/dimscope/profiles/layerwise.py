"""Activations -> Profile: apply all estimators to every layer, with one search per layer."""

from __future__ import annotations

import hashlib
import math
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.arrays import as_points
from dimscope.arrays.memory import budget_from
from dimscope.errors import BadPoints, Interrupted, about, check_word, reason_of
from dimscope.estimators.covariances import joined
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, ClassesAre, Estimate, fingerprint
from dimscope.estimators.inputs import Inputs, ProgressFailed, check_copies, check_engine
from dimscope.estimators.measure import Estimators, measured_in_turn, named_estimators
from dimscope.estimators.uncertainty import Influence, effective_groups
from dimscope.neighbors.exclusion import Exclusion, group_numbers
from dimscope.profiles.companions import checked_names, companion_estimators
from dimscope.profiles.profile import Profile
from dimscope.provenance import NUMBERS, Provenance, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from dimscope.activations.activations import Activations
    from dimscope.arrays.threads import Progress
    from dimscope.estimators.base import Estimator
    from dimscope.neighbors.copies import Copies
    from dimscope.neighbors.engines import Engine

__all__ = ["assign_identities", "check_classes", "identify", "influence_of_mean", "measure_layers"]

OfActivations = Literal["ids", "labels"]


def measure_layers(
    activations: Activations,
    estimators: Estimators | None = None,
    *,
    by_class: bool = False,
    companions: Iterable[str] = (),
    classes: ClassesAre = "random",
    exclude: Any = None,
    groups: Any = None,
    engine: Engine | None = None,
    copies: Copies = "keep",
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
        Measure each class separately (object manifolds). The profile then holds the mean and
        standard deviation over classes, and the profile of each class in ``classes``.
    companions : iterable of str
        What to show beside the dimension (:mod:`dimscope.profiles.companions`).
    classes : {"random", "fixed"}
        For which classes the standard error of a mean over classes holds. ``"random"``: for other
        classes of the same kind. ``"fixed"``: for the same classes with other stimuli.
    exclude, groups : array-like of shape (n_points,), "ids" or "labels", optional
        As in :func:`dimscope.estimate`; ``"ids"`` and ``"labels"`` are those of the activations.
    engine : Engine, optional
    copies : {"keep", "collapse"}
        What to do with near copies in each layer; see :func:`dimscope.estimate`.
    name : str, optional
        Name of the profile; the name of the activations by default.
    memory : int or str, optional
        How many bytes a layer on disk may take in memory; a larger layer is read block by block.
        Half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)``, called in the thread of the caller.

    Returns
    -------
    Profile
        A layer that cannot be measured has dimension NaN and a ``reason``.

    Raises
    ------
    BadPoints
        If ``by_class`` is true but the activations have no labels, or ``exclude`` or ``groups`` do
        not have one id for each row.
    TypeError, ValueError
        If ``engine`` or ``copies`` is given but no estimator uses neighbours, or ``classes``
        without ``by_class``.

    Notes
    -----
    For n measured classes of dimension d_c, the mean is that of the d_c, each class with the same
    weight. Its standard error is s / sqrt(n) for random classes, where s is the standard deviation
    of the d_c, with n - 1 degrees of freedom. It contains the errors of the d_c, and says how well
    the mean over all classes of this kind is known. For fixed classes it is
    sqrt(sum_c se_c^2) / n: classes have no rows in common, so that their estimates are independent.
    If a group of ``groups`` has rows in several classes, the scores are summed over the group.

    Examples
    --------
    >>> from dimscope import Activations
    >>> from dimscope.manifolds import cube
    >>> profile = measure_layers(Activations({"a": cube(500, 2), "b": np.zeros((500, 3))}))
    >>> round(float(profile["a"])), profile["b"]
    (2, Estimate(not measured: all 500 points are the same: they have no dimension, n=500))
    """
    named = named_estimators(estimators)
    check_classes(classes, by_class=by_class)
    check_engine(engine, named.values(), exclude, groups)
    exclude, groups = (
        _numbers(activations, ids, what) for ids, what in ((exclude, "exclude"), (groups, "groups"))
    )
    shown = checked_names(companions)
    named = {**named, **{k: v for k, v in companion_estimators(shown).items() if k not in named}}
    check_copies(copies, named.values())
    name = activations.name if name is None else name
    budget = budget_from(memory)
    provenance = Provenance(
        "profile",
        {
            "estimators": {key: repr(value) for key, value in named.items()},
            "by_class": by_class,
            **({"classes": classes} if by_class else {}),
            **{
                what: Exclusion(numbers).description()
                for what, numbers in (("exclude", exclude), ("groups", groups))
                if numbers is not None
            },
            "numbers": NUMBERS,
            **({} if copies == "keep" else {"copies": copies}),
        },
        versions(),
        (activations.provenance,),
    )
    parts: dict[str, NDArray[np.intp] | None] = {name: None}
    if by_class:
        parts = _rows_of_classes(activations)
    estimates = {
        part: _unmeasured(activations, named, _INTERRUPTED, rows) for part, rows in parts.items()
    }

    def result() -> Profile:
        if not by_class:
            return Profile(
                activations.layers, estimates[name], name, provenance=provenance, companions=shown
            )
        profiles = {
            title: Profile(
                activations.layers, values, title, provenance=provenance, companions=shown
            )
            for title, values in estimates.items()
        }
        means, spread = _over_classes(
            activations, named, profiles, parts, classes, groups, provenance
        )
        return Profile(activations.layers, means, name, profiles, spread, provenance, shown)

    steps = _Steps(progress, len(parts) * len(activations.layers))
    try:
        for part, rows in parts.items():
            for layer in activations.layers:
                steps.begin(layer.name)
                with about(
                    f"class {part}, layer {layer.name}" if by_class else f"layer {layer.name}"
                ):
                    _measure(
                        activations, layer.name, named, rows, engine, copies, budget, steps,
                        estimates[part], exclude, groups,
                    )  # fmt: skip
                steps.end()
            identify(activations, rows, estimates[part])
    except ProgressFailed as failed:
        raise failed.error from None
    except KeyboardInterrupt as interrupt:
        identify(activations, rows, estimates[part])
        raise Interrupted(result()) from interrupt
    return result()


_INTERRUPTED = "the measurement was interrupted before this layer was done"


def check_classes(classes: ClassesAre, *, by_class: bool) -> None:
    """Refuse a kind of classes that is unknown, or without effect.

    Raises
    ------
    ValueError
        If it is not "random" or "fixed", or is "fixed" without ``by_class``.

    Examples
    --------
    >>> check_classes("fixed", by_class=False)
    Traceback (most recent call last):
    ValueError: classes='fixed' has no effect without by_class=True; leave it out
    """
    check_word("classes", classes, ClassesAre)
    if classes == "fixed" and not by_class:
        raise ValueError("classes='fixed' has no effect without by_class=True; leave it out")


def _numbers(activations: Activations, ids: Any, what: str) -> NDArray[np.intp] | None:
    """Number the groups of rows; "ids" and "labels" are those of the activations."""
    if ids is None:
        return None
    if isinstance(ids, str):
        check_word(what, ids, OfActivations)
        column = activations.ids if ids == "ids" else activations.labels
        if column is None:
            raise BadPoints(
                f"{what} is {ids!r}, but the activations have no {ids}; give them to the capture, "
                f"or give {what} an array with one id for each row"
            )
        ids = column
    return group_numbers(ids, activations.n_points, what)


def _rows_of_classes(activations: Activations) -> dict[str, NDArray[np.intp] | None]:
    """Return the rows of each class, by its title."""
    if activations.labels is None:
        reason = activations.provenance.parameters.get("no_labels", "the data have none")
        raise BadPoints(
            f"by_class needs labels, but {reason}; give (inputs, labels), a folder with "
            "one folder of images for each class, open_activations(..., labels=) for saved "
            "activations, or --labels on the command line"
        )
    return {
        _class_title(activations.class_names, label): np.flatnonzero(activations.labels == label)
        for label in np.unique(activations.labels)
    }


def _unmeasured(
    activations: Activations,
    named: Mapping[str, Estimator],
    reason: str,
    rows: NDArray[np.intp] | None,
) -> dict[str, dict[str, Estimate]]:
    """Return estimator name -> layer name -> Estimate without a dimension."""
    n_points = activations.n_points if rows is None else len(rows)
    missing = Estimate(math.nan, n_points=n_points, reason=reason)
    return {key: {layer.name: missing for layer in activations.layers} for key in named}


class _Steps:
    """Report progress in layers, including fractions of the current layer."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, total
        self._done = 0
        self._layer = ""

    def begin(self, layer: str) -> None:
        self._layer = layer
        self.part("", 0.0, 1.0)

    def part(self, _step: str, done: float, total: float | None) -> None:
        """Report progress within the current layer."""
        if self._progress is not None:
            part = done / total if total else 0.0
            self._progress(f"measuring {self._layer}", self._done + part, self._total)

    def end(self) -> None:
        self._done += 1
        if self._progress is not None and self._done == self._total:
            self._progress("measured", self._total, self._total)


def _class_title(names: tuple[str, ...] | None, label: Any) -> str:
    """Return the name of a class, with its number where another class has the same name.

    >>> _class_title(("crane", "dog", "crane"), 2), _class_title(("crane", "dog"), 1)
    ('crane (2)', 'dog')
    """
    if names is None:
        return str(label)
    name = names[label]
    return f"{name} ({label})" if names.count(name) > 1 else name


def _measure(
    activations: Activations,
    layer: str,
    named: Mapping[str, Estimator],
    rows: NDArray[np.intp] | None,
    engine: Engine | None,
    copies: Copies,
    budget: int,
    steps: _Steps,
    into: Mapping[str, dict[str, Estimate]],
    exclude: NDArray[np.intp] | None,
    groups: NDArray[np.intp] | None,
) -> None:
    """Measure one layer; an estimator that fails leaves NaN and its reason."""
    n_points = activations.n_points if rows is None else len(rows)

    def failed(error: Exception) -> Estimate:
        text = "".join(traceback.format_exception(error))
        return Estimate(math.nan, n_points=n_points, reason=reason_of(error), traceback=text)

    try:
        if layer in activations.failures:
            raise BadPoints(activations.failures[layer])
        points = as_points(activations.points[layer], rows=rows, memory=budget)
        chosen = slice(None) if rows is None else rows
        inputs = Inputs(
            points,
            engine,
            list(named.values()),
            steps.part,
            budget,
            copies=copies,
            exclude=None if exclude is None else exclude[chosen],
            groups=None if groups is None else groups[chosen],
        )
        for key, outcome in measured_in_turn(named, inputs):
            into[key][layer] = outcome if isinstance(outcome, Estimate) else failed(outcome)
    except Warning:
        raise
    except Exception as error:
        for estimates in into.values():
            estimates[layer] = failed(error)


def identify(
    activations: Activations,
    rows: NDArray[np.intp] | None,
    estimates: Mapping[str, dict[str, Estimate]],
) -> None:
    """Tell all estimates which stimuli they come from.

    These are the ids of the activations or, without ids, the values of the first layer that was
    searched, which is the input if it was captured.
    """
    identities, stated = None, activations.ids is not None
    if activations.ids is not None:
        identities = _hashed(activations.ids if rows is None else activations.ids[rows])
    else:
        in_order = [
            estimates[key][layer.name].influence
            for layer in activations.layers
            for key in estimates
        ]
        identities = next((item.identities for item in in_order if item is not None), None)
    assign_identities(estimates, identities, stated=stated)


def assign_identities(
    estimates: Mapping[str, dict[str, Estimate]],
    identities: NDArray[np.uint64] | None,
    *,
    stated: bool,
) -> None:
    """Tell all estimates that they come from the stimuli with these identities."""
    name = fingerprint(identities)
    for by_layer in estimates.values():
        for layer, value in by_layer.items():
            influence = value.influence
            if influence is not None:
                influence = replace(influence, identities=identities, stated=stated)
            by_layer[layer] = replace(value, rows=name, influence=influence)


def _hashed(ids: NDArray[Any]) -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(str(i).encode(), digest_size=8).digest() for i in ids.tolist())
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _rows_of_mean(by_title: Mapping[str, Estimate]) -> str:
    """Return the fingerprint of the rows of all classes; empty if that of one is unknown."""
    if not all(estimate.rows for estimate in by_title.values()):
        return ""
    text = "\n".join(f"{title} {estimate.rows}" for title, estimate in by_title.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _over_classes(
    activations: Activations,
    named: Mapping[str, Estimator],
    classes: Mapping[str, Profile],
    rows: Mapping[str, NDArray[np.intp] | None],
    kind: ClassesAre,
    groups: NDArray[np.intp] | None,
    provenance: Provenance,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, float]]]:
    """Return the means over the classes that could be measured, and their standard deviations."""
    means: dict[str, dict[str, Estimate]] = {key: {} for key in named}
    spread: dict[str, dict[str, float]] = {key: {} for key in named}
    for key, estimator in named.items():
        for layer in activations.layers:
            by_title = {title: profile.of(key)[layer.name] for title, profile in classes.items()}
            measured = {t: e for t, e in by_title.items() if not math.isnan(e.dimension)}
            failed = {t: e.reason for t, e in by_title.items() if t not in measured}
            positions = np.array([i for i, title in enumerate(by_title) if title in measured])
            dimensions = np.array([estimate.dimension for estimate in measured.values()])
            n = len(measured)
            mean = float(dimensions.mean()) if n else math.nan
            std = float(dimensions.std(ddof=1)) if n > 1 else math.nan
            spread[key][layer.name] = std
            if kind == "random":
                std_error = std / math.sqrt(n) if n > 1 else math.nan
                degrees: float = max(1, n - 1)
                influence = influence_of_mean(dimensions, positions) if n > 1 else None
                reason = ""
            else:
                std_error, degrees, influence, reason = _of_fixed_classes(measured, rows, groups)
            means[key][layer.name] = Estimate(
                mean,
                std_error,
                n_points=sum(value.n_points for value in by_title.values()),
                n_used=sum(value.n_used for value in measured.values()),
                n_duplicates=sum(value.n_duplicates for value in measured.values()),
                n_copies=sum(value.n_copies for value in measured.values()),
                is_lower_bound=mean > LOWER_BOUND_ABOVE
                and any(value.is_lower_bound for value in measured.values()),
                distance=float(
                    np.mean([value.distance for value in measured.values()] or math.nan)
                ),
                hubness=float(np.mean([value.hubness for value in measured.values()] or math.nan)),
                reason="; ".join(filter(None, [_summary(failed, len(by_title)), reason])),
                degrees_of_freedom=degrees,
                classes_are=kind,
                n_groups=_groups_of_mean(measured.values()),
                classes=tuple(measured),
                classes_failed=tuple(failed),
                rows=_rows_of_mean(by_title),
                influence=influence,
                provenance=Provenance(
                    "mean over classes",
                    {"estimator": repr(estimator), "classes": n, "classes_are": kind},
                    inputs=(provenance,),
                ),
            )
    return means, spread


def _summary(failed: Mapping[str, str], n_classes: int) -> str:
    """Say which classes could not be measured, and why.

    >>> _summary({"cat": "all tied", "dog": "all tied", "fox": "too few"}, 9)
    '3 of 9 classes could not be measured: cat, dog: all tied; fox: too few'
    """
    if not failed:
        return ""
    by_reason: dict[str, list[str]] = {}
    for title, reason in failed.items():
        by_reason.setdefault(reason, []).append(title)
    reasons = "; ".join(f"{', '.join(titles)}: {why}" for why, titles in by_reason.items())
    return f"{len(failed)} of {n_classes} classes could not be measured: {reasons}"


def influence_of_mean(dimensions: NDArray[np.float64], measured: NDArray[np.intp]) -> Influence:
    """Return the influence of each unit on a mean over units, with n / (n - 1) for its own mean.

    Parameters
    ----------
    dimensions : array of shape (n,)
        One for each unit: a class, or a network.
    measured : array of int, shape (n,)
        Position of each unit among all units.

    Examples
    --------
    >>> influence_of_mean(np.array([3.0, 5.0]), np.arange(2)).std_error  # std / sqrt(n)
    1.0
    """
    n = len(dimensions)
    scores = (dimensions - dimensions.mean()) * math.sqrt(n / (n - 1))
    return Influence(scores, np.empty((2, 0), dtype=np.intp), measured)


def _of_fixed_classes(
    measured: Mapping[str, Estimate],
    rows: Mapping[str, NDArray[np.intp] | None],
    groups: NDArray[np.intp] | None,
) -> tuple[float, float, Influence | None, str]:
    """Return the error of a mean over fixed classes, its degrees of freedom, influence and reason.

    Welch's approximation gives the degrees of freedom of a sum of squared errors.
    """
    nothing = math.nan, math.inf, None
    missing = [title for title, e in measured.items() if math.isnan(e.std_error)]
    if not measured or missing:
        reasons = sorted({measured[title].reason for title in missing} - {""})
        if missing and not reasons:
            reasons = ["the classes have no standard errors of their own; use classes='random'"]
        return (*nothing, "; ".join(reasons))
    n = len(measured)
    squares = np.array([estimate.std_error**2 for estimate in measured.values()])
    degrees = np.array([estimate.degrees_of_freedom for estimate in measured.values()])
    influence = _joined_influence(measured, rows, groups)
    std_error = math.sqrt(squares.sum()) / n
    if influence is not None and influence.groups is not None:
        n_groups = len(np.unique(influence.groups))
        in_classes = sum(estimate.n_groups or 0 for estimate in measured.values())
        if n_groups < in_classes:  # groups with rows in several classes
            degrees_of_all = max(1.0, effective_groups(influence.groups) - 1)
            return influence.std_error, degrees_of_all, influence, ""
    spread = float((squares**2 / degrees).sum())
    return std_error, squares.sum() ** 2 / spread if spread else math.inf, influence, ""


def _joined_influence(
    measured: Mapping[str, Estimate],
    rows: Mapping[str, NDArray[np.intp] | None],
    groups: NDArray[np.intp] | None,
) -> Influence | None:
    """Return the influence of every row on the mean of the estimates of disjoint classes.

    ``groups`` are those of all rows of the activations.
    """
    of_array: list[Influence] = []
    for title, estimate in measured.items():
        influence, class_rows = estimate.influence, rows[title]
        if influence is None or class_rows is None:
            return None
        of_array.append(replace(influence, rows=class_rows[influence.rows]))
    influence = joined(of_array)
    if groups is None:
        return influence
    return replace(influence, groups=groups[influence.rows], effects=None, edge=None)


def _groups_of_mean(measured: Iterable[Estimate]) -> int | None:
    """Return the number of groups in all classes; None if rows are the units."""
    numbers = [estimate.n_groups for estimate in measured if estimate.n_groups is not None]
    return sum(numbers) if numbers else None
