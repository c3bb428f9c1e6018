"""Effects: how much each point changes an estimate, measured in subsamples that share points.

Let D_i(A) be the change of an estimate when point i is left out of a subsample A. By the
Efron-Stein inequality, the sum of the D_i(A)^2 is at least the variance. It is too large because it
counts an interaction of k points k times: for neighbours, by a factor of about 3. In two subsamples
A and B that share a part rho of their points, however, an interaction of k points survives in the
product D_i(A) D_i(B) with probability rho^(k-1), so that the sum of the products is the sum over k
of k rho^(k-1) V_k, where V_k is the variance due to interactions of k points. At rho = 0.6, the
factors for k = 1 to 4 are 1, 1.2, 1.08 and 0.86: close to 1 for all interactions that matter,
without any assumption on how points depend on each other. A point that is a neighbour of hundreds
(k = 1) and the mutual distances of a homogeneous cloud (k = 2, 3) are both counted once.

Nothing is searched again: the neighbours in a subsample are found in the lists of all points, and
the change of the estimate follows from the change of the scores of the points that lose a
neighbour.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dimscope.errors import DegeneratePoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dimscope.estimators.fits import Fit
    from dimscope.neighbors.neighbors import Neighbors

__all__ = [
    "ROUND",
    "depth_for",
    "effects_of",
    "effects_of_halves",
    "left_out",
    "shifts_by_refitting",
    "too_few",
]

_LEFT_OUT = 2 / 7  # Subsamples that leave out different 2/7 share 3/5 of their points.
ROUND = 3  # Subsamples in a round, which share 3/5 of their points two by two.
_POINTS = 4000  # There are as many rounds as hold this many points together,
_MOST_ROUNDS = 8  # up to this number.
_HALVED = 20_000  # There are as many halvings as hold this many points together,
_FEWEST_HALVINGS, _MOST_HALVINGS = 10, 20  # within these numbers.
_MISSING = 0.15  # Share of points that may run out of neighbours in a subsample.


class Fitter(Protocol):
    """What is asked of an estimator."""

    @property
    def ranks(self) -> int:
        """Number of neighbours that are needed per point."""

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Fit the dimension."""

    def shifts(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64]:
        """Return how much the score of each point falls when one of its neighbours is removed."""


@cache
def depth_for(k: int) -> int:
    """Return how many neighbours to search for so that subsamples nearly always keep k + 1.

    Examples
    --------
    >>> depth_for(2), depth_for(10)
    (5, 18)
    """
    depth = k + 1
    while too_few(depth, k + 1, 1 - _LEFT_OUT) > _MISSING:
        depth += 1
    return depth


def too_few(n: int, needed: int, keep: float) -> float:
    """Return the probability that fewer than ``needed`` of n neighbours are in a subsample.

    Examples
    --------
    >>> too_few(2, 1, 0.5)
    0.25
    """
    return sum(math.comb(n, i) * keep**i * (1 - keep) ** (n - i) for i in range(needed))


def left_out(n: int) -> NDArray[np.int8]:
    """Choose at random which of n rows are left out of which subsample.

    The choice depends on n only, so that two layers with the same rows use the same subsamples.

    Parameters
    ----------
    n : int

    Returns
    -------
    array of int8, shape (r, n)
        For each of r rounds, the subsample (0, 1 or 2) that leaves a row out; 3 for none.

    Examples
    --------
    >>> [np.bincount(numbers).tolist() for numbers in left_out(2000)]
    [[571, 571, 571, 287], [571, 571, 571, 287]]
    """
    n_rounds = min(_MOST_ROUNDS, max(1, _POINTS // n))
    rng = np.random.default_rng(0)
    size = round(_LEFT_OUT * n)
    numbers = np.full((n_rounds, n), ROUND, dtype=np.int8)
    for row in numbers:
        row[rng.permutation(n)[: ROUND * size]] = np.repeat(np.arange(ROUND), size)
    return numbers


def effects_of(estimator: Fitter, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64] | None:
    """Measure the effect of each distinct point on an estimate, in subsamples.

    Parameters
    ----------
    estimator : Fitter
    neighbors : Neighbors
        With more neighbours for each point than the estimator needs (:func:`depth_for`).
    fit : Fit
        The result of the estimator for all points.

    Returns
    -------
    array of shape (3 r, n_distinct), or None
        Effects for :class:`dimscope.estimators.uncertainty.Influence`; None if the lists of
        neighbours are too short, a subsample cannot be measured, or the rows are in groups, of
        which there are too few to leave out.

    Notes
    -----
    In a subsample of n points, the effect of point i is the score of i plus, for each point that
    has i among its first neighbours, the fall of its score when i is removed and the next
    neighbour takes its place.
    """
    k = estimator.ranks
    n, n_lists = neighbors.n_distinct, len(neighbors.distances)
    if neighbors.k <= k or fit.scores is None or neighbors.groups is not None:
        return None
    rows = neighbors.rows_of_points
    numbers = left_out(max(neighbors.n_points, int(rows.max()) + 1))[:, rows]
    depth = min(depth_for(k), neighbors.k)
    effects = np.zeros((len(numbers), ROUND, n))
    for effects_in_round, number in zip(effects, numbers, strict=True):
        for j in range(ROUND):
            kept = number != j
            changes = _changes(estimator, neighbors, kept, depth)
            if changes is None:
                return None
            effects_in_round[j, kept] = changes * fit.dimension
    # a point that is left out of one subsample is in one pair of them, else in three
    n_pairs = np.where(numbers == ROUND, 3, 1).sum(axis=0)
    return np.asarray(effects.reshape(-1, n) / (n_lists * np.sqrt(n_pairs)))


def _changes(
    estimator: Fitter, neighbors: Neighbors, kept: NDArray[np.bool_], depth: int
) -> NDArray[np.float64] | None:
    """Return the effect of each point of a subsample, relative to its dimension, times n."""
    thinned = neighbors.thinned(kept, estimator.ranks + 1, depth)
    if thinned is None:
        return None
    try:
        fit = estimator.evaluate(thinned.neighbors)
    except DegeneratePoints:
        return None
    if fit.scores is None or not math.isfinite(fit.dimension):
        return None
    changes = np.zeros(thinned.neighbors.n_distinct)
    queries = thinned.neighbors.queries
    # Some lists are too short in this subsample, at random: the others count for them.
    changes[slice(None) if queries is None else queries] = (
        fit.scores - fit.scores.mean()
    ) / thinned.share
    shifts = estimator.shifts(thinned.neighbors, fit) / thinned.share_with_neighbor
    changes += np.bincount(
        thinned.neighbors.indices[:, : shifts.shape[1]].ravel(), shifts.ravel(), len(changes)
    )
    # A constant part is due to the size of the sample, which does not vary.
    return np.asarray((changes - changes.mean()) / fit.dimension)


def effects_of_halves(
    measure: Callable[[Neighbors], float], neighbors: Neighbors, dimension: float
) -> NDArray[np.float64] | None:
    """Compare the dimensions of two halves of the points, for several random halvings.

    It serves estimators whose scores do not depend on the distances of one point alone.

    Parameters
    ----------
    measure : callable
        Returns the dimension of a subsample, NaN if it has none.
    neighbors : Neighbors
    dimension : float
        Dimension of all points.

    Returns
    -------
    array of shape (3, b), or None
        Half the relative difference of each of b halvings, times the dimension, scaled as effects
        of points are; None if a half cannot be measured.

    Notes
    -----
    Two halves share no point, so a quarter of their mean squared difference is the variance at
    n points, if the variance is proportional to 1/n.
    """
    depth = depth_for(2)
    if neighbors.k < min(depth, neighbors.n_distinct - 1):
        return None
    if neighbors.groups is not None:
        return None
    rows = neighbors.rows_of_points
    n_rows = max(neighbors.n_points, int(rows.max()) + 1)
    rng = np.random.default_rng(0)
    differences = np.empty(min(_MOST_HALVINGS, max(_FEWEST_HALVINGS, _HALVED // n_rows)))
    for i in range(len(differences)):
        is_first = np.zeros(n_rows, dtype=bool)
        is_first[rng.permutation(n_rows)[: n_rows // 2]] = True
        halves = [neighbors.thinned(kept[rows], 2, depth) for kept in (is_first, ~is_first)]
        values = [math.nan if half is None else measure(half.neighbors) for half in halves]
        if not all(value > 0 for value in values):
            return None
        differences[i] = dimension * math.log(values[0] / values[1]) / 2
    return np.tile(differences / math.sqrt(ROUND * len(differences)), (ROUND, 1))


def shifts_by_refitting(estimator: Fitter, neighbors: Neighbors, reach: int) -> NDArray[np.float64]:
    """Measure how the score of each point falls when one of its neighbours is removed.

    The estimator is fitted once to the lists of all points and to those lists without their first,
    second, ... neighbour, all together. It serves estimators that do not compute their shifts.

    Parameters
    ----------
    estimator : Fitter
    neighbors : Neighbors
        With at least ``reach`` + 1 neighbours for each point.
    reach : int
        Number of neighbours to remove, one at a time.

    Returns
    -------
    array of shape (n, reach)
    """
    k = max(estimator.ranks, reach)
    n = len(neighbors.distances)
    without = [np.delete(np.arange(k + 1), j) for j in (k, *range(reach))]
    stacked = neighbors.stacked(without)
    scores = estimator.evaluate(stacked).scores
    assert scores is not None
    by_removal = scores.reshape(reach + 1, n)
    return np.asarray((by_removal[0] - by_removal[1:]).T)
