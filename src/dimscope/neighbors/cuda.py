"""CUDA: the certified search of a torch tensor on its own device.

The algorithm is the same as on the CPU (:mod:`dimscope.neighbors.certificate`); only the kernel is
written with tensor operations. This module never imports torch: a user who passes a tensor has
already imported it.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.tensor_points import DevicePoints, room_on
from dimscope.arrays.threads import spans
from dimscope.neighbors.tiles import RUN, rounding_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

__all__ = ["DeviceTiles"]
_VALUES = 1 << 26  # in a tile of bounds
_FEWEST = 1 << 14  # the same where hardly any memory is free
_SHARE = 32  # a tile takes at most the free memory divided by this
_PART = 4  # differences, and values whose norms are found, are so many times fewer
_KEPT = 3  # the centred points are kept if they take at most the free memory divided by this
_SIDE = 4096  # of the tiles of few points, so that only few pairs are multiplied twice
_GROUP = 32  # bounds whose least one is found first
_SAMPLE = 16


class DeviceTiles:
    """Kernel that computes lower bounds of squared distances on the device of the points.

    Parameters
    ----------
    points : DevicePoints
        Distinct rows.
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.
    """

    extra = 4

    def __init__(
        self,
        points: DevicePoints,
        progress: Progress | None = None,
        exclusion: Exclusion | None = None,
    ) -> None:
        self.points = points
        self.exclusion = exclusion
        self.n_points = points.n_points
        self.where = str(points.array.device)
        self.unit = 1.0 if 2.0**-20 < points.max_abs < 2.0**20 else points.scale
        self._progress = progress
        self._torch = sys.modules["torch"]
        sample = np.unique(np.linspace(0, self.n_points - 1, _SAMPLE).astype(int))
        # the median, not the mean: far points must not drag the centre away
        self._centre = points.tensor_block(sample).median(dim=0).values
        numbers = np.arange(self.n_points) if exclusion is None else exclusion.groups
        self._groups = points.to_device(numbers)
        room = room_on(points.array.device)
        self._values = min(_VALUES, max(_FEWEST, room // (4 * _SHARE))) if room else _VALUES
        # points whose values in one run of columns are centred at a time
        self._height = max(1, self._values // RUN)
        self._norms_of: dict[Any, Any] = {}

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the m other points of smallest lower bound, for each given point or for all."""
        torch, n = self._torch, self.n_points
        queries: Any = None if rows is None else self.points.to_device(rows)
        best = _Least(torch, n if rows is None else len(rows), m, self.points.array.device)
        side = max(1, min(math.isqrt(self._values), max(_SIDE, n // 8)))
        pairs = [(a, b) for a in spans(len(best.bounds), side) for b in spans(n, side)]
        if rows is None:  # every pair of points once
            pairs = [(a, b) for a, b in pairs if a.start <= b.start]
        with _full_precision(torch):
            centred = self._centred_once() if len(best.bounds) > side else None
            for number, (a, b) in enumerate(pairs, 1):
                mine = a if rows is None else queries[a]
                bounds = self._bounds(mine, b, torch.float32, 2.0**-24, centred)
                best.offer(a, b.start, bounds)
                if rows is None and a != b:
                    best.offer(b, a.start, bounds.T)
                if self._progress is not None:
                    self._progress("searching", number / len(pairs), 1.0)
        return best.on_cpu()

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Compute float64 lower bounds of squared distances from the given points to others."""
        torch = self._torch
        mine = self.points.to_device(rows)
        others = None if among is None else self.points.to_device(among)
        with _full_precision(torch):
            blocks = [
                self._bounds(
                    mine, span if others is None else others[span], torch.float64, 2.0**-53
                )
                for span in spans(self.n_points if among is None else len(among), self._height)
            ]
            bounds: NDArray[np.float64] = torch.cat(blocks, dim=1).cpu().numpy()
        return bounds

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute squared distances by direct differences, summed in float64."""
        left, right = self.points.to_device(i), self.points.to_device(j)
        squares = self._torch.empty(len(i), dtype=self._torch.float64, device=left.device)
        for part in spans(len(i), max(1, self._values // (_PART * self.points.n_features))):
            apart = self.points.tensor_block(left[part])
            apart = apart.sub_(self.points.tensor_block(right[part])).double()
            if self.unit != 1.0:
                apart.mul_(self.unit)
            squares[part] = apart.square_().sum(dim=1)
        result: NDArray[np.float64] = squares.cpu().numpy()
        return result

    def _centred_once(self) -> Any:
        """Return all points, centred, in float32; None if that takes too much memory."""
        torch, shape = self._torch, (self.n_points, self.points.n_features)
        room = room_on(self.points.array.device)
        if room and 4 * math.prod(shape) > room // _KEPT:
            return None
        centred = torch.empty(shape, dtype=torch.float32, device=self._centre.device)
        for columns in spans(shape[1], RUN):
            for part in spans(shape[0], self._height):
                centred[part, columns] = self._centred(part, columns, torch.float32)
        return centred

    def _norms(self, dtype: Any, centred: Any = None) -> Any:
        """Return the squared norms of all points, centred."""
        if dtype not in self._norms_of:
            norms = self._torch.zeros(
                self.n_points, dtype=self._torch.float64, device=self._centre.device
            )
            width = max(RUN, self._values // (_PART * self.n_points))
            for columns in spans(self.points.n_features, width):
                for part in spans(self.n_points, max(1, self._values // (_PART * width))):
                    block = self._centred(part, columns, dtype, centred).double()
                    norms[part] += block.square().sum(dim=1)
            self._norms_of[dtype] = norms.to(dtype)
        return self._norms_of[dtype]

    def _centred(self, rows: Any, columns: slice, dtype: Any, centred: Any = None) -> Any:
        """Return some points, centred; from ``centred``, if that holds all of them."""
        if centred is not None:
            return centred[rows, columns]
        values = self.points.tensor_block(rows, columns)
        # centred in the wider of the two types, or digits would be lost
        wide = self._torch.promote_types(values.dtype, dtype)
        block = values.to(wide) - self._centre[columns].to(wide)
        if self.unit != 1.0:
            block.mul_(self.unit)
        return block.to(dtype)

    def _bounds(
        self, rows: Any, others: Any, dtype: Any, unit_roundoff: float, centred: Any = None
    ) -> Any:
        """Compute lower bounds between two sets of points; infinite where they are no neighbours.

        ``centred`` holds all points, centred, if they were kept.
        """
        width, norms = self.points.n_features, self._norms(dtype, centred)
        # (|x| + |y|)^2 <= 2 |x|^2 + 2 |y|^2: the bound is a smaller weight of the norms
        norms = (1 - 2 * rounding_bound(width, unit_roundoff)) * norms
        bounds = (norms[rows] - width * 2.0**-126)[:, None] + norms[others]
        is_square = isinstance(rows, slice) and rows == others
        for columns in spans(width, RUN):
            left = right = self._centred(rows, columns, dtype, centred)
            if not is_square:
                right = self._centred(others, columns, dtype, centred)
            bounds.addmm_(left, right.T, alpha=-2)
        if self.exclusion is None and isinstance(rows, slice) and not is_square:
            return bounds  # tiles have no points in common
        same = self._groups[rows][:, None] == self._groups[others]
        return bounds.masked_fill_(same, float("inf"))


class _Least:
    """The least bounds of each row among those offered so far, kept on the device.

    Parameters
    ----------
    torch : module
    n_rows, m : int
    device : torch.device
    """

    def __init__(self, torch: Any, n_rows: int, m: int, device: Any) -> None:
        self._torch, self._m = torch, m
        self.bounds = torch.full((n_rows, m), float("inf"), device=device)
        self._indices = torch.zeros((n_rows, m), dtype=torch.int64, device=device)

    def offer(self, rows: slice, first: int, bounds: Any) -> None:
        """Take the bounds of some rows, to the points from ``first`` on."""
        values, places = self._of_tile(bounds)
        values = self._torch.cat([self.bounds[rows], values], dim=1)
        indices = self._torch.cat([self._indices[rows], places + first], dim=1)
        self.bounds[rows], chosen = self._topk(values)
        self._indices[rows] = indices.gather(1, chosen)

    def _topk(self, values: Any) -> Any:
        """Return the least values of each row, in any order, and their places."""
        m = min(self._m, values.shape[1])
        return values.topk(m, dim=1, largest=False, sorted=False)

    def _of_tile(self, bounds: Any) -> tuple[Any, Any]:
        """Return the least bounds in each row of a tile, and their places.

        They lie in the groups of columns with the least minima, of which there are at most as many.
        """
        n_groups = bounds.shape[1] // _GROUP
        if n_groups <= self._m:
            return tuple(self._topk(bounds))
        end = n_groups * _GROUP
        if bounds.stride(0) == 1:  # a turned tile is read in the order of its memory
            minima = bounds.T[:end].unflatten(0, (_GROUP, n_groups)).amin(dim=0).T
        else:
            minima = bounds[:, :end].unflatten(1, (_GROUP, n_groups)).amin(dim=1)
        groups = self._topk(minima).indices
        inside = n_groups * self._torch.arange(_GROUP, device=bounds.device)
        rest = self._torch.arange(end, bounds.shape[1], device=bounds.device)
        places = (groups[:, :, None] + inside).flatten(1)
        places = self._torch.cat([places, rest.expand(len(bounds), -1)], dim=1)
        values, chosen = self._topk(bounds.gather(1, places))
        return values, places.gather(1, chosen)

    def on_cpu(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the bounds, ascending, and the indices of their points."""
        bounds, order = self.bounds.sort(dim=1)
        indices = self._indices.gather(1, order).cpu().numpy()
        return bounds.cpu().numpy(), indices.astype(np.intp, copy=False)


@contextlib.contextmanager
def _full_precision(torch: Any) -> Iterator[None]:
    """Turn TF32 off: its 10-bit products are far less precise than the bounds assume."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
