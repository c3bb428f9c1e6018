"""Direct differences: squared distances of given pairs, accumulated in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dimscope.pages import release
from dimscope.points import Points
from dimscope.threads import parallel, spans, workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pair_squares"]

# Features, and values, of one batch: it fits the last cache and is long enough that threads
# do not wait for each other's turn in the interpreter.
_RUN, _VALUES = 8192, 1 << 19


def pair_squares(
    points: Points, i: NDArray[np.intp], j: NDArray[np.intp], unit: float = 1.0
) -> NDArray[np.float64]:
    """Squared distances of pairs of points.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    i, j : arrays of int, shape (n_pairs,)
    unit : float
        Every difference is multiplied by it, so that squares stay in range.

    Returns
    -------
    array of shape (n_pairs,), float64
        (unit |x_i - x_j|)^2. Differences of float32 values are taken in float32, a
        relative error of 6e-8 at most; they are squared and summed in float64.

    Examples
    --------
    >>> from dimscope.points import as_points
    >>> points = as_points([[0, 0], [3, 4], [1, 1]])
    >>> pair_squares(points, np.array([0, 0]), np.array([1, 2])).tolist()
    [25.0, 2.0]
    """
    width = points.n_features
    run = min(width, _RUN)
    step = max(1, _VALUES // run)
    # Wide points: each thread its columns, so that every value is read once.
    by_columns = width >= 2 * run * workers()
    total = width if by_columns else len(i)

    def work(share: slice) -> NDArray[np.float64]:
        squares, wide = np.zeros(len(i)), np.empty((step, run))
        columns = share if by_columns else slice(0, width)
        pairs = slice(0, len(i)) if by_columns else share
        for start in range(columns.start, columns.stop, run):
            where = slice(start, min(start + run, columns.stop))
            for first in range(pairs.start, pairs.stop, step):
                some = slice(first, min(first + step, pairs.stop))
                difference = points.block(i[some], where)
                difference -= points.block(j[some], where)
                part = wide[: len(difference), : difference.shape[1]]
                part[:] = difference
                if unit != 1.0:
                    part *= unit
                squares[some] += np.vecdot(part, part)
                release(points.array)
        return squares

    return np.asarray(sum(parallel(work, spans(total, max(1, -(-total // workers()))))))
