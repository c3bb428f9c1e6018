"""Lists of neighbours that come from outside: what must hold of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints, DegeneratePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_lists", "numbers", "positions"]


def check_lists(
    distances: NDArray[np.float64],
    indices: NDArray[np.intp],
    own: NDArray[np.intp],
    n_distinct: int,
) -> None:
    """Check lists of neighbours that were made elsewhere.

    Parameters
    ----------
    distances, indices : arrays of shape (n, k)
    own : array of shape (n,)
        The points that have these neighbours.
    n_distinct : int

    Raises
    ------
    BadPoints, DegeneratePoints
        If a distance is not finite, negative, zero or smaller than the one before it, or a point
        is its own neighbour, or has one twice.
    """
    bad = ~np.isfinite(distances).all(axis=1) | (distances < 0).any(axis=1)
    if bad.any():
        raise BadPoints(f"a distance of row {int(bad.argmax())} is negative or not finite")
    bad = (np.diff(distances, axis=1) < 0).any(axis=1)
    if bad.any():
        raise BadPoints(f"the distances of row {int(bad.argmax())} do not ascend")
    bad = distances[:, 0] == 0
    if bad.any():
        raise DegeneratePoints(
            f"row {int(bad.argmax())} has a neighbour at distance 0; collapse duplicates first"
        )
    if ((indices < 0) | (indices >= n_distinct)).any():
        raise BadPoints("indices must be positions among the distinct points")
    twice = np.sort(indices, axis=1)
    bad = (twice[:, 1:] == twice[:, :-1]).any(axis=1)
    if bad.any():
        raise BadPoints(f"row {int(bad.argmax())} names a neighbour twice")
    bad = (indices == own[:, None]).any(axis=1)
    if bad.any():
        raise BadPoints(
            f"row {int(bad.argmax())} names the point itself as its neighbour; leave it out"
        )


def numbers(values: Any, kinds: str, dtype: type[Any], what: str) -> NDArray[Any]:
    """An array of whole or of real numbers, or an error that says what it is instead."""
    try:
        found = np.asarray(values)
    except ValueError:
        raise BadPoints(f"{what} are ragged: rows differ in length") from None
    if found.dtype.kind not in kinds:
        wanted = "whole numbers" if kinds == "iu" else "real numbers"
        raise BadPoints(f"{what} must be {wanted}, but are {found.dtype}")
    return found.astype(dtype, copy=False)


def positions(rows: Any) -> NDArray[np.intp]:
    """Numbers of points, as a flat array.

    >>> positions([2, 0]).tolist()
    [2, 0]
    """
    rows = np.asarray(rows)
    if rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise BadPoints("rows must be a list of whole numbers; for a mask give np.flatnonzero")
    return np.asarray(rows, dtype=np.intp)
