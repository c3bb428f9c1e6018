"""Sentences for the methods section of a paper: how a number was measured, with citation keys.

The keys are those of the references below; :data:`KEYS` maps estimators to them.

References
----------
- ``facco2017``: E. Facco et al., Scientific Reports 7, 12140 (2017).
- ``ansuini2019``: A. Ansuini et al., NeurIPS (2019), the paper to cite for dimscope.
- ``denti2022``: F. Denti et al., Scientific Reports 12, 20005 (2022).
- ``levina2004``: E. Levina and P. J. Bickel, NeurIPS (2004).
- ``macocco2023``: I. Macocco et al., Physical Review Letters 130, 067401 (2023).
- ``gao2017``: P. Gao et al., bioRxiv 214262 (2017).
- ``roy2007``: O. Roy and M. Vetterli, European Signal Processing Conference (2007).
- ``bac2021``: J. Bac et al., Entropy 23, 1368 (2021).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dimscope.provenance import Provenance

__all__ = ["KEYS", "how_measured", "sentence"]

KEYS: Mapping[str, str] = {
    "TwoNN": "facco2017",
    "Gride": "denti2022",
    "MLE": "levina2004",
    "I3D": "macocco2023",
    "PCA": "ansuini2019",
    "ParticipationRatio": "gao2017",
    "EffectiveRank": "roy2007",
    "SkDim": "bac2021",
}

_SOFTWARE = "ansuini2019"


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
    return f"The intrinsic dimension of {_points(estimate)} was {how_measured([estimate])}."


def _points(estimate: Measured) -> str:
    collapsed = f" ({estimate.n_duplicates} repeated rows collapsed)"
    return f"{estimate.n_points} points{collapsed if estimate.n_duplicates else ''}"


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
    names = [name for name in re.findall(r"\w+(?=\()", estimator) if name in KEYS]
    text = f"estimated by {estimator}{_keys(KEYS[name] for name in names)}"
    if "guarantee" in parameters:
        text += f" from the distances between nearest neighbours ({parameters['guarantee']})"
    if "relative distance" in parameters:
        text += f" in {_blocks(estimates)}"
    if first.over_classes:
        text += f", as the {first.over_classes}"
    if any(estimate.is_lower_bound for estimate in estimates):
        text += "; values above 20 are lower bounds"
    version = _version(first.provenance)
    return f"{text}; {_error(first)} (dimscope{version and ' ' + version}{_keys([_SOFTWARE])})"


def _blocks(estimates: Sequence[Measured]) -> str:
    """Describe the blocks of estimates that were made at one relative distance."""
    parameters = [estimate.provenance.parameters for estimate in estimates]
    sizes = sorted({int(values["points in a block"]) for values in parameters})
    count = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
    return (
        f"disjoint random blocks of {count} points, whose median distance to the nearest neighbour "
        f"is {parameters[0]['relative distance']:.2g} of that between points, as the mean over the "
        "blocks"
    )


def _error(estimate: Measured) -> str:
    if math.isnan(estimate.std_error):
        return "no standard error is available"
    if estimate.over_classes:
        return (
            "errors are one standard error of the mean over the classes, with "
            f"{estimate.degrees_of_freedom:g} degrees of freedom"
        )
    return (
        "errors are one standard error, from the influence of each point, allowing for the "
        "dependence between neighbours"
    )


def _keys(keys: Iterable[str]) -> str:
    return "".join(f" [{key}]" for key in dict.fromkeys(keys))


def _version(provenance: Provenance) -> str:
    """Return the version of dimscope that made a value or, in a mean, its inputs."""
    found = provenance.versions.get("dimscope", "")
    return found or next(filter(None, map(_version, provenance.inputs)), "")
