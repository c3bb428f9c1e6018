"""Rules on the estimates themselves: how far the numbers of a profile can be trusted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dimscope.estimators.estimates import LOWER_BOUND_ABOVE
from dimscope.profiles.diagnosis.evidence import MORE_POINTS, no_errors, number_of
from dimscope.profiles.diagnosis.findings import Finding, Number

if TYPE_CHECKING:
    from dimscope.estimators.estimates import Estimate
    from dimscope.profiles.diagnosis.evidence import Evidence
    from dimscope.profiles.diagnosis.findings import Verdict

__all__ = ["few_points", "hubs", "lower_bounds", "repeated_rows"]

_HUB_ABOVE, _NO_HUB_BELOW = 0.62, 0.45  # Hubness, in units of the root of the number of points.
_FEW, _WISHED = 0.1, 0.05  # Error relative to the dimension: too large, and good.
_REPEATED, _COPIED = 0.1, 1e-3  # Fractions of the rows; as warned of by the estimators.


def lower_bounds(evidence: Evidence) -> Finding:
    """List the layers whose dimension is a lower bound."""
    bounds = {name: e for name, e in evidence.measured.items() if e.is_lower_bound}
    if not evidence.measured:
        return Finding("lower bounds", "cannot tell", no_errors(evidence))
    if not bounds:
        return Finding("lower bounds", "not found", f"no dimension is above {LOWER_BOUND_ABOVE:g}")
    highest = max(bounds.values(), key=float)
    return Finding(
        "lower bounds", "found",
        f"{len(bounds)} of {len(evidence.measured)} dimensions are above {LOWER_BOUND_ABOVE:g} "
        "and too low, the more so the higher they are",
        "compare these layers by their order, not by their ratio; estimate.corrected says what "
        "they may be", tuple(bounds), {"highest": number_of(highest)},
    )  # fmt: skip


def hubs(evidence: Evidence) -> Finding:
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


def few_points(evidence: Evidence) -> Finding:
    """Judge whether the errors are small enough to say anything."""
    relative = {
        name: estimate.std_error / estimate.dimension
        for name, estimate in evidence.measured.items()
        if estimate.std_error > 0
    }
    if not relative:
        reason = "no layer has a standard error"
        return Finding("few points", "cannot tell", reason, MORE_POINTS["none"])
    worst = max(relative, key=lambda name: relative[name])
    estimate = evidence.measured[worst]
    numbers = {worst: number_of(estimate)}
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


def repeated_rows(evidence: Evidence) -> Finding:
    """Look for stimuli that were measured more than once: padding, copies, data read twice."""
    first = next(iter(evidence.measured.items()), None)
    if first is None:
        return Finding("repeated rows", "cannot tell", no_errors(evidence))
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
