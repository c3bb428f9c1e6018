"""The base classes of estimators: frozen parameters and one method, ``evaluate``.

To write an estimator, subclass :class:`NeighborEstimator`, :class:`SpectralEstimator` or
:class:`PointsEstimator` as a frozen dataclass and define ``evaluate``. The base class adds standard
errors, intervals, diagnostics and provenance.

Examples
--------
A custom estimator, from the median of the ratios (the median of mu is 2^(1/d)):

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

A custom estimator that reads the spectrum:

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
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import DegeneratePoints, HubDominates, ShortNeighbors, warn
from dimscope.estimators.corrections import Corrected
from dimscope.estimators.effects import depth_for, effects_of, shifts_by_refitting
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate, fingerprint
from dimscope.estimators.fits import Fit
from dimscope.estimators.inputs import Inputs
from dimscope.estimators.ties import checked_ties
from dimscope.estimators.uncertainty import (
    FEWEST_POINTS,
    Influence,
    dependent_pairs,
)
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.estimators.spectra import Spectrum
    from dimscope.neighbors.engines import Engine
    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["Estimator", "Fit", "NeighborEstimator", "PointsEstimator", "SpectralEstimator"]

FEWEST_GROUPS = 10  # With fewer, even Student's interval covers less than it should.

_DOMINATES = 0.5  # Share of the points; 0.3 or less in most real layers.
_FEWEST_WITH_HUB = 50
_HUB = 10  # Times the mean number of points that a point is a neighbour of.


@dataclass(frozen=True)
class Estimator(ABC):
    """Base class of all estimators; each subclass reads one kind of input."""

    @property
    def name(self) -> str:
        """Name in tables: the class name in lower case."""
        return type(self).__name__.lower()

    @property
    def ranks(self) -> int:
        """Number of neighbours needed per point; 0 if the estimator does not use neighbours."""
        return 0

    @property
    def wished(self) -> int:
        """Number of neighbours to search for if there are enough points; at least :attr:`ranks`."""
        return self.ranks

    @property
    def uses_ids(self) -> bool:
        """Whether ``exclude`` and ``groups`` change the result: the estimator compares points."""
        return self.ranks > 0

    def relative_error(self, neighbors: Neighbors) -> float:
        """Return the standard error divided by the dimension; 0 if no neighbours are used."""
        return 0.0

    @abstractmethod
    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from inputs that several estimators share."""

    def __call__(self, points: Any, engine: Engine | None = None) -> Estimate:
        """Measure the dimension of points, or of existing Neighbors.

        Parameters
        ----------
        points : array-like of shape (n_points, n_features), or Neighbors
        engine : Engine, optional
            Engine that searches for neighbours; exact by default.

        Returns
        -------
        Estimate

        Raises
        ------
        BadPoints, DegeneratePoints
            If the dimension cannot be measured; the message says why and where.
        """
        return self.measured(Inputs(points, engine, [self]))

    def measured(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from shared inputs, and refuse a result that is no number.

        Raises
        ------
        DegeneratePoints
            If the dimension is NaN or infinite.
        """
        estimate = self.measure(inputs)
        if not math.isfinite(estimate.dimension):
            raise DegeneratePoints(
                estimate.reason
                or f"{self!r} gave the dimension {estimate.dimension} for these points, "
                "and no reason"
            )
        return estimate


@dataclass(frozen=True)
class NeighborEstimator(Estimator):
    """Base class of estimators that use distances to neighbours."""

    @property
    def ranks(self) -> int:
        """Number of neighbours per point that :meth:`evaluate` needs."""
        return 2

    @property
    def wished(self) -> int:
        """Number of neighbours to search for: some more, from which the error is measured."""
        return depth_for(self.ranks)

    @property
    def compared(self) -> tuple[int, int]:
        """Ranks of the two neighbours whose distances are compared; equal distances are a tie."""
        return 1, 2

    @abstractmethod
    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the dimension; every subclass defines this method.

        Parameters
        ----------
        neighbors : Neighbors
            Neighbours, at least :attr:`ranks` for each point.

        Returns
        -------
        Fit
        """

    def shifts(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64]:
        """Return how much the score of each point falls when one of its neighbours is removed.

        Override it if there is a formula; by default, the estimator is fitted to the lists without
        one neighbour. It is assumed that a score depends on the distances of its point only, apart
        from the fitted parameters.

        Parameters
        ----------
        neighbors : Neighbors
            At least ``fit.reach`` + 1 neighbours for each point.
        fit : Fit
            The result of :meth:`evaluate` on these neighbours.

        Returns
        -------
        array of shape (n_distinct, reach)
            The score of each point, minus its score without its first, second, ... neighbour.
        """
        return shifts_by_refitting(self, neighbors, fit.reach)

    def effects(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64] | None:
        """Measure the effect of each point on the dimension, from which the error is computed.

        Parameters
        ----------
        neighbors : Neighbors
        fit : Fit
            The result of :meth:`evaluate` on these neighbours.

        Returns
        -------
        array of shape (3 r, n_distinct), or None
            Effects for :class:`dimscope.estimators.uncertainty.Influence`; None if scores are
            independent, or the neighbours are too few.
        """
        return effects_of(self, neighbors, fit) if fit.reach else None

    def goodness_of_fit(self, neighbors: Neighbors, fit: Fit) -> float:
        """Test whether the neighbours follow the fitted distribution.

        It is called for estimates that are returned to the user and for the blocks of scale curves,
        not for resamples or surrogates.

        Parameters
        ----------
        neighbors : Neighbors
        fit : Fit
            The result of :meth:`evaluate` on these neighbours.

        Returns
        -------
        float
            p-value; NaN if the estimator has no test.
        """
        return math.nan

    def tested(self, neighbors: Neighbors, fit: Fit) -> float:
        """Return the p-value of the fit itself or, without one, of :meth:`goodness_of_fit`."""
        p_value = fit.goodness_of_fit
        return self.goodness_of_fit(neighbors, fit) if math.isnan(p_value) else p_value

    def corrected(self, fit: Fit, std_error: float, n_points: int) -> Corrected | None:
        """Correct the dimension for the finite number of points; None if there is no correction."""
        return None

    def relative_error(self, neighbors: Neighbors) -> float:
        """Return the standard error divided by the dimension; NaN if there is no standard error."""
        estimate = self.from_neighbors(neighbors, test_fit=False)
        return estimate.std_error / estimate.dimension

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from inputs that several estimators share."""
        return self.from_neighbors(inputs.neighbors)

    def from_neighbors(self, neighbors: Neighbors, *, test_fit: bool = True) -> Estimate:
        """Measure the dimension from neighbours.

        Parameters
        ----------
        neighbors : Neighbors
        test_fit : bool
            Whether to call :meth:`goodness_of_fit`, which may take longer than the fit.

        Returns
        -------
        Estimate

        Raises
        ------
        DegeneratePoints
            If there are too few neighbours, or all compared distances are tied.
        """
        if neighbors.k < self.ranks:
            if neighbors.k == neighbors.n_distinct - 1:
                raise DegeneratePoints(
                    f"{self!r} needs {self.ranks} neighbours of each point, but there are only "
                    f"{neighbors.n_distinct} distinct points"
                )
            if "exclude" in neighbors.provenance.parameters:
                raise DegeneratePoints(
                    f"{self!r} needs {self.ranks} neighbours of each point, but with exclude some "
                    f"points have only {neighbors.k} of another id; give more points of other ids"
                )
            raise DegeneratePoints(
                f"{self!r} needs {self.ranks} neighbours of each point, but these Neighbors have "
                f"{neighbors.k}; search with k={self.ranks}"
            )
        ties = checked_ties(neighbors, *self.compared)
        fit = self.evaluate(neighbors)
        n_groups, reason = None, ""
        if neighbors.groups is not None:
            n_groups = len(np.unique(neighbors.groups))
        if n_groups is not None and n_groups < FEWEST_GROUPS:
            influence = None
            reason = too_few_groups(n_groups)
        else:
            influence = self._influence(neighbors, fit, test_fit=test_fit)
        std_error = influence.std_error if influence else math.nan
        return Estimate(
            dimension=float(fit.dimension),
            std_error=std_error if std_error > 0 else math.nan,
            n_points=neighbors.n_points,
            n_used=fit.n_used,
            n_queries=neighbors.n_queries,
            n_duplicates=neighbors.n_duplicates,
            n_copies=neighbors.n_copies,
            tie_fraction=ties,
            is_lower_bound=bool(fit.dimension > LOWER_BOUND_ABOVE),
            goodness_of_fit=self.tested(neighbors, fit) if test_fit else fit.goodness_of_fit,
            distance=float(np.median(neighbors.distances[:, 0])),
            hubness=neighbors.hubness(self.ranks),
            corrected=self.corrected(fit, std_error, neighbors.n_distinct),
            resample_std=float(np.std(fit.resamples, ddof=1)) if fit.resamples else None,
            resamples=fit.resamples,
            reason=reason,
            n_groups=n_groups,
            provenance=Provenance(
                "estimate",
                {"estimator": repr(self), "guarantee": str(neighbors.guarantee)},
                versions(),
                (neighbors.provenance,),
            ),
            degrees_of_freedom=influence.degrees_of_freedom if influence else math.inf,
            influence=influence,
            rows=fingerprint(neighbors.fingerprints),
        )

    def _influence(
        self, neighbors: Neighbors, fit: Fit, *, test_fit: bool = False
    ) -> Influence | None:
        if fit.scores is None or neighbors.n_distinct < FEWEST_POINTS:
            return None
        edge, rows = fit.edge, neighbors.rows_of_points
        scores, pairs = fit.scores, dependent_pairs(neighbors.places, fit.reach)
        if neighbors.queries is not None and neighbors.groups is not None:
            assert neighbors.rows is not None  # Neighbors fills in its rows when created
            rows = neighbors.rows
        elif neighbors.queries is not None:  # points outside the sample have no score
            scores = np.zeros(neighbors.n_distinct)
            scores[neighbors.queries] = fit.scores * (neighbors.n_distinct / len(fit.scores))
            pairs = neighbors.queries[pairs]
            edge = None  # a sample is compared with itself only
        effects = self.effects(neighbors, fit)
        if effects is None and fit.reach and neighbors.groups is None:
            _warn_of_short_lists(neighbors, fit.reach, min(self.wished, neighbors.n_distinct - 1))
        if test_fit:
            _warn_of_a_hub(neighbors)
        return Influence(
            scores,
            pairs,
            rows,
            neighbors.fingerprints,
            effects=effects,
            edge=edge,
            groups=neighbors.groups,
        )


@dataclass(frozen=True)
class SpectralEstimator(Estimator):
    """Base class of estimators that use the spectrum of the covariance matrix."""

    normalized: bool = False

    @abstractmethod
    def evaluate(self, spectrum: Spectrum) -> float:
        """Compute the dimension; every subclass defines this method.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        float
        """

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from inputs that several estimators share."""
        return self.from_spectrum(inputs.spectrum(self.normalized))

    def from_spectrum(self, spectrum: Spectrum) -> Estimate:
        """Measure the dimension from a spectrum, without a standard error.

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
    """Base class of estimators that use the points, in float64 and without duplicates."""

    @abstractmethod
    def evaluate(self, points: NDArray[np.float64]) -> float:
        """Compute the dimension; every subclass defines this method.

        Parameters
        ----------
        points : array of shape (n_distinct, n_features)

        Returns
        -------
        float
        """

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from shared inputs, without a standard error."""
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


def too_few_groups(n_groups: int) -> str:
    """Say why an estimate over few groups has no standard error."""
    return (
        f"there is no standard error: {n_groups} groups are too few to tell how much groups "
        f"differ; give at least {FEWEST_GROUPS}"
    )


def _warn_of_a_hub(neighbors: Neighbors) -> None:
    """Warn if one point is among the two nearest neighbours of half of the points."""
    n = len(neighbors.distances)
    if n < _FEWEST_WITH_HUB:
        return
    share = int(np.bincount(neighbors.indices[:, :2].ravel()).max()) / n
    if share > _DOMINATES:
        warn(
            f"one point is among the two nearest neighbours of {share:.0%} of the points: it "
            "decides much of the estimate, and a 95 % interval may hold in 80 to 90 % of such "
            "samples only. Points of much smaller norm than the others cause this; normalise the "
            "rows, or compare with MLE(20), which depends less on single points",
            HubDominates,
        )


def _warn_of_short_lists(neighbors: Neighbors, reach: int, wished: int) -> None:
    """Warn if a point is a neighbour of so many that the error by pairs may be too small."""
    if neighbors.k >= wished:
        return
    most = int(np.bincount(neighbors.indices[:, :reach].ravel()).max())
    if most > _HUB * reach:
        warn(
            f"one point is among the first {reach} neighbours of {most} others, and these "
            f"Neighbors have only {neighbors.k}, too few to measure what that does to the standard "
            f"error: it may be half of what it should be; search with k={wished}",
            ShortNeighbors,
        )
