"""Estimate: a measured dimension with its standard error and diagnostics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dimscope.estimators.corrections import Corrected
from dimscope.estimators.uncertainty import Influence, interval
from dimscope.provenance import Provenance
from dimscope.values import NOT_WRITTEN, by_value, from_plain, null_is, to_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LOWER_BOUND_ABOVE", "Estimate", "fingerprint"]


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
    corrected : Corrected or None
        The dimension corrected for the finite number of points, with an interval
        (:mod:`dimscope.estimators.corrections`). It relies on more assumptions than the estimate.
    resample_std : float or None
        Standard deviation of the dimension over the resamples, if there are any.
    resamples : tuple of float
        Dimension measured on each resample.
    reason : str
        Why the dimension could not be measured; empty if it was. In a mean over classes, why some
        classes are missing from it.
    rows : str
        Fingerprint of the rows that were measured, in order: equal for the same stimuli in the
        layers of one network, and in networks that saw the same input. Empty if unknown.
    traceback : str
        The traceback of the error, if the dimension is missing because of one. It is not written
        to files.
    classes : tuple of str
        The classes in a mean over classes; empty otherwise.
    classes_failed : tuple of str
        The classes that could not be measured and are missing from the mean.
    provenance : Provenance
        How the estimate was made.
    degrees_of_freedom : float
        Degrees of freedom of the standard error; finite only for means over a few classes.
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
    classes: tuple[str, ...] = ()
    classes_failed: tuple[str, ...] = ()
    rows: str = ""
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
        mean = f", {self.over_classes}" if self.classes or self.classes_failed else ""
        return f"Estimate({self}, n={self.n_points}{sample}{mean})"

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
        if math.isnan(self.std_error) or self.std_error <= 0:
            return f"{bound}{self.dimension:.4g}"
        # two digits of the error if it starts with 1, else one digit
        digits = max(0, -math.floor(math.log10(self.std_error)) + (f"{self.std_error:e}"[0] == "1"))
        return f"{bound}{self.dimension:.{digits}f} ± {self.std_error:.{digits}f}"

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
