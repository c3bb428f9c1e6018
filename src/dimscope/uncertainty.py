"""Standard errors and intervals that account for dependence between neighbours.

The ratios mu of neighbouring points share a distance, so they are not independent:
``d / sqrt(N)`` is too small. An estimator hands in *scores*, the influence of each
point on the dimension; their products are summed over each point itself and over the
pairs of points that are neighbours (a sandwich with the neighbour graph as its
dependence structure).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors import Neighbors

__all__ = ["independent_error", "interval", "neighbor_error"]


def independent_error(scores: NDArray[np.float64]) -> float:
    """Standard error of a mean of independent scores, sqrt(sum psi^2) / n.

    Parameters
    ----------
    scores : array of shape (n,)
        Influence of each point; the estimate is the truth plus their mean.

    Examples
    --------
    >>> independent_error(np.array([1.0, -1.0, 1.0, -1.0]))
    0.5
    """
    return float(np.sqrt(scores @ scores) / len(scores)) if len(scores) else float("nan")


def neighbor_error(scores: NDArray[np.float64], neighbors: Neighbors, ranks: int = 2) -> float:
    """Standard error of a mean of scores that depend on each other through neighbours.

    Parameters
    ----------
    scores : array of shape (n_distinct,)
        Influence of each point.
    neighbors : Neighbors
        Points *i* and *j* are dependent if either is among the first ``ranks``
        neighbours of the other.
    ranks : int

    Returns
    -------
    float
        Never less than the error for independent scores.

    Notes
    -----
    sqrt(sum_i psi_i^2 + 2 sum_(i~j) psi_i psi_j) / n, each unordered pair once.

    Examples
    --------
    >>> from dimscope.neighbors import nearest_neighbors
    >>> n = nearest_neighbors([[0.0], [1.0], [3.0], [7.0]])
    >>> neighbor_error(np.zeros(4), n)
    0.0
    """
    n = len(scores)
    i = np.repeat(np.arange(n), ranks)
    j = neighbors.indices[:, :ranks].ravel()
    key = np.unique(np.minimum(i, j) * np.int64(n) + np.maximum(i, j))
    low, high = np.divmod(key, n)
    variance = scores @ scores + 2 * (scores[low] @ scores[high])
    # in a small sample the cross terms may come out negative by chance
    return float(np.sqrt(max(variance, scores @ scores)) / n)


def interval(dimension: float, std_error: float, p: float = 0.95) -> tuple[float, float]:
    """Central interval at level p, normal on the logarithm so that it stays positive.

    Parameters
    ----------
    dimension, std_error : float
    p : float
        Between 0 and 1.

    Returns
    -------
    (lower, upper) : tuple of float

    Examples
    --------
    >>> lower, upper = interval(10.0, 0.5)
    >>> round(lower, 2), round(upper, 2)
    (9.07, 11.03)
    """
    if not 0 < p < 1:
        raise ValueError(f"the level of an interval is between 0 and 1, not {p}")
    if not dimension > 0 or not np.isfinite(std_error):
        return (float("nan"), float("nan"))
    factor = float(np.exp(NormalDist().inv_cdf((1 + p) / 2) * std_error / dimension))
    return (dimension / factor, dimension * factor)
