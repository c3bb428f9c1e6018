"""TwoNN: the dimension from the ratio of the distances to the two nearest neighbours.

The ratios mu follow a Pareto distribution with exponent d, so L = ln mu is exponential with rate d.
Each fitting function takes L and the number of values to keep, and returns the rate, the number of
points used, and a function of L: the influence of a point with this L on the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.errors import DegeneratePoints, check_word
from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.estimators.corrections import Corrected, correct
from dimscope.estimators.effects import effects_of_halves
from dimscope.estimators.ties import FOR_COUNTS
from dimscope.estimators.uncertainty import AROUND_LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors.neighbors import Neighbors

    Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    Fitted = tuple[float, int, Score]
    Fitter = Callable[[NDArray[np.float64], int], Fitted]

__all__ = [
    "FitMethod",
    "TwoNN",
    "censored_likelihood",
    "goodness_of_fit",
    "regression",
    "triplets",
]

FitMethod = Literal["mle", "regression", "triplets"]

_N_SIMULATIONS = 2000  # Samples drawn to calibrate the goodness of fit.
# Values in each of them: the largest of these that is at most the number of ratios. The rescaled
# distance hardly depends on the number of values.
_SIMULATED_POINTS = (200, 140, 100, 70, 50, 35, 25, 18, 12, 8, 5, 3, 2)
# Ratios of neighbouring points are dependent, so the distance is larger than for independent ones:
# by 2 to 11 % at the 95 % quantile, on tori, spheres and Gaussian clouds of dimension 1 to 20.
_DEPENDENCE = 1.1


@dataclass(frozen=True)
class TwoNN(NeighborEstimator):
    """Estimate the intrinsic dimension from mu = r2 / r1 (Facco et al. 2017).

    Parameters
    ----------
    fit : {"mle", "regression", "triplets"}
        ``"mle"``: maximum likelihood. ``"regression"``: least-squares regression through the origin
        of -ln(1 - F) on ln mu, where F is the empirical distribution function, as in the authors'
        scripts. ``"triplets"``: maximum likelihood on triplets (a point and its two neighbours)
        that share no point.
    discard : float
        Fraction of the largest ratios to discard, 0 <= discard < 1. ``"mle"`` censors these ratios
        instead of dropping them; ``"triplets"`` uses all ratios.
    seed : int
        Seed for the choice of triplets.

    Notes
    -----
    If the density is constant up to the second neighbour, L = ln mu is exponential with rate d.
    With N distinct points, R = floor((1 - discard) N) and L in ascending order:

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
    >>> neighbors = Neighbors([[1, e], [1, e], [1, e], [1, e]], [[1, 2], [0, 2], [3, 1], [2, 1]])
    >>> round(float(TwoNN(discard=0)(neighbors)), 12)  # (N - 1) / sum L = 3 / 4
    0.75
    """

    fit: FitMethod = "mle"
    discard: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_word("fit", self.fit, FitMethod)
        if not 0 <= self.discard < 1:
            raise ValueError(f"discard is {self.discard}; it must be at least 0 and less than 1")

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the rate of L = ln(r2 / r1)."""
        ratio, chosen = self._ratios(neighbors)
        n, n_distinct, kept = len(ratio), len(neighbors.distances), self._n_kept(len(ratio))
        if kept < 2 and self.fit == "triplets":
            raise DegeneratePoints(
                f"{n_distinct} distinct points contain only {n} triplet that shares no point with "
                "another; give more points"
            )
        if kept < 2:
            raise DegeneratePoints(
                f"only {kept} of {n} distinct points can be used by {self!r}; "
                "give more points or discard less"
            )
        dimension, used, score = self._fitter(ratio, kept)
        if not math.isfinite(dimension):
            raise DegeneratePoints(
                f"at least {kept} of {n} ratios r2 / r1 are exactly 1, so they determine no "
                f"dimension; the data are discrete: use {FOR_COUNTS}"
            )
        scores = score(ratio)
        if chosen is None:
            edge = None
            if kept < n:
                weight = n - kept + 1 if self.fit == "mle" else 1
                edge = _edge(ratio, kept, weight * dimension**2 / (kept - 1))
            return Fit(dimension, scores, used, edge=edge)
        # Points outside the chosen triplets have no influence.
        all_scores = np.zeros(n_distinct)
        all_scores[chosen] = scores * n_distinct / n
        return Fit(dimension, all_scores, used, reach=0)

    def shifts(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64]:
        """Return the fall of each score when the first or the second neighbour is removed."""
        r1, r2, r3 = neighbors.distances[:, :3].T
        ratio = np.log(r2 / r1)
        _, _, score = self._fitter(ratio, self._n_kept(len(ratio)))
        without = score(np.log(r3 / np.concatenate([[r2], [r1]])).ravel()).reshape(2, -1)
        assert fit.scores is not None
        return np.asarray((fit.scores - without).T)

    def goodness_of_fit(self, neighbors: Neighbors, fit: Fit) -> float:
        """Test whether L is exponential; see :func:`goodness_of_fit`."""
        ratio, _ = self._ratios(neighbors)
        kept = self._n_kept(len(ratio))
        return goodness_of_fit(
            ratio, fit.dimension, self._fitter, kept, independent=self.fit == "triplets"
        )

    def corrected(self, fit: Fit, std_error: float, n_points: int) -> Corrected | None:
        """Correct the dimension for the number of points."""
        return correct(fit.dimension, std_error, n_points, self.fit, self.discard)

    @property
    def _fitter(self) -> Fitter:
        return regression if self.fit == "regression" else censored_likelihood

    def _n_kept(self, n: int) -> int:
        """Return the number of smallest ratios to keep, out of n."""
        return n if self.fit == "triplets" else math.floor((1 - self.discard) * n + 1e-9)

    def _ratios(self, neighbors: Neighbors) -> tuple[NDArray[np.float64], NDArray[np.intp] | None]:
        """Return L of the points to fit, and their positions unless all points are used."""
        ratio = np.log(neighbors.distances[:, 1] / neighbors.distances[:, 0])
        if self.fit != "triplets":
            return ratio, None
        neighbors.refuse_sample("fit='triplets'")
        chosen = triplets(neighbors.indices, self.seed)
        return ratio[chosen], chosen

    def effects(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64] | None:
        """Measure the effects of points, or of halves if triplets are chosen."""
        if self.fit != "triplets":
            return super().effects(neighbors, fit)
        return effects_of_halves(self._of_triplets, neighbors, fit.dimension)

    def _of_triplets(self, sample: Neighbors) -> float:
        """Return the dimension of a part of the points, some of which may have no neighbours."""
        points = np.arange(len(sample.distances)) if sample.queries is None else sample.queries
        chosen = triplets(sample.indices, self.seed, points)
        ratio = np.log(sample.distances[chosen, 1] / sample.distances[chosen, 0])
        total = float(ratio.sum())
        return (len(chosen) - 1) / total if total > 0 else math.nan


def censored_likelihood(ratio: NDArray[np.float64], kept: int) -> Fitted:
    """Fit the rate by maximum likelihood, censoring values above the largest one kept.

    Parameters
    ----------
    ratio : array of shape (n,)
        L = ln mu.
    kept : int
        Number R of smallest values to observe.

    Returns
    -------
    rate, n_used, score

    Notes
    -----
    d = (R - 1) / T with T = sum of the R smallest + (n - R) L_R. The influence of a point with L is

    -d^2 (n / R) (min(L, L_R) + (1 - R/n) (R/n - [L <= L_R]) / p) + d,

    where p is the density of L at the limit L_R, measured by the spacing of the values around it:
    the second term is the influence of a point on the limit. For exponential L, p = d (1 - R/n),
    and the influence is the martingale residual (n / R) d ([L <= L_R] - d min(L, L_R)).

    Examples
    --------
    >>> rate, used, _ = censored_likelihood(np.array([1.0, 2.0, 3.0, 9.0]), 3)
    >>> rate, used  # (3 - 1) / (1 + 2 + 3 + 3)
    (0.2222222222222222, 3)
    """
    n = len(ratio)
    limit = np.partition(ratio, kept - 1)[kept - 1]
    total = float(np.minimum(ratio, limit).sum())
    if total <= 0:
        return math.inf, kept, np.zeros_like
    rate = (kept - 1) / total

    def score(values: NDArray[np.float64]) -> NDArray[np.float64]:
        censored, inside = 1 - kept / n, values <= limit
        through_limit = np.zeros(len(values))
        if kept < n:
            # half of the censored values, and as many below the limit
            reach = min(max(2, (n - kept) // 2), kept - 1)
            low, high = kept - 1 - reach, min(kept - 1 + reach, n - 1)
            around = np.partition(ratio, [low, high])
            width = float(around[high] - around[low])
            through_limit = censored * (kept / n - inside) * width * n / (high - low)
        influence = np.minimum(values, limit) + through_limit
        return np.asarray(rate * (1 - rate * (n / kept) * influence))

    return rate, kept, score


def _edge(ratio: NDArray[np.float64], kept: int, weight: float) -> NDArray[np.float64]:
    """Return what each point near the last one kept would change if it were the last, else 0.

    The last value kept counts for all that are censored. Its own noise is negligible beside the
    influence of all points on its rank, except in the difference of two representations in which
    the same points have nearly the same values.
    """
    reach = min(AROUND_LIMIT, kept - 1, len(ratio) - kept)
    places = [kept - 1 - reach, kept - 1, kept, kept - 1 + reach]
    low, last, first_discarded, high = np.partition(ratio, places)[places]
    limit = (last + first_discarded) / 2
    return np.where((low <= ratio) & (ratio <= high), weight * (ratio - limit), 0.0)


def regression(ratio: NDArray[np.float64], kept: int) -> Fitted:
    """Fit the rate by least-squares regression of -ln(1 - F) on the smallest L, without intercept.

    Parameters
    ----------
    ratio : array of shape (n,)
        L = ln mu.
    kept : int
        Number of smallest values to fit; at most n - 1 are used, since F = 1 at the last.

    Returns
    -------
    rate, n_used, score

    Notes
    -----
    With x_i ascending, F_i = i / n and y_i = -ln(1 - F_i), d = sum x y / sum x^2. A point at x_j
    changes the empirical distribution at every x >= x_j. Linearising y in F gives the
    influence of this change: (s_j - mean of s over all points) / sum x^2, where s_j is the sum of
    x_i / (1 - F_i) over i >= j. The residuals y_i - d x_i add the influence of x itself. The
    influence of other values is interpolated.

    Examples
    --------
    >>> x = -np.log(1 - np.arange(1, 10) / 10) / 2.5
    >>> round(regression(np.append(x, 99.0), 9)[0], 12)
    2.5
    """
    n = len(ratio)
    used = min(kept, n - 1)
    ascending = np.sort(ratio)
    x = ascending[:used]
    share = np.arange(1, used + 1) / n
    y = -np.log1p(-share)
    squares = float(x @ x)
    if squares <= 0:
        return math.inf, used, np.zeros_like
    rate = float(x @ y) / squares

    def score(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # The influence through F: 1[L <= x_i] - F_i, over 1 - F_i, weighted by x_i.
        weight = x / (1 - share)
        through_law = np.zeros(n)
        through_law[:used] = np.cumsum(weight[::-1])[::-1]
        through_law -= weight @ share
        # The influence of a point's own place: its residual, less that of the last point kept,
        # which it pushes out of the fit.
        through_place = np.zeros(n)
        residual = x * (y - rate * x)
        through_place[:used] = residual - residual[-1]
        through_place += residual[-1] * used / n
        through_place -= residual.sum() / n
        return np.interp(values, ascending, (through_law + n * through_place) / squares)

    return rate, used, score


def triplets(
    indices: NDArray[np.intp], seed: int, points: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Choose points so that their triplets (a point and its two neighbours) are disjoint.

    Parameters
    ----------
    indices : array of shape (n, k)
        Neighbours of each point.
    seed : int
        Seed for the order in which points are tried.
    points : array of shape (n,), optional
        The points whose neighbours are given; by default, all in order.

    Returns
    -------
    array of int, ascending
        Positions of the chosen points, a maximal set: the triplet of any other point overlaps one
        of theirs.

    Notes
    -----
    The points are tried in random order, many at a time: a triplet is chosen if it comes first
    among all remaining triplets that contain any of its points.

    Examples
    --------
    >>> len(triplets(np.array([[1, 2], [0, 2], [1, 0]]), seed=0))
    1
    """
    n = len(indices)
    remaining = np.random.default_rng(seed).permutation(n)
    own = remaining if points is None else points[remaining]
    triplet = [own, indices[remaining, 0], indices[remaining, 1]]
    n_points = 1 + max(int(members.max(initial=0)) for members in triplet)
    first, taken = np.empty(n_points, dtype=np.intp), np.zeros(n_points, dtype=bool)
    chosen = [remaining[:0]]
    while len(remaining):
        turn = np.arange(len(remaining))
        first[:] = n
        for members in triplet:
            np.minimum.at(first, members, turn)
        a, b, c = (first[members] == turn for members in triplet)
        wins = a & b & c
        chosen.append(remaining[wins])
        for members in triplet:
            taken[members[wins]] = True
        a, b, c = (taken[members] for members in triplet)
        left = np.flatnonzero(~(a | b | c))
        remaining, triplet = remaining[left], [members[left] for members in triplet]
    return np.sort(np.concatenate(chosen))


def goodness_of_fit(
    ratio: NDArray[np.float64],
    rate: float,
    fitter: Callable[..., Any],
    kept: int,
    *,
    independent: bool = False,
) -> float:
    """Test whether L is exponential, allowing for the fitted rate.

    Parameters
    ----------
    ratio : array of shape (n,)
        L = ln mu.
    rate : float
        The fitted dimension.
    fitter : callable
        The fit, repeated on simulated samples to calibrate the p-value.
    kept : int
        Number of smallest values to compare.
    independent : bool
        Whether the ratios are independent, as those of triplets that share no point. The ratios of
        all points are not.

    Returns
    -------
    float
        p-value between 1/2001 and 1. A small value means that no single dimension explains the
        ratios, for example because there are several manifolds, a varying density, or noise.

    Notes
    -----
    The statistic is the Kolmogorov-Smirnov distance between the distribution of u = mu^-d and the
    uniform distribution, over the kept ratios. It is rescaled by the square root of the number of
    values and compared with 2000 simulated samples of at most 200 independent values (Lilliefors'
    test, with Stephens' small-sample factor). Neighbouring points share distances, which widens the
    distribution of the statistic; so it is divided by 1.1, unless the ratios are independent.
    At a level of 5 %, the test refuses 3 to 7 % of homogeneous clouds.

    Examples
    --------
    >>> x = np.random.default_rng(0).exponential(size=500)
    >>> rate, _, _ = censored_likelihood(x, 450)
    >>> goodness_of_fit(x, rate, censored_likelihood, 450, independent=True) > 0.05
    True
    """
    statistic = _distance(np.sort(ratio)[:kept], rate, len(ratio))
    statistic /= 1 if independent else _DEPENDENCE
    n_simulated = next(n for n in _SIMULATED_POINTS if n <= len(ratio))
    null = _null(fitter, round(kept / len(ratio), 2), n_simulated)
    return float((1 + np.sum(null >= statistic)) / (1 + len(null)))


def _distance(x: NDArray[np.float64], rate: float, n: int) -> float:
    """Return the rescaled Kolmogorov-Smirnov distance of the smallest x of n values."""
    law = -np.expm1(-rate * x)
    steps = np.arange(len(x) + 1) / n
    largest = max(np.max(steps[1:] - law), np.max(law - steps[:-1]))
    root = math.sqrt(n)
    return float((largest - 0.2 / n) * (root + 0.26 + 0.5 / root))


@lru_cache(maxsize=256)
def _null(fitter: Fitter, share: float, n: int) -> NDArray[np.float64]:
    """Return the distances of simulated samples of n values, keeping a share of each sample."""
    rng = np.random.default_rng(0)
    kept = max(2, math.floor(share * n + 1e-9))
    samples = rng.exponential(size=(_N_SIMULATIONS, n))
    return np.array([_distance(np.sort(x)[:kept], fitter(x, kept)[0], n) for x in samples])
