"""Differences: whether the dimension changed between two layers or two networks.

Two estimates on the same stimuli are not independent: a stimulus that is unusual in one layer is
often unusual in the next. The standard error of their difference may therefore be smaller or larger
than their separate errors suggest. It is computed from the influence of each stimulus on both
estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dimscope.analysis.pairing import check_paired
from dimscope.digits import with_error
from dimscope.errors import BadPoints
from dimscope.estimators.covariances import covariance, spread_of_difference
from dimscope.estimators.estimates import Estimate
from dimscope.estimators.uncertainty import (
    FEWEST_POINTS,
    quantile,
)
from dimscope.html import between, facts
from dimscope.values import by_value

__all__ = ["Difference", "difference"]

_ROUNDING = 1e-6  # relative accuracy of the distances


@by_value
@dataclass(frozen=True, eq=False)
class Difference:
    """The difference of two dimensions measured on the same stimuli.

    Parameters
    ----------
    difference : float
        First dimension minus second.
    std_error : float
        Standard error of the difference; NaN when there is none.
    correlation : float
        Correlation of the two estimates, due to the stimuli that they share.
    degrees_of_freedom : float
        Degrees of freedom of the standard error, for Student's t.
    rounding : float
        Smaller differences are due to rounding and have the p-value 1.

    Examples
    --------
    >>> change = Difference(2.0, 0.5, 0.3)
    >>> round(change.p_value, 5), [round(bound, 2) for bound in change.interval]
    (6e-05, [1.02, 2.98])
    """

    difference: float
    std_error: float
    correlation: float
    degrees_of_freedom: float = math.inf
    rounding: float = 0.0

    @property
    def is_rounding(self) -> bool:
        """Whether the two dimensions are equal to rounding."""
        return abs(self.difference) <= self.rounding

    @property
    def p_value(self) -> float:
        """Two-sided p-value, normal or Student's t; NaN if there is no standard error."""
        if self.is_rounding:
            return 1.0
        t = abs(self.difference) / self.std_error
        if math.isinf(self.degrees_of_freedom):
            return math.erfc(t / math.sqrt(2))
        from scipy.special import stdtr

        return float(2 * stdtr(self.degrees_of_freedom, -t))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval (lower, upper)."""
        return self.interval_at(0.95)

    def interval_at(self, p: float) -> tuple[float, float]:
        """Compute the confidence interval (lower, upper) at level p.

        Examples
        --------
        >>> [round(bound, 2) for bound in Difference(2.0, 0.5, 0.3).interval_at(0.5)]
        [1.66, 2.34]
        """
        if not 0 < p < 1:
            raise ValueError(f"the level of an interval must be between 0 and 1, not {p}")
        half = quantile((1 + p) / 2, self.degrees_of_freedom) * self.std_error
        return self.difference - half, self.difference + half

    def __float__(self) -> float:
        return float(self.difference)

    def _repr_html_(self) -> str:
        rounding = "equal to rounding" if self.is_rounding else ""
        return facts(
            [
                ("difference", rounding or with_error(self.difference, self.std_error)),
                ("95 % interval", between(self.interval)),
                ("p-value", f"{self.p_value:.2g}"),
                ("correlation", f"{self.correlation:.2g}"),
            ]
        )

    def __str__(self) -> str:
        if self.is_rounding:
            return "equal to rounding (p = 1)"
        return f"{with_error(self.difference, self.std_error, sign='+')} (p = {self.p_value:.2g})"


def difference(a: Estimate, b: Estimate, *, paired: bool = True) -> Difference:
    """Compare two estimates made from the same stimuli, row by row, or from independent ones.

    Parameters
    ----------
    a, b : Estimate
        Estimates for two layers of a network, or for one layer of two networks that processed the
        same data. Any estimators with a standard error can be used. Means over classes are compared
        class by class, with a paired t test.
    paired : bool
        Whether row i is the same stimulus in both. ``False`` is for estimates from independent
        samples, such as two sets of texts; they may differ in their number of points, and need no
        influences.

    Returns
    -------
    Difference
        a - b, with its standard error. The rows of ``profile.differences()`` are later layer
        minus earlier: the opposite sign, if ``a`` is the earlier layer.

    Raises
    ------
    BadPoints
        If an estimate has no dimension or no standard error, or was loaded from a file without the
        influences that a paired error needs (``profile.save(path, influences=True)`` keeps them).
        If the estimates are not paired, but should be: other rows, another order, a mean over
        classes against an estimate from all points, or means over different classes
        (:mod:`dimscope.analysis.pairing`).

    Notes
    -----
    The standard error is computed from the effect of each stimulus on the difference: its effect on
    a minus its effect on b, in the same subsamples
    (:func:`dimscope.estimators.covariances.spread_of_difference`). Differences below 1e-6 of the
    dimension, the accuracy of the distances, are equal to rounding.

    Without pairing, the standard error is sqrt(se_a^2 + se_b^2), with the degrees of freedom of
    Welch and Satterthwaite, (se_a^2 + se_b^2)^2 / (se_a^4 / df_a + se_b^4 / df_b). The dimension
    depends on the number of points, so compare samples of equal size.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> points = cube(1000, 4)
    >>> change = ds.difference(ds.estimate(points), ds.estimate(points[:, :2]))
    >>> change.p_value < 1e-6 and change.interval[0] < 2 < change.interval[1]
    True
    >>> others = cube(1000, 4, seed=1)
    >>> ds.difference(ds.estimate(points), ds.estimate(others), paired=False).p_value > 0.05
    True
    """
    for which, estimate in (("first", a), ("second", b)):
        if math.isnan(estimate.dimension):
            raise BadPoints(
                f"the {which} estimate has no dimension: {estimate.reason or 'it is NaN'}"
            )
        if not paired and not estimate.std_error > 0:
            raise BadPoints(
                f"the {which} estimate has no standard error: {estimate.reason or 'it is NaN'}"
            )
        if paired and estimate.influence is None:
            raise BadPoints(
                f"the {which} estimate holds no influences of points: it was loaded from a file "
                "without them (save with influences=True), its estimator has no standard error, or "
                f"it is from fewer than {FEWEST_POINTS} points"
            )
    if not paired:
        variances = np.array([a.std_error, b.std_error]) ** 2
        freedom = np.array([a.degrees_of_freedom, b.degrees_of_freedom])
        total, lost = float(variances.sum()), float((variances**2 / freedom).sum())
        return Difference(
            a.dimension - b.dimension, math.sqrt(total), 0.0, total**2 / lost if lost else math.inf
        )
    check_paired(a, b)
    assert a.influence is not None
    assert b.influence is not None
    std_error, degrees_of_freedom = spread_of_difference(a.influence, b.influence)
    product = covariance(a.influence, a.influence) * covariance(b.influence, b.influence)
    shared = covariance(a.influence, b.influence)
    return Difference(
        a.dimension - b.dimension,
        std_error if std_error > 0 else math.nan,
        min(1.0, max(-1.0, shared / math.sqrt(product))) if product > 0 else math.nan,
        min(degrees_of_freedom, _class_degrees(a), _class_degrees(b)),
        _ROUNDING * max(a.dimension, b.dimension),
    )


def _class_degrees(estimate: Estimate) -> float:
    """Return the degrees of freedom of a mean over classes; infinite for other estimates."""
    return estimate.degrees_of_freedom if estimate.classes else math.inf
