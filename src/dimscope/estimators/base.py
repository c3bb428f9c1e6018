"""What an estimator is: parameters, and one method from neighbours to a fit.

A subclass of :class:`NeighborEstimator` is a frozen dataclass of parameters that
writes :meth:`~NeighborEstimator.evaluate`. Errors, intervals, flags and provenance
are added here, the same for all.

Examples
--------
An estimator of one's own, from the median of the ratios (the median of mu is 2^(1/d)):

>>> from dataclasses import dataclass
>>> import numpy as np
>>> from dimscope.manifolds import torus
>>> @dataclass(frozen=True)
... class Median(NeighborEstimator):
...     def evaluate(self, neighbors):
...         mu = neighbors.distances[:, 1] / neighbors.distances[:, 0]
...         return Fit(np.log(2) / np.log(np.median(mu)), n_used=len(mu))
>>> abs(float(Median()(torus(2000, 2))) - 2) < 0.2
True
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import DegeneratePoints, TiedPoints
from dimscope.estimates import LOWER_BOUND_ABOVE, Estimate
from dimscope.neighbors import Engine, Neighbors, nearest_neighbors
from dimscope.provenance import Provenance, versions
from dimscope.uncertainty import independent_error, neighbor_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TIE", "Fit", "NeighborEstimator"]

TIE = 1e-6  # the accuracy of the exact engine: closer distances count as equal
_TIES_WARNED = 1e-3
_TIES_BY_CHANCE = 2  # at a relative 1e-6 a tie or two happen in continuous data


@dataclass(frozen=True)
class Fit:
    """What an estimator found.

    Parameters
    ----------
    dimension : float
    scores : array of shape (n_distinct,), optional
        Influence of each point on the dimension; without it there is no standard error.
    n_used : int
        Points that enter the fit.
    independent : bool
        Whether the scores are independent; if not, neighbours are taken to depend on
        each other.
    goodness_of_fit : float
        p-value, NaN if not tested.
    resamples : tuple of float
        Dimension of each resample, if any.
    """

    dimension: float
    scores: NDArray[np.float64] | None = None
    n_used: int = 0
    independent: bool = False
    goodness_of_fit: float = math.nan
    resamples: tuple[float, ...] = ()


@dataclass(frozen=True)
class NeighborEstimator(ABC):
    """Base of the estimators that need distances to neighbours."""

    @property
    def ranks(self) -> int:
        """Number of neighbours of each point that :meth:`evaluate` needs."""
        return 2

    @property
    def name(self) -> str:
        """Name in tables: the class in lower case."""
        return type(self).__name__.lower()

    @abstractmethod
    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the dimension; every subclass writes this one method.

        Parameters
        ----------
        neighbors : Neighbors
            With at least :attr:`ranks` neighbours of each point.

        Returns
        -------
        Fit
        """

    def __call__(self, points: Any, engine: Engine | None = None) -> Estimate:
        """Measure the dimension of points, or of neighbours already found.

        Parameters
        ----------
        points : array-like of shape (n_points, n_features), or Neighbors
        engine : Engine, optional
            How to search; exact by default.

        Returns
        -------
        Estimate

        Raises
        ------
        BadPoints, DegeneratePoints
            If the points have no dimension; the message says why and where.
        """
        if not isinstance(points, Neighbors):
            points = nearest_neighbors(points, self.ranks, engine)
        return self.from_neighbors(points)

    def from_neighbors(self, neighbors: Neighbors) -> Estimate:
        """Measure the dimension from neighbours.

        Parameters
        ----------
        neighbors : Neighbors

        Returns
        -------
        Estimate

        Raises
        ------
        DegeneratePoints
            If there are too few neighbours, or all distances are tied.
        """
        if neighbors.k < self.ranks:
            raise DegeneratePoints(
                f"{self!r} needs {self.ranks} neighbours of each point, but there are "
                f"{neighbors.k}; search with k={self.ranks}"
            )
        ties = _tie_fraction(neighbors)
        fit = self.evaluate(neighbors)
        if fit.scores is None:
            std_error = math.nan
        elif fit.independent:
            std_error = independent_error(fit.scores)
        else:
            std_error = neighbor_error(fit.scores, neighbors)
        return Estimate(
            dimension=float(fit.dimension),
            std_error=std_error if std_error > 0 else math.nan,
            n_points=neighbors.n_points,
            n_used=fit.n_used,
            n_duplicates=neighbors.n_duplicates,
            tie_fraction=ties,
            is_lower_bound=bool(fit.dimension > LOWER_BOUND_ABOVE),
            goodness_of_fit=fit.goodness_of_fit,
            resample_std=float(np.std(fit.resamples, ddof=1)) if fit.resamples else None,
            resamples=fit.resamples,
            provenance=Provenance(
                "estimate",
                {"estimator": repr(self), "guarantee": neighbors.guarantee},
                versions(),
                (neighbors.provenance,),
            ),
            scores=fit.scores,
        )


def _tie_fraction(neighbors: Neighbors) -> float:
    r1, r2 = neighbors.distances[:, 0], neighbors.distances[:, 1]
    fraction = float(np.mean(r2 <= r1 * (1 + TIE)))
    if fraction == 1:
        raise DegeneratePoints(
            f"all {len(r1)} distinct points have their first two neighbours at the same "
            "distance, as on a grid: the ratios r2 / r1 are all 1 and hold no dimension"
        )
    if fraction > max(_TIES_WARNED, _TIES_BY_CHANCE / len(r1)):
        warnings.warn(
            f"{fraction:.1%} of the points have r1 = r2, as in discrete or quantised data; "
            "the dimension is biased upward. Use data before quantisation, or larger scales",
            TiedPoints,
            stacklevel=4,
        )
    return fraction
