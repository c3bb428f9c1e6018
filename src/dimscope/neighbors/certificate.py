"""The certificate: matrix products propose neighbours, direct differences confirm them.

For each point, a kernel gives a few candidates and a lower bound ``b`` on the squared distance to
every point that is not a candidate. The candidates' distances are computed by direct differences;
let ``e`` be the k-th smallest. If ``b >= e^2``, no other point can be nearer, and the candidates
are accepted. If not, more candidates are measured. For rows that are still undecided, a float64
product finds every point that could be nearer, and the distances to all of those are measured. So
every result is decided by direct differences, never by a product.

:func:`certified_neighbors` searches within one set of points. :func:`certified_across` searches
between two groups; there, each point can have a distance limit, and only nearer neighbours are
sought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dimscope.arrays.threads import parallel, spans
from dimscope.neighbors.products import one_thread_each
from dimscope.neighbors.tiles import TILE, Candidates, Tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.neighbors.exclusion import Exclusion

__all__ = [
    "SLACK",
    "CrossTiles",
    "Kernel",
    "Listed",
    "certified_across",
    "certified_among",
    "certified_neighbors",
    "certified_rows",
    "measure",
]


SPARE = 2  # candidates relative to k where k is large, for later searches among some points


# A bound this close below e^2 may hide a nearer point, but none that would change a
# distance by more than a quarter of the promised 1e-6.
SLACK = 1 - 5e-7


_BATCH_BYTES = 1 << 26


class Kernel(Protocol):
    """Lower bounds and exact distances of pairs of points, on any device."""

    n_points: int
    unit: float
    where: str  # for the provenance
    extra: int  # candidates beyond k that settle all rows except crowded ones
    exclusion: Exclusion | None  # pairs of points that are not neighbours

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.intp]]:
        """Return the m other points of smallest lower bound, for each given point or for all."""

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute squared distances by direct differences."""

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Compute float64 lower bounds from the given points to others (by default, to all)."""


@dataclass(frozen=True, eq=False)
class Listed:
    """The candidates of every point, kept for later searches among subsets of the points.

    Parameters
    ----------
    bounds : array of shape (n_points, m)
        Lower bounds of squared distances, ascending. A point that is not listed has a bound at
        least as large as the last one listed.
    indices : array of shape (n_points, m)
    """

    bounds: NDArray[np.floating[Any]]
    indices: NDArray[np.intp]


def certified_neighbors(
    kernel: Kernel, k: int, rows: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.intp], dict[str, int], Listed]:
    """Find the certified k nearest neighbours of all points, or of the given ones.

    Parameters
    ----------
    kernel : Kernel
        Kernel of n_points distinct points.
    k : int
        At most the number of points that each point may have as neighbours.
    rows : array of int, optional
        The points to find neighbours for; all by default.

    Returns
    -------
    distances : array of shape (n_points, k)
        Ascending, with a relative error of at most 1e-6.
    indices : array of shape (n_points, k)
    effort : dict
        How many pairs were measured, and how many rows needed the float64 product.
    listed : Listed
    """
    queries = np.arange(kernel.n_points) if rows is None else rows
    n = len(queries)
    allowed = np.full(kernel.n_points, kernel.n_points - 1)
    if kernel.exclusion is not None:
        allowed = kernel.exclusion.n_allowed
    m = min(max(k + kernel.extra, int(SPARE * k)), int(allowed.min()))
    bounds, indices = kernel.candidates(m, rows)
    listed = Listed(bounds, indices)
    squares = measure(kernel, np.repeat(queries, k), indices[:, :k].ravel()).reshape(n, k)
    doubtful = bounds[:, k:] < SLACK * squares.max(axis=1)[:, None]
    row, column = np.nonzero(doubtful)
    if len(row):
        more = np.full((n, column.max() + 1), np.inf)
        more[row, column] = measure(kernel, queries[row], indices[row, k + column])
        squares = np.concatenate([squares, more], axis=1)
    n_pairs = int(np.isfinite(squares).sum())
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    indices = np.take_along_axis(indices, order, axis=1)
    squares = np.take_along_axis(squares, order, axis=1)
    # with all others as candidates, no point was left out
    cleared = (bounds[:, -1] >= SLACK * squares[:, -1]) | (m == allowed[queries])
    open_rows = np.flatnonzero(~cleared)
    if len(open_rows):
        squares[open_rows], indices[open_rows], measured = certified_rows(
            kernel, queries[open_rows], k
        )
        n_pairs += measured
    distances = np.sqrt(squares) / kernel.unit
    return distances, indices, {"pairs": n_pairs, "open_rows": len(open_rows)}, listed


def certified_among(
    kernel: Kernel, listed: Listed, rows: NDArray[np.intp], labels: NDArray[np.intp], k: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]]:
    """Find the k nearest points with the same label, from the candidates of a full search.

    Parameters
    ----------
    kernel : Kernel
    listed : Listed
    rows : array of int, shape (m,)
    labels : array of int, shape (n_points,)
    k : int

    Returns
    -------
    squares : array of shape (m, k)
        Ascending.
    indices : array of shape (m, k)
    cleared : array of bool, shape (m,)
        Whether the candidates were enough to decide a row. The values of undecided rows are
        meaningless.
    """
    candidates, width = listed.indices[rows], listed.indices.shape[1]
    inside = labels[candidates] == labels[rows][:, None]
    most = min(k + kernel.extra, width)
    order = np.argsort(~inside, axis=1, kind="stable")[:, : most + 1]
    inside = np.take_along_axis(inside, order, axis=1)
    bounds = np.take_along_axis(listed.bounds[rows], order, axis=1)
    indices = np.take_along_axis(candidates, order, axis=1)
    row, column = np.nonzero(inside[:, :most])
    squares = np.full((len(rows), max(most, k)), np.inf)
    squares[row, column] = measure(kernel, rows[row], indices[row, column])
    # points that were not measured have at least this bound
    rest = listed.bounds[rows, -1]
    if width > most:
        rest = np.where(inside[:, most], bounds[:, most], rest)
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    squares = np.take_along_axis(squares, order, axis=1)
    indices = np.take_along_axis(indices, np.minimum(order, indices.shape[1] - 1), axis=1)
    return squares, indices, rest >= SLACK * squares[:, -1]


def certified_rows(
    kernel: Kernel, rows: NDArray[np.intp], k: int, among: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.intp], int]:
    """Find the k nearest by measuring every point that a float64 product does not rule out.

    Parameters
    ----------
    kernel : Kernel
    rows : array of int, shape (m,)
    k : int
        At most the number of points searched that each point may have as neighbours.
    among : array of int, optional
        The points to search; all by default.

    Returns
    -------
    squares : array of shape (m, k)
        Ascending.
    indices : array of shape (m, k)
    n_pairs : int
        Number of pairs measured.
    """
    others = np.arange(kernel.n_points) if among is None else among
    squares, indices = np.empty((len(rows), k)), np.empty((len(rows), k), dtype=np.intp)
    n_pairs = 0
    step = max(1, _BATCH_BYTES // (8 * len(others)))
    for start in range(0, len(rows), step):
        batch = rows[start : start + step]
        bounds = kernel.row_bounds(batch, among)
        nearest = np.argpartition(bounds, k - 1, axis=1)[:, :k]
        measured = measure(kernel, np.repeat(batch, k), others[nearest.ravel()]).reshape(-1, k)
        possible = bounds < SLACK * measured.max(axis=1)[:, None]
        np.put_along_axis(possible, nearest, False, axis=1)
        local, place = np.nonzero(possible)
        more = measure(kernel, batch[local], others[place])
        n_pairs += measured.size + len(more)
        owner = np.concatenate([np.repeat(np.arange(len(batch)), k), local])
        places = np.concatenate([nearest.ravel(), place])
        values = np.concatenate([measured.ravel(), more])
        order = np.lexsort((places, values, owner))
        starts = np.searchsorted(owner[order], np.arange(len(batch)))
        kept = order[starts[:, None] + np.arange(k)]
        here = slice(start, start + len(batch))
        squares[here], indices[here] = values[kept], others[places[kept]]
    return squares, indices, n_pairs


def measure(kernel: Kernel, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
    """Compute the squared distances of pairs, measuring (i, j) and (j, i) only once.

    Examples
    --------
    >>> from dimscope.neighbors.tiles import Tiles
    >>> from dimscope.arrays import as_points
    >>> kernel = Tiles(as_points([[0, 0], [3, 4], [1, 1]]))
    >>> measure(kernel, np.array([0, 1, 0]), np.array([1, 0, 2])).tolist()
    [25.0, 25.0, 2.0]
    """
    key = np.minimum(i, j) * np.int64(kernel.n_points) + np.maximum(i, j)
    unique, inverse = np.unique(key, return_inverse=True)
    if not len(unique):
        return np.empty(0)
    low, high = np.divmod(unique, kernel.n_points)
    return kernel.pair_squares(low, high)[inverse]


class CrossTiles(Tiles):
    """Kernel of two groups of points, with lower bounds between the groups only.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    n_first : int
        Number of points in the first group.
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.
    """

    def __init__(self, points: Points, n_first: int, exclusion: Exclusion | None = None) -> None:
        super().__init__(points, exclusion=exclusion)
        self.groups = np.arange(n_first), np.arange(n_first, points.n_points)

    def candidates_below(
        self, m: int, ceilings: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return, for every point, the m points of the other group with the smallest lower bounds.

        Parameters
        ----------
        m : int
        ceilings : array of shape (n_points,)
            For each point, the squared distance above which neighbours are ignored; infinite for no
            limit.

        Returns
        -------
        bounds : array of shape (n_points, m)
            Ascending. The bound of every point that is not listed is at least the smaller of two
            numbers: the last bound listed, and the ceiling. Entries are infinite where fewer than m
            points are below the ceiling.
        indices : array of shape (n_points, m)
            Meaningless where the bound is infinite.
        """
        # rounded up, so that no point below the ceiling is left out
        limits = np.nextafter(ceilings.astype(np.float32), np.float32(np.inf))
        self._best = Candidates(self.n_points, m, limits)
        self._norms = np.zeros(self.n_points, dtype=np.float32)
        first, second = (
            [slice(s.start + group[0], s.stop + group[0]) for s in spans(len(group), TILE)]
            for group in self.groups
        )
        self._multiplied = 0
        with one_thread_each():
            parallel(self._measure_norms, first + second)
            self._multiply([(a, b) for a in first for b in second])
        return self._best.ascending()


def certified_across(
    points: Points,
    n_first: int,
    k: int,
    limits: NDArray[np.float64] | None = None,
    exclusion: Exclusion | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the certified k nearest neighbours of every point in the other of two groups.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    n_first : int
        Size of the first group; the remaining points are the second. Neither group may be empty.
    k : int
    limits : array of shape (n_points,), optional
        Distance limit for each point; neighbours at or beyond it may be left out.
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.

    Returns
    -------
    distances : array of shape (n_points, k)
        Ascending, with a relative error of at most 1e-6; infinite where fewer than k neighbours are
        within the limit.
    indices : array of shape (n_points, k)
        Positions among all points; -1 where the distance is infinite.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> points = as_points([[0.0, 0], [1, 0], [4, 0], [0, 9]])
    >>> certified_across(points, 2, 1)[0].tolist()
    [[4.0], [3.0], [3.0], [9.0]]
    >>> certified_across(points, 2, 1, np.array([9.0, 1, 9, 9]))[1].tolist()
    [[2], [-1], [1], [-1]]
    """
    kernel = CrossTiles(points, n_first, exclusion)
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
    # a list that is not full holds all points below the ceiling
    is_full = last < SLACK * np.minimum(squares[:, -1], ceilings)
    for mine, others in zip(kernel.groups, kernel.groups[::-1], strict=True):
        rows = mine[is_full[mine]]
        if len(rows):
            squares[rows], indices[rows], _ = certified_rows(kernel, rows, k, others)
    indices[~np.isfinite(squares) | (squares >= ceilings[:, None])] = -1
    squares[indices < 0] = np.inf
    return np.sqrt(squares) / kernel.unit, indices


def _measured(
    kernel: CrossTiles, chosen: NDArray[np.bool_], indices: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Compute squared distances to the chosen neighbours; leave the others infinite."""
    squares = np.full(chosen.shape, np.inf)
    rows, columns = np.nonzero(chosen)
    squares[rows, columns] = measure(kernel, rows, indices[rows, columns])
    return squares
