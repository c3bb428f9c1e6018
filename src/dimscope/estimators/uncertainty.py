"""Standard errors and intervals that account for dependence between neighbours.

Neighbouring points share distances, so their ratios mu are not independent, and a standard error of
``d / sqrt(N)`` would be too small. An estimator supplies *scores*: the influence of each point on
the dimension. The variance is (S + 2 P) / N^2, where S is the sum of the squared scores and P the
sum of the products of scores over all pairs of neighbouring points (a sandwich estimator whose
dependence structure is the neighbour graph).
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
    "Influence",
    "covariance",
    "dependent_pairs",
    "from_text",
    "interval",
    "joint_covariance",
    "quantile",
    "to_text",
]


@by_value
@dataclass(frozen=True, eq=False)
class Influence:
    """The influence of each point on an estimate, and the pairs of points that are dependent.

    Parameters
    ----------
    scores : array of shape (n,)
        To first order, the estimate is its expectation plus the mean of the scores.
    pairs : array of int, shape (2, m)
        Positions of points that depend on each other, each unordered pair once.
    rows : array of int, shape (n,)
        Row of each point in the original array, in any order, without repeats.
    identities : array of uint64, shape (n_points,), optional
        Which stimulus each row of the original array is: equal numbers for equal stimuli.
    stated : bool
        Whether the identities come from ids that the user gave, not from values.

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

    @property
    def std_error(self) -> float:
        """Standard error of the estimate; never less than it would be for independent scores.

        sqrt(sum_i psi_i^2 + 2 sum_(i~j) psi_i psi_j) / n, each unordered pair once.
        """
        if not len(self.scores):
            return math.nan
        squares = self.scores @ self.scores
        low, high = self.pairs
        # In a small sample the sum of the cross terms may be negative by chance.
        cross_terms = max(0.0, 2 * (self.scores[low] @ self.scores[high]))
        return float(np.sqrt(squares + cross_terms) / len(self.scores))


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


def covariance(a: Influence, b: Influence) -> float:
    """Compute the covariance of two estimates from the same rows.

    Parameters
    ----------
    a, b : Influence
        Influences on two representations of the same stimuli, row by row.

    Returns
    -------
    float
        The sum of psi_a(i) psi_b(j) / (n_a n_b) over i = j and over the pairs (i, j) that are
        dependent in either representation, where psi are the scores.

    Examples
    --------
    >>> none = np.empty((2, 0), dtype=int)
    >>> influence = Influence(np.array([1.0, -1.0]), none, np.arange(2))
    >>> bool(np.isclose(covariance(influence, influence), influence.std_error**2))
    True
    """
    n = int(max(a.rows.max(), b.rows.max())) + 1
    x, y = np.zeros(n), np.zeros(n)
    x[a.rows], y[b.rows] = a.scores, b.scores
    pairs = np.concatenate(
        [np.sort(influence.rows[influence.pairs], axis=0) for influence in (a, b)], axis=1
    )
    low, high = np.divmod(np.unique(pairs[0] * np.int64(n) + pairs[1]), n)
    total = x @ y + x[low] @ y[high] + x[high] @ y[low]
    return float(total / (len(a.scores) * len(b.scores)))


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


_DTYPES = {"scores": "<f8", "pairs": "<i8", "rows": "<i8", "identities": "<u8"}


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
    identities = arrays.get("identities")
    n_rows = np.iinfo(np.intp).max if identities is None else len(identities)
    fits = (
        rows.shape == scores.shape
        and not ((pairs < 0) | (pairs >= len(scores))).any()
        and not ((rows < 0) | (rows >= n_rows)).any()
        and len(np.unique(rows)) == len(rows)
    )
    if not fits:
        raise ValueError("the arrays of an influence do not fit together")
    return Influence(
        scores, pairs.astype(np.intp), rows.astype(np.intp), identities, bool(data["stated"])
    )


# -- several estimates --------------------------------------------------------------------


def joint_covariance(influences: Sequence[Influence]) -> NDArray[np.float64]:
    """Compute the covariance matrix of several estimates from the same rows.

    Parameters
    ----------
    influences : sequence of Influence
        Influences on several representations of the same stimuli, row by row.

    Returns
    -------
    array of shape (L, L)
        Positive semidefinite; the squares of the standard errors are on the diagonal, and
        :func:`covariance` of each pair elsewhere.

    Notes
    -----
    The pairs of points that are dependent differ from layer to layer, so the matrix of the
    covariances may have small negative eigenvalues. They are set to zero in the correlation matrix,
    whose diagonal is then scaled back to one.

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
            shared = covariance(influences[i], influences[j]) / (errors[i] * errors[j])
            correlation[i, j] = correlation[j, i] = min(1.0, max(-1.0, shared))
    values, vectors = np.linalg.eigh(correlation)
    if n and values[0] < -1e-12:
        correlation = (vectors * np.maximum(values, 0)) @ vectors.T
        scale = np.sqrt(np.diag(correlation))
        correlation /= np.outer(scale, scale)
    return correlation * np.outer(errors, errors)
