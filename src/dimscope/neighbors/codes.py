"""Codes: points rounded to small integers, which give lower bounds of distances.

A point x, shifted to the centre of the data, is rounded to a code c: a scale times a vector of
integers of one byte. By the triangle inequality,

    |x - y|  >=  |c_x - c_y| - |x - c_x| - |y - c_y|.

Products of integers have no rounding error, and take a fraction of the time of products in float32
(:mod:`dimscope.neighbors.kernels`). What rounding loses, ``|x - c_x|``, is measured for each point;
for layers of networks it is 1 to 2 % of the distances of neighbours. So few pairs survive, which
:mod:`dimscope.neighbors.survivors` measures. The bounds hold for any points: the search is exact.

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
from dimscope.arrays.threads import parallel, spans
from dimscope.neighbors import kernels
from dimscope.neighbors.products import Centred
from dimscope.neighbors.tiles import TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.neighbors.kernels import Coded

__all__ = ["CodeBounds", "Codes"]

_KEPT = 1 << 29  # bytes of codes up to which all are kept; otherwise a few tiles of them
_RECENT = 4  # tiles that are kept then
_VALUES = 1 << 20  # values encoded at a time
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
        shape = (0 if self._centred.is_in_place else min(step, n)), width
        buffer = np.empty(shape, np.float32)
        for start in range(0, n, step):
            stop = min(start + step, n)
            chosen = (
                slice(rows.start + start, rows.start + stop)
                if isinstance(rows, slice)
                else rows[start:stop]
            )
            block = self._centred.block(chosen, slice(0, width), buffer)
            kernels.encode(block, coded, start)
            self._points.release()
        lengths = np.sqrt(coded.square) + coded.error
        coded.error[:] = _ROUNDED * coded.error + _LENGTH * lengths + _ABSOLUTE * math.sqrt(width)
        return coded

    def among(self, rows: NDArray[np.intp] | None) -> CodeBounds:
        """Prepare a search of all points (the default), or of some of them, among all."""
        return CodeBounds(self, rows)


class CodeBounds:
    """Lower bounds of distances, from some points or from all of them to all points.

    Parameters
    ----------
    codes : Codes
    rows : array of int, optional
        The points to search; all by default.
    """

    def __init__(self, codes: Codes, rows: NDArray[np.intp] | None) -> None:
        self._codes, self._rows = codes, rows
        if rows is None:
            self._errors = codes.errors  # each is known when its tile has been encoded
        else:
            tiles = spans(len(rows), TILE)
            encoded = parallel(lambda tile: codes.encoded(rows[tile]), tiles)
            self._mine = {t.start: coded for t, coded in zip(tiles, encoded, strict=True)}
            self._errors = np.concatenate([coded.error for coded in encoded])

    def _of_rows(self, a: slice) -> Coded:
        return self._codes.of_tile(a) if self._rows is None else self._mine[a.start]

    def bounds(self, a: slice, b: slice) -> NDArray[np.float32]:
        """Compute bounds from the searched points a to the points b.

        Returns
        -------
        array of shape (a, b), float32
            See :meth:`ceiling`.
        """
        theirs = self._codes.of_tile(b)
        apart = kernels.squares(self._of_rows(a), theirs)
        np.sqrt(np.maximum(apart, 0, out=apart), out=apart)
        apart *= np.float32(1 - _ROUNDOFF)
        apart -= np.float32(1 + _ROUNDOFF) * theirs.error
        return apart

    def below(
        self,
        a: slice,
        b: slice,
        ceilings: NDArray[np.float32],
        turned: NDArray[np.float32] | None = None,
    ) -> list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
        """Find the pairs whose bound is below the ceiling of their first point.

        Parameters
        ----------
        a, b : slice
        ceilings : array of shape (a,), float32
        turned : array of shape (b,), float32, optional
            Ceilings of the points b, if pairs with these as the first point are wanted as well.

        Returns
        -------
        list of (i, j, bounds)
            Positions in a and in b, and bounds; one item, or two, whose second is of the turned
            pairs.
        """
        mine, theirs = self._of_rows(a), self._codes.of_tile(b)
        i, j, squares = kernels.hits(mine, theirs, ceilings, turned)
        apart = np.sqrt(np.maximum(squares, 0), dtype=np.float64)
        sides = [(theirs.error[j], ceilings[i])]
        if turned is not None:
            sides.append((mine.error[i], turned[j]))
        parts = []
        for lost, ceiling in sides:
            bounds = _rounded_down(apart - lost)
            kept = bounds < ceiling
            parts.append((i[kept], j[kept], bounds[kept]))
        return parts

    def ceiling(self, squares: NDArray[np.float64], which: slice) -> NDArray[np.float64]:
        """Turn squared distances from searched points into what no bound of a nearer point exceeds.

        Parameters
        ----------
        squares : array
            One for each of the points.
        which : slice
            Positions among the searched points.
        """
        reached = np.sqrt(squares) + self._errors[which]
        return np.asarray(reached * (1 + _ROUNDOFF), np.float64)


def _rounded_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.nextafter(values.astype(np.float32), np.float32(-np.inf))
