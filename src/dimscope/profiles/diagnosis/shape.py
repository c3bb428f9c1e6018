"""Rules on the shape of a profile: what it says of the training of the network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dimscope.profiles.diagnosis.evidence import (
    GIVE_CLASSES,
    LEVEL,
    MORE_POINTS,
    REPAIR,
    collapsed_layers,
    gap_of,
    listed,
    no_errors,
    not_classes,
    ratio_of,
)
from dimscope.profiles.diagnosis.findings import Finding, Number
from dimscope.profiles.joint import tail

if TYPE_CHECKING:
    from dimscope.profiles.diagnosis.evidence import Evidence
    from dimscope.profiles.diagnosis.findings import FindingKind

__all__ = ["FALL", "RISE", "hunchback", "memorised_labels", "untrained"]

RISE, FALL = 1.1, 1.5  # The top of a hunchback, in units of the first and the last layer.
_FLAT = 1.75  # Highest over lowest dimension of an untrained network.
_RANDOM, _STRETCHED = 1.0, 1.7  # How far a random output layer spreads neighbours, and a trained.
_TAIL = 0.75  # A last hidden layer below this fraction of the highest dimension has fallen.
_SMALL_GAP = 0.1  # Between the accuracies on training and on other stimuli.
_CHANCE = 1.5  # Accuracy, in units of that by chance, which shows that nothing was learned.


def hunchback(evidence: Evidence) -> Finding:
    """Test that the dimension rises by a tenth, and then falls by a third."""
    law = evidence.law
    if law is None or len(law.layers) < 3:
        reason = no_errors(evidence) if law is None else "only two layers can be compared"
        return Finding("hunchback", "cannot tell", reason, "measure more layers, with TwoNN")
    last = len(law.layers) - 1
    between = np.arange(1, last)
    change = np.stack([law.logs[between] - law.logs[end] for end in (0, last)])
    error = np.stack(
        [law.log_errors_of_differences(between, np.full(last - 1, end)) for end in (0, last)]
    )
    margins = np.log([[RISE], [FALL]])
    top = 1 + int(np.argmax(law.logs[between]))
    rise, fall = ratio_of(law, top, 0), ratio_of(law, top, last)
    numbers = {"rise": rise, "fall": fall}
    text = (
        f"the dimension at {law.layers[top]} is {rise} times that at {law.layers[0]} and {fall} "
        f"times that at {law.layers[last]}"
    )
    p_rises = max(law.p_values([(between, np.full(last - 1, end)) for end in (0, last)]))
    missing = margins - change
    # for every layer, one of the two changes is too small: each is tested at full level
    short = (missing / np.maximum(error, 1e-12)).max(axis=0)
    if p_rises <= LEVEL and missing[:, top - 1].max() <= 0:
        return Finding("hunchback", "found", text, layers=(law.layers[top],), numbers=numbers)
    if tail(float(short.min()), law.degrees_of_freedom) <= LEVEL:
        says = (
            f"no layer has {RISE:g} times the dimension of the first layer and {FALL:g} times "
            f"that of the last; {text}"
        )
        return Finding("hunchback", "not found", says, numbers=numbers)
    return Finding(
        "hunchback", "cannot tell", f"the changes are within their errors; {text}",
        MORE_POINTS[evidence.errors], numbers=numbers,
    )  # fmt: skip


def untrained(evidence: Evidence) -> Finding:
    """Look for what training changes: a profile that is not flat, and outputs far apart.

    A random linear layer of n units and m outputs multiplies distances by about sqrt(m / n). A
    trained output layer multiplies those between neighbours by more, to separate the classes.
    """
    kind: FindingKind = "untrained"
    if gap := gap_of(evidence):
        return Finding(kind, "cannot tell", gap, REPAIR)
    if reason := not_classes(evidence):
        return Finding(kind, "cannot tell", reason, GIVE_CLASSES)
    stretch = _stretch(evidence)
    law, names = evidence.law, _before_last_hidden(evidence)
    numbers = {} if math.isnan(stretch) else {"stretch": Number(stretch)}
    text = (
        f"the output layer keeps neighbours {stretch:.2g} times as far apart as a random one would"
    )
    if stretch >= _STRETCHED:
        return Finding(kind, "not found", text, numbers=numbers)
    learned = _learned(evidence)
    if learned and not stretch < _RANDOM:
        return Finding(kind, "not found", learned, numbers=numbers)
    if collapsed := collapsed_layers(evidence):
        reason = f"{listed(collapsed)} collapsed, in an untrained network or in a trained one"
        return Finding(kind, "cannot tell", reason, REPAIR, numbers=numbers)
    if law is None or len(names) < 2:
        reason = no_errors(evidence) if law is None else "fewer than two layers can be compared"
        return Finding(kind, "cannot tell", reason, "measure more layers, with TwoNN")
    places = [law.layers.index(name) for name in names]
    top, bottom = (places[int(pick(law.logs[places]))] for pick in (np.argmax, np.argmin))
    ratio = ratio_of(law, top, bottom)
    numbers |= {"highest / lowest": ratio}
    shape = (
        f"{law.layers[top]} has {ratio} times the dimension of {law.layers[bottom]}, the highest "
        "and the lowest before the last hidden layer that have enough units to be compared"
    )
    t = (math.log(_FLAT) - math.log(ratio.value)) * ratio.value / max(ratio.std_error, 1e-12)
    is_flat, is_not = (tail(side * t, law.degrees_of_freedom) <= LEVEL for side in (1, -1))
    if math.isnan(stretch):
        if is_not:
            return Finding(kind, "not found", shape, numbers=numbers)
        return Finding(
            kind, "cannot tell",
            f"{shape}; networks that memorised their labels can be as flat as untrained ones",
            "measure the last hidden layer and the output, whose distances tell more",
            numbers=numbers,
        )  # fmt: skip
    if stretch < _RANDOM and is_flat and learned:
        return Finding(
            kind, "cannot tell",
            f"{text}, and the profile is flat, as in a network with random weights: {shape}; but "
            f"{learned}", "check that the profile is of the trained weights", names, numbers,
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


def _stretch(evidence: Evidence) -> float:
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


def _before_last_hidden(evidence: Evidence) -> tuple[str, ...]:
    """Return the layers of the law before the last hidden one.

    The last hidden layer is often a mean over positions, which has fewer dimensions in an untrained
    network too.
    """
    ends = {layer.name for layer in evidence.layers if layer.role in ("last_hidden", "output")}
    return tuple(name for name in (evidence.law.layers if evidence.law else ()) if name not in ends)


def memorised_labels(evidence: Evidence) -> Finding:
    """Look for a trained network whose dimension does not fall towards its last hidden layer."""
    kind: FindingKind = "memorised labels"
    if (by_score := _memorised_by_accuracy(evidence)) is not None:
        return by_score
    if gap := gap_of(evidence):
        return Finding(kind, "cannot tell", gap, REPAIR)
    if reason := not_classes(evidence):
        return Finding(kind, "cannot tell", reason, GIVE_CLASSES)
    training = untrained(evidence)
    if training.verdict == "found":
        return Finding(kind, "not found", "the network seems to be untrained")
    law, stretch = evidence.law, _stretch(evidence)
    last = next((layer.name for layer in evidence.layers if layer.role == "last_hidden"), "")
    before = _before_last_hidden(evidence)
    if law is None or last not in law.layers or not before:
        reason = no_errors(evidence) if law is None else "the last hidden layer is missing"
        if law is not None and last in evidence.measured and last not in law.layers:
            reason = f"{last} has too few units to be compared with the layers before it"
        is_nameless = law is not None and not last
        advice = "give its name as last_hidden" if is_nameless else _accuracy_advice(evidence)
        return Finding(kind, "cannot tell", reason, advice)
    places = [law.layers.index(name) for name in before]
    top = places[int(np.argmax(law.logs[places]))]
    ratio = ratio_of(law, law.layers.index(last), top)
    numbers = {"last hidden / highest": ratio}
    text = f"the last hidden layer, {last}, has {ratio} times the dimension of {law.layers[top]}"
    t = math.log(ratio.value / _TAIL) * ratio.value / max(ratio.std_error, 1e-12)
    is_trained = training.verdict == "not found" and not stretch < _STRETCHED
    if is_trained and tail(t, law.degrees_of_freedom) <= LEVEL:
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


def _accuracy_advice(evidence: Evidence) -> str:
    """Say which accuracies are still to be given, or what decides in their place."""
    accuracies = ("train_accuracy", "test_accuracy")
    missing = [name for name in accuracies if getattr(evidence, name) is None]
    if not missing:
        return "check a sample of the training labels"
    return f"give {' and '.join(missing)}" + (" too" if len(missing) == 1 else "")


def _n_classes(evidence: Evidence) -> int:
    """Return how many classes there are, the units of the output by default; 0 if unknown."""
    outputs = (layer.n_features for layer in evidence.layers if layer.role == "output")
    return evidence.n_classes or next(outputs, 0)


def _learned(evidence: Evidence) -> str:
    """Say that labels are predicted better than by chance; empty if that is not known."""
    n_classes = _n_classes(evidence)
    scores = [evidence.train_accuracy, evidence.test_accuracy]
    best = max((score for score in scores if score is not None), default=0.0)
    if n_classes < 2 or best <= _CHANCE / n_classes:
        return ""
    return f"{best:.1%} of the labels are predicted, more than by chance"


def _memorised_by_accuracy(evidence: Evidence) -> Finding | None:
    """Judge from the accuracies, if they are given and decide."""
    train, test = evidence.train_accuracy, evidence.test_accuracy
    if train is None or test is None:
        return None
    n_classes = _n_classes(evidence)
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
