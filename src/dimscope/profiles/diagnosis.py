"""Diagnosis: what a profile says about its network, and about its own reliability.

Each rule reads a saved profile alone and returns one :class:`~dimscope.profiles.findings.Finding`.
The thresholds below were fixed on some networks and scored on others
(docs/decisions/diagnosis.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dimscope.errors import ALL_EQUAL, BadPoints
from dimscope.profiles.findings import Diagnosis, Finding, Number
from dimscope.profiles.joint import JointLaw, joint_law, tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dimscope.activations.activations import Layer
    from dimscope.estimators.estimates import Estimate
    from dimscope.profiles.profile import Profile

__all__ = ["diagnose"]


_LEVEL = 0.05
_WIDE = 2.0  # A layer with fewer units than this times the dimension cannot hold it.
_HUNCH = 0.1  # A rise or fall by a smaller fraction is none.
_REPEATED = 0.1  # Fraction of rows that repeat others.


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
    """

    layers: tuple[Layer, ...]
    estimates: Mapping[str, Estimate]
    law: JointLaw | None
    errors: Literal["joint", "independent", "none"]

    @property
    def measured(self) -> dict[str, Estimate]:
        """The layers that have a dimension."""
        return {
            layer.name: self.estimates[layer.name]
            for layer in self.layers
            if not math.isnan(self.estimates[layer.name].dimension)
        }


def diagnose(profile: Profile, estimator: str | None = None) -> Diagnosis:
    """Say what a profile shows: of the network, and of how far its numbers can be trusted.

    Parameters
    ----------
    profile : Profile
        Measured here or loaded from a file. If the file holds influences
        (``profile.save(path, influences=True)``), layers are compared with their joint errors;
        otherwise as if their estimates were independent, which tells less.
    estimator : str, optional
        Name of the estimator; the first by default.

    Returns
    -------
    Diagnosis
        One finding of each kind, with its verdict, its numbers and what to do.

    Examples
    --------
    >>> from dimscope import Activations, profile
    >>> from dimscope.manifolds import cube, embed
    >>> a, b = embed(cube(500, 2), 20), embed(cube(500, 5), 20)
    >>> layers = {"a": a, "b": b, "c": a[:, ::-1], "d": 0 * a}
    >>> diagnosis = diagnose(profile(Activations(layers)))
    >>> diagnosis.of("hunchback").verdict, diagnosis.of("dead layers").layers
    ('found', ('d',))
    """
    estimates = profile.of(profile.estimators[0] if estimator is None else estimator)
    evidence = _evidence(profile.layers, estimates)
    return Diagnosis(tuple(rule(evidence) for rule in _RULES), profile.name, evidence.errors)


def _evidence(layers: Sequence[Layer], estimates: Mapping[str, Estimate]) -> _Evidence:
    chosen = {
        name: estimates[name] for name in _wide(layers, estimates) if estimates[name].std_error > 0
    }
    if len(chosen) < 2:
        return _Evidence(tuple(layers), estimates, None, "none")
    try:
        return _Evidence(tuple(layers), estimates, joint_law(chosen), "joint")
    except BadPoints:  # no influences, or not the same points
        law = JointLaw(
            tuple(chosen),
            np.array([estimate.dimension for estimate in chosen.values()]),
            np.diag([estimate.std_error**2 for estimate in chosen.values()]),
            min(estimate.degrees_of_freedom for estimate in chosen.values()),
            of_units=False,
        )
        return _Evidence(tuple(layers), estimates, law, "independent")


def _wide(layers: Sequence[Layer], estimates: Mapping[str, Estimate]) -> list[str]:
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
    """Test that the dimension rises and then falls, by more than a tenth."""
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
    top = 1 + int(np.argmax(change.min(axis=0)))
    rise, fall = _ratio(law, top, 0), _ratio(law, top, last)
    numbers = {"rise": rise, "fall": fall}
    text = (
        f"the dimension at {law.layers[top]} is {rise} times that at {law.layers[0]} and {fall} "
        f"times that at {law.layers[last]}"
    )
    p_rises = max(law.p_values([(between, np.full(last - 1, end)) for end in (0, last)]))
    margin = math.log1p(_HUNCH)
    freedom = law.degrees_of_freedom
    # for every layer, one of the two changes is too small: each is tested at full level
    short = ((margin - change) / np.maximum(error, 1e-12)).max(axis=0)
    if p_rises <= _LEVEL and change[:, top - 1].min() >= margin:
        return Finding("hunchback", "found", text, layers=(law.layers[top],), numbers=numbers)
    if tail(float(short.min()), freedom) <= _LEVEL:
        says = f"no layer is {_HUNCH:.0%} above both ends; {text}"
        return Finding("hunchback", "not found", says, numbers=numbers)
    return Finding(
        "hunchback", "cannot tell", f"the changes are within their errors; {text}",
        _MORE_POINTS[evidence.errors], numbers=numbers,
    )  # fmt: skip


_MORE_POINTS = {
    "joint": "measure more points",
    "independent": "save the profile with influences=True, or measure more points",
    "none": "use an estimator with standard errors",
}


# -- layers -------------------------------------------------------------------------------


def _dead_layers(evidence: _Evidence) -> Finding:
    """List the layers in which all stimuli look the same."""
    dead = tuple(
        layer.name
        for layer in evidence.layers
        if ALL_EQUAL in evidence.estimates[layer.name].reason
    )
    if dead:
        return Finding(
            "dead layers", "found",
            f"all stimuli are the same from {dead[0]} on" if len(dead) > 1 else
            f"all stimuli are the same at {dead[0]}",
            "look at the biases and the normalisation before this layer, and at whether the "
            "network returns what it should for two different inputs", dead,
            {"layers": Number(len(dead))},
        )  # fmt: skip
    unmeasured = tuple(
        layer.name for layer in evidence.layers if layer.name not in evidence.measured
    )
    if unmeasured:
        return Finding(
            "dead layers", "cannot tell",
            f"{len(unmeasured)} layers were not measured: "
            f"{evidence.estimates[unmeasured[0]].reason or 'no reason is given'}",
            "measure these layers", unmeasured,
        )  # fmt: skip
    return Finding("dead layers", "not found", f"all {len(evidence.layers)} layers vary")


def _lower_bounds(evidence: _Evidence) -> Finding:
    """List the layers whose dimension is a lower bound."""
    bounds = {name: e for name, e in evidence.measured.items() if e.is_lower_bound}
    if not evidence.measured:
        return Finding("lower bounds", "cannot tell", _no_errors(evidence))
    if not bounds:
        return Finding("lower bounds", "not found", "no dimension is above 20")
    highest = max(bounds.values(), key=float)
    return Finding(
        "lower bounds", "found",
        f"{len(bounds)} of {len(evidence.measured)} dimensions are above 20 and too low, the more "
        "so the higher they are",
        "compare these layers by their order, not by their ratio; estimate.corrected says what "
        "they may be", tuple(bounds), {"highest": Number(float(highest), highest.std_error)},
    )  # fmt: skip


_RULES: tuple[Callable[[_Evidence], Finding], ...] = (_hunchback, _dead_layers, _lower_bounds)
