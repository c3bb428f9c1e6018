"""Sentences for the methods section of a paper: how a number was measured, with citation keys.

The keys are those of :func:`dimscope.cite`, which gives the references.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from dimscope.citations import keys_for_estimator

if TYPE_CHECKING:
    from dimscope.provenance import Provenance

__all__ = ["how_measured", "points_in", "sentence"]

_SOFTWARE, _METHOD = "dimscope", "ansuini2019"


class Measured(Protocol):
    """What a sentence says of an :class:`dimscope.Estimate`."""

    @property
    def dimension(self) -> float: ...
    @property
    def std_error(self) -> float: ...
    @property
    def n_points(self) -> int: ...
    @property
    def n_duplicates(self) -> int: ...
    @property
    def is_lower_bound(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def n_groups(self) -> int | None: ...
    @property
    def degrees_of_freedom(self) -> float: ...
    @property
    def over_classes(self) -> str: ...
    @property
    def provenance(self) -> Provenance: ...


def sentence(estimate: Measured) -> str:
    """Describe in a sentence how an estimate was made.

    Raises
    ------
    ValueError
        If the estimate has no dimension, or does not say which estimator made it.

    Examples
    --------
    >>> from dimscope import estimate
    >>> from dimscope.manifolds import torus
    >>> text = sentence(estimate(torus(500, 2)))
    >>> text.startswith("The intrinsic dimension of 500 points was estimated by TwoNN(")
    True
    """
    if math.isnan(estimate.dimension):
        raise ValueError(f"the estimate has no dimension: {estimate.reason or 'it is NaN'}")
    return f"The intrinsic dimension of {points_in([estimate])} was {how_measured([estimate])}."


def points_in(estimates: Sequence[Measured]) -> str:
    """Say how many points were measured, and whether some of their rows were equal.

    Parameters
    ----------
    estimates : sequence of Estimate
        Estimates from the same rows.
    """
    counts = sorted({estimate.n_duplicates for estimate in estimates})
    if not counts[-1]:
        return f"{estimates[0].n_points} points"
    count = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"{estimates[0].n_points} points ({count} repeated rows collapsed)"


def how_measured(estimates: Sequence[Measured]) -> str:
    """Describe the estimator, the search, the error and the version, without the points.

    Parameters
    ----------
    estimates : sequence of Estimate
        Estimates that were made in the same way, such as those of the layers of a profile.

    Raises
    ------
    ValueError
        If the estimates do not say which estimator made them.
    """
    first = estimates[0]
    parameters = first.provenance.parameters
    if "estimator" not in parameters:
        raise ValueError(
            "the estimate does not say which estimator made it: its provenance is empty"
        )
    estimator = str(parameters["estimator"])
    # the paper that introduced each estimator
    keys = [key for n in re.findall(r"\w+(?=\()", estimator) for key in keys_for_estimator(n)[:1]]
    text = f"estimated by {estimator}{_keys(keys)}"
    if "guarantee" in parameters:
        text += f" from the distances between nearest neighbours ({parameters['guarantee']})"
    if "near" in parameters and "far" in parameters:
        near, far = (_spread(estimates, name) for name in ("near", "far"))
        text += f" from the numbers of other points within the radii {near} and {far} of each point"
    ids = _barred(first.provenance)
    if ids:
        text += f", without neighbours of the same id ({ids} ids)"
    if "relative distance" in parameters:
        text += f" in {_blocks(estimates)}"
    if first.over_classes:
        text += f", as the {first.over_classes}"
    if any(estimate.is_lower_bound for estimate in estimates):
        text += "; values above 20 are lower bounds"
    version = _version(first.provenance)
    software = f"dimscope{version and ' ' + version}{_keys([_SOFTWARE])}"
    return f"{text}; {_error(first)} ({software}, which implements the method of{_keys([_METHOD])})"


def _blocks(estimates: Sequence[Measured]) -> str:
    """Describe the blocks of estimates that were made at one relative distance."""
    distance = estimates[0].provenance.parameters["relative distance"]
    return (
        f"disjoint random blocks of {_spread(estimates, 'points in a block')} points, whose median "
        f"distance to the nearest neighbour is {distance:.2g} of that between points, as the mean "
        "over the blocks"
    )


def _spread(estimates: Sequence[Measured], parameter: str) -> str:
    """Name the value of a whole number in the provenance, or the lowest and the highest."""
    values = sorted({int(estimate.provenance.parameters[parameter]) for estimate in estimates})
    return f"{values[0]} to {values[-1]}" if len(values) > 1 else str(values[0])


def _error(estimate: Measured) -> str:
    if math.isnan(estimate.std_error):
        return "no standard error is available"
    if estimate.over_classes:
        return (
            "errors are one standard error of the mean over the classes, with "
            f"{estimate.degrees_of_freedom:g} degrees of freedom"
        )
    if estimate.n_groups:
        return (
            f"errors are one standard error, from the influence of each of {estimate.n_groups} "
            "groups of rows, allowing for the dependence between neighbours"
        )
    return (
        "errors are one standard error, from the influence of each point, allowing for the "
        "dependence between neighbours"
    )


def _barred(provenance: Provenance) -> int:
    """Return the number of ids between whose rows neighbours were barred; 0 if none were."""
    exclude = provenance.parameters.get("exclude")
    if exclude:
        return int(exclude["ids"])
    return max(map(_barred, provenance.inputs), default=0)


def _keys(keys: Iterable[str]) -> str:
    return "".join(f" [{key}]" for key in dict.fromkeys(keys))


def _version(provenance: Provenance) -> str:
    """Return the version of dimscope that made a value or, in a mean, its inputs."""
    found = provenance.versions.get("dimscope", "")
    return found or next(filter(None, map(_version, provenance.inputs)), "")
