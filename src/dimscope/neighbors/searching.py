"""The verb points -> Neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dimscope.neighbors.engines import Engine, Sampled
from dimscope.neighbors.searches import Search

if TYPE_CHECKING:
    from collections.abc import Callable

    from dimscope.neighbors.values import Neighbors

__all__ = ["nearest_neighbors"]


def nearest_neighbors(
    points: Any,
    k: int = 2,
    engine: Engine | None = None,
    *,
    at_most: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Neighbors:
    """Distances from each distinct point to its k nearest others.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        NumPy array, memory map, torch tensor (searched where it lives), a layer of a store, nested
        lists, or a dask array (searched by the scheduler in force, chunk by chunk).
    k : int
        Neighbours wanted; at least 2, less than the number of distinct points.
    engine : Engine, optional
        What to promise; :class:`Exact` by default.
    at_most : bool
        Take all other points where there are fewer than k, instead of an error.
    progress : callable, optional
        Called with the fraction done, between 0 and 1.

    Returns
    -------
    Neighbors
        ``distances`` in float64, relative error at most 1e-6, or what the ``guarantee`` of
        another engine says; ``indices`` into the
        distinct points; ``rows`` leads back to the rows of ``points``. Of a sample of the points
        if the engine is :class:`Sampled`: its first round, 1 / rtol^2 points.

    Raises
    ------
    BadPoints
        If the points are not a two-dimensional array of finite numbers.
    DegeneratePoints
        If there are fewer than three distinct points, or not more than k.

    Notes
    -----
    Up to 16 features a k-d tree is used, above it certified tiles
    (:mod:`dimscope.neighbors.certified`). Equal rows are collapsed first.

    Examples
    --------
    >>> nearest_neighbors([[0.0], [1.0], [3.0], [3.0]]).distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    search = Search(points, k, engine, at_most=at_most, progress=progress)
    if isinstance(search.engine, Sampled):
        return search.sample(search.engine.first)
    return search.every()
