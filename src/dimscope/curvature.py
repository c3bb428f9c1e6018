"""Curvature: whether points have fewer dimensions than their covariance explains.

A Gaussian cloud with the same second moments (the surrogate) has the linear structure of the
data and no other. If the data measure fewer dimensions than it does, they lie on
something curved, or clustered, that no linear map unfolds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dimscope.estimators import NeighborEstimator, TwoNN
from dimscope.neighbors import Engine
from dimscope.points import as_points
from dimscope.surrogates import surrogate

__all__ = ["CurvatureTest", "curvature_test"]


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
    >>> from dimscope.manifolds import gaussian, sphere
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
    checked = as_points(points)
    dimension = float(estimator(points, engine))
    found = []
    for i in range(n):
        if progress is not None:
            progress((i + 1) / (n + 1))
        found.append(float(estimator(surrogate(checked, seed=seed + i), engine)))
    if progress is not None:
        progress(1.0)
    return CurvatureTest(dimension, tuple(found))
