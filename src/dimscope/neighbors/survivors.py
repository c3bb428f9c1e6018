"""Survivors: pairs of points that codes or sketches do not rule out, found tile by tile.

For every point there is a *limit*: a squared distance that its k-th neighbour does not exceed. A
pair survives if the lower bound of its distance (:mod:`dimscope.neighbors.codes`,
:mod:`dimscope.neighbors.sketches`) is below the limit of one of its points. The search goes through
all pairs in stages of a growing number of tiles. After each stage, the most promising survivors are
measured by direct differences; the limits shrink, and most survivors fall. Those that are left in
the end are all measured, so every neighbour is decided by direct differences, as in
:mod:`dimscope.neighbors.certificate`.

Points with so many survivors that a product with all points costs less, such as outliers, are left
*open*: they are searched with products of the points themselves.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from dimscope.arrays.threads import parallel, spans
from dimscope.neighbors.products import one_thread_each
from dimscope.neighbors.tiles import TILE, tiles_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.tiles import Tiles

__all__ = ["Bounds", "Screen", "Survivors", "crowd"]

_CROWD = 30  # one pair measured by differences costs as much as this many products of points
_FEWEST_OPEN = 64  # with at most so many survivors, a row is not left open
_ABOVE = 1 + 1e-6  # so that a pair at its own limit survives
_PARTS = 16  # parts of a tile, whose nearest points give the first limits
_MOST = 1 << 25  # survivors held at once
_BATCH = 16  # tiles that are scanned before their survivors are counted
_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)


def crowd(n_points: int) -> int:
    """Return how many survivors a row may have before it is left open."""
    return max(_FEWEST_OPEN, n_points // _CROWD)


class Bounds(Protocol):
    """Lower bounds of distances, from the searched points to all points."""

    is_whole: bool
    """Whether all bounds are at hand: the first limits of a point then come from all others."""

    def nearest(
        self, a: slice, b: slice, n_parts: int, ids: tuple[NDArray[np.int32], NDArray[np.int32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        """Find points of b that seem near to each point of a: one in each of some parts of b.

        Returns numbers that order them, infinite where there is none, and positions in b. Points of
        equal ids are not compared.
        """

    def below(
        self,
        a: slice,
        b: slice,
        ceilings: NDArray[np.float32],
        turned: NDArray[np.float32] | None = None,
    ) -> list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
        """Find the pairs whose bound is below a ceiling, and those that are turned round.

        If a is b, with turned pairs, each pair of different points is one of either only.
        """

    def ceiling(self, squares: NDArray[np.float64], which: slice) -> NDArray[np.float64]:
        """Turn squared distances into what no bound of a nearer point exceeds."""


class Screen(Protocol):
    """A short form of every point, from which lower bounds of distances follow."""

    def among(self, rows: NDArray[np.intp] | None) -> Bounds:
        """Prepare a search of all points (the default), or of some of them, among all."""


class _Pairs(NamedTuple):
    """Survivors: row i, the other point j, the bound, and the square if it was measured."""

    row: NDArray[np.int32]
    other: NDArray[np.int32]
    bound: NDArray[np.float32]
    square: NDArray[np.float64]

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> _Pairs:
        """Return some of the pairs."""
        return _Pairs(self.row[chosen], self.other[chosen], self.bound[chosen], self.square[chosen])

    def with_(self, more: _Pairs) -> _Pairs:
        """Return these pairs and more."""
        return _Pairs(
            np.concatenate([self.row, more.row]),
            np.concatenate([self.other, more.other]),
            np.concatenate([self.bound, more.bound]),
            np.concatenate([self.square, more.square]),
        )


_NONE = _Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0))


class _Squares:
    """Squared distances of pairs, each measured once."""

    def __init__(self, exact: Tiles) -> None:
        self._exact = exact
        self._keys, self._values = np.empty(0, np.int64), np.empty(0)
        self.n_measured = 0

    def of(
        self, i: NDArray[np.intp], j: NDArray[np.intp], limits: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the squared distances of pairs, measuring those that are new.

        With limits, which belong to the last call, squares that are above the limit of their pair
        may be infinite instead.
        """
        n = np.int64(self._exact.n_points)
        keys, inverse = np.unique(np.minimum(i, j) * n + np.maximum(i, j), return_inverse=True)
        values, is_new = np.full(len(keys), np.inf), np.ones(len(keys), bool)
        if len(self._keys):
            place = np.searchsorted(self._keys, keys)
            place[place == len(self._keys)] = 0
            is_new = self._keys[place] != keys
            values[~is_new] = self._values[place[~is_new]]
        new = np.flatnonzero(is_new)
        if limits is not None and self._exact.has_quick_bounds:
            most = np.zeros(len(keys))
            np.maximum.at(most, inverse, limits)
            bounds = self._exact.pair_bounds(*np.divmod(keys[new], n))
            new = new[bounds < _ABOVE * most[new]]
        values[new] = self._exact.pair_squares(*np.divmod(keys[new], n))
        self.n_measured += len(new)
        if limits is None:
            all_keys = np.concatenate([self._keys, keys[new]])
            order = np.argsort(all_keys)
            self._keys = all_keys[order]
            self._values = np.concatenate([self._values, values[new]])[order]
        return np.asarray(values[inverse])


class Survivors:
    """Search for the neighbours of points, or of some of them, with codes or sketches.

    After :meth:`search`, the rows that are left open are in ``is_open``.

    Parameters
    ----------
    exact : Tiles
        Kernel of the points themselves.
    screen : Sketch or Codes
        What gives lower bounds of the distances of the same points.
    k : int
    rows : array of int, optional
        The points to search; all by default.
    progress : callable, optional
    """

    def __init__(
        self,
        exact: Tiles,
        screen: Screen,
        k: int,
        rows: NDArray[np.intp] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._exact, self._k = exact, k
        self._screen = screen.among(rows)
        self._all = rows is None and not self._screen.is_whole
        self.rows = np.arange(exact.n_points) if rows is None else rows
        self._progress = progress
        n = len(self.rows)
        self._crowd = crowd(exact.n_points)
        self._limits = np.full(n, np.inf)  # squared distances
        self._ceilings = np.full(n, np.inf, np.float32)  # bounds of points that may be nearer
        self.is_open = np.zeros(n, bool)
        # pairs of equal ids are not neighbours
        barred = exact.exclusion
        ids = np.arange(exact.n_points) if barred is None else barred.groups
        self._ids = np.asarray(ids, np.int32)
        self._squares = _Squares(exact)
        self._tiles = tiles_of(exact.n_points, exact.points.n_features)
        self._row_tiles = self._tiles if rows is None else spans(n, TILE)
        if self._screen.is_whole:
            self._tiles = [slice(0, exact.n_points)]
        self._pairs = dict.fromkeys((tile.start for tile in self._row_tiles), _NONE)

    def search(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours of every row that is not left open.

        Returns
        -------
        squares, indices : arrays of shape (n_rows, k)
            Squares in the unit of the kernel. Meaningless in open rows.
        """
        with one_thread_each():
            self._scan_all()
        n_left = sum(int(np.isnan(pairs.square).sum()) for pairs in self._pairs.values())
        if _CROWD * n_left > len(self.rows) * self._exact.n_points:
            self.is_open[:] = True  # a product of all points takes less time
        else:
            self._tighten(None)
        squares = np.full((len(self.rows), self._k), np.nan)
        indices = np.zeros(squares.shape, np.intp)

        def nearest(tile: slice) -> None:
            if self.is_open[tile].all():
                return
            closed, kept = self._nearest(tile)
            squares[closed] = self._pairs[tile.start].square[kept]
            indices[closed] = self._pairs[tile.start].other[kept]

        parallel(nearest, self._row_tiles)
        return squares, indices

    @property
    def n_measured(self) -> int:
        """Number of pairs measured by direct differences."""
        return self._squares.n_measured

    # -- the scan -----------------------------------------------------------------------

    def _stages(self) -> list[list[tuple[slice, slice]]]:
        """Return the tiles of each stage: twice as many in each, the diagonal in the first."""
        row_tiles, tiles = self._row_tiles, self._tiles
        by_distance = [[(a, b) for a in row_tiles] for b in tiles]
        if self._all:
            by_distance = [list(zip(tiles, tiles[i:], strict=False)) for i in range(len(tiles))]
        stages, start, size = [], 0, 2
        while start < len(by_distance):
            stages.append([pair for part in by_distance[start : start + size] for pair in part])
            start, size = start + size, 2 * size
        return stages

    def _scan_all(self) -> None:
        stages = self._stages()
        first = stages[0][: len(self._row_tiles)]
        self._n_tiles, self._n_scanned = len(first) + sum(map(len, stages)), 0
        found = parallel(self._candidates, first, self._report)
        self._n_scanned = len(first)
        # one pass over the points measures the pairs of all tiles
        self._limit(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        for stage in stages:
            self._scan_stage(stage)
            self._tighten(self._k)
            if 2 * self.is_open.sum() > len(self.rows):
                self.is_open[:] = True
                self._pairs = dict.fromkeys(self._pairs, _NONE)
                return

    def _scan_stage(self, stage: list[tuple[slice, slice]]) -> None:
        """Scan the tiles of a stage, so many at a time that their survivors fit in memory."""
        done, size, most = 0, _BATCH, 1
        while done < len(stage):
            scanned = parallel(self._scan, stage[done : done + size], self._report)
            for parts in scanned:
                for start, part in parts:
                    self._pairs[start] = self._pairs[start].with_(part)
                most = max(most, sum(len(part.row) for _, part in parts))
            done, size = done + len(scanned), max(_BATCH, _MOST // most)
            self._n_scanned += len(scanned)
            n_held = sum(len(pairs.row) for pairs in self._pairs.values())
            if n_held > _MOST and done < len(stage):
                self._tighten(self._k)

    def _report(self, n_done: int) -> None:
        if self._progress is not None:
            self._progress("searching", (self._n_scanned + n_done) / self._n_tiles, 1.0)

    def _candidates(self, tile: tuple[slice, slice]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find points that seem near to the rows of a tile: one in each part of it, at most.

        Returns
        -------
        rows : array of shape (n,)
            Those for which there are enough points.
        others : array of shape (n, k)
        """
        a, b = tile
        # with all bounds at hand, it is worth while that the nearest are seldom in one part
        n_parts = max(_PARTS, (_PARTS if self._screen.is_whole else 2) * self._k)
        ids = self._ids[self.rows[a]], self._ids[b]
        values, others = self._screen.nearest(a, b, n_parts, ids)
        chosen = np.argpartition(values, min(self._k, values.shape[1]) - 1, axis=1)[:, : self._k]
        is_near = np.isfinite(np.take_along_axis(values, chosen, axis=1)).all(axis=1)
        rows = np.flatnonzero(is_near & (chosen.shape[1] == self._k))
        others = np.take_along_axis(others[rows], chosen[rows], axis=1)
        return a.start + rows, b.start + others.astype(np.intp)

    def _limit(self, rows: NDArray[np.intp], others: NDArray[np.intp]) -> None:
        """Measure k points for some rows, which gives limits; leave the other rows open."""
        squares = self._squares.of(self.rows[np.repeat(rows, self._k)], others.ravel())
        self._limits[rows] = squares.reshape(-1, self._k).max(axis=1, initial=0)
        self.is_open[:] = ~np.isfinite(self._limits)
        self._set_ceilings()

    def _set_ceilings(self, which: slice = slice(None)) -> None:
        limits = np.where(self.is_open[which], 0, self._limits[which])
        ceilings = self._screen.ceiling(_ABOVE * limits, which)
        # rounded up, so that no nearer point is left out
        rounded = _rounded_up(ceilings)
        rounded[self.is_open[which]] = -np.inf
        self._ceilings[which] = rounded

    def _scan(self, tile: tuple[slice, slice]) -> list[tuple[int, _Pairs]]:
        """Find the survivors of a tile, on either side of it, by the first row of their part."""
        a, b = tile
        turned = self._ceilings[b] if self._all else None
        (i, j, bounds), *theirs = self._screen.below(a, b, self._ceilings[a], turned)
        parts = [(a.start, self._pairs_of(a, b, i, j, bounds))]
        for i, j, bounds in theirs:
            parts.append((b.start, self._pairs_of(b, a, j, i, bounds)))
        return parts

    def _pairs_of(
        self,
        a: slice,
        b: slice,
        i: NDArray[np.int32],
        j: NDArray[np.int32],
        bounds: NDArray[np.float32],
    ) -> _Pairs:
        """Return pairs by their positions in a tile, without those that are not neighbours."""
        pairs = _Pairs(
            i + np.int32(a.start), j + np.int32(b.start), bounds, np.full(len(i), np.nan)
        )
        barred = self._ids[self.rows[pairs.row]] == self._ids[pairs.other]
        return pairs.select(~barred) if barred.any() else pairs

    # -- measuring ------------------------------------------------------------------------

    def _tighten(self, wanted: int | None) -> None:
        """Measure the first survivors of each row (all by default), and drop those ruled out."""
        chosen = parallel(partial(self._chosen, wanted=wanted), self._row_tiles)
        parts = [self._pairs[tile.start] for tile in self._row_tiles]
        i = np.concatenate([part.row[new] for part, new in zip(parts, chosen, strict=True)])
        j = np.concatenate([part.other[new] for part, new in zip(parts, chosen, strict=True)])
        # the last pairs are many, and few of them are below the limit
        limits = self._limits[i] if wanted is None else None
        squares = self._squares.of(self.rows[i], j.astype(np.intp), limits)
        edges = np.cumsum([len(new) for new in chosen])[:-1]
        for part, new, values in zip(parts, chosen, np.split(squares, edges), strict=True):
            part.square[new] = values
        parallel(self._drop, self._row_tiles)

    def _chosen(self, tile: slice, wanted: int | None) -> NDArray[np.intp]:
        """Sort the survivors of some rows by their bounds; return those to be measured."""
        pairs = self._pairs[tile.start]
        order = np.argsort(_packed(pairs.row, pairs.bound))
        self._pairs[tile.start] = pairs = pairs.select(order)
        new = np.isnan(pairs.square)
        if wanted is not None:
            starts = np.searchsorted(pairs.row, np.arange(tile.start, tile.stop + 1))
            new &= np.arange(len(pairs.row)) < np.repeat(starts[:-1] + wanted, np.diff(starts))
        return np.flatnonzero(new)

    def _drop(self, tile: slice) -> None:
        """Lower the limits of some rows to their k-th measured square; drop what is above."""
        pairs = self._pairs[tile.start]
        is_measured = ~np.isnan(pairs.square)
        keys = np.sort(_packed(pairs.row[is_measured], _rounded_up(pairs.square[is_measured])))
        rows = np.arange(tile.start, tile.stop, dtype=np.uint64)
        kth = np.searchsorted(keys, rows << _HALF) + self._k - 1
        has = np.flatnonzero(kth < len(keys))
        has = has[keys[kth[has]] >> _HALF == rows[has]]
        limits = (keys[kth[has]] & _LOW).astype(np.uint32).view(np.float32)
        self._limits[tile][has] = np.minimum(self._limits[tile][has], limits)
        self._set_ceilings(tile)
        pairs = self._pairs[tile.start] = self._kept(tile)
        counts = np.bincount(pairs.row - tile.start, minlength=len(rows))
        most = _MOST // len(self._row_tiles)
        crowd = self._crowd if len(pairs.row) < most else min(self._crowd, most // len(rows))
        if (counts > crowd).any():
            self.is_open[tile] |= counts > crowd
            self._set_ceilings(tile)
            self._pairs[tile.start] = self._kept(tile)

    def _kept(self, tile: slice) -> _Pairs:
        """Return the survivors of some rows whose bound is still below the limit."""
        pairs = self._pairs[tile.start]
        return pairs.select(pairs.bound < self._ceilings[pairs.row])

    def _nearest(self, tile: slice) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows that are not open, and the places of their k nearest among the pairs."""
        pairs = self._pairs[tile.start]
        near = np.flatnonzero(pairs.square <= self._limits[pairs.row])
        order = near[np.lexsort((pairs.other[near], pairs.square[near], pairs.row[near]))]
        # too few are left only if a bound is wrong
        counts = np.bincount(pairs.row[near] - tile.start, minlength=tile.stop - tile.start)
        self.is_open[tile] |= counts < self._k
        closed = tile.start + np.flatnonzero(~self.is_open[tile])
        starts = np.searchsorted(pairs.row[order], closed)
        return closed, order[starts[:, None] + np.arange(self._k)]


def _packed(rows: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Pack rows and values into keys that sort by row, then by value; negative ones become 0."""
    bits = np.maximum(values, np.float32(0)).view(np.uint32)
    return (rows.astype(np.uint64) << _HALF) | bits


def _rounded_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))
