"""Rules on single layers: those that no longer tell stimuli apart, and the output."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dimscope.errors import ALL_EQUAL
from dimscope.profiles.diagnosis.evidence import (
    GIVE_CLASSES,
    collapsed_layers,
    listed,
    not_classes,
    number_of,
)
from dimscope.profiles.diagnosis.findings import Finding, Number

if TYPE_CHECKING:
    from dimscope.profiles.diagnosis.evidence import Evidence
    from dimscope.profiles.diagnosis.findings import FindingKind

__all__ = ["dead_layers", "too_few_dimensions"]

_MERGED = 0.5  # Fraction of the stimuli that have become equal in a dead layer.


def dead_layers(evidence: Evidence) -> Finding:
    """List the layers that no longer tell stimuli apart, or only along a line or a plane."""
    constant = [
        layer.name
        for layer in evidence.layers
        if ALL_EQUAL in evidence.estimates[layer.name].reason
    ]
    merged = _merged_layers(evidence)
    collapsed = [name for name in collapsed_layers(evidence) if name not in merged]
    bad = (*constant, *merged, *collapsed)
    layers = tuple(layer.name for layer in evidence.layers if layer.name in bad)
    parts = []
    if constant:
        parts.append(f"all stimuli are the same at {listed(constant)}")
    if merged:
        worst = max(merged, key=lambda name: merged[name])
        parts.append(
            f"{merged[worst]:.0%} of the stimuli that differ at the input are the same at {worst}"
        )
    if collapsed:
        parts.append(
            f"only {evidence.estimates[collapsed[0]]} dimensions are left at {collapsed[0]}"
        )
    numbers = {name: number_of(evidence.estimates[name]) for name in collapsed}
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
            "dead layers", "cannot tell", f"{listed(unmeasured)} could not be measured: {reason}",
            "measure again without what prevents it", tuple(unmeasured),
        )  # fmt: skip
    lowest = min(evidence.measured.items(), key=lambda item: item[1].dimension)
    return Finding(
        "dead layers", "not found",
        f"every layer tells the stimuli apart, and {lowest[0]} has the fewest dimensions, "
        f"{lowest[1]}", numbers={"lowest": number_of(lowest[1])},
    )  # fmt: skip


def _merged_layers(evidence: Evidence) -> dict[str, float]:
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


def too_few_dimensions(evidence: Evidence) -> Finding:
    """Compare the number of classes with 2 to the power of the dimension of the output."""
    kind: FindingKind = "too few dimensions"
    output = next((layer for layer in evidence.layers if layer.role == "output"), None)
    if output is None:
        advice = "measure the output too; among saved features, its name must be output"
        return Finding(kind, "cannot tell", "the profile has no output", advice)
    if reason := not_classes(evidence):
        return Finding(kind, "cannot tell", reason, GIVE_CLASSES)
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
    numbers = {"classes": Number(n_classes), "dimension": number_of(estimate)}
    if 2**lower >= n_classes:
        return Finding(kind, "not found", text, layers=(output.name,), numbers=numbers)
    if 2**upper < n_classes and not estimate.is_lower_bound:
        return Finding(
            kind, "found", text,
            "the output may have collapsed, or the network is at the start of its training; look "
            "at the confusion of classes", (output.name,), numbers,
        )  # fmt: skip
    return Finding(kind, "cannot tell", text, "measure more points", (output.name,), numbers)
