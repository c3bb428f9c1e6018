"""Corrections: the dimension that would give the observed value at this number of points.

In many dimensions neighbours are far away and TwoNN falls short: 2000 points of a
50-dimensional cube measure about 32. The shortfall is nearly the same for cubes, balls,
spheres, Gaussians and independent logistic coordinates, whose tails are heavier, so it can
be inverted, from a table of what TwoNN gives for each (made by
``python -m benchmarks.finite_size``).

It assumes that the data are locally like one of these: independent directions of like
extent. A flat torus and a multivariate Student cloud are not, and are corrected wrongly. The value
that was measured stays the headline.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.estimators.uncertainty import interval
from dimscope.values import value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Corrected", "correct"]


@value
@dataclass(frozen=True, eq=False)
class Corrected:
    """A dimension corrected for the finite number of points.

    Parameters
    ----------
    dimension : float
        Geometric mean over the reference families.
    interval : tuple of float
        (lower, upper) over the families and the sampling error, at 95 %.
    """

    dimension: float
    interval: tuple[float, float]


def correct(
    dimension: float, std_error: float, n_points: int, fit: str, discard: float
) -> Corrected | None:
    """Invert the shortfall of TwoNN.

    Parameters
    ----------
    dimension, std_error : float
        As measured.
    n_points : int
        Distinct points.
    fit, discard
        Of :class:`~dimscope.TwoNN`.

    Returns
    -------
    Corrected or None
        None where the table has no answer: another ``discard`` than 0.1, fewer than 100 or more
        than 10,000 points, no standard error, or values that no family reaches.

    Notes
    -----
    In each family the logarithm of the observed value is linear between the entries of
    the table, in the logarithms of the number of points and of the dimension.

    Examples
    --------
    >>> found = correct(32.0, 1.0, 2000, "mle", 0.1)
    >>> 45 < found.dimension < 55 and found.interval[0] < 50 < found.interval[1]
    True
    >>> correct(32.0, 1.0, 50, "mle", 0.1) is None
    True
    """
    table = _table()
    sizes = table["n_points"]
    if discard != table["discard"] or fit not in table["observed"]:
        return None
    if not sizes[0] <= n_points <= sizes[-1] or not math.isfinite(std_error):
        return None
    lower, upper = interval(dimension, std_error)
    curves = [_observed(n_points, fit, i) for i in range(len(table["families"]))]
    true = np.log(table["dimensions"])
    middle = [_invert(dimension, curve, true) for curve in curves]
    ends = [_invert(end, curve, true) for curve in curves for end in (lower, upper)]
    if not np.isfinite(middle).all() or not np.isfinite(ends).all():
        return None
    return Corrected(float(np.exp(np.mean(middle))), (math.exp(min(ends)), math.exp(max(ends))))


@cache
def _observed(n_points: int, fit: str, family: int) -> NDArray[np.float64]:
    """Logarithm of what a family gives at every dimension of the table, at n_points."""
    table = _table()
    rows = np.log(table["observed"][fit][family])
    sizes = np.log(table["n_points"])
    return np.array([np.interp(math.log(n_points), sizes, column) for column in rows.T])


def _invert(value: float, observed: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Logarithm of the dimension at which a family gives the value; NaN outside of the table."""
    # a table of means may fall by chance where it is nearly flat
    ascending = np.maximum.accumulate(observed)
    found = np.interp(math.log(value), ascending, true, left=math.nan, right=math.nan)
    return float(found)


@cache
def _table() -> dict[str, Any]:
    text = files("dimscope.estimators").joinpath("finite_size.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
