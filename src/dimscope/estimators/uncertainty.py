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
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FEWEST_POINTS",
    "Influence",
    "aligned",
    "covariance",
    "dependent_pairs",
    "effective_groups",
    "from_text",
    "grouped",
    "interval",
    "joint_covariance",
    "quantile",
    "small_sample_factor",
    "spread_of",
    "spread_of_difference",
    "to_text",
]


# Subsamples come in rounds of three, which share this part of their points two by two.
_ROUND, _SHARED = 3, 0.6

# Sum of the squared effects, as they are scaled, over the sum of the squared changes: 6/7 of the
# points are in two subsamples and one pair of them, 1/7 in three and three pairs.
_SQUARES = 13 / 7

_MOST_POINTS = 12.0  # Interactions of more points are not told from noise.

# Sum of the squared effects over the variance by pairs of neighbours, in a difference: about 3 for
# unequal representations, above 10 for nearly equal ones, in which the pairs alone are used.
_UNEQUAL, _NEARLY_EQUAL = 5.0, 10.0
_MOST_CROSSED = 1 / 3  # of the points around the limit of the values kept
_FEWEST_DEGREES = 3.0  # Degrees of freedom are themselves estimated; fewer are noise.

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
            return spread_of(self.effects)[0]
        units, (low, high) = grouped(self)
        squares = units @ units
        # In a small sample the sum of the cross terms may be negative by chance.
        cross_terms = max(0.0, 2 * (self.scores[low] @ self.scores[high]))
        return float(np.sqrt(squares + cross_terms) / len(self.scores))

    @property
    def degrees_of_freedom(self) -> float:
        """Degrees of freedom of the standard error, for Student's t."""
        freedom = math.inf if self.effects is None else spread_of(self.effects)[1]
        return freedom if self.groups is None else min(freedom, _group_freedom(self.groups))


@dataclass(frozen=True)
class _Variance:
    """A variance and its degrees of freedom."""

    value: float
    freedom: float = math.inf

    @classmethod
    def of(cls, contributions: NDArray[np.float64]) -> _Variance:
        """Return the variance that is a sum of contributions of points."""
        return cls(float(contributions.sum()), _degrees_of_freedom(contributions))

    def plus(self, other: _Variance, share: float = 1.0) -> _Variance:
        """Return this variance, plus a share of another (Satterthwaite)."""
        added = share * other.value
        total = self.value + added
        noise = self.value**2 / self.freedom + added**2 / other.freedom
        return _Variance(total, total**2 / noise if noise > 0 else math.inf)

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
    products, squares = _products(effects)
    if squares <= 0:
        return math.nan, math.inf
    value = max(products.value, _of_interactions(products.value, squares))
    return _Variance(value, products.freedom).spread


def _products(effects: NDArray[np.float64]) -> tuple[_Variance, float]:
    """Return U with its degrees of freedom, and J (:func:`spread_of`)."""
    rounds = effects.reshape(-1, _ROUND, effects.shape[1])
    total, squares = rounds.sum(axis=1), np.einsum("rsn,rsn->n", rounds, rounds)
    contributions = (np.einsum("rn,rn->n", total, total) - squares) / 2
    return _Variance.of(contributions), float(squares.sum()) / _SQUARES


def _of_interactions(products: float, squares: float) -> float:
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
    i = np.repeat(np.arange(n), reach)
    j = indices[:, :reach].ravel()
    i, j = i[j >= 0], j[j >= 0]
    key = np.sort(np.minimum(i, j) * np.int64(n) + np.maximum(i, j))
    new = np.ones(len(key), dtype=bool)
    new[1:] = key[1:] != key[:-1]
    return np.array(np.divmod(key[new], n), dtype=np.intp)


def aligned(a: Influence, b: Influence) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the effects of two influences with one column for each row of the original array.

    Returns
    -------
    (effects of a, effects of b), each of shape (3 r, n_rows), or None
        None if the effects were not measured in the same subsamples.
    """
    if a.effects is None or b.effects is None or len(a.effects) != len(b.effects):
        return None
    are_points = a.groups is None and b.groups is None
    if not (are_points and a.effects.shape[1] == len(a.rows) and b.effects.shape[1] == len(b.rows)):
        # of halvings, which are the same for all
        return (a.effects, b.effects) if a.effects.shape == b.effects.shape else None
    n = int(max(a.rows.max(), b.rows.max())) + 1
    effects = np.zeros((2, len(a.effects), n))
    effects[0][:, a.rows], effects[1][:, b.rows] = a.effects, b.effects
    return effects[0], effects[1]


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


def _group_freedom(groups: NDArray[np.intp]) -> float:
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


def covariance(a: Influence, b: Influence) -> float:
    """Compute the covariance of two estimates from the same rows.

    Parameters
    ----------
    a, b : Influence
        Influences on two representations of the same stimuli, row by row.

    Returns
    -------
    float
        From effects: the sum over points of the products of effects on a and on b, between the
        subsamples of each round. From scores: the sum of psi_a(i) psi_b(j) / (n_a n_b) over i = j
        and over the pairs (i, j) that are dependent in either representation; with
        groups, which must be those of the same rows in both, also over the points of one group.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> influence = Influence(np.array([1.0, -1.0]), none, np.arange(2))
    >>> bool(np.isclose(covariance(influence, influence), influence.std_error**2))
    True
    """
    effects = aligned(a, b)
    if effects is not None:
        x, y = (array.reshape(-1, _ROUND, array.shape[1]) for array in effects)
        total = np.einsum("rn,rn->", x.sum(axis=1), y.sum(axis=1)) - np.einsum("rsn,rsn->", x, y)
        return float(total) / 2
    x, y, low, high = _joined(a, b)
    total = float(x[low] @ y[high] + x[high] @ y[low])
    if a.groups is None or b.groups is None:
        return total + float(x @ y)
    n = len(a.scores) * len(b.scores)
    return total + float(np.dot(*_of_units(a, b))) / n


def _of_units(a: Influence, b: Influence) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of the groups on a and on b, group by group."""
    assert a.groups is not None
    assert b.groups is not None
    n_groups = int(max(a.groups.max(), b.groups.max())) + 1
    sums_a = np.bincount(a.groups, a.scores, minlength=n_groups)
    sums_b = np.bincount(b.groups, b.scores, minlength=n_groups)
    factors = math.sqrt(small_sample_factor(a.groups)), math.sqrt(small_sample_factor(b.groups))
    return np.asarray(factors[0] * sums_a), np.asarray(factors[1] * sums_b)


def spread_of_difference(a: Influence, b: Influence) -> tuple[float, float]:
    """Compute the standard error of the difference of two estimates from the same rows.

    Parameters
    ----------
    a, b : Influence

    Returns
    -------
    std_error, degrees_of_freedom : float

    Notes
    -----
    The effects on a minus the effects on b are the effects on the difference: nothing cancels, so
    that even the difference of two nearly equal representations has an error. There, every
    neighbour of a point matters, which interact in their dozens, and the sum of the products U is
    mostly noise. But the differences of scores have the same mean everywhere, so that the sum G
    over pairs of neighbours is right. As the sum of the squared effects J grows from 5 G to 10 G,
    G takes the place of the variance from effects. Between, it also does so if U < G < J / k.

    A point that passes the limit of the values kept changes its score by a jump. If only one or two
    do, the jumps are left out of G, and the variance of the last value kept is added, from the
    differences of the values around the limit.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> a = Influence(np.array([1.0, -1.0]), none, np.arange(2))
    >>> b = Influence(np.array([0.5, -0.5]), none, np.arange(2))
    >>> round(spread_of_difference(a, b)[0] / a.std_error, 12)
    0.5
    """
    crossed, at_edge = _at_edge(a, b)
    by_pairs = _by_pairs(a, b, crossed)
    effects = aligned(a, b)
    if effects is None:
        std_error, freedom = math.sqrt(by_pairs.value + at_edge.value), math.inf
    else:
        products, squares = _products(effects[0] - effects[1])
        if squares <= 0:
            return math.nan, math.inf
        std_error, freedom = _mixed(products, squares, by_pairs, at_edge).spread
    for influence in (a, b):
        if influence.groups is not None:
            freedom = min(freedom, _group_freedom(influence.groups))
    return std_error, freedom


def _mixed(
    products: _Variance, squares: float, by_pairs: _Variance, at_edge: _Variance
) -> _Variance:
    """Return the variance of a difference, from effects or by pairs of neighbours."""
    of_interactions = _Variance(_of_interactions(products.value, squares), products.freedom)
    if products.value < by_pairs.value < of_interactions.value:
        of_interactions = by_pairs
    from_effects = products.plus(at_edge) if products.value > 0 else at_edge
    if of_interactions.value > from_effects.value:
        from_effects = of_interactions
    nearly_equal = by_pairs.plus(at_edge)
    if nearly_equal.value <= 0:
        return from_effects
    ratio = squares / nearly_equal.value
    share = math.log(max(ratio, _UNEQUAL) / _UNEQUAL) / math.log(_NEARLY_EQUAL / _UNEQUAL)
    share = min(1.0, share)
    return _Variance(0.0).plus(from_effects, 1 - share).plus(nearly_equal, share)


def _by_pairs(a: Influence, b: Influence, crossed: NDArray[np.bool_]) -> _Variance:
    """Return the variance of a - b by pairs of neighbours, without the points that crossed."""
    x, y, low, high = _joined(a, b)
    scores = x - y
    scores[crossed] = 0
    across = np.zeros(len(scores))
    np.add.at(across, low, scores[high])
    np.add.at(across, high, scores[low])
    between = scores * across
    if between.sum() < 0:  # by chance, in a small sample
        between = np.zeros(len(scores))
    if a.groups is None or b.groups is None:
        return _Variance.of(scores**2 + between)
    on_a, on_b = _of_units(a, b)
    units = (on_a / len(a.scores) - on_b / len(b.scores)) ** 2
    return _Variance.of(units + np.bincount(a.groups, between[a.rows], minlength=len(units)))


def _at_edge(a: Influence, b: Influence) -> tuple[NDArray[np.bool_], _Variance]:
    """Return which rows cross the limit of the values kept, and the variance of the last value.

    Without any, if more than a few cross: these vary as other points do, and their scores contain
    it.
    """
    n = int(max(a.rows.max(), b.rows.max())) + 1
    nothing = np.zeros(n, dtype=bool), _Variance(0.0)
    if a.edge is None or b.edge is None or a.groups is not None or b.groups is not None:
        return nothing
    edges = np.zeros((2, n))
    edges[0, a.rows], edges[1, b.rows] = a.edge, b.edge
    near = (edges != 0).all(axis=0)
    crossed = near & (np.sign(edges[0]) != np.sign(edges[1]))
    if np.count_nonzero(near) < 2 or np.count_nonzero(crossed) > _MOST_CROSSED * np.sum(near):
        return nothing
    noise = edges[0, near] - edges[1, near]  # relative to that of the limit, so it has no mean
    return crossed, _Variance(float(noise.var(ddof=1)), len(noise) - 1)


def _joined(
    a: Influence, b: Influence
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return the scores / n of each row, and the pairs of rows that depend on each other."""
    n = int(max(a.rows.max(), b.rows.max())) + 1
    x, y = np.zeros(n), np.zeros(n)
    x[a.rows], y[b.rows] = a.scores / len(a.scores), b.scores / len(b.scores)
    pairs = np.concatenate(
        [np.sort(influence.rows[grouped(influence)[1]], axis=0) for influence in (a, b)], axis=1
    )
    low, high = np.divmod(np.unique(pairs[0] * np.int64(n) + pairs[1]), n)
    return x, y, low, high


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


# -- text ---------------------------------------------------------------------------------


_DTYPES = {
    "scores": "<f8", "pairs": "<i8", "rows": "<i8", "identities": "<u8", "effects": "<f8",
    "edge": "<f8", "groups": "<i8",
}  # fmt: skip


def to_text(influence: Influence | None) -> dict[str, Any] | None:
    """Convert an influence to JSON-compatible values without loss: its arrays, compressed, as text.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> influence = Influence(np.array([1.0, -1.0]), none, np.arange(2))
    >>> from_text(to_text(influence)) == influence
    True
    """
    if influence is None:
        return None
    text: dict[str, Any] = {"stated": influence.stated}
    if influence.effects is not None:
        text["subsamples"] = len(influence.effects)
    for name, dtype in _DTYPES.items():
        array = getattr(influence, name)
        if array is not None:
            text[name] = b64encode(zlib.compress(array.astype(dtype).tobytes())).decode()
    return text


def from_text(data: Mapping[str, Any] | None) -> Influence | None:
    """Convert back what :func:`to_text` made.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the text is damaged, or the arrays do not fit together.
    """
    if data is None:
        return None
    arrays: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        if name in data:
            try:
                plain = zlib.decompress(b64decode(data[name], validate=True))
            except zlib.error as error:
                raise ValueError(f"{name} of an influence cannot be read: {error}") from None
            arrays[name] = np.frombuffer(plain, dtype).astype(dtype[1:])
    scores, pairs, rows = arrays["scores"], arrays["pairs"].reshape(2, -1), arrays["rows"]
    identities, groups = arrays.get("identities"), arrays.get("groups")
    effects = arrays.get("effects")
    if effects is not None:
        effects = effects.reshape(data["subsamples"], -1)
    n_rows = np.iinfo(np.intp).max if identities is None else len(identities)
    fits = (
        rows.shape == scores.shape
        and (effects is None or len(effects) % _ROUND == 0)
        and (arrays.get("edge") is None or arrays["edge"].shape == scores.shape)
        and (groups is None or groups.shape == scores.shape)
        and not ((pairs < 0) | (pairs >= len(scores))).any()
        and not ((rows < 0) | (rows >= n_rows)).any()
        and len(np.unique(rows)) == len(rows)
    )
    if not fits:
        raise ValueError("the arrays of an influence do not fit together")
    return Influence(
        scores, pairs.astype(np.intp), rows.astype(np.intp), identities, bool(data["stated"]),
        effects, arrays.get("edge"), None if groups is None else groups.astype(np.intp),
    )  # fmt: skip


# -- several estimates --------------------------------------------------------------------


def joined(influences: Sequence[Influence]) -> Influence:
    """Return the influence of every row on the mean of estimates from disjoint rows.

    Parameters
    ----------
    influences : sequence of Influence
        Without rows in common, and without groups.

    Returns
    -------
    Influence
        Without identities.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> parts = [Influence(np.array([1.0, -1.0]), none, np.arange(2) + start) for start in (0, 2)]
    >>> round(joined(parts).std_error / parts[0].std_error, 6)  # 1 / sqrt(2)
    0.707107
    """
    sizes = [len(influence.scores) for influence in influences]
    starts = np.cumsum([0, *sizes])
    total, n_parts = int(starts[-1]), len(influences)
    scores, rows = np.empty(total), np.empty(total, dtype=np.intp)
    edge = np.zeros(total)
    n_subsamples = max(0 if i.effects is None else len(i.effects) for i in influences)
    effects: NDArray[np.float64] | None = np.zeros((n_subsamples, total))
    for influence, start, stop in zip(influences, starts, starts[1:], strict=False):
        here = slice(start, stop)
        scores[here] = influence.scores * (total / (n_parts * (stop - start)))
        rows[here] = influence.rows
        if influence.edge is not None:
            edge[here] = influence.edge / math.sqrt(n_parts)
        if influence.effects is None or influence.effects.shape[1] != stop - start:
            effects = None
        elif effects is not None:
            effects[: len(influence.effects), here] = influence.effects / n_parts
    pairs = [influence.pairs + start for influence, start in zip(influences, starts, strict=False)]
    return Influence(
        scores, np.concatenate(pairs, axis=1), rows, effects=effects,
        edge=edge if edge.any() else None,
    )  # fmt: skip


def joint_covariance(influences: Sequence[Influence]) -> NDArray[np.float64]:
    """Compute the covariance matrix of several estimates from the same rows.

    Parameters
    ----------
    influences : sequence of Influence
        Influences on several representations of the same stimuli, row by row.

    Returns
    -------
    array of shape (L, L)
        Positive semidefinite; the squares of the standard errors are on the diagonal, and half of
        what two of them exceed the square of :func:`spread_of_difference` by elsewhere.

    Notes
    -----
    Every difference is measured on its own, so the matrix may have small negative eigenvalues. They
    are set to zero in the correlation matrix, whose diagonal is then scaled back to one.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> a, b = (Influence(np.array(x), none, np.arange(2)) for x in ([1.0, -1.0], [2.0, 0.0]))
    >>> joint_covariance([a, b]).round(12).tolist()
    [[0.5, 0.5], [0.5, 1.0]]
    """
    n = len(influences)
    errors = np.array([influence.std_error for influence in influences])
    correlation = np.eye(n)
    for i in range(n):
        for j in range(i):
            apart, _ = spread_of_difference(influences[i], influences[j])
            shared = (errors[i] ** 2 + errors[j] ** 2 - apart**2) / (2 * errors[i] * errors[j])
            correlation[i, j] = correlation[j, i] = min(1.0, max(-1.0, shared))
    values, vectors = np.linalg.eigh(correlation)
    if n and values[0] < -1e-12:
        correlation = (vectors * np.maximum(values, 0)) @ vectors.T
        scale = np.sqrt(np.diag(correlation))
        correlation /= np.outer(scale, scale)
    return correlation * np.outer(errors, errors)
