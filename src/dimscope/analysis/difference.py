"""Contrasts: whether the dimension changed between two layers, or two networks.

Two estimates on the same stimuli are not independent: a stimulus that is odd in one layer
is often odd in the next. Their difference is therefore known better, or worse, than two
separate errors say; the influences of each stimulus on both give its own error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dimscope.errors import BadPoints
from dimscope.estimators.estimates import Estimate
from dimscope.estimators.uncertainty import covariance, quantile
from dimscope.values import value

__all__ = ["Difference", "difference"]


@value
@dataclass(frozen=True, eq=False)
class Difference:
    """The difference of two dimensions measured on the same stimuli.

    Parameters
    ----------
    difference : float
        First minus second.
    std_error : float
        Standard error of the difference; NaN when there is none.
    correlation : float
        Of the two estimates, through the stimuli that they share.
    degrees_of_freedom : float
        Of the standard error; infinite but for means over a few classes.

    Examples
    --------
    >>> one = Difference(2.0, 0.5, 0.3)
    >>> round(one.p_value, 5), [round(bound, 2) for bound in one.interval]
    (6e-05, [1.02, 2.98])
    """

    difference: float
    std_error: float
    correlation: float
    degrees_of_freedom: float = math.inf

    @property
    def p_value(self) -> float:
        """Two-sided p-value of no difference, normal or Student's; NaN without an error."""
        if self.difference == 0:
            return 1.0
        t = abs(self.difference) / self.std_error
        if math.isinf(self.degrees_of_freedom):
            return math.erfc(t / math.sqrt(2))
        from scipy.special import stdtr

        return float(2 * stdtr(self.degrees_of_freedom, -t))

    @property
    def interval(self) -> tuple[float, float]:
        """(lower, upper) at 95 %."""
        return self.interval_at(0.95)

    def interval_at(self, p: float) -> tuple[float, float]:
        """(lower, upper) at level p.

        Examples
        --------
        >>> [round(bound, 2) for bound in Difference(2.0, 0.5, 0.3).interval_at(0.5)]
        [1.66, 2.34]
        """
        if not 0 < p < 1:
            raise ValueError(f"the level of an interval is between 0 and 1, not {p}")
        half = quantile((1 + p) / 2, self.degrees_of_freedom) * self.std_error
        return self.difference - half, self.difference + half

    def __float__(self) -> float:
        return float(self.difference)

    def __str__(self) -> str:
        return f"{self.difference:+.3g} ± {self.std_error:.2g} (p = {self.p_value:.2g})"


def difference(a: Estimate, b: Estimate) -> Difference:
    """Compare two estimates made from the same stimuli, row by row.

    Parameters
    ----------
    a, b : Estimate
        Of two layers of a network, or of one layer of two networks that saw the same
        data; from any estimators that have a standard error. Means over classes are
        compared class by class, a paired t test.

    Returns
    -------
    Difference
        a - b with a paired error.

    Raises
    ------
    BadPoints
        If one has no dimension, the numbers of points differ, or one was loaded from a
        file, which does not hold what is needed for a paired error.

    Notes
    -----
    var(a - b) = var a + var b - 2 cov(a, b), the covariance summed over each stimulus and the
    pairs that are neighbours in either representation
    (:func:`dimscope.estimators.uncertainty.covariance`).

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> points = cube(1000, 4)
    >>> change = ds.difference(ds.estimate(points), ds.estimate(points[:, :2]))
    >>> change.p_value < 1e-6 and change.interval[0] < 2 < change.interval[1]
    True
    """
    for which, one in (("first", a), ("second", b)):
        if math.isnan(one.dimension):
            raise BadPoints(f"the {which} estimate has no dimension: {one.reason or 'it is NaN'}")
        if one.influence is None:
            raise BadPoints(
                f"the {which} estimate holds no influences of points: it was loaded from a file, "
                "or its estimator offers none; measure it again"
            )
    if a.n_points != b.n_points:
        raise BadPoints(
            f"the estimates come from {a.n_points} and {b.n_points} points; a paired comparison "
            "needs the same stimuli in both"
        )
    assert a.influence is not None
    assert b.influence is not None
    shared = covariance(a.influence, b.influence)
    variance = a.std_error**2 + b.std_error**2 - 2 * shared
    return Difference(
        a.dimension - b.dimension,
        math.sqrt(variance) if variance > 0 else math.nan,
        shared / (a.std_error * b.std_error),
        min(a.degrees_of_freedom, b.degrees_of_freedom),
    )
