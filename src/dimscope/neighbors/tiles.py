"""Tiles: lower bounds of all distances, from matrix products.

A float32 product X X' is the fastest way to compute all squared distances, but |x|^2 + |y|^2 - 2
x.y loses digits to cancellation. So tiles do not give distances. For every pair, they give a *lower
bound* of the squared distance that holds for any order of summation, and
:mod:`dimscope.neighbors.certificate` decides by direct differences.

Each tile is computed by one thread with a single-threaded BLAS, over short ranges of columns. Short
ranges stay in the cache and keep the bound tight, since rounding errors grow with the length of a
sum. :class:`Candidates` collects the smallest bounds of every row; tiles may finish in any order.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays import Points
from dimscope.arrays.threads import parallel, spans, workers
from dimscope.neighbors import kernels
from dimscope.neighbors.products import Centred, add_gram, add_product, mirror, one_thread_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

__all__ = ["RUN", "TILE", "Candidates", "Tiles", "pair_squares", "rounding_bound", "tiles_of"]

_CROWDED = 4  # hits, over those wanted, above which a tile's own thresholds are found first
_SIGN, _ALL, _HALF = np.uint32(1 << 31), np.uint32(2**32 - 1), np.uint64(32)


class Candidates:
    """For each of n points, the m candidates with the smallest bounds offered so far.

    Parameters
    ----------
    n_points : int
        Less than 2^32.
    m : int
    limits : array of shape (n_points,), float32, optional
        Bounds at or above the limit of a point are ignored. A list with fewer than m candidates
        ends with infinite bounds.

    Examples
    --------
    >>> best = Candidates(2, 2)
    >>> best.offer(slice(0, 2), slice(0, 3), np.array([[5, 1, 3], [-2, 4, 9]], np.float32))
    >>> bounds, indices = best.ascending()
    >>> bounds.tolist(), indices.tolist()
    ([[1.0, 3.0], [-2.0, 4.0]], [[1, 2], [0, 1]])
    """

    def __init__(self, n_points: int, m: int, limits: NDArray[np.float32] | None = None) -> None:
        self._m = m
        self._keys = np.full((n_points, m), np.uint64(2**64 - 1))
        self._limits = np.full(n_points, np.inf, np.float32) if limits is None else limits.copy()
        # one lock for the rows of each tile, so that threads seldom wait
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def offer(self, rows: slice, columns: slice, bounds: NDArray[np.float32]) -> None:
        """Offer points (``columns``) as candidates for other points (``rows``).

        Parameters
        ----------
        rows, columns : slice
            The points whose lists are updated, and the points offered to them.
        bounds : array of shape (rows, columns), float32
            Lower bounds; infinite ones are ignored.
        """
        limits = self._limits[rows, None]
        inside = bounds < limits
        if np.count_nonzero(inside) > _CROWDED * self._m * len(limits):
            # the m-th smallest of some columns is at least the m-th smallest of all
            thinned = bounds[:, :: _CROWDED if self._m * _CROWDED <= bounds.shape[1] else 1]
            if self._m <= thinned.shape[1]:
                inside &= bounds <= np.partition(thinned, self._m - 1, axis=1)[:, self._m - 1, None]
        hits = np.flatnonzero(inside)
        if len(hits):
            row, column = np.divmod(hits, bounds.shape[1])
            keys = _packed(bounds.ravel()[hits], column + columns.start)
            self._merge(rows, row, keys)

    def offer_turned(self, rows: slice, columns: slice, bounds: NDArray[np.float32]) -> None:
        """Offer ``rows`` as candidates for ``columns``; ``bounds`` as in :meth:`offer`."""
        limits = self._limits[columns]
        inside = bounds < limits
        if np.count_nonzero(inside) > _CROWDED * self._m * len(limits):
            self.offer(columns, rows, np.ascontiguousarray(bounds.T))
            return
        hits = np.flatnonzero(inside)
        if len(hits):
            row, column = np.divmod(hits, bounds.shape[1])
            keys = _packed(bounds.ravel()[hits], row + rows.start)
            order = np.argsort(column.astype(np.uint32), kind="stable")
            self._merge(columns, column[order], keys[order])

    def ascending(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the bounds and indices of every list, smallest bound first."""
        self._keys.sort(axis=1)
        return _bounds(self._keys), (self._keys & np.uint64(_ALL)).astype(np.intp)

    def _merge(self, rows: slice, row: NDArray[np.intp], keys: NDArray[np.uint64]) -> None:
        """Merge keys into the lists of their rows: ascending offsets from ``rows.start``."""
        touched, starts, counts = np.unique(row, return_index=True, return_counts=True)
        # each row of the table is a list: its new keys, then the old ones
        table = np.full((len(touched), counts.max() + self._m), np.uint64(2**64 - 1))
        place = np.arange(len(row)) - np.repeat(starts, counts)
        table[np.repeat(np.arange(len(touched)), counts), place] = keys
        points = touched + rows.start
        with self._locks[rows.start]:
            table[:, -self._m :] = self._keys[points]
            table.partition(self._m - 1, axis=1)
            self._keys[points] = table[:, : self._m]
            last = _bounds(table[:, self._m - 1])
            self._limits[points] = np.minimum(self._limits[points], last)


def _packed(bounds: NDArray[np.float32], points: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Pack bounds and points into keys that sort as the bounds do.

    The bits of negative floats sort backwards, so they are inverted.
    """
    bits = bounds.view(np.uint32)
    upper = np.where(bits & _SIGN, bits ^ _ALL, bits | _SIGN)
    return (upper.astype(np.uint64) << _HALF) | points.astype(np.uint64)


def _bounds(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the bounds of packed keys; infinite for empty entries."""
    upper = (keys >> _HALF).astype(np.uint32)
    bounds = np.where(upper & _SIGN, upper ^ _SIGN, upper ^ _ALL).view(np.float32)
    return np.where(upper == _ALL, np.float32(np.inf), bounds)


# Features and values of one batch: it fits a cache, and is long enough that threads do
# not wait for the interpreter.
_RUN, _VALUES = 8192, 1 << 18
_GATHERED = 1 << 19  # values of one of the points of each pair of a batch
_BROAD, _NARROW = 1 << 15, 1024  # features that a thread takes at a time, and fewest in the cache
_CACHED = 1 << 20  # values of all points that fit the cache


def pair_squares(
    points: Points, i: NDArray[np.intp], j: NDArray[np.intp], unit: float = 1.0
) -> NDArray[np.float64]:
    """Compute the squared distances of pairs of points by direct differences.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    i, j : arrays of int, shape (n_pairs,)
    unit : float
        Factor by which every difference is multiplied, so that squares stay in range.

    Returns
    -------
    array of shape (n_pairs,), float64
        (unit |x_i - x_j|)^2. Differences of float32 values are computed in float32, with a relative
        error of at most 6e-8, then squared and summed in float64. Of 8192 features or more, runs of
        256 squares may be summed in float32, with a relative error of at most 5e-7.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> points = as_points([[0, 0], [3, 4], [1, 1]])
    >>> pair_squares(points, np.array([0, 0]), np.array([1, 2])).tolist()
    [25.0, 2.0]
    """
    if not len(i):
        return np.empty(0)
    width = points.n_features
    if kernels.level and points.has_near_rows:
        return _compiled_squares(points, i, j, unit)
    run = min(width, _RUN)
    step = max(1, _VALUES // run)
    # Wide points: each thread takes its own columns, so that every value is read once.
    by_columns = width >= 2 * run * workers()
    total = width if by_columns else len(i)

    def work(share: slice) -> NDArray[np.float64]:
        squares, wide = np.zeros(len(i)), np.empty((step, run))
        columns = share if by_columns else slice(0, width)
        pairs = slice(0, len(i)) if by_columns else share
        for start in range(columns.start, columns.stop, run):
            where = slice(start, min(start + run, columns.stop))
            for first in range(pairs.start, pairs.stop, step):
                batch = slice(first, min(first + step, pairs.stop))
                difference = points.block(i[batch], where)
                difference -= points.block(j[batch], where)
                part = wide[: len(difference), : difference.shape[1]]
                part[:] = difference
                if unit != 1.0:
                    part *= unit
                squares[batch] += np.vecdot(part, part)
                points.release()
        return squares

    return np.asarray(sum(parallel(work, spans(total, max(1, -(-total // workers()))))))


def _compiled_squares(
    points: Points, i: NDArray[np.intp], j: NDArray[np.intp], unit: float
) -> NDArray[np.float64]:
    squares, values = np.empty(len(i)), points.in_place
    in_runs = points.n_features >= _LONG
    if values is not None and points.n_points <= TILE and in_runs:
        return _squares_by_columns(values, points.rows_at(i), points.rows_at(j), unit)

    def work(pairs: slice) -> None:
        if values is not None:
            rows = points.rows_at(i[pairs]), points.rows_at(j[pairs])
            squares[pairs] = kernels.pair_squares(values, *rows, unit, in_runs=in_runs)
            return
        chosen, places = np.unique(np.concatenate([i[pairs], j[pairs]]), return_inverse=True)
        gathered = np.ascontiguousarray(points.block(chosen))
        first, second = np.split(places, 2)
        squares[pairs] = kernels.pair_squares(gathered, first, second, unit, in_runs=in_runs)

    most = len(i) if values is not None else max(1, _GATHERED // points.n_features)
    parallel(work, spans(len(i), min(most, -(-len(i) // workers()))))
    return squares


def _squares_by_columns(
    values: NDArray[Any], i: NDArray[np.intp], j: NDArray[np.intp], unit: float
) -> NDArray[np.float64]:
    """Measure pairs of a few long rows by columns that fit the cache: each row is in many pairs."""
    width = values.shape[1]
    step = max(_NARROW, _CACHED // len(values))

    def work(part: slice) -> NDArray[np.float64]:
        total = np.zeros(len(i))
        for start in range(part.start, part.stop, step):
            columns = slice(start, min(start + step, part.stop))
            total += kernels.pair_squares(values[:, columns], i, j, unit, in_runs=True)
        return total

    # parts that do not depend on the number of threads, so that sums repeat to the last digit
    return np.asarray(sum(parallel(work, spans(width, _BROAD))))


TILE = 2048  # rows and columns of a tile
_WORK = 1 << 33  # products of features in a tile that is worth a thread of its own
_SMALL, _FEW = 256, 8  # rows of the smallest tiles, and a number of tiles that is enough


def tiles_of(n_points: int, n_features: int) -> list[slice]:
    """Cut points into tiles: a few at least, if there is enough work for several threads.

    Examples
    --------
    >>> [len(tiles_of(n, 1000)) for n in (500, 5000, 10_000, 100_000)]
    [1, 3, 5, 49]
    >>> len(tiles_of(500, 10**6))
    2
    """
    enough = max(_SMALL, math.isqrt(_WORK // n_features))
    return spans(n_points, min(TILE, max(enough, -(-n_points // _FEW))))


RUN = 1024  # features in one product
_LONG = 8192  # features of a long row, for which the product of a single pair is quick
_TERMS = 16384  # features of a single pair in one product


def rounding_bound(n_features: int, unit_roundoff: float, n_parts: int | None = None) -> float:
    """Bound the error of |x|^2 + |y|^2 - 2 x.y, relative to (|x| + |y|)^2.

    The bound counts one unit roundoff for each term in a range of columns (for any order of
    summation), one for each range added, and one for each of the few remaining operations. Columns
    may be split into parts that different threads sum: as many as these threads need, by default.

    Examples
    --------
    >>> rounding_bound(10**5, 2**-24) < 1e-4
    True
    """
    n_parts = 4 * workers() if n_parts is None else n_parts
    runs = -(-n_features // RUN) + n_parts
    return (min(RUN, n_features) + runs + 16) * unit_roundoff


class Tiles:
    """Kernel that computes lower bounds of squared distances from tiled matrix products.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.
    """

    where = "tiles"
    extra = 4

    def __init__(
        self,
        points: Points,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> None:
        self.points = points
        self.exclusion = exclusion
        self._progress = progress
        self.n_points = points.n_points
        # A power of two keeps squares within float32; most data need none.
        self.unit = 1.0 if 2.0**-20 < points.max_abs < 2.0**20 else points.scale
        self._centred = Centred(points, self.unit)
        self._rows: NDArray[np.intp] | None = None
        self._lock = threading.Lock()

    # -- candidates ---------------------------------------------------------------

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the m other points of smallest lower bound, for each given point or for all.

        Parameters
        ----------
        m : int
            At most the number of points that each point may have as neighbours.
        rows : array of int, optional
            The points to find candidates for; all by default.

        Returns
        -------
        bounds : array of shape (n_points or len(rows), m)
            Lower bounds of squared distances, ascending. A point that is not listed has a bound at
            least as large as the last one listed.
        indices : array of the same shape
        """
        n = self.n_points
        self._rows = rows
        self._best = Candidates(n if rows is None else len(rows), m)
        self._norms = np.zeros(n, dtype=np.float32)
        tiles = spans(n, TILE)
        self._multiplied = 0
        with one_thread_each():
            if rows is None:
                # The tiles on the diagonal come first: they give the norms, and thresholds
                # that leave little to sort in the others.
                self._multiply([(tile, tile) for tile in tiles])
                self._multiply([(a, b) for i, a in enumerate(tiles) for b in tiles[i + 1 :]])
            else:
                parallel(self._measure_norms, tiles)
                row_tiles = spans(len(rows), TILE)
                self._multiply([(a, b) for b in tiles for a in row_tiles])
        return self._best.ascending()

    def _measure_norms(self, b: slice) -> None:
        buffer = np.empty((b.stop - b.start, RUN), np.float32)
        for columns in spans(self.points.n_features, RUN):
            block = self._centred.block(b, columns, buffer)
            self._norms[b] += np.vecdot(block, block)
        self.points.release()

    def _is_square(self, a: slice, b: slice) -> bool:
        """Tell whether a tile is on the diagonal, so that half of it is enough."""
        return self._rows is None and a == b

    def _multiply(self, pairs: list[tuple[slice, slice]]) -> None:
        """Compute every tile; if there are few tiles, split their columns over threads."""
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
            with self._lock:
                self._multiplied += weight * part.size * (columns.stop - columns.start)

        tasks = [(i, columns) for i in range(len(pairs)) for columns in ranges]
        parallel(work, tasks, self._report)

    def _report(self, _: int) -> None:
        if self._progress is not None:
            n_rows = self.n_points if self._rows is None else len(self._rows)
            total = n_rows * self.n_points * self.points.n_features
            self._progress("searching", min(1.0, self._multiplied / total), 1.0)

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
        self.points.release()
        return total

    def _norm_sums(self, a: slice, b: slice) -> NDArray[np.float32]:
        """Return |x|^2 + |y|^2 minus the error bound of the product."""
        row_norms = self._norms[a if self._rows is None else self._rows[a]]
        # (|x| + |y|)^2 <= 2 |x|^2 + 2 |y|^2: the bound is a smaller weight of the norms
        weight = np.float32(1 - 2 * rounding_bound(self.points.n_features, 2.0**-24))
        underflow = np.float32(self.points.n_features * 2.0**-126)
        sums: NDArray[np.float32] = np.add.outer(
            weight * row_norms - underflow, weight * self._norms[b]
        )
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
        if self.exclusion is not None:
            groups = self.exclusion.groups
            mine = groups[a if self._rows is None else self._rows[a]]
            np.copyto(bounds, np.float32(np.inf), where=mine[:, None] == groups[b])
        self._best.offer(a, b, bounds)
        if not square and self._rows is None:
            self._best.offer_turned(a, b, bounds)

    # -- decisions --------------------------------------------------------------------

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute squared distances by direct differences; see :func:`pair_squares`."""
        return pair_squares(self.points, i, j, self.unit)

    @property
    def has_quick_bounds(self) -> bool:
        """Whether :meth:`pair_bounds` takes much less time than :meth:`pair_squares`."""
        if kernels.level or self.points.n_features < _LONG:
            return False
        return self._centred.is_in_place  # last: it reads some points

    def pair_bounds(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute lower bounds of squared distances by products of single pairs.

        The points must be read in place, which is why this is quick, and i must be ascending.
        """
        width = self.points.n_features
        rows, place = np.unique(np.concatenate([i, j]), return_inverse=True)
        with one_thread_each():
            norms, products = self._norms_of(rows), self._pair_products(i, j)
        x_norms, y_norms = norms[place[: len(i)]], norms[place[len(i) :]]
        # a few roundoffs more, since the norms are rounded as well
        roundoffs = (min(width, _TERMS) + 16) * 2.0**-24
        underflow = 8 * width * 2.0**-126
        error = roundoffs * (np.sqrt(x_norms) + np.sqrt(y_norms)) ** 2 + underflow
        return np.asarray(x_norms + y_norms - 2 * products - error)

    def _norms_of(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute the squared norms of points in float32."""
        runs, norms = spans(self.points.n_features, _TERMS), np.zeros(len(rows))

        def work(part: slice) -> None:
            for run in runs:
                block = self.points.block(rows[part], run)
                norms[part] += np.vecdot(block, block)
            self.points.release()

        parallel(work, spans(len(rows), max(1, _VALUES // _TERMS)))
        return norms

    def _pair_products(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute the products of pairs of points in float32; i is ascending."""
        runs, products = spans(self.points.n_features, _TERMS), np.zeros(len(i))
        most = max(1, _VALUES // _TERMS)
        starts = np.flatnonzero(np.diff(i, prepend=-1))
        groups = [
            slice(first, min(first + most, stop))
            for start, stop in zip(starts, [*starts[1:], len(i)], strict=True)
            for first in range(start, stop, most)
        ]

        def work(part: slice) -> None:
            for group in groups[part]:
                row = slice(i[group.start], i[group.start] + 1)
                for run in runs:
                    x = self.points.block(row, run)[0]
                    # dot lets other threads run; the operator @ does not, for one product
                    products[group] += np.dot(self.points.block(j[group], run), x)
                self.points.release()

        parallel(work, spans(len(groups), max(1, -(-len(groups) // workers()))))
        return products

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Compute float64 lower bounds of squared distances from the given points to others.

        Parameters
        ----------
        rows : array of int, shape (m,)
        among : array of int, shape (n,), optional
            The others; all points by default.

        Returns
        -------
        array of shape (m, n)
            Infinite from a point to itself, and to one that is not its neighbour.
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
        groups = None if self.exclusion is None else self.exclusion.groups
        same = (
            rows[:, None] == others if groups is None else groups[rows][:, None] == groups[others]
        )
        result[same] = np.inf
        return result
