"""Fit: what an estimator returns for neighbours, from which an Estimate is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimscope.values import by_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fit"]


@by_value
@dataclass(frozen=True, eq=False)
class Fit:
    """The result of fitting an estimator to neighbours.

    Parameters
    ----------
    dimension : float
    scores : array of shape (n_distinct,), optional
        Influence of each point on the dimension; without scores there is no standard error.
    n_used : int
        Number of points used in the fit.
    reach : int
        Number of neighbours whose scores are dependent: the scores of two points are treated as
        dependent if one point is among the first ``reach`` neighbours of the other. 0 means
        independent scores.
    goodness_of_fit : float
        p-value, if the fit itself yields one. Put a slow test in
        :meth:`NeighborEstimator.goodness_of_fit` instead.
    resamples : tuple of float
        Dimension measured on each resample, if any.
    edge : array of shape (n_distinct,), optional
        See :class:`dimscope.estimators.uncertainty.Influence`.
    """

    dimension: float
    scores: NDArray[np.float64] | None = None
    n_used: int = 0
    reach: int = 2
    goodness_of_fit: float = math.nan
    resamples: tuple[float, ...] = ()
    edge: NDArray[np.float64] | None = None
