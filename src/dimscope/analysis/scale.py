"""Scale curves: the dimension with fewer points, or with farther neighbours.

The measured dimension depends on the scale. At small scales, noise fills every dimension; at large
scales, a curved sheet looks thicker. To measure at larger scales, either use fewer points, whose
neighbours are farther away (blocks of N/2, N/3, ... points: the block analysis of the paper), or
use neighbours of higher rank (Gride). The dimension is well defined where it stays the same over a
range of scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.threads import parallel
from dimscope.errors import (
    DegeneratePoints,
    HubDominates,
    NearCopies,
    RepeatedPoints,
    ShortNeighbors,
    silent,
)
from dimscope.estimators.base import NeighborEstimator
from dimscope.estimators.effects import depth_for
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE
from dimscope.estimators.gride import Gride
from dimscope.estimators.mle import spread_of_inverse
from dimscope.estimators.ties import TIE_WARNINGS, checked_ties
from dimscope.estimators.two_nn import TwoNN
from dimscope.neighbors.search import neighbors_of
from dimscope.provenance import Provenance, versions
from dimscope.values import by_value, to_plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.engines import Engine
    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["Plateau", "ScaleCurve", "ScalePoint", "depth_of_ranks", "rank_curve", "scale_curve"]

_MIN_FACTOR = 4  # Least factor in points or ranks that a plateau spans.
_RANKS = 64  # Neighbours to search for; the few points that need more are searched again.
_SMALLEST = 20  # Least number of points in a block.
_FEW_BLOCKS = 10  # The spread of so few says too little of the error of their mean.
_LOCAL = 20  # Neighbours for the local dimension.
_MIXED_ABOVE = 0.25  # Spread of the local dimension above which points are a mixture.
_REFUSED_BELOW = 0.01  # p-value below which no single dimension explains the ratios.


@by_value
@dataclass(frozen=True, eq=False)
class ScalePoint:
    """The dimension at one scale.

    Parameters
    ----------
    n_points : int
        Number of points in each block.
    n_blocks : int
        Number of blocks.
    ranks : tuple of int
        Ranks of the two neighbours whose distances are compared.
    distance : float
        Mean distance to the farther neighbour.
    dimension : float
        Mean dimension over the blocks.
    std : float
        Standard deviation of the dimension over the blocks; NaN for a single block.
    std_error : float
        Standard error of the dimension. Over ten blocks or more, it comes from their spread; over
        fewer, from the errors of the blocks themselves.
    goodness_of_fit : float
        p-value of the hypothesis that the ratios in each block follow the distribution of a single
        dimension, combined over the blocks by Fisher's method; NaN if the estimator has no test.
    """

    n_points: int
    n_blocks: int
    ranks: tuple[int, int]
    distance: float
    dimension: float
    std: float
    std_error: float
    goodness_of_fit: float = math.nan


@by_value
@dataclass(frozen=True, eq=False)
class Plateau:
    """A range of scales over which the dimension stays the same.

    Parameters
    ----------
    first, last : ScalePoint
        The ends of the range, with the smaller scale first.
    dimension : float
        Mean of the dimensions in the range, weighted by their errors.
    spread : float
        Largest minus smallest dimension, relative to the mean.
    goodness_of_fit : float
        p-value of the hypothesis that one dimension explains the ratios at all of these scales,
        combined over the scales by the Cauchy rule, which allows for their dependence; NaN if the
        estimator has no test.
    """

    first: ScalePoint
    last: ScalePoint
    dimension: float
    spread: float
    goodness_of_fit: float = math.nan


@by_value
@dataclass(frozen=True, eq=False)
class ScaleCurve:
    """The dimension at several scales, smallest scale first.

    Parameters
    ----------
    points : tuple of ScalePoint
    local_spread : float
        By how much the inverse of the local dimension, from 20 neighbours, varies from point to
        point: its standard deviation beyond chance, relative to its mean. NaN if there are fewer
        neighbours.

    Examples
    --------
    >>> from dimscope import scale_curve
    >>> from dimscope.manifolds import cube
    >>> curve = scale_curve(cube(2000, 2), blocks=[1, 2, 4, 8])
    >>> [point.n_points for point in curve.points]
    [2000, 1000, 500, 250]
    >>> abs(curve.plateau().dimension - 2) < 0.1
    True
    """

    points: tuple[ScalePoint, ...]
    local_spread: float = math.nan
    provenance: Provenance = field(default_factory=lambda: Provenance("scale curve"), repr=False)

    def plateau(self, tolerance: float = 0.1) -> Plateau | None:
        """Find the widest range of scales over which the dimension stays the same.

        Parameters
        ----------
        tolerance : float
            Largest variation of the dimension within the range, relative to its mean.

        Returns
        -------
        Plateau or None
            None if the dimension varies by more than the tolerance over every range that spans a
            factor of 4 in points or ranks, or if the errors are too large to decide.

        Notes
        -----
        Within the range, every standard error is at most the tolerance times the mean. The
        dimensions differ by at most the same amount, or by at most 2 standard errors of their
        difference.
        """
        best: tuple[float, float, Plateau] | None = None
        for i, first in enumerate(self.points):
            for j in range(i + 1, len(self.points)):
                last = self.points[j]
                width = _width(first, last)
                if width < math.log(_MIN_FACTOR) - 1e-9:
                    continue
                mean, spread = _mean_and_spread(self.points[i : j + 1], tolerance)
                if math.isfinite(spread) and (best is None or (width, -spread) > best[:2]):
                    best = width, -spread, Plateau(
                        first, last, mean, spread, _cauchy(self.points[i : j + 1])
                    )  # fmt: skip
        return best[2] if best else None

    @property
    def verdict(self) -> str:
        """A sentence that says whether the dimension is well defined, and at which scales.

        Where the dimension stays the same, it says "No single dimension" and gives the average if
        no single dimension explains the data: because the fit is refused at these scales
        (p < 0.01), or because the local dimension varies from point to point (``local_spread`` of
        at least 25 %).
        """
        plateau = self.plateau()
        if plateau is None:
            low, high = (f(point.dimension for point in self.points) for f in (min, max))
            return (
                f"The dimension depends on the scale: it runs from {low:.3g} to {high:.3g} and "
                f"never stays within 10 % over a range of a factor {_MIN_FACTOR}."
                + (f" {_capital(self._mixture)}." if self._mixture else "")
            )
        by_rank = plateau.first.n_points == plateau.last.n_points
        ends = (
            f"neighbours {plateau.first.ranks[1]} to {plateau.last.ranks[1]}"
            if by_rank
            else f"{plateau.first.n_points} to {plateau.last.n_points} points"
        )
        bound = "at least " if plateau.dimension > LOWER_BOUND_ABOVE else ""
        number = f"{bound}{plateau.dimension:.3g} from {ends}"
        varies = f"(it varies by {plateau.spread:.0%} there)"
        doubts = []
        if plateau.goodness_of_fit < _REFUSED_BELOW:
            doubts.append(
                "the ratios of distances do not follow the distribution of a single dimension "
                f"(p = {plateau.goodness_of_fit:.1g})"
            )
        if self._mixture:
            doubts.append(self._mixture)
        if not doubts:
            return f"The dimension is {number} {varies}."
        return (
            f"No single dimension describes these points: {', and '.join(doubts)}. On average, the "
            f"dimension is {number} {varies}."
        )

    @property
    def _mixture(self) -> str:
        """A clause that says how much the dimension differs between points; empty if little."""
        if not self.local_spread >= _MIXED_ABOVE:
            return ""
        return (
            "the dimension differs from point to point (the inverse of the local dimension has a "
            f"standard deviation of {self.local_spread:.0%})"
        )

    def to_frame(self) -> pd.DataFrame:
        """Convert to a tidy table with one row for each scale."""
        import pandas as pd

        return pd.DataFrame(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "n_points": point.n_points,
                "n_blocks": point.n_blocks,
                "rank_near": point.ranks[0],
                "rank_far": point.ranks[1],
                "distance": point.distance,
                "dimension": point.dimension,
                "std": point.std,
                "std_error": point.std_error,
                "goodness_of_fit": point.goodness_of_fit,
            }
            for point in self.points
        ]

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the curve; see :func:`dimscope.plotting.plot_scale`."""
        from dimscope.plotting.scale_plots import plot_scale

        return plot_scale(self, ax, **style)

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON-compatible dict; NaN becomes None."""
        plateau = self.plateau()
        return {
            "schema_version": 1,
            "scales": to_plain(self._rows()),
            "plateau": plateau
            and {
                "dimension": plateau.dimension,
                "spread": plateau.spread,
                "goodness_of_fit": to_plain(plateau.goodness_of_fit),
            },
            "local_spread": to_plain(self.local_spread),
            "verdict": self.verdict,
            "provenance": self.provenance.to_dict(),
        }


def scale_curve(
    points: Any,
    estimator: NeighborEstimator | None = None,
    *,
    blocks: Iterable[int] = range(1, 21),
    seed: int = 0,
    engine: Engine | None = None,
    exclude: Any = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> ScaleCurve:
    """Measure the dimension of smaller and smaller blocks of points, as in the paper.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    estimator : NeighborEstimator
        :class:`~dimscope.TwoNN` by default.
    blocks : iterable of int
        Numbers of blocks into which to split the shuffled points, one number per scale. A number is
        skipped if its blocks would have fewer than 20 points, or too few for the neighbours that
        the estimator needs.
    seed : int
        Seed for the shuffle.
    engine : Engine, optional
        How to search for neighbours; exact by default.
    exclude : array-like of shape (n_points,), optional
        An id for each row: rows of equal id are not each other's neighbours, as for the tokens of a
        sentence (:func:`dimscope.nearest_neighbors`).
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)`` of the search, then of the blocks, called in this thread.

    Returns
    -------
    ScaleCurve

    Raises
    ------
    BadPoints, DegeneratePoints
        If the dimension cannot be measured, or there are too few points for any number of blocks.
    ValueError
        If an engine is given together with Neighbors.

    Notes
    -----
    All blocks share one search: the neighbours within a block are taken from the neighbours among
    all points (:meth:`dimscope.Neighbors.within`).

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> sheet = np.pad(cube(2000, 1), ((0, 0), (0, 2))) + 0.001 * rng.standard_normal((2000, 3))
    >>> curve = scale_curve(sheet, blocks=[1, 20])  # a line with noise, at two scales
    >>> curve.points[0].dimension > 1.3 * curve.points[1].dimension
    True
    """
    estimator = TwoNN() if estimator is None else estimator
    if not isinstance(estimator, NeighborEstimator):
        raise TypeError(
            f"estimator is {estimator!r}; give one that uses neighbours, such as TwoNN(), Gride() "
            "or MLE()"
        )
    block_counts = sorted({index(count) for count in blocks})
    if not block_counts or block_counts[0] < 1:
        raise ValueError("blocks must be whole numbers of at least 1")
    n_ranks = max(_RANKS, estimator.wished)
    neighbors = neighbors_of(
        points, n_ranks, engine, at_most=True, exclude=exclude, memory=memory, progress=progress
    )
    n = neighbors.n_distinct
    smallest = max(_SMALLEST, estimator.ranks + 1)
    usable = [count for count in block_counts if n // count >= smallest]
    if not usable:
        raise DegeneratePoints(
            f"{n} distinct points are too few for {block_counts[0]} blocks of {smallest}; "
            "give more points"
        )
    order = np.random.default_rng(seed).permutation(n)

    if 1 not in usable:  # all points are not measured, but their ties bias the blocks as well
        checked_ties(neighbors, *estimator.compared)

    def split(count: int) -> list[Neighbors]:
        if count == 1:
            return [neighbors]
        return neighbors.split(np.split(order[: n // count * count], count), estimator.ranks)

    def on_done(n_done: int) -> None:
        if progress is not None:
            progress("splitting into blocks", n_done, len(usable))

    splits = parallel(split, usable, on_done)
    return ScaleCurve(
        tuple(_scale_point(samples, estimator) for samples in splits),
        _local_spread(neighbors),
        Provenance(
            "scale curve", {"estimator": repr(estimator), "blocks": usable, "seed": seed},
            versions(), (neighbors.provenance,),
        ),
    )  # fmt: skip


def rank_curve(
    points: Any,
    most: int = 64,
    *,
    engine: Engine | None = None,
    exclude: Any = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> ScaleCurve:
    """Measure the dimension by Gride at doubling ranks: neighbours 1 and 2, 2 and 4, ...

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    most : int
        Highest rank; with few points, it is capped at the number of other points.
    engine : Engine, optional
        How to search for neighbours; exact by default.
    exclude : array-like of shape (n_points,), optional
        An id for each row: rows of equal id are not each other's neighbours, as for the tokens of a
        sentence (:func:`dimscope.nearest_neighbors`).
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)`` of the search, called in this thread.

    Returns
    -------
    ScaleCurve

    Raises
    ------
    BadPoints, DegeneratePoints
        If the dimension cannot be measured; the message says why and where.
    ValueError
        If an engine is given together with Neighbors.

    References
    ----------
    F. Denti, D. Doimo, A. Laio and A. Mira, "The generalized ratios intrinsic dimension
    estimator", Scientific Reports 12, 20005 (2022).

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> [point.ranks for point in rank_curve(torus(500, 2), 8).points]
    [(1, 2), (2, 4), (4, 8)]
    """
    neighbors = neighbors_of(
        points,
        depth_of_ranks(most),
        engine,
        at_most=True,
        exclude=exclude,
        memory=memory,
        progress=progress,
    )
    n_doublings = int(math.log2(min(most, neighbors.k)))
    first, *others = [Gride(2**i, 2 ** (i + 1)) for i in range(n_doublings)]
    measured = [_scale_point([neighbors], first)]
    with silent(NearCopies, RepeatedPoints):  # the first scale has counted them
        measured += [_scale_point([neighbors], estimator) for estimator in others]
    return ScaleCurve(
        tuple(measured),
        _local_spread(neighbors),
        Provenance("rank curve", {"most": most}, versions(), (neighbors.provenance,)),
    )


def depth_of_ranks(most: int) -> int:
    """Return how many neighbours :func:`rank_curve` searches for: its errors need more than ranks.

    Examples
    --------
    >>> depth_of_ranks(64)
    97
    """
    if most < 2:
        raise ValueError(f"most is {most}; the highest rank must be at least 2")
    return depth_for(2 ** int(math.log2(most)))


def _scale_point(samples: list[Neighbors], estimator: NeighborEstimator) -> ScalePoint:
    """Measure the dimension of one block, or its mean over several."""
    near, far = estimator.compared
    if len(samples) == 1:
        estimate = estimator.from_neighbors(samples[0])
        dimension, std, std_error = estimate.dimension, math.nan, estimate.std_error
        p_value = estimate.goodness_of_fit
    else:
        fits = [estimator.evaluate(sample) for sample in samples]
        dimensions = np.array([fit.dimension for fit in fits])
        dimension, std = float(dimensions.mean()), float(dimensions.std(ddof=1))
        std_error = std / math.sqrt(len(dimensions))
        if len(samples) < _FEW_BLOCKS:
            within = _mean_variance(samples, estimator)
            std_error = math.sqrt(within / len(samples)) if math.isfinite(within) else std_error
        p_value = _fisher(list(map(estimator.tested, samples, fits)))
    return ScalePoint(
        samples[0].n_distinct,
        len(samples),
        (near, far),
        float(np.mean([sample.distances[:, far - 1].mean() for sample in samples])),
        dimension,
        std,
        std_error,
        p_value,
    )


def _mean_variance(samples: list[Neighbors], estimator: NeighborEstimator) -> float:
    """Return the mean of the squared standard errors of blocks; NaN if there are none."""
    with silent(*TIE_WARNINGS, HubDominates, ShortNeighbors):  # all points are warned of
        errors = [estimator.from_neighbors(sample, test_fit=False).std_error for sample in samples]
    return float(np.mean(np.square(errors)))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _local_spread(neighbors: Neighbors) -> float:
    """Return the spread of the inverse local dimension; NaN if there are too few neighbours."""
    if neighbors.k < _LOCAL:
        return math.nan
    return spread_of_inverse(neighbors, _LOCAL)


def _fisher(p_values: list[float]) -> float:
    """Combine p-values of independent blocks by Fisher's method.

    >>> round(_fisher([0.1, 0.1]), 4)  # p (1 - ln p) of the product
    0.0561
    """
    if not all(math.isfinite(p) for p in p_values):
        return math.nan
    from scipy.special import chdtrc

    return float(chdtrc(2 * len(p_values), -2 * sum(map(math.log, p_values))))


def _cauchy(points: tuple[ScalePoint, ...]) -> float:
    """Combine the p-values of several scales, which are dependent (Liu and Xie 2020).

    >>> point = ScalePoint(9, 1, (1, 2), 1.0, 2.0, math.nan, 0.1, goodness_of_fit=0.03)
    >>> round(_cauchy((point, point)), 4)
    0.03
    """
    p_values = [point.goodness_of_fit for point in points]
    if not all(map(math.isfinite, p_values)):
        return math.nan
    # at p = 1 the tangent would have no finite value
    tangents = [math.tan((0.5 - min(p, 0.99)) * math.pi) for p in p_values]
    return 0.5 - math.atan(math.fsum(tangents) / len(tangents)) / math.pi


def _width(first: ScalePoint, last: ScalePoint) -> float:
    """Return the logarithm of the factor in points or in ranks between two scales."""
    return max(
        abs(math.log(first.n_points / last.n_points)), abs(math.log(last.ranks[1] / first.ranks[1]))
    )


def _mean_and_spread(points: tuple[ScalePoint, ...], tolerance: float) -> tuple[float, float]:
    """Return the weighted mean and relative spread; the spread is infinite if dimensions differ."""
    dimension = np.array([point.dimension for point in points])
    error = np.array([point.std_error for point in points])
    weight = 1 / error**2
    mean = float(weight @ dimension / weight.sum())
    low, high = dimension.argmin(), dimension.argmax()
    difference = float(dimension[high] - dimension[low])
    allowed = max(tolerance * mean, 2 * math.hypot(error[low], error[high]))
    if not (error <= tolerance * mean).all() or difference > allowed:
        return mean, math.inf
    return mean, difference / mean
