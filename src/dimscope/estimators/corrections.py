"""Corrections: the true dimension that explains the value measured on a finite sample.

In many dimensions neighbours are far away, and TwoNN underestimates: from 2000 points of a
50-dimensional cube it measures about 32. The bias is nearly the same for cubes, balls, spheres,
Gaussians and independent logistic coordinates (whose tails are heavier). To correct it, this module
inverts a table of the values that TwoNN measures for these families (computed by
``python -m benchmarks.finite_size``).

The correction assumes that the data locally resemble one of these families, with independent
directions of similar extent. A flat torus or a multivariate Student's t cloud does not, so its
correction is wrong. Treat the measured value as the main result.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.estimators.uncertainty import interval
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Corrected", "correct"]


@by_value
@dataclass(frozen=True, eq=False)
class Corrected:
    """A dimension corrected for the finite number of points.

    Parameters
    ----------
    dimension : float
        Corrected dimension: geometric mean over the reference families.
    interval : tuple of float
        95 % interval (lower, upper) that covers the differences between families and the sampling
        error.
    """

    dimension: float
    interval: tuple[float, float]


def correct(
    dimension: float, std_error: float, n_points: int, fit: str, discard: float
) -> Corrected | None:
    """Correct the finite-sample bias of TwoNN.

    Parameters
    ----------
    dimension, std_error : float
        The measured dimension and its standard error.
    n_points : int
        Number of distinct points.
    fit : str
        The ``fit`` of :class:`~dimscope.TwoNN`.
    discard : float
        The ``discard`` of :class:`~dimscope.TwoNN`.

    Returns
    -------
    Corrected or None
        None if the table does not apply: ``discard`` is not 0.1, there are fewer than 100 or more
        than 10,000 points, there is no standard error, or no family reaches the measured value.

    Notes
    -----
    For each family, the logarithm of the measured value is interpolated linearly between the
    entries of the table, in the logarithms of the number of points and of the dimension.

    Examples
    --------
    >>> corrected = correct(32.0, 1.0, 2000, "mle", 0.1)
    >>> 45 < corrected.dimension < 55 and corrected.interval[0] < 50 < corrected.interval[1]
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
    centres = [_invert(dimension, curve, true) for curve in curves]
    bounds = [_invert(bound, curve, true) for curve in curves for bound in (lower, upper)]
    if not np.isfinite(centres).all() or not np.isfinite(bounds).all():
        return None
    return Corrected(
        float(np.exp(np.mean(centres))), (math.exp(min(bounds)), math.exp(max(bounds)))
    )


@lru_cache(maxsize=256)
def _observed(n_points: int, fit: str, family: int) -> NDArray[np.float64]:
    """Interpolate the log of a family's measured value, at each dimension of the table."""
    table = _table()
    rows = np.log(table["observed"][fit][family])
    sizes = np.log(table["n_points"])
    return np.array([np.interp(math.log(n_points), sizes, column) for column in rows.T])


def _invert(value: float, observed: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Find the log of the dimension at which a family has this value; NaN outside the table."""
    # the table holds means, which may decrease by chance where it is nearly flat
    ascending = np.maximum.accumulate(observed)
    return float(np.interp(math.log(value), ascending, true, left=math.nan, right=math.nan))


@cache
def _table() -> dict[str, Any]:
    text = files("dimscope.estimators").joinpath("finite_size.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
