"""Fits of the exponential law of L = ln mu, and the test that it holds.

The ratios mu follow a Pareto law of exponent d, so L = ln mu is exponential of rate
d. Each fit takes L and the number kept, and returns the rate, the influence of each
point on it, and how many points were used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Fitted = tuple[float, NDArray[np.float64], int]
    Fitter = Callable[[NDArray[np.float64], int], Fitted]

__all__ = ["censored_likelihood", "goodness_of_fit", "regression", "triplets"]

_SIMULATED, _SIMULATIONS = 400, 400


def censored_likelihood(ratio: NDArray[np.float64], kept: int) -> Fitted:
    """Maximum likelihood with the largest values censored at the largest kept.

    Parameters
    ----------
    ratio : array of shape (n,)
        L = ln mu.
    kept : int
        Number R of smallest values that are observed.

    Returns
    -------
    rate, scores, n_used

    Notes
    -----
    d = (R - 1) / T with T = sum of the R smallest + (n - R) L_R; the score of a point
    is (n / R) d (observed - d min(L, L_R)), a martingale residual.

    Examples
    --------
    >>> rate, _, used = censored_likelihood(np.array([1.0, 2.0, 3.0, 9.0]), 3)
    >>> rate, used  # (3 - 1) / (1 + 2 + 3 + 3)
    (0.2222222222222222, 3)
    """
    n = len(ratio)
    limit = np.partition(ratio, kept - 1)[kept - 1]
    shown = np.minimum(ratio, limit)
    total = float(shown.sum())
    if total <= 0:
        return math.inf, np.zeros(n), kept
    rate = (kept - 1) / total
    observed = ratio <= limit
    return rate, (n / kept) * rate * (observed - rate * shown), kept


def regression(ratio: NDArray[np.float64], kept: int) -> Fitted:
    """Least squares through the origin of -ln(1 - F) on L, over the smallest values.

    Parameters
    ----------
    ratio : array of shape (n,)
        L = ln mu.
    kept : int
        Number of smallest values that enter; at most n - 1, since F = 1 at the last.

    Returns
    -------
    rate, scores, n_used

    Notes
    -----
    With x_i ascending, F_i = i / n and y_i = -ln(1 - F_i), d = sum x y / sum x^2. A
    point at x_j moves the empirical law at every x >= x_j; linearising y in F gives its
    influence, sum over i >= j of x_i / (1 - F_i), less the mean of that over all points,
    divided by sum x^2. The residuals y_i - d x_i add the influence of the abscissa.

    Examples
    --------
    >>> x = -np.log(1 - np.arange(1, 10) / 10) / 2.5
    >>> round(regression(np.append(x, 99.0), 9)[0], 12)
    2.5
    """
    n = len(ratio)
    used = min(kept, n - 1)
    order = np.argsort(ratio, kind="stable")
    x = ratio[order[:used]]
    share = np.arange(1, used + 1) / n
    y = -np.log1p(-share)
    squares = float(x @ x)
    if squares <= 0:
        return math.inf, np.zeros(n), used
    rate = float(x @ y) / squares
    # influence through F: 1[L <= x_i] - F_i, over 1 - F_i, weighted by x_i
    weight = x / (1 - share)
    above = np.cumsum(weight[::-1])[::-1]
    through_law = np.zeros(n)
    through_law[order[:used]] = above
    through_law -= weight @ share
    # influence of where the point lies: its residual, less that of the last kept,
    # which it pushes out of the fit
    through_place = np.zeros(n)
    residual = x * (y - rate * x)
    through_place[order[:used]] = residual - residual[-1]
    through_place += residual[-1] * used / n
    through_place -= residual.sum() / n
    return rate, (through_law + n * through_place) / squares, used


def triplets(indices: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Points whose triplets (itself and its two neighbours) share no point.

    Parameters
    ----------
    indices : array of shape (n, k)
        Neighbours of each point.
    seed : int
        Order in which points are tried.

    Returns
    -------
    array of int
        A maximal set: every other point's triplet meets one of these.

    Examples
    --------
    >>> len(triplets(np.array([[1, 2], [0, 2], [1, 0]]), seed=0))
    1
    """
    taken = np.zeros(len(indices), dtype=bool)
    chosen = []
    pairs = indices[:, :2].tolist()
    for i in np.random.default_rng(seed).permutation(len(indices)).tolist():
        a, b = pairs[i]
        if not (taken[i] or taken[a] or taken[b]):
            taken[[i, a, b]] = True
            chosen.append(i)
    return np.asarray(chosen)


def goodness_of_fit(
    ratio: NDArray[np.float64], rate: float, fitter: Callable[..., Any], kept: int
) -> float:
    """p-value of the hypothesis that L is exponential, allowing for the fitted rate.

    Parameters
    ----------
    ratio : array of shape (n,)
        L = ln mu.
    rate : float
        The fitted dimension.
    fitter : callable
        The fit, repeated on simulated samples so that the level is right.
    kept : int
        Number of smallest values compared.

    Returns
    -------
    float
        Between 1/401 and 1. A small value says that the ratios do not follow one
        dimension: several manifolds, a changing density, or noise.

    Notes
    -----
    Kolmogorov-Smirnov distance between u = mu^-d and the uniform law over the kept
    ratios, compared with 400 simulated samples of at most 400 values, rescaled by the
    square root of their number (Lilliefors' test, with Stephens' small-sample factor).
    The ratios are taken as independent.

    Examples
    --------
    >>> x = np.random.default_rng(0).exponential(size=500)
    >>> rate, _, used = censored_likelihood(x, 450)
    >>> goodness_of_fit(x, rate, censored_likelihood, 450) > 0.05
    True
    """
    statistic = _distance(np.sort(ratio)[:kept], rate, len(ratio))
    null = _null(fitter, round(kept / len(ratio), 3), min(len(ratio), _SIMULATED))
    return float((1 + np.sum(null >= statistic)) / (1 + len(null)))


def _distance(x: NDArray[np.float64], rate: float, n: int) -> float:
    law = -np.expm1(-rate * x)
    steps = np.arange(len(x) + 1) / n
    largest = max(np.max(steps[1:] - law), np.max(law - steps[:-1]))
    root = math.sqrt(n)
    return float((largest - 0.2 / n) * (root + 0.26 + 0.5 / root))


@cache
def _null(fitter: Fitter, share: float, n: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    kept = max(2, math.floor(share * n + 1e-9))
    samples = rng.exponential(size=(_SIMULATIONS, n))
    return np.array([_distance(np.sort(x)[:kept], fitter(x, kept)[0], n) for x in samples])
