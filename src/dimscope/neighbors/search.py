"""The verb points -> Neighbors: check, collapse duplicates, search as the engine promises."""

from __future__ import annotations

from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.dask_points import ScatteredPoints, is_scattered, scattered_points
from dimscope.arrays.points import Points, as_points
from dimscope.arrays.tensor_points import DevicePoints, is_on_device
from dimscope.errors import BadPoints, DegeneratePoints
from dimscope.neighbors.approximate import approximate_neighbors
from dimscope.neighbors.certificate import (
    Kernel,
    Listed,
    certified_among,
    certified_neighbors,
    certified_rows,
)
from dimscope.neighbors.cuda import DeviceTiles
from dimscope.neighbors.dask import scattered_among, scattered_neighbors
from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Approximate, Engine, Exact, Sampled, Sketched
from dimscope.neighbors.kd_tree import tree_neighbors
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.sketches import SketchedTiles, kernel_of
from dimscope.neighbors.tiles import Tiles
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["TREE_FEATURES", "Search", "nearest_neighbors"]


# Squares of smaller distances, in units of the largest absolute value, lose digits.
_NEAREST = 2.0**-480


_FEW = 4  # one side of a product in float64 costs as much as so many of a symmetric one


TREE_FEATURES = 16  # measured: above, tiles are faster even on data of low dimension


class Search:
    """Points ready to be searched.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
    k : int
        Neighbours wanted.
    engine : Engine, optional
        What to promise; :class:`Exact` by default.
    at_most : bool
        Take all other points where there are fewer than k, instead of an error.
    progress : callable, optional
        Called with the fraction done.

    Raises
    ------
    BadPoints, DegeneratePoints
        As :func:`dimscope.nearest_neighbors`.

    Examples
    --------
    >>> search = Search([[0.0], [1.0], [3.0], [3.0]])
    >>> search.n_distinct, search.every()
    (3, Neighbors(n=3, k=2, exact to 1e-6))
    """

    def __init__(
        self,
        points: Any,
        k: int = 2,
        engine: Engine | None = None,
        *,
        at_most: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        k = index(k)
        self.engine = Exact() if engine is None else engine
        if not isinstance(self.engine, Exact | Sketched | Sampled | Approximate):
            raise TypeError(f"engine must be an Engine such as Exact(), not {engine!r}")
        if k < 2:
            raise ValueError(f"k is {k}, but at least 2 neighbours are needed")
        self._checked = _checked(points, self.engine)
        self._rows = _distinct(self._checked)
        self.k = max(2, min(k, self.n_distinct - 1)) if at_most else k
        _check_distinct(self._checked.n_points, self.n_distinct, self.k)
        repeated = self.n_distinct < self._checked.n_points
        self._distinct = self._checked.select(self._rows) if repeated else self._checked
        self._progress = progress

    @property
    def n_distinct(self) -> int:
        """Points that differ."""
        return len(self._rows)

    @cached_property
    def _kernel(self) -> Kernel | None:
        return _kernel(self._distinct, self.engine, self._progress)

    def every(self) -> Neighbors:
        """The neighbours of all distinct points."""
        lists: tuple[Kernel, Listed] | None
        if isinstance(self.engine, Approximate):
            distances, indices, how, lists = approximate_neighbors(
                self._distinct, self.k, self.engine, self._progress
            )
        else:
            distances, indices, how, lists = _search(
                self._distinct, self.k, self._kernel, self._progress
            )

        def search_again(
            queries: NDArray[np.intp], labels: NDArray[np.intp], wanted: int
        ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
            return _search_groups(self._distinct, lists, queries, labels, wanted)

        return self._neighbors(distances, indices, how, search_again=search_again)

    def sample(self, n: int) -> Neighbors:
        """The neighbours of n points drawn at random, among all; those drawn before are kept.

        Parameters
        ----------
        n : int
            From half of the points on all of them are taken, which costs no more.
        """
        if 2 * n >= self.n_distinct:
            return self.every()
        drawn = self._order[len(self._sampled[0]) : n]
        if len(drawn):
            distances, indices, self._how, _ = _search(
                self._distinct, self.k, self._kernel, self._progress, drawn
            )
            before = self._sampled
            self._sampled = (
                np.concatenate([before[0], distances]),
                np.concatenate([before[1], indices]),
            )
        return self._neighbors(*self._sampled, self._how, self._order[: len(self._sampled[0])])

    @cached_property
    def _sampled(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Distances and indices of the points drawn so far."""
        return np.empty((0, self.k)), np.empty((0, self.k), dtype=np.intp)

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        """In which distinct points are drawn."""
        seed = getattr(self.engine, "seed", 0)
        return np.random.default_rng(seed).permutation(self.n_distinct)

    def _neighbors(
        self,
        distances: NDArray[np.float64],
        indices: NDArray[np.intp],
        how: dict[str, Any],
        queries: NDArray[np.intp] | None = None,
        search_again: Any = None,
    ) -> Neighbors:
        rows = self._rows if queries is None else self._rows[queries]
        self._check_range(distances[:, 0], rows)
        promise = str(how.pop("guarantee", "exact to 1e-6"))
        if isinstance(self._kernel, SketchedTiles):
            promise += f" with probability 1 - {self._kernel.failure:g}"
        if queries is not None:
            promise += f", {len(queries)} of {self.n_distinct} points"
        return Neighbors(
            distances,
            indices,
            rows,
            self._checked.n_points,
            promise,
            Provenance(
                "nearest_neighbors",
                {
                    "k": self.k,
                    "engine": repr(self.engine),
                    "shape": [self._checked.n_points, self._checked.n_features],
                    "dtype": str(self._checked.array.dtype),
                    **how,
                },
                versions("scipy"),
            ),
            search_again,
            queries,
            self.n_distinct,
        )

    def _check_range(self, nearest: NDArray[np.float64], rows: NDArray[np.intp]) -> None:
        points = self._checked
        bad = nearest * points.scale < _NEAREST
        if bad.any():
            raise DegeneratePoints(
                f"row {rows[bad.argmax()]} has a neighbour nearer than 1e-144 of the largest "
                f"absolute value, {points.max_abs:.3g}, which float64 cannot square; remove the "
                "far points"
            )


def _checked(points: Any, engine: Engine) -> Points:
    far = is_scattered(points) or (is_on_device(points) and isinstance(engine, Approximate))
    if far and not isinstance(engine, Exact):
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


def _kernel(
    points: Points, engine: Engine, progress: Callable[[float], None] | None = None
) -> Kernel | None:
    """What a search multiplies; None for a tree, and for tasks that have their own."""
    if isinstance(points, DevicePoints):
        return DeviceTiles(points, progress)
    if isinstance(points, ScatteredPoints) or points.n_features <= TREE_FEATURES:
        return None
    if isinstance(engine, Sketched | Sampled):
        return kernel_of(points, engine.failure, engine.seed, progress)
    return Tiles(points, progress)


def _search(
    points: Points,
    k: int,
    kernel: Kernel | None,
    progress: Callable[[float], None] | None = None,
    rows: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp], dict[str, Any], tuple[Kernel, Listed] | None]:
    """The k nearest of all points, or of some; how; and the candidates."""
    if isinstance(points, ScatteredPoints):
        return *scattered_neighbors(points, k, progress), {"where": "dask"}, None
    if kernel is None:
        return *tree_neighbors(points, k, progress, rows), {"where": "tree"}, None
    distances, indices, effort, listed = certified_neighbors(kernel, k, rows)
    where = "sketches" if isinstance(kernel, SketchedTiles) else "tiles"
    if isinstance(points, DevicePoints):
        where = str(points.array.device)
    return distances, indices, {"where": where, **effort}, (kernel, listed)


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
            chosen = points.select(among)
            found, others, *_ = _search(chosen, k, _kernel(chosen, Exact()))
            place = np.searchsorted(among, queries[mine])
            distances[mine], indices[mine] = found[place], among[others[place]]
        else:
            kernel = lists[0] if lists else Tiles(points)
            squares, indices[mine], _ = certified_rows(kernel, queries[mine], k, among)
            distances[mine] = np.sqrt(squares) / kernel.unit
    return distances, indices


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
    (:mod:`dimscope.neighbors.certificate`). Equal rows are collapsed first.

    Examples
    --------
    >>> nearest_neighbors([[0.0], [1.0], [3.0], [3.0]]).distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    """
    search = Search(points, k, engine, at_most=at_most, progress=progress)
    if isinstance(search.engine, Sampled):
        return search.sample(search.engine.first)
    return search.every()
