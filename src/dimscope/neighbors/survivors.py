"""Survivors: the pairs of points that sketches do not rule out, found tile by tile and measured.

For every point there is a *limit*: a squared distance that its k-th neighbour does not exceed. A
pair survives if the lower bound of its distance (:mod:`dimscope.neighbors.sketches`) is below the
limit of one of its points. The search goes through all pairs in stages of a growing number of
tiles. After each stage, the most promising survivors are measured by direct differences; the limits
shrink, and most survivors fall. Those that are left in the end are all measured, so every neighbour
is decided by direct differences, as in :mod:`dimscope.neighbors.certificate`.

Points with so many survivors that a product with all points costs less, such as outliers, are left
*open*: they are searched with products of the points themselves.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dimscope.arrays.threads import parallel, spans
from dimscope.neighbors.certificate import SLACK
from dimscope.neighbors.products import add_product, one_thread_each
from dimscope.neighbors.tiles import TILE, rounding_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.sketches import Sketch
    from dimscope.neighbors.tiles import Tiles

__all__ = ["CROWD", "Survivors", "fewest_survivors"]

CROWD = 30  # one pair measured by differences costs as much as this many products of points
_PARTS = 16  # parts of a tile, whose nearest points give the first limits
_MOST = 1 << 25  # survivors held at once


@dataclass
class _Pairs:
    """Survivors: row i, the other point j, the bound, and the square if it was measured."""

    row: NDArray[np.int32]
    other: NDArray[np.int32]
    bound: NDArray[np.float32]
    square: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> _Pairs:
        return _Pairs(self.row[chosen], self.other[chosen], self.bound[chosen], self.square[chosen])

    @classmethod
    def joined(cls, parts: list[_Pairs]) -> _Pairs:
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("row", "other", "bound", "square")
            )
        )


def fewest_survivors(n_points: int) -> int:
    """Return how many survivors make a row so crowded that it is left open."""
    return max(64, n_points // CROWD)


class _Squares:
    """Squared distances of pairs, each measured once."""

    def __init__(self, exact: Tiles) -> None:
        self._exact = exact
        self._keys, self._values = np.empty(0, np.int64), np.empty(0)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the squared distances of pairs, measuring those that are new."""
        n = np.int64(self._exact.n_points)
        keys, inverse = np.unique(np.minimum(i, j) * n + np.maximum(i, j), return_inverse=True)
        values = np.empty(len(keys))
        with self._lock:
            known, squares = self._keys, self._values
        place = np.searchsorted(known, keys)
        place[place == len(known)] = 0
        new = known[place] != keys if len(known) else np.ones(len(keys), bool)
        values[~new] = squares[place[~new]] if len(known) else 0
        values[new] = self._exact.pair_squares(*np.divmod(keys[new], n))
        with self._lock:
            keys_of_all = np.concatenate([self._keys, keys[new]])
            order = np.argsort(keys_of_all, kind="stable")
            self._keys = keys_of_all[order]
            self._values = np.concatenate([self._values, values[new]])[order]
        return np.asarray(values[inverse])


class Survivors:
    """Search for the neighbours of points, or of some of them, with sketches.

    Parameters
    ----------
    exact : Tiles
        Kernel of the points themselves.
    sketch : Sketch
        Sketch of the same points.
    k : int
    rows : array of int, optional
        The points to search; all by default.
    progress : callable, optional
    """

    def __init__(
        self,
        exact: Tiles,
        sketch: Sketch,
        k: int,
        rows: NDArray[np.intp] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._exact, self._sketch, self._k = exact, sketch, k
        self._numbers = sketch.numbers
        self._all = rows is None
        self.rows = np.arange(exact.n_points) if rows is None else rows
        self._progress = progress
        n = len(self.rows)
        self._crowd = fewest_survivors(exact.n_points)
        self._limits = np.full(n, np.inf)  # squared distances
        self._ceilings = np.full(n, np.inf, np.float32)  # those of sketches that may be nearer
        self.is_open = np.zeros(n, bool)
        self._squares = _Squares(exact)
        width = self._numbers.shape[1]
        norms = np.vecdot(self._numbers, self._numbers)
        # bounds instead of distances: see Tiles
        weight = np.float32(1 - 2 * rounding_bound(width, 2.0**-24))
        underflow = np.float32(width * 2.0**-126)
        self._norms = weight * norms - underflow / 2

    def search(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest neighbours of every row that is not left open.

        Returns
        -------
        squares, indices : arrays of shape (n_rows, k)
            Meaningless in open rows.
        """
        pairs = self._scan_all()
        for wanted in (self._k, None):
            pairs = self._tightened(pairs, wanted)
        return self._nearest(pairs)

    @property
    def n_measured(self) -> int:
        """Number of pairs measured by direct differences."""
        return len(self._squares)

    # -- the scan -----------------------------------------------------------------------

    def _stages(self) -> list[list[tuple[slice, slice]]]:
        """Return the tiles of each stage: first those that give limits, then ever more."""
        row_tiles, tiles = spans(len(self.rows), TILE), spans(self._exact.n_points, TILE)
        if not self._all:
            by_distance = [[(a, b) for a in row_tiles] for b in tiles]
        else:
            by_distance = [
                list(zip(tiles, tiles[apart:], strict=False)) for apart in range(len(tiles))
            ]
        stages, start, size = [], 0, 1
        while start < len(by_distance):
            stages.append([pair for part in by_distance[start : start + size] for pair in part])
            start, size = start + size, 2 * size if start else 1
        return stages

    def _scan_all(self) -> _Pairs:
        stages = self._stages()
        total, done = sum(map(len, stages)), 0
        pairs: list[_Pairs] = []
        with one_thread_each():
            for number, stage in enumerate(stages):

                def report(n: int, before: int = done) -> None:
                    if self._progress is not None:
                        self._progress("searching", (before + n) / total, 1.0)

                scan = self._scan if number else self._scan_first
                parts = parallel(scan, stage, report)
                done += len(stage)
                pairs = [self._tightened(_Pairs.joined(pairs + parts), self._k)]
                if 2 * self.is_open.sum() > len(self.rows):
                    self.is_open[:] = True
                    break
        return pairs[0]

    def _bounds(self, a: slice, b: slice) -> NDArray[np.float32]:
        """Compute lower bounds of the squared distances between sketches."""
        left = self._numbers[a] if self._all else self._numbers[self.rows[a]]
        mine = self._norms[a] if self._all else self._norms[self.rows[a]]
        bounds: NDArray[np.float32] = np.add.outer(mine, self._norms[b])
        add_product(bounds, left, self._numbers[b], -2)
        queries = self.rows[a]
        if self._all and a == b:
            np.fill_diagonal(bounds, np.inf)
        elif not self._all:
            inside = np.flatnonzero((queries >= b.start) & (queries < b.stop))
            bounds[inside, queries[inside] - b.start] = np.inf
        if self._exact.exclusion is not None:
            groups = self._exact.exclusion.groups
            np.copyto(bounds, np.float32(np.inf), where=groups[queries][:, None] == groups[b])
        return bounds

    def _first_limits(self, a: slice, b: slice, bounds: NDArray[np.float32]) -> None:
        """Measure the points of a tile that are nearest by their sketches, one in each part."""
        n_parts = min(max(_PARTS, 2 * self._k), bounds.shape[1])
        size = bounds.shape[1] // n_parts
        parts = bounds[:, : n_parts * size].reshape(len(bounds), n_parts, size)
        nearest = parts.argmin(axis=2)
        values = np.take_along_axis(parts, nearest[:, :, None], axis=2)[:, :, 0]
        others = nearest + size * np.arange(n_parts)
        chosen = np.argsort(values, axis=1)[:, : self._k]
        values, others = (np.take_along_axis(x, chosen, axis=1) for x in (values, others))
        rows = np.flatnonzero(np.isfinite(values).all(axis=1) & (values.shape[1] == self._k))
        squares = self._squares.of(
            self.rows[np.repeat(rows + a.start, self._k)], b.start + others[rows].ravel()
        )
        self._limits[a.start + rows] = squares.reshape(-1, self._k).max(axis=1, initial=0)
        self.is_open[a] = ~np.isfinite(self._limits[a])
        self._set_ceilings(a)

    def _set_ceilings(self, which: slice = slice(None)) -> None:
        limits = np.where(self.is_open[which], 0, self._limits[which])
        ceilings = self._sketch.ceiling(SLACK * limits, self.rows[which])
        # rounded up, so that no nearer point is left out
        rounded = np.nextafter(ceilings.astype(np.float32), np.float32(np.inf))
        rounded[self.is_open[which]] = -np.inf
        self._ceilings[which] = rounded

    def _open(self, which: NDArray[np.bool_]) -> None:
        self.is_open |= which

    def _scan_first(self, tile: tuple[slice, slice]) -> _Pairs:
        """Find limits for the rows of a tile, then its survivors."""
        bounds = self._bounds(*tile)
        self._first_limits(*tile, bounds)
        return self._survivors(*tile, bounds)

    def _scan(self, tile: tuple[slice, slice]) -> _Pairs:
        """Find the survivors of a tile, on either side of it."""
        return self._survivors(*tile, self._bounds(*tile))

    def _survivors(self, a: slice, b: slice, bounds: NDArray[np.float32]) -> _Pairs:
        parts = [self._below(bounds, self._ceilings[a, None], a, b, turned=False)]
        if self._all and a != b:
            parts.append(self._below(bounds, self._ceilings[b], a, b, turned=True))
        return _Pairs.joined(parts)

    def _below(
        self,
        bounds: NDArray[np.float32],
        ceilings: NDArray[np.float32],
        a: slice,
        b: slice,
        *,
        turned: bool,
    ) -> _Pairs:
        hits = np.flatnonzero(bounds < ceilings)
        i, j = np.divmod(hits.astype(np.int32), np.int32(bounds.shape[1]))
        i += np.int32(a.start)
        j += np.int32(b.start)
        row, other = (j, i) if turned else (i, j)
        if not self._all:
            other = j
        return _Pairs(row, other, bounds.ravel()[hits], np.full(len(hits), np.nan))

    # -- measuring ------------------------------------------------------------------------

    def _tightened(self, pairs: _Pairs, wanted: int | None) -> _Pairs:
        """Measure the first survivors of each row (all by default), and drop those ruled out."""
        pairs = self._kept(pairs)
        # ascending bounds within each row
        order = np.lexsort((pairs.bound, pairs.row))
        pairs = pairs.select(order)
        starts = np.searchsorted(pairs.row, np.arange(len(self.rows) + 1))
        place = np.arange(len(pairs)) - np.repeat(starts[:-1], np.diff(starts))
        unmeasured = np.isnan(pairs.square)
        if wanted is not None:
            unmeasured &= place < wanted
        new = np.flatnonzero(unmeasured)
        pairs.square[new] = self._squares.of(
            self.rows[pairs.row[new]], pairs.other[new].astype(np.intp)
        )
        known = np.flatnonzero(~np.isnan(pairs.square))
        known = known[np.lexsort((pairs.square[known], pairs.row[known]))]
        row = pairs.row[known]
        first = np.searchsorted(row, np.arange(len(self.rows)))
        kth = first + self._k - 1
        has = np.flatnonzero(kth < len(row))
        has = has[row[kth[has]] == has]
        np.minimum.at(self._limits, has, pairs.square[known[kth[has]]])
        self._set_ceilings()
        pairs = self._kept(pairs)
        counts = np.bincount(pairs.row, minlength=len(self.rows))
        crowded = counts > self._crowd
        if len(pairs) > _MOST:
            crowded |= counts > _MOST // len(self.rows)
        if crowded.any():
            self._open(crowded)
            self._set_ceilings()
            pairs = self._kept(pairs)
        return pairs

    def _kept(self, pairs: _Pairs) -> _Pairs:
        """Return the survivors whose bound is still below the limit of their row."""
        return pairs.select(pairs.bound < self._ceilings[pairs.row])

    def _nearest(self, pairs: _Pairs) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        n, k = len(self.rows), self._k
        order = np.lexsort((pairs.other, pairs.square, pairs.row))
        starts = np.searchsorted(pairs.row[order], np.arange(n))
        squares, indices = np.full((n, k), np.nan), np.zeros((n, k), np.intp)
        closed = np.flatnonzero(~self.is_open)
        kept = order[starts[closed][:, None] + np.arange(k)]
        squares[closed], indices[closed] = pairs.square[kept], pairs.other[kept]
        return squares, indices
