"""Resampled: the standard deviation of an estimate over random subsets, from one search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import index
from typing import TYPE_CHECKING

import numpy as np

from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.estimators.corrections import Corrected
from dimscope.estimators.effects import too_few
from dimscope.estimators.two_nn import TwoNN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["Resampled"]

# Enough neighbours are kept that, over all resamples, fewer points than this are expected to run
# out of them and be searched again.
_SEARCHED_AGAIN = 1e-4


@dataclass(frozen=True)
class Resampled(NeighborEstimator):
    """Apply an estimator to all points, and report its standard deviation over random subsets.

    Parameters
    ----------
    estimator : NeighborEstimator
        Estimator to apply to all points and to each subset.
    n : int
        Number of subsets; at least 2.
    keep : float
        Fraction of the distinct points in each subset, 0 < keep < 1. Points are drawn without
        replacement: a repeated point would be its own nearest neighbour.
    seed : int
        Seed for the subsets.

    Notes
    -----
    The error bars of the paper are ``Resampled(TwoNN(fit="regression"), n=5, keep=0.9)``. They show
    stability, not the standard error. Subsets of 90 % share most of their points, and their
    standard deviation is 0.5 to 0.65 of the spread over new samples; that of subsets of 50 % is 1.2
    to 1.55 of it, because other points become neighbours (measured for dimensions 2 to 10 and 200
    to 2000 points). ``std_error`` is still that of the wrapped estimator.

    All subsets share one search, which finds a few extra neighbours per point: each neighbour is
    missing from a subset with probability 1 - keep, so enough of them usually remain.

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> e = Resampled(TwoNN(), n=5)(cube(500, 2))
    >>> len(e.resamples), 0 < e.resample_std < 3 * e.std_error
    (5, True)
    """

    estimator: NeighborEstimator = field(default_factory=TwoNN)
    n: int = 5
    keep: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.estimator, NeighborEstimator):
            raise TypeError(
                f"estimator is {self.estimator!r}; only estimators that read neighbours can be "
                "resampled, such as TwoNN(), Gride() or MLE()"
            )
        if index(self.n) < 2:
            raise ValueError(f"n is {self.n}; a standard deviation needs at least 2 resamples")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep is {self.keep}; it must be between 0 and 1")

    @property
    def name(self) -> str:
        """Name of the resampled estimator."""
        return self.estimator.name

    @property
    def ranks(self) -> int:
        """Number of neighbours that the resampled estimator needs."""
        return self.estimator.ranks

    @property
    def wished(self) -> int:
        """Number of neighbours to search for, so that subsets nearly always keep enough of them."""
        needed = self.estimator.ranks
        k = self.estimator.wished
        while self.n * too_few(k, needed, self.keep) > _SEARCHED_AGAIN and k < 8 * needed:
            k += 1
        return k

    @property
    def compared(self) -> tuple[int, int]:
        """The two ranks that the resampled estimator compares."""
        return self.estimator.compared

    def corrected(self, fit: Fit, std_error: float, n_points: int) -> Corrected | None:
        """Correct the dimension as the resampled estimator does."""
        return self.estimator.corrected(fit, std_error, n_points)

    def effects(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64] | None:
        """Measure the effects of points as the resampled estimator does."""
        return self.estimator.effects(neighbors, fit)

    def goodness_of_fit(self, neighbors: Neighbors, fit: Fit) -> float:
        """Test the fit to all points as the resampled estimator does."""
        return self.estimator.goodness_of_fit(neighbors, fit)

    def subsets(self, n_distinct: int) -> Iterator[NDArray[np.intp]]:
        """Draw the subsets, each as an ascending array of positions.

        Parameters
        ----------
        n_distinct : int

        Yields
        ------
        array of int
        """
        rng = np.random.default_rng(self.seed)
        for _ in range(self.n):
            kept = min(round(self.keep * n_distinct), n_distinct - 1)
            yield np.sort(rng.permutation(n_distinct)[:kept])

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the estimator to all points and to each subset."""
        resamples = tuple(
            float(self.estimator.evaluate(neighbors.within(rows, self.estimator.ranks)).dimension)
            for rows in self.subsets(neighbors.n_distinct)
        )
        return replace(self.estimator.evaluate(neighbors), resamples=resamples)
