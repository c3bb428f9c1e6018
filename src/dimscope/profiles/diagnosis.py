"""Diagnosis: what a profile says about its network, and about its own reliability.

Each rule reads a saved profile alone and returns one :class:`~dimscope.profiles.findings.Finding`.
The thresholds below were fixed on some networks and scored on others
(docs/decisions/diagnosis.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dimscope.errors import ALL_EQUAL, BadPoints
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE
from dimscope.profiles.findings import Diagnosis, Errors, Finding, FindingKind, Number, Verdict
from dimscope.profiles.joint import JointLaw, joint_law, tail
from dimscope.profiles.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dimscope.activations.activations import Layer
    from dimscope.estimators.estimates import Estimate

__all__ = ["FALL", "RISE", "comparable_layers", "diagnose"]


_LEVEL = 0.05
_WIDE = 2.0  # A layer with fewer units than this times the dimension cannot hold it.
RISE, FALL = 1.1, 1.5  # The top of a hunchback, in units of the first and the last layer.
_FLAT = 1.75  # Highest over lowest dimension of an untrained network.
_RANDOM, _STRETCHED = 1.5, 1.7  # How far a random output layer spreads neighbours, and a trained.
_TAIL = 0.75  # A last hidden layer below this fraction of the highest dimension has fallen.
_SMALL_GAP = 0.1  # Between the accuracies on training and on other stimuli.
_CHANCE = 1.5  # Accuracy, in units of that by chance, which shows that nothing was learned.
_MERGED = 0.5  # Fraction of the stimuli that have become equal in a dead layer.
_COLLAPSED = 2.5  # A hidden layer of fewer dimensions has collapsed,
_TIMES = 2.0  # if an earlier layer has this many times more.
_HUB_ABOVE, _NO_HUB_BELOW = 0.62, 0.45  # Hubness, in units of the root of the number of points.
_FEW, _WISHED = 0.1, 0.05  # Error relative to the dimension: too large, and good.
_REPEATED, _COPIED = 0.1, 1e-3  # Fractions of the rows; as warned of by the estimators.


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the rules read.

    Parameters
    ----------
    layers : tuple of Layer
    estimates : Mapping of str to Estimate
    law : JointLaw or None
        The law of the layers that can hold the dimension of those before them.
    errors : {"joint", "independent", "none"}
    n_classes, train_accuracy, test_accuracy : number or None
        What the user has given.
    are_saved : bool
        Whether the layers are features that another program has saved, perhaps without a network.
    readout : str
        How rows were made of tokens or positions, in the capture; "flatten" if they were not.
    """

    layers: tuple[Layer, ...]
    estimates: Mapping[str, Estimate]
    law: JointLaw | None
    errors: Errors
    n_classes: int | None
    train_accuracy: float | None
    test_accuracy: float | None
    are_saved: bool = False
    readout: str = "flatten"

    @property
    def measured(self) -> dict[str, Estimate]:
        """The layers that have a dimension."""
        return {
            layer.name: self.estimates[layer.name]
            for layer in self.layers
            if not math.isnan(self.estimates[layer.name].dimension)
        }


def diagnose(
    profile: Profile,
    estimator: str | None = None,
    *,
    n_classes: int | None = None,
    train_accuracy: float | None = None,
    test_accuracy: float | None = None,
    last_hidden: str | None = None,
) -> Diagnosis:
    """Say what a profile shows: of the network, and of how far its numbers can be trusted.

    Parameters
    ----------
    profile : Profile
        Measured here or loaded from a file. If the file holds influences
        (``profile.save(path, influences=True)``), layers are compared with their joint errors;
        otherwise as if their estimates were independent, which tells less.
    estimator : str, optional
        Name of the estimator; the first by default.
    n_classes : int, optional
        Number of classes that the network tells apart; the number of its outputs by default.
    train_accuracy, test_accuracy : float, optional
        Fractions of the stimuli that the network classifies correctly: of those it was trained on,
        with the labels it was trained on, and of others. They help to tell whether labels were
        memorised.
    last_hidden : str, optional
        Name of the last hidden layer; by default the layer with this role, which activations that
        another program has saved do not state.

    Returns
    -------
    Diagnosis
        One finding of each kind, with its verdict, its numbers and what to do.

    Raises
    ------
    ValueError
        If an accuracy is not between 0 and 1.
    KeyError
        If there is no layer or no estimator of this name.
    TypeError
        If ``profile`` is not a profile.

    Examples
    --------
    >>> from dimscope import Activations, profile
    >>> from dimscope.manifolds import cube, embed
    >>> a, b = embed(cube(500, 4), 20), embed(cube(500, 8), 20)
    >>> layers = {"a": a, "b": b, "c": a[:, ::-1], "d": 0 * a}
    >>> diagnosis = diagnose(profile(Activations(layers)))
    >>> diagnosis.of("hunchback").verdict, diagnosis.of("dead layers").layers
    ('found', ('d',))
    """
    if not isinstance(profile, Profile):
        raise TypeError(f"give a profile, as ds.profile returns it, not {type(profile).__name__}")
    for name, share in (("train_accuracy", train_accuracy), ("test_accuracy", test_accuracy)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; give a fraction between 0 and 1")
    estimates = profile.of(profile.estimators[0] if estimator is None else estimator)
    sources = [source.parameters for source in profile.provenance.inputs]
    layers = profile.layers if last_hidden is None else _with_last_hidden(profile, last_hidden)
    law, errors = _law(layers, estimates)
    evidence = _Evidence(
        layers, estimates, law, errors, n_classes, train_accuracy, test_accuracy,
        profile.is_of_saved_activations,
        next((str(source["readout"]) for source in sources if "readout" in source), "flatten"),
    )  # fmt: skip
    return Diagnosis(tuple(rule(evidence) for rule in _RULES), profile.name, errors)


def _with_last_hidden(profile: Profile, name: str) -> tuple[Layer, ...]:
    profile[name]  # which says what layers there are
    return tuple(
        replace(layer, role="last_hidden")
        if layer.name == name
        else replace(layer, role="hidden")
        if layer.role == "last_hidden"
        else layer
        for layer in profile.layers
    )


def _law(
    layers: Sequence[Layer], estimates: Mapping[str, Estimate]
) -> tuple[JointLaw | None, Errors]:
    """Return the law of the layers that can be compared, and whose errors it holds."""
    chosen = {
        name: estimates[name]
        for name in comparable_layers(layers, estimates)
        if estimates[name].std_error > 0
    }
    if len(chosen) < 2:
        return None, "none"
    try:
        return joint_law(chosen), "joint"
    except BadPoints:  # no influences, or not the same points
        dimensions = np.array([estimate.dimension for estimate in chosen.values()])
        variances = np.array([estimate.std_error**2 for estimate in chosen.values()])
        freedom = min(estimate.degrees_of_freedom for estimate in chosen.values())
        law = JointLaw(tuple(chosen), dimensions, np.diag(variances), freedom, of_units=False)
        return law, "independent"


def comparable_layers(layers: Sequence[Layer], estimates: Mapping[str, Estimate]) -> list[str]:
    """Return the layers that were measured and have the units to hold the dimension before them.

    The output of a network for ten classes cannot have more than ten dimensions, whatever the
    network has learned.
    """
    wide, highest = [], 0.0
    for layer in layers:
        dimension = estimates[layer.name].dimension
        if math.isnan(dimension):
            continue
        highest = max(highest, dimension)
        if not 0 < layer.n_features < _WIDE * highest or layer.role == "input":
            wide.append(layer.name)
    return wide


def _no_errors(evidence: _Evidence) -> str:
    """Say why layers cannot be compared."""
    if len(evidence.measured) < 2:
        return f"only {len(evidence.measured)} of {len(evidence.layers)} layers have a dimension"
    return "fewer than two layers have a standard error and enough units to be compared"


def _ratio(law: JointLaw, above: int, below: int) -> Number:
    """Return how many times one dimension is another, with its error."""
    ratio = math.exp(law.logs[above] - law.logs[below])
    error = law.log_errors_of_differences(np.array([above]), np.array([below]))
    return Number(ratio, ratio * float(error[0]))


# -- the shape ----------------------------------------------------------------------------


def _hunchback(evidence: _Evidence) -> Finding:
    """Test that the dimension rises by a tenth, and then falls by a third."""
    law = evidence.law
    if law is None or len(law.layers) < 3:
        reason = _no_errors(evidence) if law is None else "only two layers can be compared"
        return Finding("hunchback", "cannot tell", reason, "measure more layers, with TwoNN")
    last = len(law.layers) - 1
    between = np.arange(1, last)
    change = np.stack([law.logs[between] - law.logs[end] for end in (0, last)])
    error = np.stack(
        [law.log_errors_of_differences(between, np.full(last - 1, end)) for end in (0, last)]
    )
    margins = np.log([[RISE], [FALL]])
    top = 1 + int(np.argmax(law.logs[between]))
    rise, fall = _ratio(law, top, 0), _ratio(law, top, last)
    numbers = {"rise": rise, "fall": fall}
    text = (
        f"the dimension at {law.layers[top]} is {rise} times that at {law.layers[0]} and {fall} "
        f"times that at {law.layers[last]}"
    )
    p_rises = max(law.p_values([(between, np.full(last - 1, end)) for end in (0, last)]))
    missing = margins - change
    # for every layer, one of the two changes is too small: each is tested at full level
    short = (missing / np.maximum(error, 1e-12)).max(axis=0)
    if p_rises <= _LEVEL and missing[:, top - 1].max() <= 0:
        return Finding("hunchback", "found", text, layers=(law.layers[top],), numbers=numbers)
    if tail(float(short.min()), law.degrees_of_freedom) <= _LEVEL:
        says = (
            f"no layer has {RISE:g} times the dimension of the first layer and {FALL:g} times "
            f"that of the last; {text}"
        )
        return Finding("hunchback", "not found", says, numbers=numbers)
    return Finding(
        "hunchback", "cannot tell", f"the changes are within their errors; {text}",
        _MORE_POINTS[evidence.errors], numbers=numbers,
    )  # fmt: skip


def _untrained(evidence: _Evidence) -> Finding:
    """Look for what training changes: a profile that is not flat, and outputs far apart.

    A random linear layer of n units and m outputs multiplies distances by about sqrt(m / n). A
    trained output layer multiplies those between neighbours by more, to separate the classes.
    """
    kind: FindingKind = "untrained"
    if gap := _gap(evidence):
        return Finding(kind, "cannot tell", gap, _REPAIR)
    stretch = _stretch(evidence)
    law, names = evidence.law, _before_last_hidden(evidence)
    numbers = {} if math.isnan(stretch) else {"stretch": Number(stretch)}
    text = (
        f"the output layer keeps neighbours {stretch:.2g} times as far apart as a random one would"
    )
    if stretch >= _STRETCHED:
        return Finding(kind, "not found", text, numbers=numbers)
    if collapsed := _collapsed_layers(evidence):
        reason = f"{_listed(collapsed)} collapsed, in an untrained network or in a trained one"
        return Finding(kind, "cannot tell", reason, _REPAIR, numbers=numbers)
    if law is None or len(names) < 2:
        reason = _no_errors(evidence) if law is None else "fewer than two layers can be compared"
        return Finding(kind, "cannot tell", reason, "measure more layers, with TwoNN")
    places = [law.layers.index(name) for name in names]
    top, bottom = (places[int(pick(law.logs[places]))] for pick in (np.argmax, np.argmin))
    ratio = _ratio(law, top, bottom)
    numbers |= {"highest / lowest": ratio}
    shape = (
        f"{law.layers[top]} has {ratio} times the dimension of {law.layers[bottom]}, the highest "
        "and the lowest before the last hidden layer that have enough units to be compared"
    )
    t = (math.log(_FLAT) - math.log(ratio.value)) * ratio.value / max(ratio.std_error, 1e-12)
    is_flat, is_not = (tail(side * t, law.degrees_of_freedom) <= _LEVEL for side in (1, -1))
    if math.isnan(stretch):
        if is_not:
            return Finding(kind, "not found", shape, numbers=numbers)
        return Finding(
            kind, "cannot tell",
            f"{shape}; networks that memorised their labels can be as flat as untrained ones",
            "measure the last hidden layer and the output, whose distances tell more",
            numbers=numbers,
        )  # fmt: skip
    if stretch < _RANDOM and is_flat:
        return Finding(
            kind, "found", f"{text}, and the profile is flat: {shape}",
            "check that the trained weights were loaded", names, numbers,
        )  # fmt: skip
    return Finding(
        kind,
        "cannot tell",
        f"{text}; {shape}",
        "compare with the network before its training",
        (),
        numbers,
    )


def _stretch(evidence: _Evidence) -> float:
    """Return how much the output layer spreads neighbours, relative to a random layer."""
    ends = [
        next((layer for layer in evidence.layers if layer.role == role), None)
        for role in ("last_hidden", "output")
    ]
    before, after = ends
    if before is None or after is None or not before.n_features or not after.n_features:
        return math.nan
    distances = evidence.estimates[before.name].distance, evidence.estimates[after.name].distance
    if not min(distances) > 0:
        return math.nan
    return distances[1] / distances[0] / math.sqrt(after.n_features / before.n_features)


def _before_last_hidden(evidence: _Evidence) -> tuple[str, ...]:
    """Return the layers of the law before the last hidden one.

    The last hidden layer is often a mean over positions, which has fewer dimensions in an untrained
    network too.
    """
    ends = {layer.name for layer in evidence.layers if layer.role in ("last_hidden", "output")}
    return tuple(name for name in (evidence.law.layers if evidence.law else ()) if name not in ends)


def _gap(evidence: _Evidence) -> str:
    """Say which layers have no dimension, if these keep the shape from being judged."""
    if unmeasured := [
        layer.name
        for layer in evidence.layers
        if layer.role != "output" and layer.name not in evidence.measured
    ]:
        return f"{_listed(unmeasured)} could not be measured"
    return ""


def _memorised_labels(evidence: _Evidence) -> Finding:
    """Look for a trained network whose dimension does not fall towards its last hidden layer."""
    kind: FindingKind = "memorised labels"
    if (by_score := _memorised_by_accuracy(evidence)) is not None:
        return by_score
    if gap := _gap(evidence):
        return Finding(kind, "cannot tell", gap, _REPAIR)
    untrained = _untrained(evidence)
    if untrained.verdict == "found":
        return Finding(kind, "not found", "the network seems to be untrained")
    law, stretch = evidence.law, _stretch(evidence)
    last = next((layer.name for layer in evidence.layers if layer.role == "last_hidden"), "")
    before = _before_last_hidden(evidence)
    if law is None or last not in law.layers or not before:
        reason = _no_errors(evidence) if law is None else "the last hidden layer is missing"
        if law is not None and last in evidence.measured and last not in law.layers:
            reason = f"{last} has too few units to be compared with the layers before it"
        is_nameless = law is not None and not last
        advice = "give its name as last_hidden" if is_nameless else _accuracy_advice(evidence)
        return Finding(kind, "cannot tell", reason, advice)
    places = [law.layers.index(name) for name in before]
    top = places[int(np.argmax(law.logs[places]))]
    ratio = _ratio(law, law.layers.index(last), top)
    numbers = {"last hidden / highest": ratio}
    text = f"the last hidden layer, {last}, has {ratio} times the dimension of {law.layers[top]}"
    t = math.log(ratio.value / _TAIL) * ratio.value / max(ratio.std_error, 1e-12)
    if untrained.verdict == "not found" and tail(t, law.degrees_of_freedom) <= _LEVEL:
        numbers |= {"stretch": Number(stretch)}
        return Finding(
            kind, "found", f"the network is trained, but its dimension does not fall: {text}",
            "compare the accuracy on stimuli that it was not trained on", (last,), numbers,
        )  # fmt: skip
    text += ", and networks with memorised labels can have such a profile too"
    train, test = evidence.train_accuracy, evidence.test_accuracy
    if train is not None and test is not None:
        text += (
            f"; the accuracies, {train:.1%} and {test:.1%}, do not decide either: they differ, but "
            "other labels are predicted better than by chance"
        )
    return Finding(kind, "cannot tell", text, _accuracy_advice(evidence), (), numbers)


_REPAIR = "repair or measure these layers first"


def _accuracy_advice(evidence: _Evidence) -> str:
    """Say which accuracies are still to be given, or what decides in their place."""
    accuracies = ("train_accuracy", "test_accuracy")
    missing = [name for name in accuracies if getattr(evidence, name) is None]
    if not missing:
        return "check a sample of the training labels"
    return f"give {' and '.join(missing)}" + (" too" if len(missing) == 1 else "")


def _memorised_by_accuracy(evidence: _Evidence) -> Finding | None:
    """Judge from the accuracies, if they are given and decide."""
    train, test = evidence.train_accuracy, evidence.test_accuracy
    if train is None or test is None:
        return None
    n_classes = evidence.n_classes or next(
        (layer.n_features for layer in evidence.layers if layer.role == "output"), 0
    )
    numbers = {"train accuracy": Number(train), "test accuracy": Number(test)}
    text = f"{train:.1%} of the training labels are learned, and {test:.1%} of the others"
    if train - test <= _SMALL_GAP:
        return Finding("memorised labels", "not found", text, numbers=numbers)
    if n_classes > 1 and train - 1 / n_classes > 0.5 and test <= _CHANCE / n_classes:
        return Finding(
            "memorised labels", "found", f"{text}, no more than by chance",
            "check the labels", numbers=numbers,
        )  # fmt: skip
    return None


_MORE_POINTS = {
    "joint": "measure more points",
    "independent": "save the profile with influences=True, or measure more points",
    "none": "use an estimator with standard errors",
}


# -- layers -------------------------------------------------------------------------------


def _dead_layers(evidence: _Evidence) -> Finding:
    """List the layers that no longer tell stimuli apart, or only along a line or a plane."""
    constant = [
        layer.name
        for layer in evidence.layers
        if ALL_EQUAL in evidence.estimates[layer.name].reason
    ]
    merged = _merged_layers(evidence)
    collapsed = [name for name in _collapsed_layers(evidence) if name not in merged]
    bad = (*constant, *merged, *collapsed)
    layers = tuple(layer.name for layer in evidence.layers if layer.name in bad)
    parts = []
    if constant:
        parts.append(f"all stimuli are the same at {_listed(constant)}")
    if merged:
        worst = max(merged, key=lambda name: merged[name])
        parts.append(
            f"{merged[worst]:.0%} of the stimuli that differ at the input are the same at {worst}"
        )
    if collapsed:
        parts.append(
            f"only {evidence.estimates[collapsed[0]]} dimensions are left at {collapsed[0]}"
        )
    numbers = {name: _of(evidence.estimates[name]) for name in collapsed}
    numbers |= {name: Number(share) for name, share in merged.items()}
    if parts:
        return Finding(
            "dead layers", "found", "; ".join(parts),
            f"count the features of {layers[0]} that do not vary, and check how it was saved"
            if evidence.are_saved
            else f"count the units of {layers[0]} that are never active, and look at the biases "
            "and the normalisation before it", layers, numbers,
        )  # fmt: skip
    unmeasured = [layer.name for layer in evidence.layers if layer.name not in evidence.measured]
    if unmeasured:
        reason = evidence.estimates[unmeasured[0]].reason or "no reason is given"
        return Finding(
            "dead layers", "cannot tell", f"{_listed(unmeasured)} could not be measured: {reason}",
            "measure again without what prevents it", tuple(unmeasured),
        )  # fmt: skip
    lowest = min(evidence.measured.items(), key=lambda item: item[1].dimension)
    return Finding(
        "dead layers", "not found",
        f"every layer tells the stimuli apart, and {lowest[0]} has the fewest dimensions, "
        f"{lowest[1]}", numbers={"lowest": _of(lowest[1])},
    )  # fmt: skip


def _merged_layers(evidence: _Evidence) -> dict[str, float]:
    """Return the share of rows that repeat others in a layer, but not in the first one."""
    measured = evidence.measured
    first = next(iter(measured.values()), None)
    if first is None:
        return {}
    shares = {
        name: (estimate.n_duplicates - first.n_duplicates) / max(1, estimate.n_points)
        for name, estimate in measured.items()
    }
    return {name: share for name, share in shares.items() if share >= _MERGED}


def _collapsed_layers(evidence: _Evidence) -> list[str]:
    """Return hidden layers of a few dimensions, where earlier layers have many more."""
    collapsed, highest = [], 0.0
    for layer in evidence.layers:
        estimate = evidence.estimates[layer.name]
        if math.isnan(estimate.dimension):
            continue
        upper = estimate.interval[1] if estimate.std_error > 0 else estimate.dimension
        few = upper < _COLLAPSED and not 0 < layer.n_features <= _COLLAPSED
        if few and highest > _TIMES * estimate.dimension:
            collapsed.append(layer.name)
        highest = max(highest, estimate.dimension)
    return collapsed


def _listed(names: Sequence[str]) -> str:
    """Join names.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _of(estimate: Estimate) -> Number:
    return Number(estimate.dimension, estimate.std_error)


def _too_few_dimensions(evidence: _Evidence) -> Finding:
    """Compare the number of classes with 2 to the power of the dimension of the output."""
    kind: FindingKind = "too few dimensions"
    output = next((layer for layer in evidence.layers if layer.role == "output"), None)
    if output is None:
        advice = "measure the output too; among saved features, its name must be output"
        return Finding(kind, "cannot tell", "the profile has no output", advice)
    if evidence.n_classes is None and evidence.readout != "flatten":
        reason = (
            f"the output was captured with readout {evidence.readout!r}, so its units may be words "
            "or positions, not classes"
        )
        return Finding(kind, "cannot tell", reason, "give n_classes if they are classes")
    n_classes = evidence.n_classes or output.n_features
    estimate = evidence.estimates[output.name]
    if n_classes < 2:
        reason = "the number of classes is unknown"
        return Finding(kind, "cannot tell", reason, "give n_classes")
    if ALL_EQUAL in estimate.reason:
        text = f"all stimuli have the same output, for {n_classes} classes"
        return Finding(
            kind, "found", text, "repair the layers that are dead", (output.name,),
            {"classes": Number(n_classes)},
        )  # fmt: skip
    if math.isnan(estimate.dimension):
        return Finding(kind, "cannot tell", f"the output was not measured: {estimate.reason}")
    lower, upper = estimate.interval
    if math.isnan(lower):
        return Finding(kind, "cannot tell", f"the output has no interval, only {estimate}")
    taken = "" if evidence.n_classes else ", if each of its units is a class"
    text = (
        f"2 to the power of {estimate} dimensions is {2**estimate.dimension:.3g} "
        f"({2**lower:.3g} to {2**upper:.3g}) at the output, for {n_classes} classes{taken}"
    )
    numbers = {"classes": Number(n_classes), "dimension": _of(estimate)}
    if 2**lower >= n_classes:
        return Finding(kind, "not found", text, layers=(output.name,), numbers=numbers)
    if 2**upper < n_classes and not estimate.is_lower_bound:
        return Finding(
            kind, "found", text,
            "the output may have collapsed, or the network is at the start of its training; look "
            "at the confusion of classes", (output.name,), numbers,
        )  # fmt: skip
    return Finding(kind, "cannot tell", text, "measure more points", (output.name,), numbers)


# -- the estimates ------------------------------------------------------------------------


def _lower_bounds(evidence: _Evidence) -> Finding:
    """List the layers whose dimension is a lower bound."""
    bounds = {name: e for name, e in evidence.measured.items() if e.is_lower_bound}
    if not evidence.measured:
        return Finding("lower bounds", "cannot tell", _no_errors(evidence))
    if not bounds:
        return Finding("lower bounds", "not found", f"no dimension is above {LOWER_BOUND_ABOVE:g}")
    highest = max(bounds.values(), key=float)
    return Finding(
        "lower bounds", "found",
        f"{len(bounds)} of {len(evidence.measured)} dimensions are above {LOWER_BOUND_ABOVE:g} "
        "and too low, the more so the higher they are",
        "compare these layers by their order, not by their ratio; estimate.corrected says what "
        "they may be", tuple(bounds), {"highest": _of(highest)},
    )  # fmt: skip


def _hubs(evidence: _Evidence) -> Finding:
    """Judge from the skewness of the neighbour counts whether single points decide an estimate.

    The skewness of N counts is at most about sqrt(N), if one of them is large alone, and
    sqrt(N / M) if M are equally large. With two neighbours a point, four points at most are
    neighbours of half of the others each: below sqrt(N) / 2 there is none.
    """
    relative = {
        name: estimate.hubness / math.sqrt(_n_searched(estimate))
        for name, estimate in evidence.measured.items()
        if not math.isnan(estimate.hubness) and _n_searched(estimate) > 0
    }
    if not relative:
        return Finding(
            "hubs", "cannot tell", "the profile holds no hubness",
            "use an estimator that searches the neighbours of all points",
        )  # fmt: skip
    worst = max(relative, key=lambda name: relative[name])
    numbers = {worst: Number(evidence.measured[worst].hubness)}
    text = (
        f"the hubness at {worst}, {evidence.measured[worst].hubness:.3g}, is {relative[worst]:.2f} "
        "of what it is if one point is a neighbour of all others"
    )
    advice = "normalise the rows, or compare with MLE(20), which depends less on single points"
    hubs = tuple(name for name, share in relative.items() if share >= _HUB_ABOVE)
    if hubs:
        return Finding("hubs", "found", text, advice, hubs, numbers)
    verdict: Verdict = "not found" if relative[worst] < _NO_HUB_BELOW else "cannot tell"
    return Finding("hubs", verdict, text, "" if verdict == "not found" else advice, (), numbers)


def _n_searched(estimate: Estimate) -> float:
    """Return the number of points that were searched at once: those of one class, on average."""
    return (estimate.n_points - estimate.n_duplicates) / max(1, len(estimate.classes))


def _few_points(evidence: _Evidence) -> Finding:
    """Judge whether the errors are small enough to say anything."""
    relative = {
        name: estimate.std_error / estimate.dimension
        for name, estimate in evidence.measured.items()
        if estimate.std_error > 0
    }
    if not relative:
        reason = "no layer has a standard error"
        return Finding("few points", "cannot tell", reason, _MORE_POINTS["none"])
    worst = max(relative, key=lambda name: relative[name])
    estimate = evidence.measured[worst]
    numbers = {worst: _of(estimate)}
    text = f"the error is largest at {worst}: {estimate}, {relative[worst]:.0%} of the dimension"
    if relative[worst] <= _FEW:
        return Finding("few points", "not found", text, numbers=numbers)
    few = tuple(name for name, share in relative.items() if share > _FEW)
    unit, n = "points", estimate.n_points
    if estimate.n_groups is not None:
        unit, n = "groups", estimate.n_groups
    elif estimate.classes_are == "random":
        unit, n = "classes", len(estimate.classes)
    wanted = n * (relative[worst] / _WISHED) ** 2
    advice = f"measure {_rounded(wanted)} {unit} instead of {n} for an error of {_WISHED:.0%}"
    if not n:
        advice = "measure more points"
    return Finding("few points", "found", text, advice, few, numbers)


def _rounded(number: float) -> str:
    """Round to two digits.

    >>> _rounded(11_234.5)
    '11000'
    """
    return f"{float(f'{number:.2g}'):.0f}"


def _repeated_rows(evidence: _Evidence) -> Finding:
    """Look for stimuli that were measured more than once: padding, copies, data read twice."""
    first = next(iter(evidence.measured.items()), None)
    if first is None:
        return Finding("repeated rows", "cannot tell", _no_errors(evidence))
    name, estimate = first
    n = max(1, estimate.n_points)
    repeats, copies = estimate.n_duplicates / n, estimate.n_copies / n
    text = (
        f"{repeats:.1%} of the rows of {name} repeat another row, and {copies:.1%} differ from "
        "one by rounding only"
    )
    numbers = {"repeats": Number(repeats), "copies": Number(copies)}
    if repeats > _REPEATED or copies > _COPIED:
        return Finding(
            "repeated rows", "found", text,
            "check whether padding counts as points, and whether stimuli were read twice; give "
            "mask= to the capture, or copies='collapse'", (name,), numbers,
        )  # fmt: skip
    return Finding("repeated rows", "not found", text, layers=(name,), numbers=numbers)


_RULES: tuple[Callable[[_Evidence], Finding], ...] = (
    _hunchback, _untrained, _memorised_labels, _dead_layers, _too_few_dimensions, _lower_bounds,
    _hubs, _few_points, _repeated_rows,
)  # fmt: skip
