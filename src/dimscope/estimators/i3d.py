"""I3D: the dimension of counts, tokens and other discrete data, where distances are often tied."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Literal

import numpy as np

from dimscope.arrays.threads import parallel, spans, workers
from dimscope.errors import BadPoints, DegeneratePoints, check_word
from dimscope.estimators.base import Estimator
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dimscope.arrays.points import Points
    from dimscope.estimators.inputs import Inputs

__all__ = ["I3D", "Metric", "fit_lattice", "log_share"]

Metric = Literal["cityblock", "hamming"]

_MEAN_NEIGHBORS = 10  # Points within the default outer radius, on average.
_INNER_SHARE = 0.2  # Share of them within the default inner radius, where the likelihood is best.
_FARTHEST = 10_000  # Largest default outer radius, in steps of the lattice.
_SAMPLE = 256  # Points from which the default radii are chosen.
_VALUES = 1 << 22  # Distances that each thread holds at a time.


@dataclass(frozen=True)
class I3D(Estimator):
    """Estimate the dimension of discrete data from counts within two radii (Macocco et al. 2023).

    Parameters
    ----------
    far : int, optional
        Outer radius; by default, the smallest radius that contains ten other points on average.
    near : int, optional
        Inner radius, 0 <= near < far. By default, the radius within which the number of points is
        nearest to a fifth of that within ``far``: with this share the likelihood is most
        informative.
    metric : {"cityblock", "hamming"}
        ``"cityblock"``: sum of absolute differences, for counts. ``"hamming"``: number of features
        that differ, for tokens and other categories (use the result for comparisons only; see
        Notes).

    Notes
    -----
    On a lattice of dimension d, the number of sites within a distance t is V(t, d), the
    coefficient of z^t in (1 + z)^d / (1 - z)^(d+1); d need not be an integer:

    (t + 1) V(t+1) = (2 d + 1) V(t) + t V(t-1), V(0) = 1.

    Let k_i be the number of other points within ``far`` of point i, and n_i the number within
    ``near``. If the density is constant up to ``far``, n_i is binomial with k_i trials and success
    probability p = V(near, d) / V(far, d). The likelihood is maximal where p = sum n_i / sum k_i.
    Duplicate rows (at distance 0) are kept: in discrete data they are not an artefact.

    The standard error accounts for the dependence between pairs of points that share a point. With
    r_i = n_i - p k_i and S = sum n_i (1-p)^2 + (k_i - n_i) p^2, the variance of sum r_i is
    4 sum r_i^2 - 2 S, or 2 S if that is larger. The result depends on the radii, as other estimates
    depend on the scale, so compare several radii. Above a dimension of about 20 the result is a
    lower bound.

    The formula assumes unbounded integers, so the range of the counts must be large compared with
    ``far``; for example, the result for 16 independent bits is 7.3. With ``hamming`` the result is
    about right only if each feature takes about three values: for 8 independent features with 2, 3
    or 4 values it is 4.0, 7.2 or 9.2. Therefore compare results only between data with the same
    alphabet, and do not interpret them as a number of features.

    References
    ----------
    I. Macocco, A. Glielmo, J. Grilli and A. Laio, "Intrinsic dimension estimation for
    discrete metrics", Physical Review Letters 130, 067401 (2023).

    Examples
    --------
    >>> counts = np.random.default_rng(0).integers(0, 100, (2000, 2))
    >>> I3D(far=8, near=4)(counts)
    Estimate(1.956 ± 0.017, n=2000)
    >>> estimate = I3D(far=2, near=1)([[0], [1], [4], [6]])
    >>> round(float(estimate), 6)  # 2 / 4 = (2 d + 1) / (2 d^2 + 2 d + 1): d = (1 + sqrt(3)) / 2
    1.366025
    """

    far: int | None = None
    near: int | None = None
    metric: Metric = "cityblock"

    def __post_init__(self) -> None:
        for radius in (self.far, self.near):
            if radius is not None:
                index(radius)  # Raises a TypeError unless the radius is an integer.
        check_word("metric", self.metric, Metric)
        if self.far is None and self.near is not None:
            raise ValueError("near is given without far; give both radii")
        if self.far is not None and not 0 <= (self.near or 0) < self.far:
            raise ValueError(
                f"near is {self.near} and far is {self.far}; give radii with 0 <= near < far"
            )

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from all points, duplicates included.

        Raises
        ------
        BadPoints
            If values are not integers, or Neighbors are given instead of points.
        DegeneratePoints
            If no two points are within ``near`` of each other, or all pairs within ``far`` are also
            within ``near``.
        """
        points = inputs.all_points
        if self.metric == "cityblock":
            _check_whole(points)
        values = _Blocked(points, inputs.memory)
        near, far = self._radii(values)
        n, k = self._counts(values, (near, far))
        try:
            dimension, std_error = fit_lattice(n, k, near, far)
        except DegeneratePoints as error:
            raise DegeneratePoints(f"{error}; {self._advice(values)}") from None
        return Estimate(
            dimension,
            std_error,
            n_points=points.n_points,
            n_used=int((k > 0).sum()),
            is_lower_bound=dimension > LOWER_BOUND_ABOVE,
            provenance=Provenance(
                "estimate",
                {"estimator": repr(self), "near": near, "far": far},
                versions("scipy"),
            ),
        )

    def _distances(
        self, queries: NDArray[np.float64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        from scipy.spatial.distance import cdist

        distances: NDArray[np.float64] = cdist(queries, values, self.metric)
        # SciPy returns the fraction of features that differ.
        return np.rint(distances * values.shape[1]) if self.metric == "hamming" else distances

    def _radii(self, values: _Blocked) -> tuple[int, int]:
        """Return the radii that the user gave, or choose radii from a sample of the points."""
        if self.far is not None and self.near is not None:
            return self.near, self.far
        n = values.n_points
        sample = values.rows(np.unique(np.linspace(0, n - 1, _SAMPLE).astype(int)))
        n_within = min((_MEAN_NEIGHBORS + 1) * len(sample), len(sample) * n)
        far = self.far
        if far is None:
            nearest = np.empty(0)
            for block in values.blocks():
                distances = np.append(nearest, self._distances(sample, block))
                nearest = (
                    np.partition(distances, n_within - 1)[:n_within]
                    if len(distances) > n_within
                    else distances
                )
            far = int(nearest.max())
        far = max(1, far)
        if far > _FARTHEST:
            raise BadPoints(
                f"neighbours are {far} steps of the lattice apart, so the values are practically "
                "continuous; use TwoNN, or divide the counts by a common factor"
            )
        at_distance = np.zeros(far + 1, dtype=np.int64)
        for block in values.blocks():
            distances = self._distances(sample, block)
            at_distance += np.bincount(distances[distances <= far].astype(int), minlength=far + 1)
        # Every point of the sample is at distance 0 from itself and does not count.
        *within, total = (np.cumsum(at_distance) - len(sample)).tolist()
        radii = np.flatnonzero(within)
        if not len(radii):
            return far - 1, far
        shares = np.array(within)[radii] / (_INNER_SHARE * total)
        return int(radii[np.abs(np.log(shares)).argmin()]), far

    def _advice(self, values: _Blocked) -> str:
        """Name radii that work, as counted between the points."""
        default = I3D(metric=self.metric)
        near, far = default._radii(values)
        n, k = (int(counts.sum()) for counts in default._counts(values, (near, far)))
        if not 0 < n < k:
            return "their distances differ too little or too much for two radii; add points"
        metric = "" if self.metric == "cityblock" else f", metric={self.metric!r}"
        return f"use I3D(far={far}, near={near}{metric}), or give no radii, which chooses these"

    def _counts(
        self, values: _Blocked, radii: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count the other points within each radius of every point."""

        def work(rows: slice) -> NDArray[np.int64]:
            counts = np.full((len(radii), rows.stop - rows.start), -1)  # not the point itself
            queries = values.rows(rows)
            for block in values.blocks():
                distances = self._distances(queries, block)
                counts += [np.count_nonzero(distances <= radius, axis=1) for radius in radii]
            return counts

        height = max(1, min(values.height, _VALUES // values.height))
        near, far = np.concatenate(parallel(work, spans(values.n_points, height)), axis=1)
        return near, far


class _Blocked:
    """Points in float64: kept in memory if they fit in the budget, else read block by block.

    Parameters
    ----------
    points : Points
    memory : int
        Budget in bytes.
    """

    def __init__(self, points: Points, memory: int) -> None:
        self.n_points = points.n_points
        self._points, self._whole = points, None
        row_bytes = 8 * points.n_features
        self.height = points.n_points
        if row_bytes * points.n_points <= memory:
            self._whole = points.block(slice(None), dtype=np.dtype(np.float64))
        else:
            self.height = max(1, min(points.n_points, memory // 4 // row_bytes // workers()))

    def rows(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float64]:
        """Return some of the points."""
        if self._whole is not None:
            return self._whole[rows]
        block: NDArray[np.float64] = self._points.block(rows, dtype=np.dtype(np.float64))
        self._points.release()
        return block

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Return all points, block by block."""
        return (self.rows(rows) for rows in spans(self.n_points, self.height))


def fit_lattice(
    n: NDArray[np.int64], k: NDArray[np.int64], near: int, far: int
) -> tuple[float, float]:
    """Fit the dimension to the numbers of other points within two radii of each point.

    Parameters
    ----------
    n, k : arrays of int, shape (n_points,)
        Number of other points within ``near`` and within ``far`` of each point.
    near, far : int

    Returns
    -------
    dimension, std_error : float

    Raises
    ------
    DegeneratePoints
        If no two points are within ``near`` of each other, or all pairs within ``far`` are also
        within ``near``.

    Notes
    -----
    See :class:`dimscope.I3D`.
    """
    from scipy.optimize import brentq

    inside, outside = int(n.sum()), int(k.sum())
    if not inside:
        raise DegeneratePoints(f"no two points are within {near} of each other")
    if inside == outside:
        raise DegeneratePoints(f"all points within {far} of each other are also within {near}")
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
    """Compute the logarithm of V(near, d) / V(far, d) and its derivative with respect to d.

    Parameters
    ----------
    near, far : int
        0 <= near < far.
    d : float
        Dimension of the lattice, not necessarily an integer.

    Returns
    -------
    value, slope : float

    Examples
    --------
    >>> value, slope = log_share(1, 2, 1.0)
    >>> round(math.exp(value), 12)  # 3 / 5
    0.6
    """
    # In the recursion for V(t+1) / V(t) every term is positive, so no digits cancel.
    ratio, ratio_slope = 2 * d + 1, 2.0
    value = slope = 0.0
    for t in range(far):
        if t:
            ratio_slope = (2 - t * ratio_slope / ratio**2) / (t + 1)
            ratio = (2 * d + 1 + t / ratio) / (t + 1)
        if t >= near:
            value -= math.log(ratio)
            slope -= ratio_slope / ratio
    return value, slope


def _check_whole(points: Points) -> None:
    if points.array.dtype.kind in "iub":
        return
    for rows in spans(points.n_points, max(1, _VALUES // points.n_features)):
        block = points.block(rows)
        bad = block != np.rint(block)
        if bad.any():
            row, column = (int(places[0]) for places in np.nonzero(bad))
            raise BadPoints(
                f"row {rows.start + row}, column {column} is {block[row, column]}, which is not a "
                "whole number: I3D is for counts and categories; use TwoNN for other values"
            )
