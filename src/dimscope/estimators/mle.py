"""Maximum likelihood over k neighbours: Levina and Bickel, and the local dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.errors import DegeneratePoints, check_word
from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.neighbors.engines import Engine
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.search import neighbors_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MLE", "local_dimension"]


MLEAverage = Literal["inverse", "dimension"]


@dataclass(frozen=True)
class MLE(NeighborEstimator):
    """The maximum-likelihood dimension from k neighbours (Levina and Bickel 2004).

    Parameters
    ----------
    k : int
        Neighbours of each point; at least 3. More look at larger scales.
    average : {"inverse", "dimension"}
        What is averaged over the points: the inverse of the local dimension, which is
        the likelihood of all points together (MacKay and Ghahramani 2005), or the local
        dimension itself, as Levina and Bickel did; a few crowded points weigh more in it.

    Notes
    -----
    With y_i = mean over j < k of ln(r_k / r_j) at point i, of mean 1/d under a constant
    density:

    - ``inverse``: d = (N (k-1) - 1) / ((k-1) sum y), (k-1) N exponentials in all;
    - ``dimension``: d = mean of (k-2) / ((k-1) y_i), unbiased for each point. At k = 3 it
      has no finite variance, and so no standard error.

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
    >>> known = Neighbors([[1, 1, e], [1, 1, e], [1, 1, e], [1, 1, e]],
    ...                   [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    >>> float(MLE(k=3)(known))  # (4 * 2 - 1) / (2 * 4)
    0.875
    """

    k: int = 10
    average: MLEAverage = "inverse"

    def __post_init__(self) -> None:
        if self.k < 3:
            raise ValueError(f"k is {self.k}; at least 3 neighbours are needed")
        check_word("average", self.average, MLEAverage)

    @property
    def ranks(self) -> int:
        """All k."""
        return self.k

    @property
    def compared(self) -> tuple[int, int]:
        """First and last."""
        return 1, self.k

    def evaluate(self, neighbors: Neighbors) -> Fit:
        """Average over the points."""
        inverse = _inverse(neighbors, self.k)
        n = len(inverse)
        if not inverse.sum() > 0:
            raise DegeneratePoints(
                f"all {self.k} neighbours of every point are at the same distance: they hold no "
                "dimension"
            )
        if self.average == "inverse":
            dimension = (n * (self.k - 1) - 1) / ((self.k - 1) * inverse.sum())
            scores = dimension * (1 - dimension * inverse)
        else:
            _refuse_ties(inverse)
            local = (self.k - 2) / ((self.k - 1) * inverse)
            dimension = local.mean()
            # (k - 2) / ((k - 1) y) has a variance for k > 3 only
            scores = local - dimension if self.k > 3 else None
        return Fit(dimension, scores, n, reach=self.k)


def local_dimension(points: Any, k: int = 20, engine: Engine | None = None) -> NDArray[np.float64]:
    """The dimension around each point, by maximum likelihood over its k neighbours.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    k : int
        Neighbours; at least 3. The relative error of each value is about 1 / sqrt(k).
    engine : Engine, optional
        How to search; exact by default.

    Returns
    -------
    array of shape (n_points,)
        In the order of the points.

    Raises
    ------
    BadPoints, DegeneratePoints
        If the points have no dimension, rows repeat, or all k neighbours of a point are
        equally far.

    Notes
    -----
    (k - 2) / sum over j < k of ln(r_k / r_j), unbiased where the density is constant.

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
            f"local_dimension needs {k} neighbours of each point, but there are {neighbors.k}; "
            f"search with k={k}, or give k={neighbors.k}"
        )
    if not neighbors.n_duplicates:
        return _local(neighbors, k)
    raise DegeneratePoints(
        f"{neighbors.n_duplicates} of {neighbors.n_points} rows repeat another row; drop them "
        "first, for example with numpy.unique(points, axis=0)"
    )


def _local(neighbors: Neighbors, k: int) -> NDArray[np.float64]:
    inverse = _inverse(neighbors, k)
    _refuse_ties(inverse)
    return np.asarray((k - 2) / ((k - 1) * inverse))


def _inverse(neighbors: Neighbors, k: int) -> NDArray[np.float64]:
    """Mean of ln(r_k / r_j) over j < k, at each point: the inverse of its dimension."""
    logarithm = np.log(neighbors.distances[:, :k])
    return np.asarray(logarithm[:, -1] - logarithm[:, :-1].mean(axis=1))


def _refuse_ties(inverse: NDArray[np.float64]) -> None:
    tied = np.flatnonzero(inverse <= 0)
    if len(tied):
        raise DegeneratePoints(
            f"all neighbours of point {tied[0]} ({len(tied)} in all) are at the same distance: "
            "it has no dimension; use MLE(average='inverse')"
        )
