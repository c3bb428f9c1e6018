"""The verb points -> Neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.neighbors.approximate import approximate_neighbors
from dimscope.neighbors.certified import (
    Kernel,
    Listed,
    certified_among,
    certified_neighbors,
    certified_rows,
)
from dimscope.neighbors.device import DevicePoints, DeviceTiles, is_on_device
from dimscope.neighbors.distributed import scattered_among, scattered_neighbors
from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Approximate, Engine, Exact
from dimscope.neighbors.scattered import ScatteredPoints, is_scattered, scattered_points
from dimscope.neighbors.tiles import Tiles
from dimscope.neighbors.tree import tree_neighbors
from dimscope.neighbors.values import Neighbors
from dimscope.points import Points, as_points
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["TREE_FEATURES", "nearest_neighbors"]

# Squares of smaller distances, in units of the largest absolute value, lose digits.
_NEAREST = 2.0**-480
_FEW = 4  # one side of a product in float64 costs as much as so many of a symmetric one
TREE_FEATURES = 16  # measured: above, tiles are faster even on data of low dimension


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
        NumPy array, memory map, torch tensor (searched where it lives), nested lists, or a
        dask array (searched by the scheduler in force, chunk by chunk).
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
        another engine says; ``indices`` into the distinct points; ``rows`` leads back to the
        rows of ``points``.

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
    engine = Exact() if engine is None else engine
    if not isinstance(engine, Exact | Approximate):
        raise TypeError(f"engine must be an Engine such as Exact(), not {engine!r}")
    if k < 2:
        raise ValueError(f"k is {k}, but at least 2 neighbours are needed")
    checked = _checked(points, engine)
    rows = _distinct(checked)
    if at_most:
        k = max(2, min(k, len(rows) - 1))
    _check_distinct(checked.n_points, len(rows), k)
    distinct = checked if len(rows) == checked.n_points else checked.select(rows)
    distances, indices, how, lists = _search(distinct, k, progress, engine)
    guarantee = how.pop("guarantee", "exact to 1e-6")
    _check_range(distances[:, 0], checked, rows)

    def search_again(
        queries: NDArray[np.intp], labels: NDArray[np.intp], wanted: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        return _search_groups(distinct, lists, queries, labels, wanted)

    provenance = Provenance(
        "nearest_neighbors",
        {
            "k": k,
            "engine": repr(engine),
            "shape": [checked.n_points, checked.n_features],
            "dtype": str(checked.array.dtype),
            **how,
        },
        versions("scipy"),
    )
    return Neighbors(
        distances, indices, rows, checked.n_points, guarantee, provenance, search_again
    )


def _checked(points: Any, engine: Engine) -> Points:
    if not isinstance(engine, Exact) and (is_on_device(points) or is_scattered(points)):
        raise BadPoints(
            f"{type(engine).__name__} searches in the memory of this machine; give points.cpu() "
            "for a tensor, points.compute() for a dask array"
        )
    if is_on_device(points):
        return DevicePoints(points)
    return scattered_points(points) if is_scattered(points) else as_points(points)


def _distinct(points: Points) -> NDArray[np.intp]:
    return points.distinct_rows() if isinstance(points, ScatteredPoints) else distinct_rows(points)


def _check_distinct(n_points: int, n_distinct: int, k: int) -> None:
    if n_distinct == 1:
        raise DegeneratePoints(f"all {n_points} points are the same: they have no dimension")
    if n_distinct < 3:
        raise DegeneratePoints(
            f"only {n_distinct} of {n_points} points are distinct; at least 3 are needed"
        )
    if k >= n_distinct:
        raise DegeneratePoints(
            f"{k} neighbours were asked for, but there are only {n_distinct} distinct points; "
            f"give k < {n_distinct}"
        )


def _check_range(nearest: NDArray[np.float64], points: Points, rows: NDArray[np.intp]) -> None:
    bad = nearest * points.scale < _NEAREST
    if bad.any():
        raise DegeneratePoints(
            f"row {rows[bad.argmax()]} has a neighbour nearer than 1e-144 of the largest absolute "
            f"value, {points.max_abs:.3g}, which float64 cannot square; remove the far points"
        )


def _search(
    points: Points,
    k: int,
    progress: Callable[[float], None] | None = None,
    engine: Engine | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp], dict[str, Any], tuple[Kernel, Listed] | None]:
    if isinstance(engine, Approximate):
        return approximate_neighbors(points, k, engine, progress)
    if isinstance(points, ScatteredPoints):
        return *scattered_neighbors(points, k, progress), {"where": "dask"}, None
    if points.n_features <= TREE_FEATURES and not isinstance(points, DevicePoints):
        return *tree_neighbors(points, k, progress), {"where": "tree"}, None
    kernel = _kernel(points, progress)
    distances, indices, effort, listed = certified_neighbors(kernel, k)
    where = str(points.array.device) if isinstance(points, DevicePoints) else "tiles"
    return distances, indices, {"where": where, **effort}, (kernel, listed)


def _kernel(points: Points, progress: Callable[[float], None] | None = None) -> Kernel:
    if isinstance(points, DevicePoints):
        return DeviceTiles(points, progress)
    return Tiles(points, progress)


def _search_groups(
    points: Points,
    lists: tuple[Kernel, Listed] | None,
    queries: NDArray[np.intp],
    labels: NDArray[np.intp],
    k: int,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The k nearest with the same label: from the lists of all, or searched in each group."""
    few = np.bincount(labels[labels >= 0])[labels[queries]] <= k
    if few.any():
        size = int((labels == labels[queries[few.argmax()]]).sum())
        raise DegeneratePoints(f"{size} chosen points do not have {k} neighbours each")
    if isinstance(points, ScatteredPoints):
        return scattered_among(points, queries, labels, k)
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.intp)
    left = np.arange(len(queries))
    if lists is not None:
        squares, indices, cleared = certified_among(*lists, queries, labels, k)
        distances = np.sqrt(squares) / lists[0].unit
        left = np.flatnonzero(~cleared)
    for label in np.unique(labels[queries[left]]):
        among, mine = np.flatnonzero(labels == label), left[labels[queries[left]] == label]
        if _FEW * len(mine) > len(among):
            found, others, *_ = _search(points.select(among), k)
            place = np.searchsorted(among, queries[mine])
            distances[mine], indices[mine] = found[place], among[others[place]]
        else:
            kernel = lists[0] if lists else _kernel(points)
            squares, indices[mine], _ = certified_rows(kernel, queries[mine], k, among)
            distances[mine] = np.sqrt(squares) / kernel.unit
    return distances, indices
