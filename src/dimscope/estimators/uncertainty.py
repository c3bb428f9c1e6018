"""Influences, standard errors and intervals that account for dependence between neighbours.

Neighbouring points share distances, so their ratios mu are not independent, and a standard error of
``d / sqrt(N)`` would be too small; in many dimensions, one point can be a neighbour of hundreds.
The variance is therefore computed from the *effect* of each point on the estimate, measured in
subsamples that share part of their points (:mod:`dimscope.estimators.effects`). Where the lists of
neighbours are too short for that, it is (S + 2 P) / N^2, where S is the sum of the squared scores
and P the sum of the products of scores over all pairs of neighbouring points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from dimscope.estimators.effects import ROUND
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "AROUND_LIMIT",
    "FEWEST_POINTS",
    "Influence",
    "Variance",
    "dependent_pairs",
    "effective_groups",
    "group_freedom",
    "grouped",
    "interval",
    "products_of",
    "quantile",
    "small_sample_factor",
    "spread_of",
    "variance_of_interactions",
]


_SHARED = 0.6  # Part of their points that two subsamples of a round share.

# Sum of the squared effects, as they are scaled, over the sum of the squared changes: 6/7 of the
# points are in two subsamples and one pair of them, 1/7 in three and three pairs.
_SQUARES = 13 / 7

_MOST_POINTS = 12.0  # Interactions of more points are not told from noise.


_FEWEST_DEGREES = 3.0  # Degrees of freedom are themselves estimated; fewer are noise.

AROUND_LIMIT = 6  # Values on each side of the limit of those kept that are in ``edge``.
FEWEST_POINTS = 10  # Fewer points give no standard error.


@by_value
@dataclass(frozen=True, eq=False)
class Influence:
    """The influence of each point on an estimate, and which points depend on each other.

    Parameters
    ----------
    scores : array of shape (n,)
        To first order, the estimate is its expectation plus the mean of the scores.
    pairs : array of int, shape (2, m)
        Positions of points that are neighbours, each unordered pair once.
    rows : array of int, shape (n,)
        Row of each point in the original array, in any order, without repeats.
    identities : array of uint64, shape (n_points,), optional
        Which stimulus each row of the original array is: equal numbers for equal stimuli.
    stated : bool
        Whether the identities come from ids that the user gave, not from values.
    effects : array of shape (3 r, n), optional
        The effect of each point on the estimate in r rounds of three subsamples, 0 in a subsample
        that leaves the point out, scaled so that the variance is the sum over points of the
        products of effects between the subsamples of each round
        (:func:`dimscope.estimators.effects.effects_of`).
    edge : array of shape (n,), optional
        What each of the points nearest to the limit of the values kept would change in the
        estimate if it were the last one kept: negative for those that are kept, positive for
        others, 0 for points away from the limit. It matters only in the difference of nearly equal
        representations.
    groups : array of int, shape (n,), optional
        The independent unit that each point belongs to, a number from 0; by default each point is
        a unit (:func:`grouped`).

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> Influence(np.array([1.0, -1.0, 1.0, -1.0]), none, np.arange(4)).std_error
    0.5
    """

    scores: NDArray[np.float64]
    pairs: NDArray[np.intp]
    rows: NDArray[np.intp]
    identities: NDArray[np.uint64] | None = None
    stated: bool = False
    effects: NDArray[np.float64] | None = None
    edge: NDArray[np.float64] | None = None
    groups: NDArray[np.intp] | None = None

    @property
    def std_error(self) -> float:
        """Standard error of the estimate, from effects if there are any.

        From scores, it is sqrt(sum_i psi_i^2 + 2 sum_(i~j) psi_i psi_j) / n, each unordered pair
        once. With groups, the first sum is over groups, of their summed scores, and the second over
        the pairs of points of two different groups.
        """
        if not len(self.scores):
            return math.nan
        if self.effects is not None:
            return self._spread[0]
        units, (low, high) = grouped(self)
        squares = units @ units
        # In a small sample the sum of the cross terms may be negative by chance.
        cross_terms = max(0.0, 2 * (self.scores[low] @ self.scores[high]))
        return float(np.sqrt(squares + cross_terms) / len(self.scores))

    @cached_property
    def _spread(self) -> tuple[float, float]:
        assert self.effects is not None
        return spread_of(self.effects)

    @property
    def degrees_of_freedom(self) -> float:
        """Degrees of freedom of the standard error, for Student's t."""
        freedom = math.inf if self.effects is None else self._spread[1]
        return freedom if self.groups is None else min(freedom, group_freedom(self.groups))


@dataclass(frozen=True)
class Variance:
    """A variance and its degrees of freedom.

    Examples
    --------
    >>> Variance(1.0, 10.0).plus(Variance(1.0, 10.0))
    Variance(value=2.0, freedom=20.0)
    """

    value: float
    freedom: float = math.inf

    @classmethod
    def of(cls, contributions: NDArray[np.float64]) -> Variance:
        """Return the variance that is a sum of contributions of points."""
        return cls(float(contributions.sum()), _degrees_of_freedom(contributions))

    def plus(self, other: Variance, share: float = 1.0) -> Variance:
        """Return this variance, plus a share of another (Satterthwaite)."""
        added = share * other.value
        total = self.value + added
        noise = self.value**2 / self.freedom + added**2 / other.freedom
        return Variance(total, total**2 / noise if noise > 0 else math.inf)

    @property
    def spread(self) -> tuple[float, float]:
        """The standard error, corrected for its few degrees of freedom, and these."""
        return math.sqrt(self.value) / (1 - 1 / (2 * self.freedom)), self.freedom


def spread_of(effects: NDArray[np.float64]) -> tuple[float, float]:
    """Compute the standard error, and its degrees of freedom, from the effects of points.

    Parameters
    ----------
    effects : array of shape (3 r, n)
        Effects in r rounds of three subsamples, as in :class:`Influence`.

    Returns
    -------
    std_error, degrees_of_freedom : float

    Notes
    -----
    Point i contributes v_i, the sum of the products of its effects over the pairs of subsamples of
    each round; their sum is U, and the sum of the squared effects is J. If only interactions of k
    points mattered, J = k V and U = k 0.6^(k-1) V, so that k = 1 + ln(J / U) / ln(1 / 0.6) and
    V = J / k. The variance is the larger of U and J / k (k at most 12): J / k is the larger for
    interactions of more than three points.

    The degrees of freedom are 2 U^2 / sum (v_i - U / n)^2 (Satterthwaite). The root of a variance
    underestimates the error on average, by 1 / (4 df) if the variance has a chi-squared law; with
    hubs its law is more skewed, and the root is divided by 1 - 1 / (2 df).

    Examples
    --------
    >>> error, freedom = spread_of(np.array([[0.1, -0.1] * 50] * 3) / math.sqrt(3 * 100))
    >>> round(error, 3), freedom > 1e6
    (0.1, True)
    """
    products, squares = products_of(effects)
    if squares <= 0:
        return math.nan, math.inf
    value = max(products.value, variance_of_interactions(products.value, squares))
    return Variance(value, products.freedom).spread


def products_of(effects: NDArray[np.float64]) -> tuple[Variance, float]:
    """Return U with its degrees of freedom, and J (:func:`spread_of`)."""
    rounds = effects.reshape(-1, ROUND, effects.shape[1])
    total, squares = rounds.sum(axis=1), np.einsum("rsn,rsn->n", rounds, rounds)
    contributions = (np.einsum("rn,rn->n", total, total) - squares) / 2
    return Variance.of(contributions), float(squares.sum()) / _SQUARES


def variance_of_interactions(products: float, squares: float) -> float:
    """Return J / k (:func:`spread_of`)."""
    ratio = squares / products if products > 0 else math.inf
    interacting = 1 + math.log(max(ratio, 1)) / -math.log(_SHARED)
    return squares / min(interacting, _MOST_POINTS)


def _degrees_of_freedom(contribution: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of a variance that is a sum of contributions of points."""
    noise = float(np.sum((contribution - contribution.mean()) ** 2))
    total = float(contribution.sum())
    return max(2 * total**2 / noise, _FEWEST_DEGREES) if noise > 0 else math.inf


def dependent_pairs(indices: NDArray[np.intp], reach: int) -> NDArray[np.intp]:
    """List the pairs of points where one is among the first neighbours of the other.

    Parameters
    ----------
    indices : array of int, shape (n, k)
        Neighbours of each point, nearest first; -1 for a neighbour without a score.
    reach : int
        Number of neighbours to consider, at most k; 0 for none.

    Returns
    -------
    array of shape (2, m)
        Each unordered pair once, the smaller position first.

    Examples
    --------
    >>> dependent_pairs(np.array([[1], [0], [1]]), 1).tolist()
    [[0, 1], [1, 2]]
    """
    n = len(indices)
    short = np.uint32 if n < 1 << 16 else np.int64  # shorter keys are sorted faster
    i = np.repeat(np.arange(n, dtype=short), reach)
    j = indices[:, :reach].ravel()
    if len(j) and j.min() < 0:
        i, j = i[j >= 0], j[j >= 0]
    j = j.astype(short)
    key = np.sort(np.minimum(i, j) * short(n) + np.maximum(i, j))
    new = np.ones(len(key), dtype=bool)
    new[1:] = key[1:] != key[:-1]
    return np.array(np.divmod(key[new], short(max(n, 1))), dtype=np.intp)


def effective_groups(groups: NDArray[np.intp]) -> float:
    """Return the number of groups of equal size that tell as much as these: N^2 / sum n_g^2.

    References
    ----------
    A. V. Carter, K. T. Schnepel and D. G. Steigerwald, "Asymptotic behavior of a t-test robust to
    cluster heterogeneity", Review of Economics and Statistics 99, 698 (2017).

    Examples
    --------
    >>> effective_groups(np.array([0, 0, 1, 1])), effective_groups(np.array([0, 0, 0, 1]))
    (2.0, 1.6)
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def group_freedom(groups: NDArray[np.intp]) -> float:
    """Return the degrees of freedom of an error over groups: G - 1, at least 1.

    Examples
    --------
    >>> group_freedom(np.array([0, 0, 1, 1, 2, 2]))
    2.0
    """
    return max(1.0, effective_groups(groups) - 1)


def small_sample_factor(groups: NDArray[np.intp]) -> float:
    """Return G / (G - 1) for the effective number of groups G, as the variance needs it.

    The scores sum to zero, because the estimate was fitted to the same groups.

    Examples
    --------
    >>> small_sample_factor(np.array([0, 0, 1, 1, 2, 2]))
    1.5
    """
    number = effective_groups(groups)
    return number / max(number - 1, 1e-9)


def grouped(influence: Influence) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the scores of the independent units, and the pairs of points that join two units.

    Parameters
    ----------
    influence : Influence

    Returns
    -------
    scores : array of shape (n_units,)
        Without groups, those of the points. With groups, the sum over the points of each group, in
        ascending order of the groups, times the root of :func:`small_sample_factor`.
    pairs : array of int, shape (2, m)
        The pairs of dependent points of which no unit contains both.

    Examples
    --------
    >>> pairs = np.array([[0, 1], [1, 2]])
    >>> influence = Influence(
    ...     np.array([1.0, 1.0, -1.0, -1.0]), pairs, np.arange(4), groups=np.array([0, 0, 1, 1]))
    >>> scores, between = grouped(influence)
    >>> scores.round(3).tolist(), between.tolist()
    ([2.828, -2.828], [[1], [2]])
    """
    groups, pairs = influence.groups, influence.pairs
    if groups is None:
        return influence.scores, pairs
    numbers, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, influence.scores, minlength=len(numbers))
    factor = math.sqrt(small_sample_factor(groups))
    return np.asarray(factor * sums, np.float64), pairs[:, groups[pairs[0]] != groups[pairs[1]]]


def interval(
    dimension: float, std_error: float, p: float = 0.95, degrees_of_freedom: float = math.inf
) -> tuple[float, float]:
    """Compute the central interval at level p, on a log scale so that it stays positive.

    Parameters
    ----------
    dimension, std_error : float
    p : float
        Level, between 0 and 1.
    degrees_of_freedom : float
        Degrees of freedom of the standard error, for Student's t; infinite for the normal
        distribution.

    Returns
    -------
    (lower, upper) : tuple of float

    Examples
    --------
    >>> lower, upper = interval(10.0, 0.5)
    >>> round(lower, 2), round(upper, 2)
    (9.07, 11.03)
    >>> lower, upper = interval(10.0, 0.5, degrees_of_freedom=4)
    >>> round(lower, 2), round(upper, 2)
    (8.7, 11.49)
    """
    if not 0 < p < 1:
        raise ValueError(f"the level of an interval must be between 0 and 1, not {p}")
    if not dimension > 0 or not np.isfinite(std_error):
        return (float("nan"), float("nan"))
    factor = float(np.exp(quantile((1 + p) / 2, degrees_of_freedom) * std_error / dimension))
    return (dimension / factor, dimension * factor)


def quantile(p: float, degrees_of_freedom: float = math.inf) -> float:
    """Compute a quantile of Student's t, or of the normal distribution if df is infinite.

    Examples
    --------
    >>> round(quantile(0.975), 3), round(quantile(0.975, 4), 3)
    (1.96, 2.776)
    """
    if math.isinf(degrees_of_freedom):
        return NormalDist().inv_cdf(p)
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, p))
