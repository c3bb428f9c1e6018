"""Near copies: points that differ by no more than the rounding of their values.

A network that sees one stimulus twice, in batches of other shapes or with other padding, sums in
another order, and its values differ in their last digits. Such a copy is its own point's nearest
neighbour, at a distance that says nothing about the data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dimscope.arrays import Points

    Wider = Callable[[NDArray[np.intp], int], NDArray[np.float64]]

__all__ = ["Copies", "copy_limit", "first_copies", "resolution", "significant_bits"]

Copies = Literal["keep", "collapse"]
"""What to do with near copies: keep them as points, or collapse each into the first of its rows."""

# Bits of the significand, and the largest distance between copies in units in the last place of the
# norm of a row. Measured on trained and random networks (docs/decisions/copies.md): at most 20 in
# float32, 6 in float16 and 3 in bfloat16, where the sums themselves are in float32.
_LIMITS = {8: 8.0, 11: 16.0, 24: 64.0, 53: 64.0}
_BITS = {"bfloat16": 8, "float16": 11, "float32": 24}
_COARSEST = max(limit * 2.0 ** (1 - bits) for bits, limit in _LIMITS.items())
_GAP = 4.0  # Distances up to this factor above those of copies are rare: copies stand apart.
_RARE = 8  # Copies outnumber the distances in the gap by this factor.
_ROWS, _COLUMNS = 32, 512  # The values that are looked at to find how they were rounded.
_FEWEST = 100  # Fewer values that are not zero say nothing about their rounding.
_WIDER, _LISTED = (8, 32, 128), 200  # Ranks and rows of a search that looks beyond many copies.
_HIDDEN = 0.1  # Share of the lists that end within the limit, above which that is needed.


def significant_bits(values: NDArray[np.float64], dtype: str) -> int:
    """Find to how many bits values were rounded, whatever dtype holds them.

    Parameters
    ----------
    values : array
        Some of the values.
    dtype : str
        Name of their dtype.

    Returns
    -------
    int
        8 (bfloat16), 11 (float16), 24 (float32) or 53 (float64), at most what the dtype holds.

    Notes
    -----
    Values on a lattice of fixed steps, such as whole numbers and the levels of pixels, have few
    bits too, but were not rounded to them: they count with their dtype.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal(500)
    >>> significant_bits(x, "float64"), significant_bits(x.astype(np.float16) + 0.0, "float32")
    (53, 11)
    >>> significant_bits(np.arange(200.0), "float32")
    24
    """
    held = _BITS.get(dtype.removeprefix("torch."), 53)
    values = values[values != 0]
    if values.size < _FEWEST:
        return held
    significand, exponent = np.frexp(values)
    for bits in (8, 11, 24):
        if bits >= held:
            break
        scaled = np.ldexp(significand, bits)
        if (scaled == np.rint(scaled)).all():
            steps = np.ldexp(values, bits - int(exponent.max()))
            return held if (steps == np.rint(steps)).all() else bits
    return held


def copy_limit(points: Points, nearest: float) -> float:
    """Compute the largest distance that rounding may put between two copies.

    Parameters
    ----------
    points : Points
    nearest : float
        The smallest distance between points. If it is too large for copies in any precision, the
        values are not read.

    Returns
    -------
    float
        0 for integers, or if there can be no copies.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> copy_limit(as_points([[3, 4], [3, 5], [4, 3]]), 1.0)
    0.0
    >>> x = as_points(np.full((3, 16), 1 / 4, dtype=np.float32))  # rows of norm 1
    >>> copy_limit(x, 1e-6) == 64 * 2**-23, copy_limit(x, 0.5)
    (True, 0.0)
    """
    dtype = points.source_dtype
    largest_norm = points.max_abs * math.sqrt(points.n_features)
    if "float" not in dtype or nearest > _COARSEST * largest_norm:
        return 0.0
    rows = np.linspace(0, points.n_points - 1, min(_ROWS, points.n_points)).astype(np.intp)
    sample = points.block(rows, slice(0, _COLUMNS), np.dtype(np.float64))
    norms = points.norms(rows)
    points.release()
    bits = significant_bits(sample, dtype)
    return float(_LIMITS[bits] * 2.0 ** (1 - bits) * np.median(norms))


def resolution(distances: NDArray[np.float64], limit: float, wider: Wider) -> float:
    """Find the distance up to which neighbours are copies, from a gap above it; 0 without copies.

    Parameters
    ----------
    distances : array of shape (n, k)
        Distances to the nearest neighbours, ascending in each row.
    limit : float
        Largest distance that rounding may put between copies.
    wider : callable
        ``wider(rows, k)`` searches for more neighbours of some rows, k or as many as there are. It
        is called only if all listed neighbours of many points are within the limit.

    Notes
    -----
    Copies are all nearer than ``limit``, but so may be true neighbours, in a dense or narrow cloud
    or in half precision. Copies stand apart: the distances up to four times theirs are rare. In a
    continuous cloud of dimension d, there are 4^d - 1 times as many distances in this gap as below
    it.

    Examples
    --------
    >>> rows = np.array([[1e-8, 0.3], [1e-8, 0.2], [0.1, 0.2], [0.2, 0.3]])
    >>> resolution(rows, 1e-6, lambda rows, k: rows)
    2e-08
    """
    if limit <= 0 or distances[:, 0].min() > limit:
        return 0.0
    near = np.flatnonzero(distances[:, 0] <= _GAP * limit)
    rows, lists = near[:: -(-len(near) // _LISTED)], distances[near]
    for k in _WIDER:
        if np.mean(lists[lists[:, 0] <= limit, -1] <= limit) <= _HIDDEN:
            break
        lists = wider(rows, k)
        if lists[:, 0].min() > limit:
            return 0.0
    # a copy of a copy may be twice as far away
    return min(limit, 2 * _apart(lists, limit))


def _apart(lists: NDArray[np.float64], limit: float) -> float:
    """Return the distance within the limit that has the clearest gap above it; 0 without a gap."""
    pool = np.sort(lists[lists <= _GAP * limit])
    candidates = np.unique(pool[pool <= limit])
    below = np.searchsorted(pool, candidates, side="right")
    in_gap = np.searchsorted(pool, _GAP * candidates, side="right") - below
    # rows with such neighbours, and those of them whose lists end before or in the gap
    nearest, last = lists[:, 0], lists[:, -1]
    rows = np.searchsorted(np.sort(nearest), candidates, side="right")
    hidden = np.searchsorted(np.sort(np.maximum(nearest, last / _GAP)), candidates, side="right")
    # in a dense cloud the best gap is just above the copies, before true neighbours come in
    gap = np.where(2 * hidden <= rows, below - _RARE * in_gap, -1)
    best = len(gap) - 1 - int(np.argmax(gap[::-1])) if len(gap) else 0
    return float(candidates[best]) if len(gap) and gap[best] >= 0 else 0.0


def first_copies(
    distances: NDArray[np.float64], indices: NDArray[np.intp], resolution: float
) -> NDArray[np.intp]:
    """Return for each point the first point of which it is a copy, or a copy of a copy.

    Parameters
    ----------
    distances, indices : arrays of shape (n, k)
        The nearest neighbours of each point.
    resolution : float
        Distance up to which neighbours are copies.

    Returns
    -------
    array of int, shape (n,)

    Examples
    --------
    >>> distances = np.array([[0.1, 5], [4, 5], [0.1, 0.2], [0.1, 5]])
    >>> first_copies(distances, np.array([[2, 1], [0, 2], [0, 3], [2, 1]]), 0.1).tolist()
    [0, 1, 0, 0]
    """
    first = np.arange(len(distances))
    i, rank = np.nonzero(distances <= resolution)
    j = indices[i, rank]
    before = None
    while before is None or (first != before).any():
        before = first.copy()
        lower = np.minimum(first[i], first[j])
        np.minimum.at(first, i, lower)
        np.minimum.at(first, j, lower)
        first = first[first]
    return first
