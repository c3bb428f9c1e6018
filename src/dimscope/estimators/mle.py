"""Maximum likelihood over k neighbours: one dimension for all points, or one for each point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.errors import DegeneratePoints, check_word
from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.neighbors.search import neighbors_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors.engines import Engine
    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["MLE", "Average", "local_dimension", "spread_of_inverse"]

Average = Literal["inverse", "dimension"]


@dataclass(frozen=True)
class MLE(NeighborEstimator):
    """Estimate the dimension by maximum likelihood from k neighbours (Levina and Bickel 2004).

    Parameters
    ----------
    k : int
        Number of neighbours of each point; at least 3. A larger k measures at a larger scale.
    average : {"inverse", "dimension"}
        Quantity to average over the points. ``"inverse"`` averages the inverse of the local
        dimension, which maximises the joint likelihood of all points (MacKay and Ghahramani 2005).
        ``"dimension"`` averages the local dimension itself, as Levina and Bickel did; a few points
        with a large local dimension can then dominate.

    Notes
    -----
    Let y_i be the mean of ln(r_k / r_j) over j < k at point i. If the density is constant, the
    expectation of y_i is 1/d.

    - ``inverse``: d = (N (k-1) - 1) / ((k-1) sum y), from (k-1) N exponential variables;
    - ``dimension``: d = mean of (k-2) / ((k-1) y_i), unbiased for each point. At k = 3 the
      variance is infinite, so there is no standard error.

    Above a dimension of about 20 the result is a lower bound.

    References
    ----------
    E. Levina and P. J. Bickel, "Maximum likelihood estimation of intrinsic dimension",
    NeurIPS (2004). D. J. C. MacKay and Z. Ghahramani, "Comments on 'Maximum likelihood
    estimation of intrinsic dimension'" (2005).

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> abs(float(MLE(k=10)(torus(2000, 2))) - 2) < 0.1
    True
    >>> from dimscope import Neighbors
    >>> from math import e
    >>> neighbors = Neighbors([[1, 1, e], [1, 1, e], [1, 1, e], [1, 1, e]],
    ...                       [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    >>> float(MLE(k=3)(neighbors))  # (4 * 2 - 1) / (2 * 4)
    0.875
    """

    k: int = 10
    average: Average = "inverse"

    def __post_init__(self) -> None:
        if self.k < 3:
            raise ValueError(f"k is {self.k}; at least 3 neighbours are needed")
        check_word("average", self.average, Average)

    @property
    def ranks(self) -> int:
        """Number of neighbours needed per point: k."""
        return self.k

    @property
    def compared(self) -> tuple[int, int]:
        """The first and the last rank: 1 and k."""
        return 1, self.k

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Average the local dimension, or its inverse, over the points."""
        inverse = _inverse(neighbors, self.k)
        n = len(inverse)
        if not inverse.sum() > 0:
            raise DegeneratePoints(
                f"all {self.k} neighbours of every point are at the same distance, so the "
                "dimension cannot be measured; give a larger k"
            )
        if self.average == "inverse":
            dimension = (n * (self.k - 1) - 1) / ((self.k - 1) * inverse.sum())
            scores = dimension * (1 - dimension * inverse)
        else:
            _refuse_ties(inverse)
            local = (self.k - 2) / ((self.k - 1) * inverse)
            dimension = local.mean()
            # The variance of (k - 2) / ((k - 1) y) is finite only for k > 3.
            scores = local - dimension if self.k > 3 else None
        return Fit(dimension, scores, n, reach=self.k)

    def shifts(self, neighbors: Neighbors, fit: Fit) -> NDArray[np.float64]:
        """Return the fall of each score when one of the k neighbours is removed."""
        k = self.k
        logarithm = np.log(neighbors.distances[:, : k + 1])
        total = logarithm[:, :k].sum(axis=1, keepdims=True)
        inverse = (k * logarithm[:, k - 1 : k] - total) / (k - 1)
        # without neighbour j, the others and the next one remain
        without = logarithm[:, k:] - (total - logarithm[:, :k]) / (k - 1)
        if self.average == "inverse":
            return np.asarray(fit.dimension**2 * (without - inverse))
        return np.asarray((k - 2) / (k - 1) * (1 / inverse - 1 / without))


def local_dimension(points: Any, k: int = 20, engine: Engine | None = None) -> NDArray[np.float64]:
    """Measure the dimension around each point by maximum likelihood over its k neighbours.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    k : int
        Number of neighbours; at least 3. The relative error of each value is about 1 / sqrt(k).
    engine : Engine, optional
        How to search for neighbours; exact by default.

    Returns
    -------
    array of shape (n_points,)
        One dimension per point, in the order of the points.

    Raises
    ------
    BadPoints, DegeneratePoints
        If the points are not valid, rows repeat, or all k neighbours of a point are at the same
        distance.
    ValueError
        If k is less than 3, or an engine is given together with Neighbors.

    Notes
    -----
    The value at each point is (k - 2) divided by the sum of ln(r_k / r_j) over j < k. It is
    unbiased if the density is constant.

    References
    ----------
    E. Levina and P. J. Bickel, "Maximum likelihood estimation of intrinsic dimension",
    NeurIPS (2004).

    Examples
    --------
    >>> from dimscope.manifolds import cube, embed
    >>> import numpy as np
    >>> line, sheet = embed(cube(500, 1), 3), embed(cube(500, 2), 3, seed=1) + 9
    >>> local = local_dimension(np.concatenate([line, sheet]))
    >>> bool(local[:500].mean() < 1.2 < 1.8 < local[500:].mean())
    True
    """
    if k < 3:
        raise ValueError(f"k is {k}; at least 3 neighbours are needed")
    neighbors = neighbors_of(points, k, engine)
    neighbors.refuse_sample("local_dimension")
    if neighbors.k < k:
        raise DegeneratePoints(
            f"local_dimension needs {k} neighbours of each point, but these Neighbors have "
            f"{neighbors.k}; search with k={k}, or give k={neighbors.k}"
        )
    if neighbors.n_duplicates:
        raise DegeneratePoints(
            f"{neighbors.n_duplicates} of {neighbors.n_points} rows repeat another row; drop them "
            "first, for example with numpy.unique(points, axis=0)"
        )
    inverse = _inverse(neighbors, k)
    _refuse_ties(inverse)
    return np.asarray((k - 2) / ((k - 1) * inverse))


def spread_of_inverse(neighbors: Neighbors, k: int) -> float:
    """Compute by how much the inverse local dimension varies over the points, beyond chance.

    Parameters
    ----------
    neighbors : Neighbors
    k : int
        Number of neighbours of each point; at least 3.

    Returns
    -------
    float
        Standard deviation of the inverse dimension divided by its mean; 0 if the local values vary
        no more than those of a single dimension would.

    Notes
    -----
    If 1/d varies over the points with relative variance c^2, the local values y, each a mean of
    k - 1 exponentials, have relative variance c^2 + (1 + c^2) / (k - 1), which is solved for c.

    Examples
    --------
    >>> from dimscope import nearest_neighbors
    >>> from dimscope.manifolds import cube, embed
    >>> line, solid = embed(cube(1000, 1), 5), embed(cube(1000, 5), 5, seed=1) + 9
    >>> both = nearest_neighbors(np.concatenate([line, solid]), 20)
    >>> round(spread_of_inverse(both, 20), 1)  # of 1 and 1/5: 0.4 / 0.6
    0.6
    """
    inverse = _inverse(neighbors, k)
    chance = 1 / (k - 1)
    excess = (inverse.var() / inverse.mean() ** 2 - chance) / (1 + chance)
    return float(np.sqrt(max(0.0, excess)))


def _inverse(neighbors: Neighbors, k: int) -> NDArray[np.float64]:
    """Return the mean of ln(r_k / r_j) over j < k at each point: the inverse of its dimension."""
    logarithm = np.log(neighbors.distances[:, :k])
    return np.asarray(logarithm[:, -1] - logarithm[:, :-1].mean(axis=1))


def _refuse_ties(inverse: NDArray[np.float64]) -> None:
    tied = np.flatnonzero(inverse <= 0)
    if len(tied):
        raise DegeneratePoints(
            f"all neighbours of point {tied[0]} ({len(tied)} such points in all) are at the same "
            "distance, so its local dimension cannot be measured; give a larger k, or use "
            "MLE(average='inverse')"
        )
