"""Curvature: whether points have fewer dimensions than their covariance explains.

A surrogate is a Gaussian cloud with the second moments of the data: it has their linear structure
and no other. If the data have fewer dimensions than their surrogate, they lie on something curved
or clustered that no linear map unfolds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays import as_points
from dimscope.arrays.threads import spans
from dimscope.errors import BadPoints
from dimscope.estimators.base import NeighborEstimator
from dimscope.estimators.two_nn import TwoNN
from dimscope.neighbors.engines import Engine

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CurvatureTest", "curvature_test", "surrogate"]


_VALUES = 1 << 22  # of a block, in float64


def surrogate(points: Any, n_points: int | None = None, *, seed: int = 0) -> NDArray[np.float64]:
    """Gaussian points with the mean and the covariance of others.

    Parameters
    ----------
    points : array-like of shape (n, n_features)
    n_points : int, optional
        How many to draw; as many as there are by default.
    seed : int

    Returns
    -------
    array of shape (n_points, n_features), float64

    Raises
    ------
    BadPoints
        If the points are no array of finite numbers, or too large for a cloud about them.

    Notes
    -----
    mean + G Xc / sqrt(n - 1), with Xc the centred points and G standard normal of shape
    (n_points, n): its covariance is that of the sample, exactly in expectation, and no
    n_features x n_features matrix is made.

    Examples
    --------
    >>> from dimscope.manifolds import gaussian
    >>> x = gaussian(2000, 2) @ [[3.0, 0], [0, 1]] + 7
    >>> surrogate(x).mean(axis=0).round().tolist(), surrogate(x).std(axis=0).round().tolist()
    ([7.0, 7.0], [3.0, 1.0])
    """
    checked = as_points(points).in_memory()
    n = checked.n_points
    drawn = n if n_points is None else n_points
    if drawn < 1:
        raise ValueError(f"n_points is {drawn}; at least 1 is needed")
    mixing = np.random.default_rng(seed).standard_normal((drawn, n)) / np.sqrt(n - 1)
    result = np.empty((drawn, checked.n_features))
    for columns in spans(checked.n_features, max(1, _VALUES // n)):
        block = checked.block(slice(None), columns, np.dtype(np.float64)) * checked.scale
        mean = block.mean(axis=0)
        np.matmul(mixing, block - mean, out=result[:, columns])
        result[:, columns] += mean
    with np.errstate(over="ignore"):  # said below
        result /= checked.scale
    if not np.isfinite(result).all():
        raise BadPoints(
            f"the largest absolute value is {checked.max_abs:.3g}: float64 does not hold a cloud "
            "about it; multiply the points by a constant"
        )
    return result


@dataclass(frozen=True)
class CurvatureTest:
    """The dimension of points against that of their surrogates.

    Parameters
    ----------
    dimension : float
        Of the points.
    surrogates : tuple of float
        Of Gaussian clouds with the same mean and covariance.

    Examples
    --------
    >>> CurvatureTest(4.0, (8.0, 9.0, 7.0)).ratio, CurvatureTest(4.0, (8.0, 9.0, 7.0)).p_value
    (2.0, 0.25)
    """

    dimension: float
    surrogates: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Mean of the surrogates over the dimension; 1 for Gaussian data."""
        return float(np.mean(self.surrogates) / self.dimension)

    @property
    def p_value(self) -> float:
        """One-sided p-value of being no lower than a surrogate: (1 + lower ones) / (1 + all)."""
        lower = sum(one <= self.dimension for one in self.surrogates)
        return (1 + lower) / (1 + len(self.surrogates))


def curvature_test(
    points: Any,
    estimator: NeighborEstimator | None = None,
    *,
    n: int = 19,
    seed: int = 0,
    engine: Engine | None = None,
    progress: Callable[[float], None] | None = None,
) -> CurvatureTest:
    """Compare the dimension of points with that of Gaussian clouds of the same covariance.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
    estimator : NeighborEstimator
        :class:`~dimscope.TwoNN` by default.
    n : int
        Number of surrogates, as many points each; 19 give p-values down to 0.05.
    seed : int
    engine : Engine, optional
        How to search; exact by default.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    CurvatureTest

    Raises
    ------
    BadPoints, DegeneratePoints
        If the points have no dimension.

    References
    ----------
    A. Ansuini, A. Laio, J. H. Macke and D. Zoccolan, "Intrinsic dimension of data
    representations in deep neural networks", NeurIPS (2019), Fig. 5B.

    Examples
    --------
    >>> from dimscope.manifolds import gaussian
    >>> from dimscope.manifolds import sphere
    >>> curvature_test(sphere(500, 2)).p_value, curvature_test(gaussian(500, 3)).p_value > 0.05
    (0.05, True)
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least 1 surrogate is needed")
    estimator = TwoNN() if estimator is None else estimator
    if not isinstance(estimator, NeighborEstimator):
        raise TypeError(
            f"estimator is {estimator!r}; a linear one cannot tell points from their surrogates, "
            "so give one that reads neighbours, such as TwoNN()"
        )
    checked = as_points(points).in_memory()
    dimension = float(estimator(points, engine))
    found = []
    for i in range(n):
        if progress is not None:
            progress((i + 1) / (n + 1))
        found.append(float(estimator(surrogate(checked, seed=seed + i), engine)))
    if progress is not None:
        progress(1.0)
    return CurvatureTest(dimension, tuple(found))
