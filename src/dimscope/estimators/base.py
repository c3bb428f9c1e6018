"""Estimators: frozen parameters, and one method from an input to a dimension.

A subclass of :class:`NeighborEstimator`, :class:`SpectralEstimator` or :class:`PointsEstimator` is
a frozen dataclass of parameters that writes one method, ``evaluate``. Errors, intervals, flags and
provenance are added here, the same for all.

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

And one from the spectrum:

>>> from dimscope.manifolds import embed, gaussian
>>> @dataclass(frozen=True)
... class Rank(SpectralEstimator):
...     def evaluate(self, spectrum):
...         return (spectrum.eigenvalues > 1e-9 * spectrum.eigenvalues[0]).sum()
>>> float(Rank()(embed(gaussian(100, 3), 20)))
3.0
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import DegeneratePoints, TiedPoints
from dimscope.estimators.corrections import Corrected
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate
from dimscope.estimators.inputs import Inputs
from dimscope.estimators.uncertainty import Influence, dependent_pairs
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.estimators.spectra import Spectrum
    from dimscope.neighbors.engines import Engine
    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["TIE", "Estimator", "Fit", "NeighborEstimator", "PointsEstimator", "SpectralEstimator"]


TIE = 1e-6  # the accuracy of the exact engine: closer distances count as equal


_TIES_WARNED = 1e-3


_TIES_BY_CHANCE = 2  # at a relative 1e-6 a tie or two happen in continuous data


@dataclass(frozen=True)
class Estimator(ABC):
    """Base of all estimators; a subclass says what it is fitted to."""

    @property
    def name(self) -> str:
        """Name in tables: the class in lower case."""
        return type(self).__name__.lower()

    @property
    def ranks(self) -> int:
        """Number of neighbours of each point that are needed; 0 for none."""
        return 0

    @property
    def wished(self) -> int:
        """Number of neighbours that serve, where there are as many; :attr:`ranks` or more."""
        return self.ranks

    def relative_error(self, neighbors: Neighbors) -> float:
        """Standard error over the dimension, of what neighbours give; 0 if it needs none."""
        return 0.0

    @abstractmethod
    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from inputs that several estimators share."""

    def __call__(self, points: Any, engine: Engine | None = None) -> Estimate:
        """Measure the dimension of points, or of neighbours already found.

        Parameters
        ----------
        points : array-like of shape (n_points, n_features), or Neighbors
        engine : Engine, optional
            How to search for neighbours; exact by default.

        Returns
        -------
        Estimate

        Raises
        ------
        BadPoints, DegeneratePoints
            If the points have no dimension; the message says why and where.
        """
        return self.measure(Inputs(points, engine, [self]))


@dataclass(frozen=True)
class Fit:
    """What an estimator found in neighbours.

    Parameters
    ----------
    dimension : float
    scores : array of shape (n_distinct,), optional
        Influence of each point on the dimension; without it there is no standard error.
    n_used : int
        Points that enter the fit.
    reach : int
        The scores of two points depend on each other if one is among the first
        ``reach`` neighbours of the other; 0 for independent scores.
    goodness_of_fit : float
        p-value, NaN if not tested.
    resamples : tuple of float
        Dimension of each resample, if any.
    """

    dimension: float
    scores: NDArray[np.float64] | None = None
    n_used: int = 0
    reach: int = 2
    goodness_of_fit: float = math.nan
    resamples: tuple[float, ...] = ()


@dataclass(frozen=True)
class NeighborEstimator(Estimator):
    """Base of the estimators that need distances to neighbours."""

    @property
    def ranks(self) -> int:
        """Number of neighbours of each point that :meth:`evaluate` needs."""
        return 2

    @property
    def compared(self) -> tuple[int, int]:
        """The two ranks whose distances must differ, for the count of ties."""
        return 1, 2

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

    def corrected(self, fit: Fit, std_error: float, n_points: int) -> Corrected | None:
        """The dimension corrected for the number of points; None without a correction."""
        return None

    def relative_error(self, neighbors: Neighbors) -> float:
        """Standard error over the dimension; NaN without one."""
        found = self.from_neighbors(neighbors)
        return found.std_error / found.dimension

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from shared inputs."""
        return self.from_neighbors(inputs.neighbors)

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
        ties = _tie_fraction(neighbors, *self.compared)
        fit = self.evaluate(neighbors)
        influence = None
        if fit.scores is not None:
            pairs = dependent_pairs(neighbors.places, fit.reach)
            assert neighbors.rows is not None  # set when it was made
            influence = Influence(fit.scores, pairs, neighbors.rows)
        std_error = influence.std_error if influence else math.nan
        return Estimate(
            dimension=float(fit.dimension),
            std_error=std_error if std_error > 0 else math.nan,
            n_points=neighbors.n_points,
            n_used=fit.n_used,
            n_queries=neighbors.n_queries,
            n_duplicates=neighbors.n_duplicates,
            tie_fraction=ties,
            is_lower_bound=bool(fit.dimension > LOWER_BOUND_ABOVE),
            goodness_of_fit=fit.goodness_of_fit,
            corrected=self.corrected(fit, std_error, neighbors.n_distinct),
            resample_std=float(np.std(fit.resamples, ddof=1)) if fit.resamples else None,
            resamples=fit.resamples,
            provenance=Provenance(
                "estimate",
                {"estimator": repr(self), "guarantee": str(neighbors.guarantee)},
                versions(),
                (neighbors.provenance,),
            ),
            influence=influence,
        )


def _tie_fraction(neighbors: Neighbors, near: int, far: int) -> float:
    """Fraction of points with two neighbours at the same distance; warns, or raises for all."""
    inner, outer = neighbors.distances[:, near - 1], neighbors.distances[:, far - 1]
    fraction = float(np.mean(outer <= inner * (1 + TIE)))
    if fraction == 1:
        raise DegeneratePoints(
            f"all {len(inner)} distinct points have neighbours {near} and {far} at the same "
            "distance, as on a grid: the ratios of their distances are all 1 and hold no dimension"
        )
    if fraction > max(_TIES_WARNED, _TIES_BY_CHANCE / len(inner)):
        warnings.warn(
            f"{fraction:.1%} of the points have r{near} = r{far}, as in discrete or quantised "
            "data; the dimension is biased upward. Use values before they were rounded, or look at "
            "larger scales (rank_curve); for counts use I3D",
            TiedPoints,
            stacklevel=4,
        )
    return fraction


@dataclass(frozen=True)
class SpectralEstimator(Estimator):
    """Base of the estimators that need the spectrum of the covariance."""

    normalized: bool = False

    @abstractmethod
    def evaluate(self, spectrum: Spectrum) -> float:
        """The dimension; every subclass writes this one method.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        float
        """

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from shared inputs."""
        return self.from_spectrum(inputs.spectrum(self.normalized))

    def from_spectrum(self, spectrum: Spectrum) -> Estimate:
        """Measure the dimension from a spectrum; it has no standard error.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        Estimate
        """
        return Estimate(
            float(self.evaluate(spectrum)),
            n_points=spectrum.n_points,
            n_used=spectrum.n_points,
            provenance=Provenance(
                "estimate", {"estimator": repr(self)}, versions(), (spectrum.provenance,)
            ),
        )


@dataclass(frozen=True)
class PointsEstimator(Estimator):
    """Base of the estimators that want the points themselves, as float64 without repeats."""

    @abstractmethod
    def evaluate(self, points: NDArray[np.float64]) -> float:
        """The dimension; every subclass writes this one method.

        Parameters
        ----------
        points : array of shape (n_distinct, n_features)

        Returns
        -------
        float
        """

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from shared inputs; it has no standard error."""
        points, n_points = inputs.distinct
        dimension = float(self.evaluate(points))
        return Estimate(
            dimension,
            n_points=n_points,
            n_used=len(points),
            n_duplicates=n_points - len(points),
            is_lower_bound=dimension > LOWER_BOUND_ABOVE,
            provenance=Provenance("estimate", {"estimator": repr(self)}, versions()),
        )
