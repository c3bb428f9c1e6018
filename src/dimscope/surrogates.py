"""Surrogates: Gaussian clouds with the second moments of others.

A surrogate shows what the intrinsic dimension would be if there were nothing but linear
structure: data on a curved manifold have far fewer dimensions than their surrogate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints
from dimscope.points import as_points
from dimscope.threads import spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["surrogate"]

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
    checked = as_points(points)
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
