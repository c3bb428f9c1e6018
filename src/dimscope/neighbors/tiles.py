"""Dense symmetric tiles: lower bounds of all distances by matrix products.

A product X X' in float32 is the fastest way to all squared distances, and it is
wrong in the last digits: |x|^2 + |y|^2 - 2 x.y cancels. So the tiles do not give
distances. They give, for every pair, a *lower bound* of the squared distance that
holds whatever the order in which the product was summed, and
:mod:`dimscope.neighbors.certified` decides with direct differences.

Each tile is multiplied by one thread with a single-threaded BLAS, in short runs of
columns that are centred on the way, where that helps, and stay in the cache. A short run
is also what keeps the bound tight: rounding grows with the length of a sum.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from dimscope.neighbors.blas import add_gram, add_product, mirror, one_thread_each
from dimscope.neighbors.candidates import Candidates
from dimscope.neighbors.centring import Centred
from dimscope.neighbors.differences import pair_squares
from dimscope.pages import release
from dimscope.points import Points
from dimscope.threads import parallel, spans, workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Tiles", "rounding_bound"]

TILE = 2048  # rows and columns of a tile
RUN = 1024  # features in one product


def rounding_bound(n_features: int, unit_roundoff: float) -> float:
    """Bound of the error of |x|^2 + |y|^2 - 2 x.y, over (|x| + |y|)^2.

    One unit roundoff for each term of a run of columns, whatever the order of summation,
    for each run added, and for the few operations around them.

    Examples
    --------
    >>> rounding_bound(10**5, 2**-24) < 1e-4
    True
    """
    runs = -(-n_features // RUN) + 4 * workers()
    return (min(RUN, n_features) + runs + 16) * unit_roundoff


class Tiles:
    """Squared distances between points, in units of the points' own power-of-two scale.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    progress : callable, optional
        Called with the fraction of the products that are done.
    """

    extra = 4
    finer = None

    def __init__(self, points: Points, progress: Callable[[float], None] | None = None) -> None:
        self.points = points
        self._progress = progress
        self.n_points = points.n_points
        # A plain factor keeps squares inside float32; most data need none.
        self.unit = 1.0 if 2.0**-20 < points.max_abs < 2.0**20 else points.scale
        self._centred = Centred(points, self.unit)
        self._rows: NDArray[np.intp] | None = None
        self._lock = threading.Lock()

    # -- candidates ---------------------------------------------------------------

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """For every point, or for some, the m others of least lower bound, ascending.

        Parameters
        ----------
        m : int
            Less than n_points.
        rows : array of int, optional
            The points whose candidates are wanted; all by default.

        Returns
        -------
        bounds : array of shape (n_points or len(rows), m)
            Lower bounds of squared distances; every other point's is at least the last.
        indices : array of the same shape
        """
        n = self.n_points
        self._rows = rows
        self._best = Candidates(n if rows is None else len(rows), m)
        self._norms = np.zeros(n, dtype=np.float32)
        tiles = spans(n, TILE)
        self._done = 0.0
        with one_thread_each():
            if rows is None:
                # The tiles on the diagonal come first: they give the norms, and thresholds
                # that leave little to sort in the others.
                self._multiply([(tile, tile) for tile in tiles])
                self._multiply([(a, b) for i, a in enumerate(tiles) for b in tiles[i + 1 :]])
            else:
                parallel(self._measure_norms, tiles)
                some = spans(len(rows), TILE)
                self._multiply([(a, b) for b in tiles for a in some])
        return self._best.ascending()

    def _measure_norms(self, b: slice) -> None:
        buffer = np.empty((b.stop - b.start, RUN), np.float32)
        for columns in spans(self.points.n_features, RUN):
            block = self._centred.block(b, columns, buffer)
            self._norms[b] += np.vecdot(block, block)

    def _is_square(self, a: slice, b: slice) -> bool:
        """Whether a tile lies on the diagonal, so that half of it is enough."""
        return self._rows is None and a == b

    def _multiply(self, pairs: list[tuple[slice, slice]]) -> None:
        """Form every tile, its columns split over threads where tiles are few."""
        if not pairs:
            return
        width = self.points.n_features
        splits = max(1, min(-(-2 * workers() // len(pairs)), width // (4 * RUN)))
        ranges = spans(width, -(-width // splits))
        pieces: dict[int, NDArray[np.float32]] = {}
        left = dict.fromkeys(range(len(pairs)), len(ranges))

        def work(task: tuple[int, slice]) -> None:
            number, columns = task
            a, b = pairs[number]
            part = self._product(a, b, columns)
            with self._lock:
                left[number] -= 1
                last = left[number] == 0
                if number in pieces:
                    pieces[number] += part
                else:
                    pieces[number] = part
                gram = pieces.pop(number) if last else None
            if gram is not None:
                self._select(a, b, gram)
            weight = 2 if self._rows is None and a != b else 1
            self._advance(weight * part.size * (columns.stop - columns.start))

        parallel(work, [(i, columns) for i in range(len(pairs)) for columns in ranges])

    def _advance(self, multiplications: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            rows = self.n_points if self._rows is None else len(self._rows)
            self._done += multiplications / (rows * self.n_points * self.points.n_features)
            self._progress(min(1.0, self._done))

    def _product(self, a: slice, b: slice, columns: slice) -> NDArray[np.float32]:
        shape = a.stop - a.start, b.stop - b.start
        square = self._is_square(a, b)
        # the norms first: the products then bring every sum down to its bound
        total = (
            self._norm_sums(a, b)
            if not square and not columns.start
            else np.zeros(shape, np.float32)
        )
        mine = np.empty((shape[0], RUN), np.float32)
        theirs = np.empty((shape[1], RUN), np.float32)
        for run in spans(columns.stop - columns.start, RUN):
            where = slice(columns.start + run.start, columns.start + run.stop)
            left = self._centred.block(a if self._rows is None else self._rows[a], where, mine)
            if square:
                add_gram(total, left)
            else:
                add_product(total, left, self._centred.block(b, where, theirs), -2)
        release(self.points.array)
        return total

    def _norm_sums(self, a: slice, b: slice) -> NDArray[np.float32]:
        """What is left of |x|^2 + |y|^2 when the error of the product is taken away."""
        own = self._norms[a if self._rows is None else self._rows[a]]
        # (|x| + |y|)^2 <= 2 |x|^2 + 2 |y|^2: the bound is a smaller weight of the norms
        weight = np.float32(1 - 2 * rounding_bound(self.points.n_features, 2.0**-24))
        underflow = np.float32(self.points.n_features * 2.0**-126)
        sums: NDArray[np.float32] = np.add.outer(weight * own - underflow, weight * self._norms[b])
        return sums

    def _select(self, a: slice, b: slice, bounds: NDArray[np.float32]) -> None:
        square = self._is_square(a, b)
        if square:
            mirror(bounds)
            self._norms[a] = np.diag(bounds)
            bounds *= np.float32(-2)
            bounds += self._norm_sums(a, b)
            np.fill_diagonal(bounds, np.inf)
        elif self._rows is not None:
            # the points themselves
            inside = np.flatnonzero((self._rows[a] >= b.start) & (self._rows[a] < b.stop))
            bounds[inside, self._rows[a][inside] - b.start] = np.inf
        self._best.offer(a, b, bounds)
        if not square and self._rows is None:
            self._best.offer_turned(a, b, bounds)

    # -- decisions --------------------------------------------------------------------

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Squared distances by direct differences; see :func:`~.differences.pair_squares`."""
        return pair_squares(self.points, i, j, self.unit)

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Lower bounds of the squared distances from some points to others, in float64.

        Parameters
        ----------
        rows : array of int, shape (m,)
        among : array of int, shape (n,), optional
            The others; all points by default.

        Returns
        -------
        array of shape (m, n)
            Infinite from a point to itself.
        """
        width = self.points.n_features
        others = np.arange(self.n_points) if among is None else among
        result = np.empty((len(rows), len(others)))

        def work(span: slice) -> None:
            chosen = span if among is None else among[span]
            gram = np.zeros((len(rows), span.stop - span.start))
            mine, theirs = np.zeros(len(rows)), np.zeros(span.stop - span.start)
            left_buffer, right_buffer = np.empty((len(mine), RUN)), np.empty((len(theirs), RUN))
            for columns in spans(width, RUN):
                left = self._centred.block(rows, columns, left_buffer)
                right = self._centred.block(chosen, columns, right_buffer)
                gram += left @ right.T
                mine += np.vecdot(left, left)
                theirs += np.vecdot(right, right)
            weight = 1 - 2 * rounding_bound(width, 2.0**-53)
            result[:, span] = weight * (mine[:, None] + theirs) - 2 * gram

        with one_thread_each():
            parallel(work, spans(len(others), min(TILE, -(-len(others) // workers()))))
        result[rows[:, None] == others] = np.inf
        return result
