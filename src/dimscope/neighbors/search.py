"""From points to Neighbors: check the points, collapse duplicates, and search with an engine."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.kinds import as_points, home_of
from dimscope.arrays.memory import budget_from
from dimscope.errors import BadPoints, DegeneratePoints, check_word
from dimscope.neighbors.copies import Copies, copy_limit, resolution
from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Engine, Exact
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.searchers import SearchResult
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.copies import Wider


__all__ = ["Search", "nearest_neighbors", "neighbors_of"]

# Squares of smaller distances, in units of the largest absolute value, lose digits.
_NEAREST = 2.0**-480


def nearest_neighbors(
    points: Any,
    k: int = 2,
    engine: Engine | None = None,
    *,
    at_most: bool = False,
    copies: Copies = "keep",
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Neighbors:
    """Find the k nearest neighbours of each distinct point.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        NumPy array, memory map, torch tensor (searched on its device if that is CUDA), layer of a
        store, nested lists, or dask array (searched chunk by chunk on the active scheduler).
    k : int
        Number of neighbours; at least 2, and less than the number of distinct points.
    engine : Engine, optional
        How to search, and with what guarantee; :class:`Exact` by default.
    at_most : bool
        If there are fewer than k other points, use all of them instead of raising an error.
    copies : {"keep", "collapse"}
        What to do with near copies, which differ by no more than the rounding of their values, such
        as one stimulus in batches of two shapes: ``"collapse"`` keeps the first of them only.
    memory : int or str, optional
        Memory budget for points outside memory, such as ``"4GB"``: an array on disk is read whole
        if it fits, otherwise block by block. Half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)``, called in this thread.

    Returns
    -------
    Neighbors
        ``distances`` are float64, with a relative error of at most 1e-6 unless the ``guarantee``
        says otherwise. ``indices`` refer to the distinct points, and ``rows`` maps these to the
        rows of ``points``. With :class:`Sampled`, the result holds the neighbours of the first
        sample of 1 / rtol^2 points only.

    Raises
    ------
    BadPoints
        If the points are not a two-dimensional array of finite numbers.
    DegeneratePoints
        If there are fewer than three distinct points, or not more distinct points than k.

    Notes ----- Equal rows are always collapsed first. Points with up to 16 features are searched
    with a k-d tree, points with more features with certified tiles
    (:mod:`dimscope.neighbors.certificate`).

    Examples
    --------
    >>> nearest_neighbors([[0.0], [1.0], [3.0], [3.0]]).distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    >>> points = [[1.0], [2.0], [4.0], [4.0 + 1e-15]]
    >>> nearest_neighbors(points).n_copies, nearest_neighbors(points, copies="collapse")
    (1, Neighbors(n=3, k=2, exact to 1e-6))
    """
    search = Search(
        points, k, engine, at_most=at_most, copies=copies, memory=memory, progress=progress
    )
    sampling = search.engine.sampling
    return search.all_points() if sampling is None else search.sample(sampling.first)


def neighbors_of(
    points: Any,
    k: int,
    engine: Engine | None = None,
    *,
    at_most: bool = False,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Neighbors:
    """Return Neighbors unchanged, or find the neighbours of points.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    k, engine, at_most, progress
        As in :func:`nearest_neighbors`.

    Raises
    ------
    ValueError
        If an engine is given together with Neighbors, which are not searched again.

    Examples
    --------
    >>> neighbors = nearest_neighbors([[0.0], [1.0], [3.0]])
    >>> neighbors_of(neighbors, 2) is neighbors
    True
    >>> neighbors_of(neighbors, 2, Exact())
    Traceback (most recent call last):
    ValueError: engine=Exact() has no effect: Neighbors are not searched again; leave out the engine
    """
    if not isinstance(points, Neighbors):
        return nearest_neighbors(
            points, k, engine, at_most=at_most, memory=memory, progress=progress
        )
    if memory is not None:
        raise ValueError(
            f"memory={memory!r} has no effect: Neighbors are not searched again; leave it out"
        )
    if engine is not None:
        raise ValueError(
            f"engine={engine!r} has no effect: Neighbors are not searched again; "
            "leave out the engine"
        )
    return points


class Search:
    """Checked points, without duplicates, ready to be searched.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
    k : int
        Number of neighbours.
    engine : Engine, optional
        How to search, and with what guarantee; :class:`Exact` by default.
    at_most : bool
        If there are fewer than k other points, use all of them instead of raising an error.
    copies, memory
        Of :func:`dimscope.nearest_neighbors`.
    progress : callable, optional

    Raises
    ------
    BadPoints, DegeneratePoints
        As for :func:`dimscope.nearest_neighbors`.

    Examples
    --------
    >>> search = Search([[0.0], [1.0], [3.0], [3.0]])
    >>> search.n_distinct, search.all_points()
    (3, Neighbors(n=3, k=2, exact to 1e-6))
    """

    def __init__(
        self,
        points: Any,
        k: int = 2,
        engine: Engine | None = None,
        *,
        at_most: bool = False,
        copies: Copies = "keep",
        memory: int | str | None = None,
        progress: Progress | None = None,
    ) -> None:
        k = index(k)
        check_word("copies", copies, Copies)
        self.engine = Exact() if engine is None else engine
        if not isinstance(self.engine, Engine):
            raise TypeError(f"engine must be an Engine such as Exact(), not {engine!r}")
        if k < 2:
            raise ValueError(f"k is {k}; at least 2 neighbours are needed")
        if copies == "collapse" and self.engine.sampling is not None:
            raise ValueError(
                f"copies='collapse' needs the neighbours of all points, but {self.engine!r} "
                "searches those of a sample; use Sketched() or Exact()"
            )
        if home_of(points) not in self.engine.homes:
            raise BadPoints(
                f"{type(self.engine).__name__} searches in the memory of this machine; give "
                "points.cpu() for a tensor, points.compute() for a dask array"
            )
        self._points = as_points(points, memory=budget_from(memory))
        self._rows = distinct_rows(self._points)
        self.k = max(2, min(k, self.n_distinct - 1)) if at_most else k
        _check_distinct(self._points.n_points, self.n_distinct, self.k)
        has_duplicates = self.n_distinct < self._points.n_points
        distinct = self._points.select(self._rows) if has_duplicates else self._points
        self._searcher = self.engine.searcher(distinct, progress)
        self._at_most, self._collapses = at_most, copies == "collapse"
        self._order: NDArray[np.intp] | None = None
        self._sample: SearchResult | None = None

    @property
    def n_distinct(self) -> int:
        """Number of distinct points."""
        return len(self._rows)

    def all_points(self) -> Neighbors:
        """Find the neighbours of all distinct points."""
        if not self._collapses:
            result = self._searcher.nearest(self.k)
            return self._neighbors(result, search_again=self._searcher.nearest_with_label)
        # where a pair of copies becomes one point, the next neighbours are there already
        result = self._searcher.nearest(min(self.k + 2, self.n_distinct - 1))
        neighbors = self._neighbors(result, search_again=self._searcher.nearest_with_label)
        return neighbors.without_copies(self.k, at_most=self._at_most)

    def sample(self, n: int) -> Neighbors:
        """Find the neighbours, among all points, of n randomly drawn points.

        A larger sample contains every smaller one drawn before; only the new points are searched.

        Parameters
        ----------
        n : int
            Sample size. If it is at least half of the points, all points are searched, since that
            costs no more.
        """
        if 2 * n >= self.n_distinct:
            return self.all_points()
        if self._order is None:
            assert self.engine.sampling is not None, "only engines that sample can draw a sample"
            rng = np.random.default_rng(self.engine.sampling.seed)
            self._order = rng.permutation(self.n_distinct)
        n_before = 0 if self._sample is None else len(self._sample.distances)
        drawn = self._order[n_before:n]
        if len(drawn):
            result = self._searcher.nearest(self.k, drawn)
            self._sample = _joined(self._sample, result)
        assert self._sample is not None
        return self._neighbors(self._sample, self._order[: len(self._sample.distances)])

    def _neighbors(
        self,
        result: SearchResult,
        queries: NDArray[np.intp] | None = None,
        search_again: Any = None,
    ) -> Neighbors:
        rows = self._rows if queries is None else self._rows[queries]
        self._check_range(result.distances[:, 0], rows)
        guarantee = result.guarantee
        if queries is not None:
            guarantee = guarantee.of_sample(len(queries), self.n_distinct)
        limit = copy_limit(self._points, float(result.distances[:, 0].min()))
        copies: dict[str, Any] = {"copies": "collapse"} if self._collapses else {}
        return Neighbors(
            result.distances,
            result.indices,
            rows,
            self._points.n_points,
            guarantee,
            Provenance(
                "nearest_neighbors",
                {
                    "k": self.k,
                    "engine": repr(self.engine),
                    "shape": [self._points.n_points, self._points.n_features],
                    "dtype": self._points.source_dtype,
                    **copies,
                    **result.details,
                },
                versions("scipy"),
            ),
            search_again,
            queries,
            self.n_distinct,
            self._points.fingerprints,
            resolution(result.distances, limit, self._wider(queries)),
        )

    def _wider(self, queries: NDArray[np.intp] | None) -> Wider:
        """Return a search for more neighbours of some of the points whose neighbours were found."""
        everywhere = np.zeros(self.n_distinct, dtype=np.intp)

        def search(rows: NDArray[np.intp], k: int) -> NDArray[np.float64]:
            rows = rows if queries is None else queries[rows]
            return self._searcher.nearest_with_label(rows, everywhere, min(k, self.n_distinct - 1))[
                0
            ]

        return search

    def _check_range(self, nearest: NDArray[np.float64], rows: NDArray[np.intp]) -> None:
        bad = nearest * self._points.scale < _NEAREST
        if bad.any():
            raise DegeneratePoints(
                f"row {rows[bad.argmax()]} has a neighbour nearer than 1e-144 times the largest "
                f"absolute value, {self._points.max_abs:.3g}; float64 cannot square so small a "
                "distance; remove the points with the largest values"
            )


def _joined(before: SearchResult | None, result: SearchResult) -> SearchResult:
    """Append the neighbours of further points; keep the details of the last search."""
    if before is None:
        return result
    return SearchResult(
        np.concatenate([before.distances, result.distances]),
        np.concatenate([before.indices, result.indices]),
        result.guarantee,
        result.details,
    )


def _check_distinct(n_points: int, n_distinct: int, k: int) -> None:
    if n_distinct == 1:
        raise DegeneratePoints(f"all {n_points} points are the same: they have no dimension")
    if n_distinct < 3:
        raise DegeneratePoints(
            f"only {n_distinct} of {n_points} points are distinct; at least 3 are needed"
        )
    if k >= n_distinct:
        raise DegeneratePoints(
            f"k is {k}, but there are only {n_distinct} distinct points; give k < {n_distinct}"
        )
