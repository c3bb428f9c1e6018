"""Two groups of points: the nearest of each in the other group, certified.

The same rule as in :mod:`dimscope.neighbors.certified` over a rectangle of tiles. A search that
is cut into pairs of groups already knows, from within each group, a distance that a new
neighbour must beat; whoever cannot beat it by its lower bound is neither listed nor measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dimscope.neighbors.blas import one_thread_each
from dimscope.neighbors.candidates import Candidates
from dimscope.neighbors.certified import SLACK, certified_rows, measure
from dimscope.neighbors.tiles import TILE, Tiles
from dimscope.threads import parallel, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.points import Points

__all__ = ["CrossTiles", "certified_across"]


class CrossTiles(Tiles):
    """Squared distances between the first points and the others.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    n_first : int
        Number of points in the first group.
    """

    def __init__(self, points: Points, n_first: int) -> None:
        super().__init__(points)
        self.groups = np.arange(n_first), np.arange(n_first, points.n_points)

    def candidates_below(
        self, m: int, ceilings: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """For every point, the m of the other group of least lower bound, ascending.

        Parameters
        ----------
        m : int
        ceilings : array of shape (n_points,)
            Squared distances that are of interest; infinite for all.

        Returns
        -------
        bounds : array of shape (n_points, m)
            Every other point of the other group has at least the last, or the ceiling.
            Infinite where fewer are below the ceiling.
        indices : array of shape (n_points, m)
            Of no use where the bound is infinite.
        """
        # rounded up, so that nobody below the ceiling is left out
        limits = np.nextafter(ceilings.astype(np.float32), np.float32(np.inf))
        self._best = Candidates(self.n_points, m, limits)
        self._norms = np.zeros(self.n_points, dtype=np.float32)
        first, second = (
            [slice(s.start + group[0], s.stop + group[0]) for s in spans(len(group), TILE)]
            for group in self.groups
        )
        self._done = 0.0
        with one_thread_each():
            parallel(self._measure_norms, first + second)
            self._multiply([(a, b) for a in first for b in second])
        return self._best.ascending()


def certified_across(
    points: Points, n_first: int, k: int, limits: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The k nearest of every point in the other of two groups.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    n_first : int
        The first so many points are one group, the rest the other; neither is empty.
    k : int
    limits : array of shape (n_points,), optional
        Distances; neighbours that are not nearer may be left out.

    Returns
    -------
    distances : array of shape (n_points, k)
        Ascending, relative error at most 1e-6; infinite where there are no more neighbours
        nearer than the limit.
    indices : array of shape (n_points, k)
        Positions among all points; -1 where the distance is infinite.

    Examples
    --------
    >>> from dimscope.points import as_points
    >>> points = as_points([[0.0, 0], [1, 0], [4, 0], [0, 9]])
    >>> certified_across(points, 2, 1)[0].tolist()
    [[4.0], [3.0], [3.0], [9.0]]
    >>> certified_across(points, 2, 1, np.array([9.0, 1, 9, 9]))[1].tolist()
    [[2], [-1], [1], [-1]]
    """
    kernel = CrossTiles(points, n_first)
    limits = np.full(points.n_points, np.inf) if limits is None else limits
    ceilings = (limits * kernel.unit) ** 2
    bounds, indices = kernel.candidates_below(k + kernel.extra, ceilings)
    listed = np.isfinite(bounds)
    squares = np.full(bounds.shape, np.inf)
    squares[:, :k] = _measured(kernel, listed[:, :k], indices)
    worst = np.minimum(squares[:, :k].max(axis=1), ceilings)
    squares[:, k:] = _measured(
        kernel, listed[:, k:] & (bounds[:, k:] < SLACK * worst[:, None]), indices[:, k:]
    )
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    last = bounds[:, -1]
    squares = np.take_along_axis(squares, order, axis=1)
    indices = np.take_along_axis(indices, order, axis=1)
    # a list that is not full holds everyone below the ceiling
    full = last < SLACK * np.minimum(squares[:, -1], ceilings)
    for mine, others in zip(kernel.groups, kernel.groups[::-1], strict=True):
        rows = mine[full[mine]]
        if len(rows):
            squares[rows], indices[rows], _ = certified_rows(kernel, rows, k, others)
    indices[~np.isfinite(squares) | (squares >= ceilings[:, None])] = -1
    squares[indices < 0] = np.inf
    return np.sqrt(squares) / kernel.unit, indices


def _measured(
    kernel: CrossTiles, chosen: NDArray[np.bool_], indices: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Squared distances to the chosen neighbours; infinite to the others."""
    squares = np.full(chosen.shape, np.inf)
    rows, columns = np.nonzero(chosen)
    squares[rows, columns] = measure(kernel, rows, indices[rows, columns])
    return squares
