"""Estimate: a measured dimension with its standard error and diagnostics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dimscope.digits import with_error
from dimscope.estimators.corrections import Corrected
from dimscope.estimators.uncertainty import Influence, interval
from dimscope.html import between, facts
from dimscope.provenance import Provenance
from dimscope.values import NOT_WRITTEN, by_value, from_plain, null_is, to_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LOWER_BOUND_ABOVE", "ClassesAre", "Estimate", "fingerprint"]


ClassesAre = Literal["random", "fixed"]
"""For which classes the standard error of a mean over classes holds."""


# Above about 20, a neighbour estimate from any practical number of points falls short of the
# dimension (Facco et al. 2017, Ansuini et al. 2019).
LOWER_BOUND_ABOVE = 20.0


def fingerprint(identities: NDArray[np.uint64] | None) -> str:
    """Return a short hash of the identities of rows, in order; empty if they are unknown.

    Examples
    --------
    >>> import numpy as np
    >>> fingerprint(np.arange(3, dtype=np.uint64)), fingerprint(None)
    ('ab25350e3e65efeb', '')
    """
    if identities is None:
        return ""
    return hashlib.sha256(identities.astype("<u8").tobytes()).hexdigest()[:16]


@by_value
@dataclass(frozen=True, eq=False)
class Estimate:
    """A measured intrinsic dimension.

    Parameters
    ----------
    dimension : float
        The measured dimension; NaN if it could not be measured.
    std_error : float
        Standard error; NaN (never 0) if there is none.
    n_points : int
        Number of rows, duplicates included.
    n_used : int
        Number of points whose ratio the fit uses uncensored.
    n_queries : int or None
        Number of points whose neighbours were searched, if only a sample was
        (:class:`dimscope.Sampled`).
    n_duplicates : int
        Number of rows that repeat another row and were collapsed.
    n_copies : int
        Number of rows that are near copies of an earlier row: they differ by no more than the
        rounding of their values. ``copies="collapse"`` removes them.
    tie_fraction : float
        Fraction of points whose two compared distances are equal to within a relative 1e-6.
    is_lower_bound : bool
        Whether the dimension is above 20, where estimates from neighbours are too low.
    goodness_of_fit : float
        p-value of the hypothesis that the ratios follow the fitted distribution; NaN if not tested.
    distance : float
        Median distance of the distinct points to their nearest neighbour, r1, in the units of the
        data: the scale at which the dimension was measured. NaN if no neighbours were searched.
    hubness : float
        Skewness of the number of points that have a point among their first k neighbours, where k
        is the number of neighbours that the estimator needs (:meth:`dimscope.Neighbors.hubness`).
        NaN if no neighbours were searched, or those of a sample only.
    corrected : Corrected or None
        The dimension corrected for the finite number of points, with an interval
        (:mod:`dimscope.estimators.corrections`). It relies on more assumptions than the estimate.
    resample_std : float or None
        Standard deviation of the dimension over the resamples, if there are any.
    resamples : tuple of float
        Dimension measured on each resample.
    reason : str
        Why the dimension could not be measured; empty if it was. In a mean over classes, why some
        classes are missing from it. With fewer than 10 groups, why there is no standard error.
    rows : str
        Fingerprint of the rows that were measured, in order: equal for the same stimuli in the
        layers of one network, and in networks that saw the same input. Empty if unknown.
    traceback : str
        The traceback of the error, if the dimension is missing because of one. It is not written
        to files.
    classes : tuple of str
        The classes in a mean over classes; empty otherwise.
    classes_are : str
        For which classes the standard error of a mean over classes holds: ``"random"`` for other
        classes of the same kind, ``"fixed"`` for the same classes with other stimuli. Empty if it
        is not a mean.
    classes_failed : tuple of str
        The classes that could not be measured and are missing from the mean.
    provenance : Provenance
        How the estimate was made.
    degrees_of_freedom : float
        Degrees of freedom of the standard error; finite only for means over a few classes, and for
        rows in groups.
    n_groups : int or None
        Number of independent groups of rows, if the standard error is over ``groups``; None if each
        row is a unit of its own.
    influence : Influence or None
        Influence of each point on the estimate, used by :func:`dimscope.difference`. It is not
        saved to files.

    Examples
    --------
    >>> e = Estimate(10.6, 0.3, n_points=2000)
    >>> e
    Estimate(10.6 ± 0.3, n=2000)
    >>> float(e), [round(bound, 2) for bound in e.interval]
    (10.6, [10.03, 11.2])
    """

    dimension: float
    std_error: float = math.nan
    n_points: int = 0
    n_used: int = 0
    n_duplicates: int = 0
    tie_fraction: float = 0.0
    is_lower_bound: bool = False
    goodness_of_fit: float = math.nan
    corrected: Corrected | None = None
    resample_std: float | None = None
    resamples: tuple[float, ...] = ()
    reason: str = ""
    degrees_of_freedom: float = field(default=math.inf, metadata=null_is(math.inf))
    n_queries: int | None = None
    n_groups: int | None = None
    classes: tuple[str, ...] = ()
    classes_failed: tuple[str, ...] = ()
    classes_are: Literal["", "random", "fixed"] = ""
    rows: str = ""
    distance: float = math.nan
    hubness: float = math.nan
    n_copies: int = 0
    traceback: str = field(default="", repr=False, compare=False, metadata=NOT_WRITTEN)
    provenance: Provenance = field(default_factory=lambda: Provenance("estimate"), repr=False)
    influence: Influence | None = field(
        default=None, repr=False, compare=False, metadata=NOT_WRITTEN
    )

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval (lower, upper)."""
        return self.interval_at(0.95)

    def interval_at(self, p: float) -> tuple[float, float]:
        """Compute the confidence interval (lower, upper) at level p.

        Examples
        --------
        >>> [round(bound, 2) for bound in Estimate(10.0, 1.0).interval_at(0.5)]
        [9.35, 10.7]
        """
        return interval(self.dimension, self.std_error, p, self.degrees_of_freedom)

    def __float__(self) -> float:
        return float(self.dimension)

    def __repr__(self) -> str:
        sample = "" if self.n_queries is None else f", {self.n_queries} queries"
        groups = "" if self.n_groups is None else f", {self.n_groups} groups"
        mean = f", {self.over_classes}" if self.classes or self.classes_failed else ""
        mean += f", taken as {self.classes_are}" if self.classes_are else ""
        return f"Estimate({self}, n={self.n_points}{sample}{groups}{mean})"

    def _repr_html_(self) -> str:
        corrected = self.corrected
        return facts(
            [
                ("dimension", self),
                ("95 % interval", between(self.interval)),
                ("corrected", corrected and f"{corrected.dimension:.4g}"),
                ("95 % interval, corrected", corrected and between(corrected.interval)),
                ("points", self.n_points),
                ("queries", self.n_queries),
                ("groups", self.n_groups),
                ("duplicates", self.n_duplicates or ""),
                ("near copies", self.n_copies or ""),
                ("classes", self.over_classes),
                ("reason", "" if math.isnan(self.dimension) else self.reason),
            ],
            self.provenance.parameters.get("estimator", ""),
        )

    @property
    def over_classes(self) -> str:
        """How many classes the mean covers, such as ``mean over 9 of 10 classes``; else empty.

        Examples
        --------
        >>> Estimate(4.0, 0.5, classes=("cat", "dog"), classes_failed=("fox",)).over_classes
        'mean over 2 of 3 classes'
        """
        total = len(self.classes) + len(self.classes_failed)
        if not total:
            return ""
        count = f"{len(self.classes)} of {total}" if self.classes_failed else str(total)
        return f"mean over {count} {'class' if total == 1 else 'classes'}"

    def __str__(self) -> str:
        if math.isnan(self.dimension):
            return f"not measured: {self.reason}" if self.reason else "nan"
        bound = "≥ " if self.is_lower_bound else ""
        return bound + with_error(self.dimension, self.std_error)

    def methods(self) -> str:
        """Describe in a sentence, for a methods section, how the dimension was measured.

        It names the number of points, the estimator with its parameters, the search and its
        guarantee, the kind of error and the version, with the citation keys of
        :mod:`dimscope.estimators.methods`.
        """
        from dimscope.estimators.methods import sentence

        return sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON-compatible dict: NaN becomes None, the influence is left out."""
        plain: dict[str, Any] = to_plain(self)
        provenance = plain.pop("provenance")
        plain["interval"] = to_plain(self.interval)
        plain["estimator"] = self.provenance.parameters.get("estimator", "")
        plain["provenance"] = provenance
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Estimate:
        """Create an estimate from the output of :meth:`to_dict`."""
        return from_plain(cls, data)
