"""Centring: points as differences from their middle, or as they are where that serves.

The rounding of a product |x|^2 + |y|^2 - 2 x.y grows with the distance from the origin, so
points far from it are moved there. Most activations are near it already; those are
multiplied where they lie, which saves a copy of everything.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.blocks import Blocks
from dimscope.points import Points
from dimscope.threads import spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Centred"]

_SAMPLE = 16  # rows from which the centre is taken
_RUN = 1024  # features of the sample read at a time
_NEARLY = 4  # mean square distance from the origin over that from the centre


class Centred:
    """Blocks of points less a centre, times a unit.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    unit : float
        Every value is multiplied by it.
    """

    def __init__(self, points: Points, unit: float) -> None:
        self._points = points
        self._unit = unit

    @cached_property
    def centre(self) -> NDArray[Any] | None:
        """A point amid the bulk, or None where the origin is nearly as near.

        The mean of the half of a sample whose median distance to the others is least,
        so that a few far points do not drag it away.
        """
        n_points = self._points.n_points
        sample = np.unique(np.linspace(0, n_points - 1, _SAMPLE).astype(int))
        gram, norms = np.zeros((len(sample), len(sample))), np.zeros(len(sample))
        runs = spans(self._points.n_features, _RUN)
        for columns in runs:
            rows = self._points.block(sample, columns) * self._unit
            norms += np.vecdot(rows, rows)
            rows = rows - rows[0]
            gram += rows @ rows.T
        squares = np.diag(gram)
        spread = np.median(squares[:, None] + squares - 2 * gram, axis=1)
        inner = np.argsort(spread, kind="stable")[: max(1, len(sample) // 2)]
        around = squares[inner].mean() - gram[np.ix_(inner, inner)].mean()
        if self._as_is and norms[inner].mean() <= _NEARLY * around:
            return None
        amid = sample[inner]
        # divided before summing: the sum of values near the end of the range overflows
        return np.concatenate([(self._points.block(amid, c) / len(amid)).sum(0) for c in runs])

    def of(self, points: Points) -> Centred:
        """Other points less the same centre."""
        other = Centred(points, self._unit)
        other.centre = self.centre
        return other

    @property
    def _as_is(self) -> bool:
        """Whether BLAS can read the array itself: float32, row after row."""
        array, points = self._points.array, self._points
        plain = array.dtype == points.dtype == np.float32
        if not plain or points.rows is not None or self._unit != 1.0:
            return False
        return isinstance(array, Blocks) or bool(
            array.flags.aligned
            and array.strides[1] == 4
            and array.strides[0] % 4 == 0
            and array.strides[0] >= 4 * array.shape[1]
        )

    def block(self, rows: Any, columns: slice, out: NDArray[Any]) -> NDArray[Any]:
        """Values of some rows and columns, in the type of ``out``.

        Written into the front of ``out``, or a view of the points: do not write to it.
        """
        block = self._points.block(rows, columns)
        if self.centre is None:
            return block.astype(out.dtype, copy=False)
        out = out[: len(block), : block.shape[1]]
        if out.dtype == block.dtype:
            np.subtract(block, self.centre[columns], out=out)
            if self._unit != 1.0:
                out *= self._unit
        else:
            # centred and scaled in the wider of the two types, or digits would be lost
            wide = np.subtract(block, self.centre[columns], dtype=np.float64)
            if self._unit != 1.0:
                wide *= self._unit
            out[:] = wide
        return out
