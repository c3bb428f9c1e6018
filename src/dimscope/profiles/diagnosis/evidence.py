"""Evidence: what the rules of a diagnosis read, and what several of them say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dimscope.errors import BadPoints
from dimscope.profiles.diagnosis.findings import Number
from dimscope.profiles.joint import JointLaw, joint_law

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dimscope.activations.activations import Layer
    from dimscope.estimators.estimates import Estimate
    from dimscope.profiles.diagnosis.findings import Errors

__all__ = [
    "GIVE_CLASSES", "LEVEL", "MORE_POINTS", "REPAIR", "Evidence", "collapsed_layers",
    "comparable_layers", "gap_of", "law_of", "listed", "no_errors", "not_classes", "number_of",
    "ratio_of",
]  # fmt: skip

LEVEL = 0.05
REPAIR = "repair or measure these layers first"
GIVE_CLASSES = "give n_classes if they are classes"
MORE_POINTS = {
    "joint": "measure more points",
    "independent": "save the profile with influences=True, or measure more points",
    "none": "use an estimator with standard errors",
}
_WIDE = 2.0  # A layer with fewer units than this times the dimension cannot hold it.
_COLLAPSED = 2.5  # A hidden layer of fewer dimensions has collapsed,
_TIMES = 2.0  # if an earlier layer has this many times more.


@dataclass(frozen=True, eq=False)
class Evidence:
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


def law_of(
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


def no_errors(evidence: Evidence) -> str:
    """Say why layers cannot be compared."""
    if len(evidence.measured) < 2:
        return f"only {len(evidence.measured)} of {len(evidence.layers)} layers have a dimension"
    return "fewer than two layers have a standard error and enough units to be compared"


def not_classes(evidence: Evidence) -> str:
    """Say why the units of the output may be no classes; empty if they count as classes."""
    if evidence.n_classes is not None or evidence.readout == "flatten":
        return ""
    return (
        f"the output was captured with readout {evidence.readout!r}, so its units may be words "
        "or positions, not classes"
    )


def ratio_of(law: JointLaw, above: int, below: int) -> Number:
    """Return how many times one dimension is another, with its error."""
    ratio = math.exp(law.logs[above] - law.logs[below])
    error = law.log_errors_of_differences(np.array([above]), np.array([below]))
    return Number(ratio, ratio * float(error[0]))


def gap_of(evidence: Evidence) -> str:
    """Say which layers have no dimension, if these keep the shape from being judged."""
    if unmeasured := [
        layer.name
        for layer in evidence.layers
        if layer.role != "output" and layer.name not in evidence.measured
    ]:
        return f"{listed(unmeasured)} could not be measured"
    return ""


def collapsed_layers(evidence: Evidence) -> list[str]:
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


def listed(names: Sequence[str]) -> str:
    """Join names.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def number_of(estimate: Estimate) -> Number:
    """Return the dimension with its error."""
    return Number(estimate.dimension, estimate.std_error)
