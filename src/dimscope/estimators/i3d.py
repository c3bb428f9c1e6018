"""I3D: the dimension of counts, tokens and other discrete data, where distances are often tied."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Literal

import numpy as np

from dimscope.arrays.memory import check_budget
from dimscope.arrays.threads import parallel, spans, workers
from dimscope.errors import BadPoints, DegeneratePoints, NarrowRange, check_word, warn
from dimscope.estimators.base import FEWEST_GROUPS, Estimator, too_few_groups
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate
from dimscope.estimators.uncertainty import group_freedom, small_sample_factor
from dimscope.neighbors.exclusion import Exclusion
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
_ALONE = "all points have the same id in exclude, so that none has a neighbour"


@dataclass(frozen=True)
class I3D(Estimator):
    """Estimate the dimension of discrete data from counts within two radii (Macocco et al. 2023).

    ``exclude`` and ``groups`` of :func:`dimscope.estimate` apply, although no neighbours are
    searched for: points of equal id do not count each other, or are one unit of the standard error.

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
    4 sum r_i^2 - 2 S, or 2 S if that is larger. With ``groups`` the units are groups: R_gh is the
    sum of n - p k over the pairs of a point of g and one of h. With e_g = 2 sum_{h != g} R_gh +
    R_gg, less their mean, and S = sum_{g != h} R_gh^2, the variance is sum e_g^2 - 2 S, or
    2 S + sum R_gg^2 if that is larger, times G / (G - 1). The result depends on the radii, as other
    estimates depend on the scale, so compare several radii. Above a dimension of about 20 the
    result is a lower bound.

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

    @property
    def uses_ids(self) -> bool:
        """True: points are compared with each other."""
        return True

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

        Warns
        -----
        NarrowRange
            If half of the features that vary have a range below ``far``.
        """
        points = inputs.all_points
        if self.metric == "cityblock":
            _check_whole(points)
        barred, groups = inputs.ids("exclude"), inputs.ids("groups")
        values = _Blocked(points, inputs.memory, self.metric, barred)
        near, far = self._radii(values)
        n, k = self._counts(values, (near, far))
        counts, n_groups, reason = (n, k), None, ""
        if groups is not None:
            n_groups = int(groups.max()) + 1
            check_budget(
                16 * n_groups**2, inputs.memory, f"the error of I3D over {n_groups} groups"
            )
            counts = self._counts_of_groups(values, (near, far), groups)
        try:
            dimension, std_error = fit_lattice(*counts, near, far)
        except DegeneratePoints as error:
            raise DegeneratePoints(f"{error}; {self._advice(values)}") from None
        if n_groups is not None and n_groups < FEWEST_GROUPS:
            std_error, reason = math.nan, too_few_groups(n_groups)
        elif groups is not None:
            std_error *= math.sqrt(small_sample_factor(groups))
        if self.metric == "cityblock" and (width := values.range()) < far:
            warn(
                f"half of the features vary by {width:g} or less, which is below the outer radius "
                f"of {far}: I3D assumes a range that is large compared with it, and is mostly too "
                "low otherwise. Add a uniform number between 0 and 1 to each count, take the roots "
                "and use TwoNN; or average over trials",
                NarrowRange,
            )
        excluded = {} if barred is None else {"exclude": Exclusion(barred).description()}
        return Estimate(
            dimension,
            std_error,
            n_points=points.n_points,
            n_used=int((k > 0).sum()),
            is_lower_bound=dimension > LOWER_BOUND_ABOVE,
            reason=reason,
            n_groups=n_groups,
            degrees_of_freedom=math.inf if groups is None else group_freedom(groups),
            provenance=Provenance(
                "estimate",
                {"estimator": repr(self), "near": near, "far": far, **excluded},
                versions("scipy"),
            ),
        )

    def _radii(self, values: _Blocked) -> tuple[int, int]:
        """Return the radii that the user gave, or choose radii from a sample of the points."""
        if self.far is not None and self.near is not None:
            return self.near, self.far
        n = values.n_points
        sample = np.unique(np.linspace(0, n - 1, _SAMPLE).astype(int))
        n_within = _MEAN_NEIGHBORS * len(sample)
        far = self.far
        if far is None:
            nearest = np.empty(0)
            for _, distances in values.distances(sample):
                nearest = np.append(nearest, distances[np.isfinite(distances)])
                if len(nearest) > n_within:
                    nearest = np.partition(nearest, n_within - 1)[:n_within]
            if not len(nearest):
                raise DegeneratePoints(_ALONE)
            far = int(nearest.max())
        far = max(1, far)
        if far > _FARTHEST:
            raise BadPoints(
                f"neighbours are {far} steps of the lattice apart, so the values are practically "
                "continuous; use TwoNN, or divide the counts by a common factor"
            )
        at_distance = np.zeros(far + 1, dtype=np.int64)
        for _, distances in values.distances(sample):
            at_distance += np.bincount(distances[distances <= far].astype(int), minlength=far + 1)
        *within, total = np.cumsum(at_distance).tolist()
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
            counts = np.zeros((len(radii), rows.stop - rows.start), np.int64)
            for _, distances in values.distances(np.arange(rows.start, rows.stop)):
                counts += [np.count_nonzero(distances <= radius, axis=1) for radius in radii]
            return counts

        near, far = np.concatenate(parallel(work, values.spans()), axis=1)
        return near, far

    def _counts_of_groups(
        self, values: _Blocked, radii: tuple[int, int], groups: NDArray[np.intp]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count the pairs of points within each radius, for each pair of groups."""
        from scipy.sparse import csr_array

        n, n_groups = len(groups), int(groups.max()) + 1
        of_group = csr_array((np.ones(n, np.int64), groups, np.arange(n + 1)), (n, n_groups))
        table = np.zeros((len(radii), n_groups, n_groups), np.int64)
        order, lock = np.argsort(groups, kind="stable"), threading.Lock()

        def work(span: slice) -> None:
            rows = order[span]
            touched = slice(groups[rows[0]], groups[rows[-1]] + 1)
            mine = of_group[rows][:, touched].T
            for columns, distances in values.distances(rows):
                theirs = of_group[columns].T
                for place, radius in enumerate(radii):
                    within = (distances <= radius).astype(np.int64)
                    pairs = mine @ (theirs @ within.T).T
                    with lock:
                        table[place, touched] += pairs

        parallel(work, values.spans())
        return table[0], table[1]


class _Blocked:
    """Distances between points, which are read block by block unless they fit in the budget.

    Parameters
    ----------
    points : Points
    memory : int
        Budget in bytes.
    metric : {"cityblock", "hamming"}
    barred : array of int, shape (n_points,), optional
        Ids of points: no distance between points of equal id is returned.
    """

    def __init__(
        self, points: Points, memory: int, metric: Metric, barred: NDArray[np.intp] | None
    ) -> None:
        self.n_points = points.n_points
        self._points, self._whole = points, None
        self._metric, self._barred = metric, barred
        row_bytes = 8 * points.n_features
        self._height = points.n_points
        if row_bytes * points.n_points <= memory:
            self._whole = points.block(slice(None), dtype=np.dtype(np.float64))
        else:
            self._height = max(1, min(points.n_points, memory // 4 // row_bytes // workers()))

    def spans(self) -> list[slice]:
        """Return as many points at a time as a thread may ask the distances of."""
        return spans(self.n_points, max(1, min(self._height, _VALUES // self._height)))

    def distances(self, places: NDArray[np.intp]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Return distances from some points to all others, block by block.

        Those from a point to itself, and to points of its id, are infinite.
        """
        from scipy.spatial.distance import cdist

        queries = self._rows(places)
        for columns in spans(self.n_points, self._height):
            found: NDArray[np.float64] = cdist(queries, self._rows(columns), self._metric)
            if self._metric == "hamming":  # SciPy returns the fraction of features that differ
                found = np.rint(found * queries.shape[1])
            if self._barred is None:
                own = np.flatnonzero((places >= columns.start) & (places < columns.stop))
                found[own, places[own] - columns.start] = np.inf
            else:
                found[self._barred[places][:, None] == self._barred[columns]] = np.inf
            yield columns, found

    def range(self) -> float:
        """Return the median range of the features that vary; infinite if none does."""
        low, high = np.inf, -np.inf
        for columns in spans(self.n_points, self._height):
            block = self._rows(columns)
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        ranges = np.atleast_1d(high - low)
        return float(np.median(ranges[ranges > 0])) if (ranges > 0).any() else math.inf

    def _rows(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float64]:
        if self._whole is not None:
            return self._whole[rows]
        block: NDArray[np.float64] = self._points.block(rows, dtype=np.dtype(np.float64))
        self._points.release()
        return block


def fit_lattice(
    n: NDArray[np.int64], k: NDArray[np.int64], near: int, far: int
) -> tuple[float, float]:
    """Fit the dimension to the numbers of other points within two radii of each point.

    Parameters
    ----------
    n, k : arrays of int, shape (n_points,) or (n_groups, n_groups)
        Number of other points within ``near`` and within ``far`` of each point; or of such pairs,
        for each pair of groups, which are then the units of the error.
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
    if n.ndim == 1:
        own = np.zeros(1)
        effects = 2 * residual
        pairs = float((n * (1 - share) ** 2 + (k - n) * share**2).sum())
    else:
        own = residual.diagonal().copy()
        np.fill_diagonal(residual, 0)
        effects = 2 * residual.sum(axis=1) + own
        effects -= effects.mean()
        pairs = float(np.vdot(residual, residual))
    variance = max(float(effects @ effects) - 2 * pairs, 2 * pairs + float(own @ own))
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
