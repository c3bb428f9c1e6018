"""TwoNN: the dimension from the ratio of the two nearest neighbour distances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dimscope.corrections import Corrected, correct
from dimscope.errors import DegeneratePoints
from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.estimators.pareto import censored_likelihood, goodness_of_fit, regression, triplets

if TYPE_CHECKING:
    from dimscope.neighbors import Neighbors

__all__ = ["TwoNN"]

WAYS = ("mle", "regression", "triplets")


@dataclass(frozen=True)
class TwoNN(NeighborEstimator):
    """The intrinsic dimension from mu = r2 / r1 (Facco et al. 2017).

    Parameters
    ----------
    fit : {"mle", "regression", "triplets"}
        Maximum likelihood; least squares through the origin of -ln(1 - F) on ln mu, as
        in the authors' scripts; or maximum likelihood on triplets that share no point.
    discard : float
        Fraction of the largest ratios not used, 0 <= discard < 1. In the likelihood they
        are censored, not dropped. Triplets use all.
    seed : int
        For the choice of triplets.

    Notes
    -----
    Where the density is constant up to the second neighbour, L = ln mu is exponential
    with rate d. With N distinct points, R = floor((1 - discard) N) and L ascending:

    - ``mle``: d = (R - 1) / T, T = sum of the R smallest L + (N - R) L_R, type-II
      censoring; for ``discard=0`` this is (N - 1) / sum L;
    - ``regression``: d = sum L y / sum L^2 over the min(R, N - 1) smallest,
      y_i = -ln(1 - i/N);
    - ``triplets``: d = (M - 1) / sum L over M triplets, a greedy cover in random order.

    Above a dimension of about 20 the result is a lower bound.

    References
    ----------
    E. Facco, M. d'Errico, A. Rodriguez and A. Laio, "Estimating the intrinsic dimension
    of datasets by a minimal neighborhood information", Scientific Reports 7, 12140 (2017).

    A. Ansuini, A. Laio, J. H. Macke and D. Zoccolan, "Intrinsic dimension of data
    representations in deep neural networks", NeurIPS (2019).

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> TwoNN()(torus(2000, 3))
    Estimate(3.02 ± 0.09, n=2000)
    >>> abs(float(TwoNN(fit="regression")(torus(2000, 3))) - 3) < 0.3
    True
    >>> from dimscope import Neighbors
    >>> from math import e, log
    >>> known = Neighbors([[1, e], [1, e], [1, e], [1, e]], [[1, 2], [0, 2], [3, 1], [2, 1]])
    >>> round(float(TwoNN(discard=0)(known)), 12)  # (N - 1) / sum L = 3 / 4
    0.75
    """

    fit: str = "mle"
    discard: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fit not in WAYS:
            raise ValueError(f"fit is {self.fit!r}; use one of {', '.join(map(repr, WAYS))}")
        if not 0 <= self.discard < 1:
            raise ValueError(f"discard is {self.discard}; it must be at least 0 and less than 1")

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the rate of L = ln(r2 / r1)."""
        every = ratio = np.log(neighbors.distances[:, 1] / neighbors.distances[:, 0])
        if self.fit == "triplets":
            neighbors.refuse_sample("fit='triplets'")
            chosen = triplets(neighbors.indices, self.seed)
            ratio = every[chosen]
        n = len(ratio)
        kept = n if self.fit == "triplets" else math.floor((1 - self.discard) * n + 1e-9)
        fitter = regression if self.fit == "regression" else censored_likelihood
        if kept < 2 and self.fit == "triplets":
            raise DegeneratePoints(
                f"{len(every)} distinct points hold only {n} triplet that shares no point with "
                "another; give more points"
            )
        if kept < 2:
            raise DegeneratePoints(
                f"only {kept} of {n} distinct points can be used by {self!r}; "
                "give more points or discard less"
            )
        dimension, scores, used = fitter(ratio, kept)
        if not math.isfinite(dimension):
            raise DegeneratePoints(
                f"at least {kept} of {n} ratios r2 / r1 are exactly 1, so that no dimension "
                "is left in the rest; the data are discrete"
            )
        p_value = goodness_of_fit(ratio, dimension, fitter, kept)
        if self.fit == "triplets":  # the points that were not chosen have no influence
            within, scores = scores, np.zeros(len(every))
            scores[chosen] = within * len(every) / len(chosen)
        return Fit(dimension, scores, used, 0 if self.fit == "triplets" else 2, p_value)

    def corrected(self, fit: Fit, std_error: float, n_points: int) -> Corrected | None:
        """The dimension that would give this value at this number of points."""
        return correct(fit.dimension, std_error, n_points, self.fit, self.discard)
