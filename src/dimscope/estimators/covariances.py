"""Several estimates from the same rows: their covariances, and the errors of their differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dimscope.estimators.effects import ROUND
from dimscope.estimators.uncertainty import (
    AROUND_LIMIT,
    Influence,
    Variance,
    group_freedom,
    grouped,
    products_of,
    small_sample_factor,
    variance_of_interactions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["aligned", "covariance", "joined", "joint_covariance", "spread_of_difference"]

# Sum of the squared effects over the variance by pairs of neighbours, in a difference: about 3 for
# unequal representations, up to 10 with hubs, more for nearly equal ones; above 30 the pairs alone
# are used.
_UNEQUAL, _NEARLY_EQUAL = 10.0, 30.0
# Of the points around the limit of the values kept: how many stay near, and how many may pass it.
_STAYED, _MOST_CROSSED = 0.75, 1 / 3


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
        x, y = (array.reshape(-1, ROUND, array.shape[1]) for array in effects)
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
    over pairs of neighbours is right. As the sum of the squared effects J grows from 10 G to 30 G,
    G takes the place of the variance from effects. Between, it also does so if U < G < J / k.

    A point that passes the limit of the values kept changes its score by a jump. If only one or two
    do, the jumps are left out of G, and the variance of the last value kept is added, from the
    differences of the values around the limit, rank by rank.

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
        products, squares = products_of(effects[0] - effects[1])
        if squares <= 0:
            return math.nan, math.inf
        std_error, freedom = _mixed(products, squares, by_pairs, at_edge).spread
    for influence in (a, b):
        if influence.groups is not None:
            freedom = min(freedom, group_freedom(influence.groups))
    return std_error, freedom


def _mixed(products: Variance, squares: float, by_pairs: Variance, at_edge: Variance) -> Variance:
    """Return the variance of a difference, from effects or by pairs of neighbours."""
    of_interactions = Variance(variance_of_interactions(products.value, squares), products.freedom)
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
    return Variance(0.0).plus(from_effects, 1 - share).plus(nearly_equal, share)


def _by_pairs(a: Influence, b: Influence, crossed: NDArray[np.bool_]) -> Variance:
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
        return Variance.of(scores**2 + between)
    on_a, on_b = _of_units(a, b)
    units = (on_a / len(a.scores) - on_b / len(b.scores)) ** 2
    return Variance.of(units + np.bincount(a.groups, between[a.rows], minlength=len(units)))


def _at_edge(a: Influence, b: Influence) -> tuple[NDArray[np.bool_], Variance]:
    """Return which rows cross the limit of the values kept, and the variance of the last value.

    Without any, if more than a few cross: these vary as other points do, and their scores contain
    it.
    """
    n = int(max(a.rows.max(), b.rows.max())) + 1
    nothing = np.zeros(n, dtype=bool), Variance(0.0)
    if a.edge is None or b.edge is None or a.groups is not None or b.groups is not None:
        return nothing
    edges = np.zeros((2, n))
    edges[0, a.rows], edges[1, b.rows] = a.edge, b.edge
    around = edges != 0
    near = around.all(axis=0)
    crossed = near & (np.sign(edges[0]) != np.sign(edges[1]))
    n_near = np.count_nonzero(near)
    if n_near < max(2, _STAYED * np.count_nonzero(around) / 2) or (
        np.count_nonzero(crossed) > _MOST_CROSSED * n_near
    ):
        return nothing
    # by rank, since a point with much noise leaves its place to the next one
    first, second = (np.sort(edge[edge != 0]) for edge in edges)
    if len(first) == len(second) <= 2 * AROUND_LIMIT + 1:
        noise = first - second
    else:  # there is more than one limit, in a mean of several estimates
        noise = edges[0, near] - edges[1, near]
    return crossed, Variance(float(noise.var(ddof=1)), len(noise) - 1)


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
