"""Curvature: whether points have fewer dimensions than their covariance implies.

A surrogate is a Gaussian cloud with the mean and the covariance of the data: it keeps their linear
structure and nothing else. If the data have a lower dimension than their surrogates, they are
curved or clustered in a way that a linear map cannot undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays import as_points
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.arrays.points import within_budget
from dimscope.arrays.threads import spans
from dimscope.errors import BadPoints
from dimscope.estimators.base import NeighborEstimator
from dimscope.estimators.inputs import Inputs
from dimscope.estimators.two_nn import TwoNN
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.engines import Engine

__all__ = ["CurvatureTest", "curvature_test", "surrogate"]

_VALUES = 1 << 22  # Values in a block, in float64.
_MIXING = 1 << 23  # Random numbers drawn at a time.


@by_value
@dataclass(frozen=True, eq=False)
class CurvatureTest:
    """The dimension of points, compared with the dimensions of their surrogates.

    Parameters
    ----------
    dimension : float
        Dimension of the points.
    surrogates : tuple of float
        Dimensions of Gaussian clouds with the same mean and covariance.

    Examples
    --------
    >>> CurvatureTest(4.0, (8.0, 9.0, 7.0)).ratio, CurvatureTest(4.0, (8.0, 9.0, 7.0)).p_value
    (2.0, 0.25)
    """

    dimension: float
    surrogates: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Mean dimension of the surrogates over that of the points; about 1 for Gaussian data."""
        return float(np.mean(self.surrogates) / self.dimension)

    @property
    def p_value(self) -> float:
        """One-sided p-value: (1 + surrogates at or below the data) / (1 + number of surrogates)."""
        n_not_higher = sum(dimension <= self.dimension for dimension in self.surrogates)
        return (1 + n_not_higher) / (1 + len(self.surrogates))


def curvature_test(
    points: Any,
    estimator: NeighborEstimator | None = None,
    *,
    n: int = 19,
    seed: int = 0,
    engine: Engine | None = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> CurvatureTest:
    """Compare the dimension of points with that of Gaussian clouds with the same covariance.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
    estimator : NeighborEstimator
        :class:`~dimscope.TwoNN` by default.
    n : int
        Number of surrogates, each with as many points as the data. With 19, the smallest possible
        p-value is 0.05.
    seed : int
        Seed for the surrogates.
    engine : Engine, optional
        How to search for neighbours; exact by default.
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)``, called in this thread after each of the n + 1 clouds.

    Returns
    -------
    CurvatureTest

    Raises
    ------
    BadPoints, DegeneratePoints
        If the dimension cannot be measured; the message says why and where.

    References
    ----------
    A. Ansuini, A. Laio, J. H. Macke and D. Zoccolan, "Intrinsic dimension of data
    representations in deep neural networks", NeurIPS (2019), Fig. 5B.

    Examples
    --------
    >>> from dimscope.manifolds import gaussian, sphere
    >>> curvature_test(sphere(500, 2)).p_value, curvature_test(gaussian(500, 3)).p_value > 0.05
    (0.05, True)
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least 1 surrogate is needed")
    estimator = TwoNN() if estimator is None else estimator
    if not isinstance(estimator, NeighborEstimator):
        raise TypeError(
            f"estimator is {estimator!r}; give one that uses neighbours, such as TwoNN(): a "
            "linear estimator cannot distinguish points from their surrogates"
        )
    budget = budget_from(memory)
    checked = within_budget(as_points(points, memory=budget), budget)
    dimensions = []
    for i in range(n + 1):
        cloud = surrogate(checked, seed=seed + i - 1, memory=budget) if i else checked
        neighbors = Inputs(cloud, engine, [estimator], memory=budget).neighbors
        dimensions.append(estimator.from_neighbors(neighbors, test_fit=False).dimension)
        if progress is not None:
            progress("measuring surrogates", i + 1, n + 1)
    return CurvatureTest(dimensions[0], tuple(dimensions[1:]))


def surrogate(
    points: Any,
    n_points: int | None = None,
    *,
    seed: int = 0,
    memory: int | str | None = None,
) -> NDArray[np.float64]:
    """Draw Gaussian points with the mean and the covariance of the given points.

    Parameters
    ----------
    points : array-like of shape (n, n_features)
    n_points : int, optional
        Number of points to draw; by default as many as are given.
    seed : int
        Seed for the draw.
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.

    Returns
    -------
    array of shape (n_points, n_features), float64

    Raises
    ------
    BadPoints
        If the points are not an array of finite numbers, or are so large that a surrogate would
        exceed the range of float64.
    OverBudget
        If the surrogate exceeds the budget.

    Notes
    -----
    The result is mean + G Xc / sqrt(n - 1), where Xc holds the centred points and G is standard
    normal with shape (n_points, n). The expected covariance is exactly that of the sample, and no
    n_features x n_features matrix is formed.

    Examples
    --------
    >>> from dimscope.manifolds import gaussian
    >>> x = gaussian(2000, 2) @ [[3.0, 0], [0, 1]] + 7
    >>> surrogate(x).mean(axis=0).round().tolist(), surrogate(x).std(axis=0).round().tolist()
    ([7.0, 7.0], [3.0, 1.0])
    """
    budget = budget_from(memory)
    checked = within_budget(as_points(points, memory=budget), budget)
    n = checked.n_points
    n_drawn = n if n_points is None else n_points
    if n_drawn < 1:
        raise ValueError(f"n_points is {n_drawn}; it must be at least 1")
    check_budget(8 * n_drawn * checked.n_features, budget, "the surrogate")
    rng = np.random.default_rng(seed)
    result = np.empty((n_drawn, checked.n_features))
    # rows of G are drawn in turn, so that no n_points x n matrix is formed
    for rows in spans(n_drawn, max(1, _MIXING // n)):
        mixing = rng.standard_normal((rows.stop - rows.start, n)) / np.sqrt(n - 1)
        for columns in spans(checked.n_features, max(1, _VALUES // n)):
            block = checked.block(slice(None), columns, np.dtype(np.float64)) * checked.scale
            mean = block.mean(axis=0)
            np.matmul(mixing, block - mean, out=result[rows, columns])
            result[rows, columns] += mean
    with np.errstate(over="ignore"):  # An overflow raises the error below.
        result /= checked.scale
    if not np.isfinite(result).all():
        raise BadPoints(
            f"the largest absolute value is {checked.max_abs:.3g}: a cloud around such points "
            "exceeds the range of float64; divide the points by a constant"
        )
    return result
