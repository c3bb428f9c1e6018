"""Sites of a lattice within a radius, and the dimension at which two radii hold a given share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dimscope.errors import DegeneratePoints

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fit_lattice", "log_share"]


def fit_lattice(
    n: NDArray[np.int64], k: NDArray[np.int64], near: int, far: int
) -> tuple[float, float]:
    """Dimension and standard error from the numbers of others within two radii.

    Parameters
    ----------
    n, k : arrays of int, shape (n_points,)
        Within ``near`` and within ``far`` of each point.
    near, far : int

    Returns
    -------
    dimension, std_error : float

    Raises
    ------
    DegeneratePoints
        If nobody, or everybody counted, is within ``near``.

    Notes
    -----
    See :class:`dimscope.I3D`.
    """
    from scipy.optimize import brentq

    inside, outside = int(n.sum()), int(k.sum())
    if not inside:
        raise DegeneratePoints(
            f"no two points are within {near} of each other; give larger radii, such as "
            f"I3D(far={2 * far}, near={2 * near or 1})"
        )
    if inside == outside:
        raise DegeneratePoints(
            f"all points within {far} of each other are within {near} already; give other radii"
        )
    share = inside / outside
    high = 1.0
    while log_share(near, far, high)[0] > math.log(share):
        high *= 2
    dimension = float(
        brentq(lambda d: log_share(near, far, d)[0] - math.log(share), 0, high, rtol=1e-13)
    )
    residual = n - share * k
    pairs = float((n * (1 - share) ** 2 + (k - n) * share**2).sum())
    variance = max(4 * float(residual @ residual) - 2 * pairs, 2 * pairs)
    slope = share * log_share(near, far, dimension)[1]
    return dimension, math.sqrt(variance) / outside / abs(slope)


def log_share(near: int, far: int, d: float) -> tuple[float, float]:
    """Logarithm of V(near, d) / V(far, d), and its derivative by d.

    Parameters
    ----------
    near, far : int
        0 <= near < far.
    d : float
        Dimension of the lattice, whole or not.

    Returns
    -------
    value, slope : float

    Examples
    --------
    >>> value, slope = log_share(1, 2, 1.0)
    >>> round(math.exp(value), 12)  # 3 / 5
    0.6
    """
    # V(t+1) / V(t): every term is positive, so that nothing cancels
    ratio, by_d = 2 * d + 1, 2.0
    value = slope = 0.0
    for t in range(far):
        if t:
            ratio, by_d = (2 * d + 1 + t / ratio) / (t + 1), (2 - t * by_d / ratio**2) / (t + 1)
        if t >= near:
            value -= math.log(ratio)
            slope -= by_d / ratio
    return value, slope
