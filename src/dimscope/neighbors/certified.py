"""Certified nearest neighbours: candidates by products, decisions by differences.

The rule. A kernel gives, for each point, a few candidates and a lower bound ``b`` of
the squared distance to everyone else. The candidates' distances are computed by direct
differences; let ``e`` be the k-th least of them. If ``b >= e^2`` nobody outside the
candidates can be nearer, and the row is accepted. If not, more candidates are measured,
and for the rows that are still open a float64 product lists everyone who could be
nearer, and all of those are measured. So the result never rests on a product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Kernel", "certified_neighbors"]

EXTRA = 4  # candidates beyond k: they settle all but crowded rows
# A bound this close below e^2 may hide a nearer point, but none that would change a
# distance by more than a quarter of the promised 1e-6.
SLACK = 1 - 5e-7
_BATCH_BYTES = 1 << 26


class Kernel(Protocol):
    """What a search needs of an array, wherever the array lives."""

    n_points: int
    unit: float

    def candidates(self, m: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """The m others of least lower bound for every point, ascending."""

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Squared distances by direct differences."""

    def row_bounds(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Float64 lower bounds from some points to all."""


def certified_neighbors(
    kernel: Kernel, k: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], dict[str, int]]:
    """The k nearest others of every point.

    Parameters
    ----------
    kernel : Kernel
        Over n_points distinct points.
    k : int
        Less than n_points.

    Returns
    -------
    distances : array of shape (n_points, k)
        Ascending, relative error at most 1e-6.
    indices : array of shape (n_points, k)
    effort : dict
        How many pairs were measured, and how many rows needed the float64 product.
    """
    n = kernel.n_points
    m = min(k + EXTRA, n - 1)
    bounds, indices = kernel.candidates(m)
    squares = np.full((n, m), np.inf)
    squares[:, :k] = _measure(kernel, np.repeat(np.arange(n), k), indices[:, :k].ravel()).reshape(
        n, k
    )
    worst = squares[:, :k].max(axis=1)
    if m > k:
        doubtful = bounds[:, k:] < SLACK * worst[:, None]
        row, column = np.nonzero(doubtful)
        squares[row, k + column] = _measure(kernel, row, indices[row, k + column])
    n_pairs = int(np.isfinite(squares).sum())
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    indices = np.take_along_axis(indices, order, axis=1)
    squares = np.take_along_axis(squares, order, axis=1)
    # with all others as candidates nobody was left out
    cleared = (bounds[:, -1] >= SLACK * squares[:, -1]) | (m == n - 1)
    open_rows = np.flatnonzero(~cleared)
    if len(open_rows):
        n_pairs += _search_wide(kernel, open_rows, k, squares, indices)
    distances = np.sqrt(squares) / kernel.unit
    return distances, indices, {"pairs": n_pairs, "open_rows": len(open_rows)}


def _search_wide(
    kernel: Kernel,
    rows: NDArray[np.intp],
    k: int,
    squares: NDArray[np.float64],
    indices: NDArray[np.intp],
) -> int:
    """Settle the open rows: measure everyone that a float64 product does not rule out."""
    n_pairs = 0
    step = max(1, _BATCH_BYTES // (8 * kernel.n_points))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        bounds = kernel.row_bounds(some)
        nearest = np.argpartition(bounds, k - 1, axis=1)[:, :k]
        found = _measure(kernel, np.repeat(some, k), nearest.ravel()).reshape(-1, k)
        worst = np.minimum(found.max(axis=1), squares[some, -1])
        possible = bounds < SLACK * worst[:, None]
        # those found before may be nearer than any of these
        np.put_along_axis(possible, indices[some], True, axis=1)
        np.put_along_axis(possible, nearest, False, axis=1)
        local, other = np.nonzero(possible)
        more = _measure(kernel, some[local], other)
        n_pairs += found.size + len(more)
        everyone = np.concatenate([np.repeat(np.arange(len(some)), k), local])
        others = np.concatenate([nearest.ravel(), other])
        values = np.concatenate([found.ravel(), more])
        order = np.lexsort((others, values, everyone))
        starts = np.searchsorted(everyone[order], np.arange(len(some)))
        kept = order[starts[:, None] + np.arange(k)]
        squares[some], indices[some] = values[kept], others[kept]
    return n_pairs


def _measure(kernel: Kernel, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
    """Squared distances of pairs, each unordered pair once: nearness is often mutual."""
    key = np.minimum(i, j) * np.int64(kernel.n_points) + np.maximum(i, j)
    unique, inverse = np.unique(key, return_inverse=True)
    if not len(unique):
        return np.empty(0)
    low, high = np.divmod(unique, kernel.n_points)
    return kernel.pair_squares(low, high)[inverse]
