"""Scale curves: the dimension with fewer points, or with farther neighbours.

A dimension belongs to a scale. Noise looks full-dimensional close by, and a curved sheet looks
thicker from afar. Fewer points have farther neighbours: blocks of N/2, N/3, ... points (the block
analysis of the paper), or neighbours of higher rank (Gride), show the same data at larger scales.
Where the dimension stays the same over a range of scales, it is well defined.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.threads import parallel
from dimscope.errors import DegeneratePoints
from dimscope.estimators.base import NeighborEstimator
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE
from dimscope.estimators.gride import Gride
from dimscope.estimators.two_nn import TwoNN
from dimscope.neighbors.engines import Engine
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.search import nearest_neighbors
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Plateau", "ScaleCurve", "ScalePoint", "rank_curve", "scale_curve"]


_NARROWEST = 4  # a plateau spans at least this factor in points or ranks


@dataclass(frozen=True)
class ScalePoint:
    """The dimension at one scale.

    Parameters
    ----------
    n_points : int
        Points of each block.
    n_blocks : int
        Blocks over which the dimension is averaged.
    ranks : tuple of int
        The two neighbours whose distances are compared.
    distance : float
        Mean distance to the further of them.
    dimension : float
        Mean over the blocks.
    std : float
        Standard deviation over the blocks; NaN for one.
    std_error : float
        Of the dimension.
    """

    n_points: int
    n_blocks: int
    ranks: tuple[int, int]
    distance: float
    dimension: float
    std: float
    std_error: float


@dataclass(frozen=True)
class Plateau:
    """A range of scales over which the dimension stays the same.

    Parameters
    ----------
    first, last : ScalePoint
        Its ends, smallest scale first.
    dimension : float
        Mean of the dimensions in it, weighted by their errors.
    spread : float
        Largest less smallest dimension, over the dimension.
    """

    first: ScalePoint
    last: ScalePoint
    dimension: float
    spread: float


@dataclass(frozen=True)
class ScaleCurve:
    """The dimension against scale, smallest scale first.

    Parameters
    ----------
    points : tuple of ScalePoint

    Examples
    --------
    >>> from dimscope import scale_curve
    >>> from dimscope.manifolds import cube
    >>> curve = scale_curve(cube(2000, 2), blocks=[1, 2, 4, 8])
    >>> [one.n_points for one in curve.points]
    [2000, 1000, 500, 250]
    >>> abs(curve.plateau().dimension - 2) < 0.1
    True
    """

    points: tuple[ScalePoint, ...]
    provenance: Provenance = field(default_factory=lambda: Provenance("scale curve"), repr=False)

    def plateau(self, tolerance: float = 0.1) -> Plateau | None:
        """The widest range of scales over which the dimension stays the same, if any.

        Parameters
        ----------
        tolerance : float
            How much the dimension may vary within the range, relative to its mean.

        Returns
        -------
        Plateau or None
            None if no range of a factor 4 in points or ranks has a spread within the
            tolerance, or if the errors are too large to tell.

        Notes
        -----
        Within the range every standard error is at most the tolerance times the mean, and
        the dimensions differ by at most that, or by no more than 2 errors of their difference.
        """
        best: tuple[float, float, Plateau] | None = None
        for i, first in enumerate(self.points):
            for j in range(i + 1, len(self.points)):
                last, some = self.points[j], self.points[i : j + 1]
                width = _width(first, last)
                if width < math.log(_NARROWEST) - 1e-9:
                    continue
                mean, spread = _same(some, tolerance)
                if math.isfinite(spread) and (best is None or (width, -spread) > best[:2]):
                    best = width, -spread, Plateau(first, last, mean, spread)
        return best[2] if best else None

    @property
    def verdict(self) -> str:
        """In a sentence, whether the dimension is well defined and where."""
        flat = self.plateau()
        if flat is None:
            low, high = (f(one.dimension for one in self.points) for f in (min, max))
            return (
                f"The dimension depends on the scale: it runs from {low:.3g} to {high:.3g} and "
                f"stays within 10 % over no range of a factor {_NARROWEST}."
            )
        by_rank = flat.first.n_points == flat.last.n_points
        ends = (
            f"neighbours {flat.first.ranks[1]} to {flat.last.ranks[1]}"
            if by_rank
            else f"{flat.first.n_points} to {flat.last.n_points} points"
        )
        bound = "at least " if flat.dimension > LOWER_BOUND_ABOVE else ""
        return (
            f"The dimension is {bound}{flat.dimension:.3g} from {ends} "
            f"(it varies by {flat.spread:.0%} there)."
        )

    def to_frame(self) -> pd.DataFrame:
        """A tidy table, one row a scale."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "n_points": one.n_points,
                    "n_blocks": one.n_blocks,
                    "rank_near": one.ranks[0],
                    "rank_far": one.ranks[1],
                    "distance": one.distance,
                    "dimension": one.dimension,
                    "std": one.std,
                    "std_error": one.std_error,
                }
                for one in self.points
            ]
        )

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw it; see :func:`dimscope.plotting.plot_scale`."""
        from dimscope.plotting.scale_plots import plot_scale

        return plot_scale(self, ax, **style)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        rows = self.to_frame().to_dict("records")
        flat = self.plateau()
        return {
            "schema_version": 1,
            "scales": [{str(k): None if v != v else v for k, v in row.items()} for row in rows],
            "plateau": flat and {"dimension": flat.dimension, "spread": flat.spread},
            "verdict": self.verdict,
            "provenance": self.provenance.to_dict(),
        }


def _width(first: ScalePoint, last: ScalePoint) -> float:
    """Logarithm of the factor in points or in ranks between two scales."""
    return max(
        abs(math.log(first.n_points / last.n_points)), abs(math.log(last.ranks[1] / first.ranks[1]))
    )


def _same(some: tuple[ScalePoint, ...], tolerance: float) -> tuple[float, float]:
    """Weighted mean and relative spread; an infinite spread if the dimensions differ."""
    dimension = np.array([one.dimension for one in some])
    error = np.array([one.std_error for one in some])
    weight = 1 / error**2
    mean = float(weight @ dimension / weight.sum())
    low, high = dimension.argmin(), dimension.argmax()
    difference = float(dimension[high] - dimension[low])
    allowed = max(tolerance * mean, 2 * math.hypot(error[low], error[high]))
    if not (error <= tolerance * mean).all() or difference > allowed:
        return mean, math.inf
    return mean, difference / mean


_RANKS = 64  # neighbours kept for the blocks; the few points that need more are searched again


_SMALLEST = 20  # points of a block


def scale_curve(
    points: Any,
    estimator: NeighborEstimator | None = None,
    *,
    blocks: Iterable[int] = range(1, 21),
    seed: int = 0,
    engine: Engine | None = None,
    progress: Callable[[float], None] | None = None,
) -> ScaleCurve:
    """The dimension of blocks of fewer and fewer points, the paper's block analysis.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    estimator : NeighborEstimator
        :class:`~dimscope.TwoNN` by default.
    blocks : iterable of int
        Into how many blocks the shuffled points are split, each number in its turn;
        those that leave fewer than 20 points to a block, or not more than the estimator needs
        neighbours, are left out.
    seed : int
        Of the shuffle.
    engine : Engine, optional
        How to search; exact by default.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    ScaleCurve

    Raises
    ------
    BadPoints, DegeneratePoints
        If the points have no dimension, or are too few for any of the blocks.

    Notes
    -----
    Neighbours are searched once; those within a block are found in the lists of all
    (:meth:`dimscope.Neighbors.within`).

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> sheet = np.pad(cube(2000, 1), ((0, 0), (0, 2))) + 0.001 * rng.standard_normal((2000, 3))
    >>> curve = scale_curve(sheet, blocks=[1, 20])  # noise fills space, from afar it is a line
    >>> curve.points[0].dimension > 1.3 * curve.points[1].dimension
    True
    """
    estimator = TwoNN() if estimator is None else estimator
    if not isinstance(estimator, NeighborEstimator):
        raise TypeError(
            f"estimator is {estimator!r}; blocks are drawn of neighbours, so give one that reads "
            "them, such as TwoNN(), Gride() or MLE()"
        )
    numbers = sorted({index(b) for b in blocks})
    if not numbers or numbers[0] < 1:
        raise ValueError("blocks must be whole numbers of at least 1")
    tell = progress or (lambda part: None)
    half = 0.5  # the search and the blocks take about as long
    neighbors = _neighbors(points, max(_RANKS, estimator.ranks), engine, lambda x: tell(half * x))
    n = neighbors.n_distinct
    smallest = max(_SMALLEST, estimator.ranks + 1)
    usable = [b for b in numbers if n // b >= smallest]
    if not usable:
        raise DegeneratePoints(
            f"{n} distinct points are too few for {numbers[0]} blocks of {smallest}"
        )
    order = np.random.default_rng(seed).permutation(n)
    done = itertools.count(1)

    def split(b: int) -> list[Neighbors]:
        blocks = np.split(order[: n // b * b], b)
        several = [neighbors] if b == 1 else neighbors.split(blocks, estimator.ranks)
        tell(half + (1 - half) * next(done) / len(usable))
        return several

    found = [_scale_point(several, estimator) for several in parallel(split, usable)]
    return ScaleCurve(
        tuple(found),
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
    progress: Callable[[float], None] | None = None,
) -> ScaleCurve:
    """The dimension by Gride at doubling ranks: neighbours 1 and 2, 2 and 4, 4 and 8, ...

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    most : int
        Highest rank; no more than the number of other points.
    engine : Engine, optional
        How to search; exact by default.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    ScaleCurve

    Raises
    ------
    BadPoints, DegeneratePoints
        If the points have no dimension.

    References
    ----------
    F. Denti, D. Doimo, A. Laio and A. Mira, "The generalized ratios intrinsic dimension
    estimator", Scientific Reports 12, 20005 (2022).

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> [one.ranks for one in rank_curve(torus(500, 2), 8).points]
    [(1, 2), (2, 4), (4, 8)]
    """
    if most < 2:
        raise ValueError(f"most is {most}; the highest rank must be at least 2")
    neighbors = _neighbors(points, most, engine, progress)
    steps = range(int(math.log2(min(most, neighbors.k))))
    found = tuple(_scale_point([neighbors], Gride(2**i, 2 ** (i + 1))) for i in steps)
    provenance = Provenance("rank curve", {"most": most}, versions(), (neighbors.provenance,))
    return ScaleCurve(found, provenance)


def _neighbors(
    points: Any, k: int, engine: Engine | None, progress: Callable[[float], None] | None
) -> Neighbors:
    if isinstance(points, Neighbors):
        return points
    tell = progress or (lambda part: None)
    return nearest_neighbors(
        points, k, engine, at_most=True, progress=lambda _, done, total: tell(done / (total or 1))
    )


def _scale_point(several: list[Neighbors], estimator: NeighborEstimator) -> ScalePoint:
    near, far = estimator.compared
    if len(several) == 1:
        found = estimator.from_neighbors(several[0])
        dimension, std, std_error = found.dimension, math.nan, found.std_error
    else:
        each = np.array([estimator.evaluate(one).dimension for one in several])
        dimension, std = float(each.mean()), float(each.std(ddof=1))
        std_error = std / math.sqrt(len(each))
    return ScalePoint(
        several[0].n_distinct,
        len(several),
        (near, far),
        float(np.mean([one.distances[:, far - 1].mean() for one in several])),
        dimension,
        std,
        std_error,
    )
