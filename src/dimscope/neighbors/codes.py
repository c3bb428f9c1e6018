"""Codes: points rounded to small integers, which give lower bounds of distances.

A point x, shifted to the centre of the data, is rounded to a code c: a scale times a vector of
integers of one byte. By the triangle inequality,

    |x - y|  >=  |c_x - c_y| - |x - c_x| - |y - c_y|.

Products of integers have no rounding error, and take a fraction of the time of products in float32
(:mod:`dimscope.neighbors.kernels`). What rounding loses, ``|x - c_x|``, is measured for each point;
for layers of networks it is 1 to 2 % of the distances of neighbours. So few pairs survive, which
:mod:`dimscope.neighbors.survivors` measures. The bounds hold for any points: the search is exact.

Many points are encoded tile by tile, and their codes are kept, since each tile meets all others. A
single tile is encoded and multiplied by short runs of features, each with scales of its own: the
codes of a run stay in the cache, the points are read once, and only the products are kept.

References
----------
J. Gao and C. Long, "RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for
approximate nearest neighbor search", Proceedings of the ACM on Management of Data 2 (2024): bounds
of distances from codes, there with a probability.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from dimscope.arrays.memory import is_mapped
from dimscope.arrays.threads import parallel, spans, workers
from dimscope.neighbors import kernels
from dimscope.neighbors.products import Centred, mirror, smallest_in_parts
from dimscope.neighbors.tiles import TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.neighbors.kernels import Coded

    _Hits = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]

__all__ = ["LONGEST_RUN", "CodeBounds", "Codes", "DenseBounds"]

_KEPT = 1 << 29  # bytes of codes up to which all are kept; otherwise a few tiles of them
_RECENT = 4  # tiles that are kept then
_VALUES = 1 << 20  # values encoded at a time
_CACHED = 1 << 21  # codes of a run of features, which is multiplied while a cache holds them
_SHORTEST, LONGEST_RUN = 256, 4096  # features of such a run
_LENGTH = 2.0**-22  # error of shifting and of float32 values, relative to the length of a point
_ROUNDED = 1 + 1e-3  # sums of squares in float32, in short runs
_ROUNDOFF = 2.0**-20  # more than the few operations of a bound lose
_ABSOLUTE = 2.0**-60  # error of a value that underflows


class Codes:
    """Codes of points, made when they are first needed.

    ``where`` names this way of searching in the provenance.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    unit : float
        Factor by which every value is multiplied, so that squares stay in range.
    """

    where = "codes"

    def __init__(self, points: Points, unit: float) -> None:
        self._points, self._centred = points, Centred(points, unit)
        self.n_features = points.n_features
        self.errors = np.zeros(points.n_points, np.float32)
        # a map is read in place of memory, and its codes are not to take a quarter of that
        is_small = points.n_points * points.n_features <= _KEPT
        self._is_kept = is_small and not is_mapped(points.array)
        self._tiles: dict[int, Coded] = {}
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def of_tile(self, tile: slice) -> Coded:
        """Return the codes of a tile of the points."""
        with self._locks[tile.start]:
            coded = self._tiles.get(tile.start)
            if coded is None:
                coded = self.encoded(tile)
                if not self._is_kept:
                    for start in list(self._tiles)[: -_RECENT or None]:
                        self._tiles.pop(start, None)
                self._tiles[tile.start], self.errors[tile] = coded, coded.error
        return coded

    def encoded(self, rows: slice | NDArray[np.intp]) -> Coded:
        """Encode some of the points.

        Returns
        -------
        Coded
            The errors are bounds of the distance between each point and its code.
        """
        n = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        width = self._points.n_features
        coded = kernels.empty(n, width)
        step = max(1, _VALUES // width // kernels.PANEL) * kernels.PANEL

        def work(start: int) -> None:
            stop = min(start + step, n)
            chosen = (
                slice(rows.start + start, rows.start + stop)
                if isinstance(rows, slice)
                else rows[start:stop]
            )
            block, centre = self._centred.unshifted(chosen, slice(0, width))
            kernels.encode(block, coded, start, centre)
            self._points.release()

        _ = self._centred.centre  # found by all threads, before each has work of its own
        parallel(work, range(0, n, step))
        coded.error[:] = _error(coded.error, np.sqrt(coded.square) + coded.error, width)
        return coded

    def among(self, rows: NDArray[np.intp] | None) -> CodeBounds | DenseBounds:
        """Prepare a search of all points (the default), or of some of them, among all."""
        if rows is None and self._points.n_points <= TILE:
            return self.dense(slice(0, self._points.n_points))
        return CodeBounds(self, rows)

    def dense(self, rows: slice | NDArray[np.intp], every: int = 1) -> DenseBounds:
        """Compute bounds of the distances between all pairs of some points, by runs of features.

        If only one in ``every`` so many runs is read, they are estimates, and not bounds.
        """
        n = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        width = self.n_features
        _ = self._centred.centre  # found by all threads, before each has work of its own
        length = min(width, max(_SHORTEST, min(LONGEST_RUN, _CACHED // n // 64 * 64)))
        runs = [slice(start, min(start + length, width)) for start in range(0, width, length)]
        runs = runs[::every]

        def work(
            share: slice,
        ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
            total = np.zeros((n, n), np.float32)
            squares, errors = np.zeros(n), np.zeros(n)
            coded = kernels.empty(n, length)
            for run in runs[share]:
                if run.stop - run.start < length:
                    coded = kernels.empty(n, run.stop - run.start)
                block, centre = self._centred.unshifted(rows, run)
                kernels.encode(block, coded, centre=centre)
                kernels.add_products(coded, total)
                squares += coded.square
                errors += np.square(coded.error, dtype=np.float64)
            self._points.release()
            return total, squares, errors

        parts = parallel(work, spans(len(runs), -(-len(runs) // workers())))
        total, squares, errors = parts[0]
        for more in parts[1:]:
            total += more[0]
            squares += more[1]
            errors += more[2]
        if every > 1:
            all_over_read = width / sum(run.stop - run.start for run in runs)
            for sums in (total, squares, errors):
                sums *= all_over_read
        # each addition of a run has a roundoff of the sum of the two squared lengths, at most
        n_added = len(runs) + 2 * len(parts) + 8
        lengths = (squares * (1 - n_added * 2.0**-24)).astype(np.float32)
        mirror(total)
        total *= np.float32(-2)
        total += lengths
        total += lengths[:, None]
        errors = np.sqrt(errors)
        errors = _error(errors, np.sqrt(squares) + errors, width)
        return DenseBounds(total, lengths, errors.astype(np.float32))


class DenseBounds:
    """Lower bounds of the distances between n points, all computed beforehand.

    Parameters
    ----------
    squares : array of shape (n, n), float32
        Lower bounds of the squared distances of codes.
    lengths : array of shape (n,), float32
        Squared lengths of the codes.
    errors : array of shape (n,), float32
        Bounds of the distance between each point and its code.
    """

    is_whole = True

    def __init__(
        self,
        squares: NDArray[np.float32],
        lengths: NDArray[np.float32],
        errors: NDArray[np.float32],
    ) -> None:
        self.squares, self.lengths, self.errors = squares, lengths, errors

    def nearest(
        self, a: slice, b: slice, n_parts: int, ids: tuple[NDArray[np.int32], NDArray[np.int32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        """Find points of b that are near to each point of a; see :meth:`CodeBounds.nearest`."""
        is_barred = ids[0][:, None] == ids[1]
        return smallest_in_parts(np.where(is_barred, np.inf, self.squares[a, b]), n_parts)

    def below(
        self,
        a: slice,
        b: slice,
        ceilings: NDArray[np.float32],
        turned: NDArray[np.float32] | None = None,
    ) -> list[_Hits]:
        """Find the pairs whose bound is below a ceiling; see :meth:`CodeBounds.below`."""
        errors = self.errors[a], self.errors[b]
        found = kernels.below(self.squares[a, b], ceilings, turned, errors)
        return _sides(found, errors, ceilings, turned)

    def ceiling(self, squares: NDArray[np.float64], which: slice) -> NDArray[np.float64]:
        """Turn squared distances into what no bound of a nearer point exceeds."""
        return _ceiling(squares, self.errors[which])


class CodeBounds:
    """Lower bounds of distances, from some points or from all of them to all points.

    Parameters
    ----------
    codes : Codes
    rows : array of int, optional
        The points to search; all by default.
    """

    is_whole = False

    def __init__(self, codes: Codes, rows: NDArray[np.intp] | None) -> None:
        self._codes, self._rows = codes, rows
        if rows is None:
            self._errors = codes.errors  # each is known when its tile has been encoded
        else:
            tiles = spans(len(rows), TILE)
            encoded = parallel(lambda tile: codes.encoded(rows[tile]), tiles)
            self._mine = {t.start: coded for t, coded in zip(tiles, encoded, strict=True)}
            self._errors = np.concatenate([coded.error for coded in encoded])

    def _coded(self, a: slice, b: slice) -> tuple[Coded, Coded]:
        """Return the codes of the searched points a and of the points b."""
        if self._rows is not None:
            return self._mine[a.start], self._codes.of_tile(b)
        mine = self._codes.of_tile(a)
        # the same object, which other threads may have dropped meanwhile
        return mine, mine if a == b else self._codes.of_tile(b)

    def nearest(
        self, a: slice, b: slice, n_parts: int, ids: tuple[NDArray[np.int32], NDArray[np.int32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        """Find points of b that are near to each point of a: one in each of some parts of b.

        Parameters
        ----------
        a, b : slice
        n_parts : int
            There may be more parts, but not more than points.
        ids : tuple of arrays of shapes (a,) and (b,)
            Points of equal ids are not compared.

        Returns
        -------
        squares : array of shape (a, n), float32
            Squared distances of codes; infinite where a part has no point.
        places : array of shape (a, n), int
            Positions in b, all different where squares are finite.
        """
        mine, theirs = self._coded(a, b)
        n_calls = -(-n_parts // kernels.PANEL)
        if n_calls == 1:
            return kernels.nearest(mine, theirs, ids)
        found = []
        for which in spans(len(theirs.codes), -(-len(theirs.codes) // n_calls)):
            start, part = kernels.PANEL * which.start, theirs.panels(which)
            squares, places = kernels.nearest(
                mine, part, (ids[0], ids[1][start:][: len(part.scale)])
            )
            found.append((squares, places + np.int32(start)))
        squares, places = (np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True))
        return squares, places

    def below(
        self,
        a: slice,
        b: slice,
        ceilings: NDArray[np.float32],
        turned: NDArray[np.float32] | None = None,
    ) -> list[_Hits]:
        """Find the pairs whose bound is below the ceiling of their first point.

        Parameters
        ----------
        a, b : slice
        ceilings : array of shape (a,), float32
        turned : array of shape (b,), float32, optional
            Ceilings of the points b, if pairs with these as the first point are wanted as well. If
            a is b, each pair of different points is then found once by either.

        Returns
        -------
        list of (i, j, bounds)
            Positions in a and in b, and bounds; one item, or two, whose second is of the turned
            pairs.
        """
        mine, theirs = self._coded(a, b)
        errors = mine.error, theirs.error
        return _sides(kernels.hits(mine, theirs, ceilings, turned), errors, ceilings, turned)

    def ceiling(self, squares: NDArray[np.float64], which: slice) -> NDArray[np.float64]:
        """Turn squared distances from searched points into what no bound of a nearer point exceeds.

        Parameters
        ----------
        squares : array
            One for each of the points.
        which : slice
            Positions among the searched points.
        """
        return _ceiling(squares, self._errors[which])


def _error(
    lost: NDArray[np.floating], lengths: NDArray[np.floating], width: int
) -> NDArray[np.floating]:
    """Bound the distance between points and codes, from what rounding lost and their lengths."""
    return _ROUNDED * lost + _LENGTH * lengths + _ABSOLUTE * math.sqrt(width)


def _sides(
    found: _Hits,
    errors: tuple[NDArray[np.float32], NDArray[np.float32]],
    ceilings: NDArray[np.float32],
    turned: NDArray[np.float32] | None,
) -> list[_Hits]:
    """Turn squared distances of codes into bounds, and keep those below the ceiling of a side."""
    i, j, squares = found
    apart = np.sqrt(np.maximum(squares, 0), dtype=np.float64)
    sides = [(errors[1][j], ceilings[i])]
    if turned is not None:
        sides.append((errors[0][i], turned[j]))
    parts = []
    for lost, ceiling in sides:
        bounds = _rounded_down(apart - lost)
        kept = bounds < ceiling
        parts.append((i[kept], j[kept], bounds[kept]))
    return parts


def _ceiling(squares: NDArray[np.float64], errors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turn squared distances into what no bound of a nearer point exceeds."""
    return np.asarray((np.sqrt(squares) + errors) * (1 + _ROUNDOFF), np.float64)


def _rounded_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.nextafter(values.astype(np.float32), np.float32(-np.inf))
