"""Gride: the dimension from the ratio of the distances to two neighbours of higher rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dimscope.errors import DegeneratePoints
from dimscope.estimators.base import Fit, NeighborEstimator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["Gride"]


@dataclass(frozen=True)
class Gride(NeighborEstimator):
    """Estimate the dimension from mu = r_n2 / r_n1, a generalised TwoNN (Denti et al. 2022).

    Parameters
    ----------
    n1, n2 : int
        Ranks of the two neighbours, 1 <= n1 < n2. Larger ranks measure at a larger scale.

    Notes
    -----
    If the density is constant up to neighbour n2, u = mu^-d follows a beta distribution with
    parameters n1 and n2 - n1, so

    p(mu) = d (mu^d - 1)^(n2-n1-1) / (B(n2-n1, n1) mu^((n2-1) d + 1)).

    The estimate is the root of the derivative of the log-likelihood, with (N - 1) / d instead of
    N / d to remove the bias of order 1/N:

    (N - 1) / d - n1 sum L + (n2-n1-1) sum L / (mu^d - 1) = 0, L = ln mu.

    The left-hand side decreases with d, so the root is unique. For n2 = n1 + 1 it is
    d = (N - 1) / (n1 sum L).

    The influence of a point is its term of the sum, divided by the slope of the mean of the terms
    at the estimate. Above a dimension of about 20 the result is a lower bound.

    References
    ----------
    F. Denti, D. Doimo, A. Laio and A. Mira, "The generalized ratios intrinsic dimension
    estimator", Scientific Reports 12, 20005 (2022).

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> abs(float(Gride(2, 4)(torus(2000, 3))) - 3) < 0.15
    True
    >>> from dimscope import Neighbors
    >>> from math import e
    >>> neighbors = Neighbors([[1, 1, e], [1, 1, e], [1, 1, e], [1, 1, e]],
    ...                       [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    >>> float(Gride(2, 3)(neighbors))  # (N - 1) / (n1 S) = 3 / (2 * 4)
    0.375
    """

    n1: int = 2
    n2: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.n1 < self.n2:
            raise ValueError(f"n1 is {self.n1} and n2 is {self.n2}; give ranks with 1 <= n1 < n2")

    @property
    def ranks(self) -> int:
        """Number of neighbours needed per point: n2."""
        return max(2, self.n2)

    @property
    def compared(self) -> tuple[int, int]:
        """The ranks of the two neighbours whose distances are compared."""
        return self.n1, self.n2

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the exponent of the distribution of the ratios."""
        far, near = neighbors.distances[:, self.n2 - 1], neighbors.distances[:, self.n1 - 1]
        ratio = np.log(far / near)
        n, between = len(ratio), self.n2 - self.n1 - 1
        if not ratio.any():
            raise DegeneratePoints(
                f"neighbours {self.n1} and {self.n2} of all {n} points are at the same distance; "
                "give ranks that are farther apart"
            )
        if between == 0:
            dimension = (n - 1) / (self.n1 * ratio.sum())
        else:
            dimension = _root(ratio, self.n1, between)
        return Fit(dimension, self._score(ratio, dimension), n, reach=self.n2)

    def shifts(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64]:
        """Return the fall of each score when a neighbour is removed: one up to n1, one beyond."""
        logarithm = np.log(neighbors.distances[:, [self.n1 - 1, self.n1, self.n2 - 1, self.n2]])
        near, after_near, far, after_far = logarithm.T
        ratio = far - near
        _, inner, outer = np.split(
            self._score(np.concatenate([ratio, after_far - after_near, after_far - near]),
                        fit.dimension, ratio), 3
        )  # fmt: skip
        assert fit.scores is not None
        shifts = np.empty((len(ratio), self.n2))
        shifts[:, : self.n1] = (fit.scores - inner)[:, None]
        shifts[:, self.n1 :] = (fit.scores - outer)[:, None]
        return shifts

    def _score(
        self,
        ratio: NDArray[np.float64],
        dimension: float,
        fitted: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the influence of a point with each ratio; the slope is that of the fitted ones."""
        between = self.n2 - self.n1 - 1
        slope = _slope(ratio if fitted is None else fitted, dimension, between)
        return np.asarray(_terms(ratio, dimension, self.n1, between) / slope)


def _terms(ratio: NDArray[np.float64], d: float, n1: int, between: int) -> NDArray[np.float64]:
    """Return, for each ratio, the derivative of its log-likelihood."""
    # L / (mu^d - 1) tends to 1/d as mu tends to 1.
    grown = np.expm1(np.minimum(d * ratio, 700))
    inner = np.divide(ratio, grown, out=np.full_like(ratio, 1 / d), where=grown > 0)
    return np.asarray(1 / d - n1 * ratio + between * inner)


def _slope(ratio: NDArray[np.float64], d: float, between: int) -> float:
    """Return the mean over the ratios of minus the second derivative of the log-likelihood."""
    # L^2 mu^d / (mu^d - 1)^2 tends to 1/d^2 as mu tends to 1.
    half = np.sinh(np.minimum(d * ratio / 2, 350))
    inner = np.divide(ratio, 2 * half, out=np.full_like(ratio, 1 / d), where=half > 0)
    return float(np.mean(1 / d**2 + between * inner**2))


def _root(ratio: NDArray[np.float64], n1: int, between: int) -> float:
    """Find the d at which the terms sum to zero."""
    from scipy.optimize import brentq

    # Each term lies between (1 + between)/d - (n1 + between) L and (1 + between)/d - n1 L
    scale = (1 + between) / ratio.mean()
    low, high = scale / (n1 + between) * (1 - 1 / len(ratio)), scale / n1

    def slope(d: float) -> float:
        return float(_terms(ratio, d, n1, between).sum() - 1 / d)

    return float(brentq(slope, low * 0.999, high * 1.001, rtol=1e-12))
