"""CUDA: the certified search of a torch tensor on its own device.

The algorithm is the same as on the CPU (:mod:`dimscope.neighbors.certificate`); only the kernel is
written with tensor operations. This module never imports torch: a user who passes a tensor has
already imported it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.tensor_points import DevicePoints
from dimscope.neighbors.tiles import RUN, rounding_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

__all__ = ["DeviceTiles"]
_VALUES = 1 << 26  # in a block of bounds, or of differences
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

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the m other points of smallest lower bound, for each given point or for all."""
        queries = np.arange(self.n_points) if rows is None else rows
        step = max(1, _VALUES // self.n_points)
        bounds, indices = [], []
        with _full_precision(self._torch):
            for start in range(0, len(queries), step):
                batch = queries[start : start + step]
                block = self._bounds(batch, self._torch.float32, 2.0**-24)
                least, places = block.topk(m, dim=1, largest=False, sorted=True)
                bounds.append(least.cpu().numpy())
                indices.append(places.cpu().numpy())
                if self._progress is not None:
                    self._progress("searching", (start + len(batch)) / len(queries), 1.0)
        return np.concatenate(bounds), np.concatenate(indices).astype(np.intp)

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Compute float64 lower bounds of squared distances from the given points to others."""
        with _full_precision(self._torch):
            block: NDArray[np.float64] = (
                self._bounds(rows, self._torch.float64, 2.0**-53, among).cpu().numpy()
            )
        return block

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute squared distances by direct differences, summed in float64."""
        step = max(1, _VALUES // (4 * self.points.n_features))
        squares = [
            (
                (
                    self.points.tensor_block(i[s : s + step])
                    - self.points.tensor_block(j[s : s + step])
                )
                .double()
                .mul_(self.unit)
                .square_()
                .sum(dim=1)
            )
            for s in range(0, len(i), step)
        ]
        result: NDArray[np.float64] = self._torch.cat(squares).cpu().numpy()
        return result

    def _centred(self, rows: Any, columns: slice, dtype: Any) -> Any:
        values = self.points.tensor_block(rows, columns)
        # centred in the wider of the two types, or digits would be lost
        wide = self._torch.promote_types(values.dtype, dtype)
        centred = values.to(wide) - self._centre[columns].to(wide)
        return centred.mul_(self.unit).to(dtype)

    def _bounds(
        self, rows: Any, dtype: Any, unit_roundoff: float, among: NDArray[np.intp] | None = None
    ) -> Any:
        """Compute lower bounds between two sets of rows; infinite where they are no neighbours."""
        torch, width, device = self._torch, self.points.n_features, self.points.array.device
        numbers = np.arange(self.n_points)[rows]
        others = np.arange(self.n_points) if among is None else among
        gram = torch.zeros(len(numbers), len(others), dtype=dtype, device=device)
        mine = torch.zeros(len(numbers), dtype=dtype, device=device)
        theirs = torch.zeros(len(others), dtype=dtype, device=device)
        for start in range(0, width, RUN):
            columns = slice(start, min(start + RUN, width))
            left = self._centred(numbers, columns, dtype)
            right = self._centred(slice(None) if among is None else among, columns, dtype)
            gram.addmm_(left, right.T)
            mine += left.square().sum(dim=1)
            theirs += right.square().sum(dim=1)
        weight = 1 - 2 * rounding_bound(width, unit_roundoff)
        gram.mul_(-2).add_(weight * theirs).add_((weight * mine - width * 2.0**-126)[:, None])
        if self.exclusion is not None:
            numbers, others = self.exclusion.groups[numbers], self.exclusion.groups[others]
        left, right = (torch.from_numpy(values).to(device) for values in (numbers, others))
        gram[left[:, None] == right] = float("inf")
        return gram


@contextlib.contextmanager
def _full_precision(torch: Any) -> Iterator[None]:
    """Turn TF32 off: its 10-bit products are far less precise than the bounds assume."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
