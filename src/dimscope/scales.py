"""Points -> ScaleCurve: fewer points, or farther neighbours.

A dimension belongs to a scale. Noise looks full-dimensional close by, a curved sheet
looks thicker from afar. Fewer points have farther neighbours: blocks of N/2, N/3, ...
points (the block analysis of the paper), or neighbours of higher rank (Gride), show the
same data at larger scales. Where the dimension stays the same over a range it is well defined.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from operator import index
from typing import Any

import numpy as np

from dimscope.curves import ScaleCurve, ScalePoint
from dimscope.errors import DegeneratePoints
from dimscope.estimators import Gride, NeighborEstimator, TwoNN
from dimscope.neighbors import Engine, Neighbors, nearest_neighbors
from dimscope.provenance import Provenance, versions
from dimscope.threads import parallel

__all__ = ["rank_curve", "scale_curve"]

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
    return nearest_neighbors(points, k, engine, at_most=True, progress=progress)


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
