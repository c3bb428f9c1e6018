"""I3D: the dimension of counts, tokens and other discrete data, where distances tie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING

import numpy as np

from dimscope.arrays.threads import parallel, spans
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.estimators.base import Estimator
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.points import Points
    from dimscope.estimators.inputs import Inputs

__all__ = ["I3D", "fit_lattice", "log_share"]


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


METRICS = ("cityblock", "hamming")


_WANTED = 10  # neighbours within the outer radius, on average, where it is not given


_SHARE = 0.2  # of those within the inner radius: there the likelihood tells most of d


_FARTHEST = 10_000  # steps of the lattice


_SAMPLE = 256  # points from which that radius is found


_VALUES = 1 << 22  # distances held at a time, by each thread


@dataclass(frozen=True)
class I3D(Estimator):
    """The dimension from how many points lie within two radii on a lattice (Macocco et al. 2023).

    Parameters
    ----------
    far : int, optional
        Outer radius; by default the least that holds ten other points on average.
    near : int, optional
        Inner radius, 0 <= near < far; by default the one that holds closest to a fifth of
        those, where the likelihood tells most.
    metric : {"cityblock", "hamming"}
        Sum of absolute differences, for counts; or the number of features that differ, for
        tokens and other categories (see the notes: its value is one to compare with).

    Notes
    -----
    On a lattice of dimension d, the number of sites within a distance t is V(t, d), the
    coefficient of z^t in (1 + z)^d / (1 - z)^(d+1), also for d that are not whole:

    (t + 1) V(t+1) = (2 d + 1) V(t) + t V(t-1), V(0) = 1.

    Where the density is constant up to ``far``, the n_i others within ``near`` of point i are
    binomial among the k_i within ``far``, with p = V(near, d) / V(far, d). The likelihood is
    greatest where p = sum n_i / sum k_i. Equal rows are at distance 0 and stay: they
    are no artefact in discrete data.

    The standard error counts every pair of pairs that shares a point. With
    r_i = n_i - p k_i and S = sum n_i (1-p)^2 + (k_i - n_i) p^2,
    var(sum r_i) = 4 sum r_i^2 - 2 S, and no less than 2 S. The result depends on the radii as
    other estimates depend on scale: compare several. Above a dimension of about 20 it is a
    lower bound.

    The law is that of whole numbers without bounds. Counts must range widely against ``far``:
    for 16 independent bits it says 7.3. With ``hamming`` it is right where features take about
    three values each: for 8 independent features of 2, 3 or 4 values it says 4.0, 7.2 or 9.2. So
    compare what it says of data of one alphabet, and do not read it as a number of features.

    References
    ----------
    I. Macocco, A. Glielmo, J. Grilli and A. Laio, "Intrinsic dimension estimation for
    discrete metrics", Physical Review Letters 130, 067401 (2023).

    Examples
    --------
    >>> counts = np.random.default_rng(0).integers(0, 100, (2000, 2))
    >>> I3D(far=8, near=4)(counts)
    Estimate(1.956 ± 0.017, n=2000)
    >>> found = I3D(far=2, near=1)([[0], [1], [4], [6]])
    >>> round(float(found), 6)  # 2 / 4 = (2 d + 1) / (2 d^2 + 2 d + 1): d = (1 + sqrt(3)) / 2
    1.366025
    """

    far: int | None = None
    near: int | None = None
    metric: str = "cityblock"

    def __post_init__(self) -> None:
        for radius in (self.far, self.near):
            if radius is not None:
                index(radius)  # a TypeError for what is no whole number
        if self.metric not in METRICS:
            raise ValueError(f"metric is {self.metric!r}; use one of {', '.join(METRICS)}")
        if self.far is None and self.near is not None:
            raise ValueError("near is given without far; give both radii")
        if self.far is not None and not 0 <= (self.near or 0) < self.far:
            raise ValueError(
                f"near is {self.near} and far is {self.far}; 0 <= near < far is needed"
            )

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from all points, repeats included.

        Raises
        ------
        BadPoints
            If values are not whole numbers, or only neighbours were given.
        DegeneratePoints
            If no two points, or all that are within ``far``, are within ``near``.
        """
        points = inputs.all_points
        if self.metric == "cityblock":
            _check_whole(points)
        values = points.block(slice(None), dtype=np.dtype(np.float64))
        near, far = self._radii(values)
        n, k = self._counts(values, (near, far))
        dimension, std_error = fit_lattice(n, k, near, far)
        return Estimate(
            dimension,
            std_error,
            n_points=len(values),
            n_used=int((k > 0).sum()),
            is_lower_bound=dimension > LOWER_BOUND_ABOVE,
            provenance=Provenance(
                "estimate",
                {"estimator": repr(self), "near": near, "far": far},
                versions("scipy"),
            ),
        )

    def _distances(
        self, some: NDArray[np.float64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        from scipy.spatial.distance import cdist

        found: NDArray[np.float64] = cdist(some, values, self.metric)
        return np.rint(found * values.shape[1]) if self.metric == "hamming" else found

    def _radii(self, values: NDArray[np.float64]) -> tuple[int, int]:
        """Those given, or what a sample of the points suggests."""
        if self.far is not None and self.near is not None:
            return self.near, self.far
        sample = np.unique(np.linspace(0, len(values) - 1, _SAMPLE).astype(int))
        found = np.sort(self._distances(values[sample], values), axis=None)
        wanted = min((_WANTED + 1) * len(sample), found.size)
        far = int(found[wanted - 1]) if self.far is None else self.far
        far = max(1, far)
        if far > _FARTHEST:
            raise BadPoints(
                f"neighbours are {far} steps of the lattice apart: values so fine are as good as "
                "continuous; use TwoNN, or divide counts by their common factor"
            )
        # less the points themselves, which are at distance 0
        inner = np.arange(far)
        within = np.searchsorted(found, inner, side="right") - len(sample)
        total = np.searchsorted(found, far, side="right") - len(sample)
        held = np.flatnonzero(within)
        if not len(held):
            return far - 1, far
        return int(held[np.abs(np.log(within[held] / (_SHARE * total))).argmin()]), far

    def _counts(
        self, values: NDArray[np.float64], radii: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Others within each radius of every point."""

        def work(rows: slice) -> list[NDArray[np.int64]]:
            found = self._distances(values[rows], values)
            return [np.count_nonzero(found <= radius, axis=1) - 1 for radius in radii]

        every = parallel(work, spans(len(values), max(1, _VALUES // len(values))))
        near, far = (np.concatenate([one[i] for one in every]) for i in range(2))
        return near, far


def _check_whole(points: Points) -> None:
    if points.array.dtype.kind in "iub":
        return
    for rows in spans(points.n_points, max(1, _VALUES // points.n_features)):
        block = points.block(rows)
        bad = block != np.rint(block)
        if bad.any():
            row, column = (int(one[0]) for one in np.nonzero(bad))
            raise BadPoints(
                f"row {rows.start + row}, column {column} is {block[row, column]}, which is not a "
                "whole number: I3D is for counts and categories; for others use TwoNN"
            )
