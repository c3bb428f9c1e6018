"""Candidates: the m least bounds of every row, gathered from tiles in any order.

A bound and the point it belongs to are packed into one 64-bit key that sorts by the
bound, so that lists are merged by one partition of plain numbers.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Candidates"]

_CROWDED = 4  # hits, over those wanted, above which a tile's own thresholds are found first
_SIGN, _ALL, _HALF = np.uint32(1 << 31), np.uint32(2**32 - 1), np.uint64(32)


class Candidates:
    """For each of n points, the m others of least bound among all that were offered.

    Parameters
    ----------
    n_points : int
        Less than 2^32.
    m : int
    limits : array of shape (n_points,), float32, optional
        Bounds from which on nothing is taken; a list that is not full ends in infinite
        bounds.

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
        # one for the rows of each tile, so that threads seldom meet
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def offer(self, rows: slice, columns: slice, bounds: NDArray[np.float32]) -> None:
        """Offer the points of some columns to some rows.

        Parameters
        ----------
        rows, columns : slice
            Points whose lists may change, and points that may enter them.
        bounds : array of shape (rows, columns), float32
            Infinite bounds are never taken.
        """
        limits = self._limits[rows, None]
        inside = bounds < limits
        if np.count_nonzero(inside) > _CROWDED * self._m * len(limits):
            # the m-th least of some columns is no less than the m-th least of all
            some = bounds[:, :: _CROWDED if self._m * _CROWDED <= bounds.shape[1] else 1]
            if self._m <= some.shape[1]:
                inside &= bounds <= np.partition(some, self._m - 1, axis=1)[:, self._m - 1, None]
        hits = np.flatnonzero(inside)
        if len(hits):
            row, column = np.divmod(hits, bounds.shape[1])
            keys = _packed(bounds.ravel()[hits], column + columns.start)
            self._merge(rows, row, keys)

    def offer_turned(self, rows: slice, columns: slice, bounds: NDArray[np.float32]) -> None:
        """Offer the points of some rows to some columns; ``bounds`` as in :meth:`offer`."""
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
        """Bounds and points of every list, least bound first."""
        self._keys.sort(axis=1)
        return _bounds(self._keys), (self._keys & np.uint64(_ALL)).astype(np.intp)

    def _merge(self, rows: slice, row: NDArray[np.intp], keys: NDArray[np.uint64]) -> None:
        """Put keys into the lists of their rows, counted from ``rows.start`` and ascending."""
        touched, starts, counts = np.unique(row, return_index=True, return_counts=True)
        # one row of the table a list: its new keys, then the old ones
        table = np.full((len(touched), counts.max() + self._m), np.uint64(2**64 - 1))
        place = np.arange(len(row)) - np.repeat(starts, counts)
        table[np.repeat(np.arange(len(touched)), counts), place] = keys
        everyone = touched + rows.start
        with self._locks[rows.start]:
            table[:, -self._m :] = self._keys[everyone]
            table.partition(self._m - 1, axis=1)
            self._keys[everyone] = table[:, : self._m]
            last = _bounds(table[:, self._m - 1])
            self._limits[everyone] = np.minimum(self._limits[everyone], last)


def _packed(bounds: NDArray[np.float32], points: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Keys that sort as the bounds do: negative floats sort backwards by their bits."""
    bits = bounds.view(np.uint32)
    upper = np.where(bits & _SIGN, bits ^ _ALL, bits | _SIGN)
    return (upper.astype(np.uint64) << _HALF) | points.astype(np.uint64)


def _bounds(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Inverse of :func:`_packed`; infinite for a place that is empty."""
    upper = (keys >> _HALF).astype(np.uint32)
    bounds = np.where(upper & _SIGN, upper ^ _SIGN, upper ^ _ALL).view(np.float32)
    return np.where(upper == _ALL, np.float32(np.inf), bounds)
