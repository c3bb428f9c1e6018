"""From points to Neighbors: check the points, collapse duplicates, and search with an engine."""

from __future__ import annotations

from inspect import signature
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.kinds import as_points, home_of
from dimscope.arrays.memory import budget_from
from dimscope.errors import ALL_EQUAL, BadPoints, DegeneratePoints, TightGroups, check_word, warn
from dimscope.neighbors.copies import Copies, copy_limit, resolution
from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Engine, Exact, default_engine
from dimscope.neighbors.exclusion import Exclusion, group_numbers
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.searchers import SearchResult
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.copies import Wider
    from dimscope.neighbors.guarantee import Guarantee


__all__ = ["Search", "nearest_neighbors", "neighbors_of", "refuse_for_neighbors"]

# Squares of smaller distances, in units of the largest absolute value, lose digits.
_NEAREST = 2.0**-480
_SHARED = 0.25  # fraction of points above which a warning says that groups are tight


def nearest_neighbors(
    points: Any,
    k: int = 2,
    engine: Engine | None = None,
    *,
    at_most: bool = False,
    exclude: Any = None,
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
        How to search, and with what guarantee. By default, an exact search or one with
        :class:`Sketched` at a failure of 1e-9, whichever is predicted to be faster on these points;
        the guarantee says which. Use :class:`Exact` for data constructed to fit the seed 0.
    at_most : bool
        If there are fewer than k other points, use all of them instead of raising an error.
    copies : {"keep", "collapse"}
        What to do with near copies, which differ by no more than the rounding of their values, such
        as one stimulus in batches of two shapes: ``"collapse"`` keeps the first of them only.
    exclude : array-like of shape (n_points,), optional
        An id for each row: rows of equal id are not each other's neighbours.
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
        If there are fewer than three distinct points, or not more distinct points than k. With
        ``exclude``, if a point has fewer than k neighbours of another id.

    Notes
    -----
    Equal rows are collapsed first, whatever their ids; what is left has the id of the
    first of them. ``exclude`` is for rows that belong together, such as the tokens of a sentence,
    the frames of a film, the trials of a stimulus or the augmentations of an image: the nearest
    rows of the same id measure how these vary, not how the data do. Where ids are so tight that
    the two nearest neighbours of a point often have the same other id, barring the own id is not
    enough: the dimension is too large, and a warning (``TightGroups``) says so. Ids that are all
    different have no effect. Points with up to 16 features are searched with a k-d tree, points
    with more features with certified tiles (:mod:`dimscope.neighbors.certificate`) or sketches
    (:mod:`dimscope.neighbors.survivors`).

    Examples
    --------
    >>> nearest_neighbors([[0.0], [1.0], [3.0], [3.0]]).distances.tolist()
    [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
    >>> nearest_neighbors([[0.0], [1.0], [3.0], [7.0]], exclude=["a", "a", "b", "c"]).distances[0]
    array([3., 7.])
    >>> points = [[1.0], [2.0], [4.0], [4.0 + 1e-15]]
    >>> nearest_neighbors(points).n_copies, nearest_neighbors(points, copies="collapse")
    (1, Neighbors(n=3, k=2, exact to 1e-6))
    """
    search = Search(
        points,
        k,
        engine,
        at_most=at_most,
        copies=copies,
        exclude=exclude,
        memory=memory,
        progress=progress,
    )
    sampling = search.engine.sampling
    return search.all_points() if sampling is None else search.sample(sampling.first)


def neighbors_of(
    points: Any,
    k: int,
    engine: Engine | None = None,
    *,
    at_most: bool = False,
    exclude: Any = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Neighbors:
    """Return Neighbors unchanged, or find the neighbours of points.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    k, engine, at_most, exclude, memory, progress
        As in :func:`nearest_neighbors`.

    Raises
    ------
    ValueError
        If an engine, ids to exclude or a budget are given together with Neighbors, which are not
        searched again.

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
            points, k, engine, at_most=at_most, exclude=exclude, memory=memory, progress=progress
        )
    refuse_for_neighbors(engine, exclude, memory)
    return points


def refuse_for_neighbors(engine: Engine | None, exclude: Any, memory: int | str | None) -> None:
    """Refuse the options of a search, given together with Neighbors.

    Raises
    ------
    ValueError
        If any is given: Neighbors are not searched again.
    """
    if memory is not None:
        raise ValueError(
            f"memory={memory!r} has no effect: Neighbors are not searched again; leave it out"
        )
    if engine is not None:
        raise ValueError(
            f"engine={engine!r} has no effect: Neighbors are not searched again; "
            "leave out the engine"
        )
    if exclude is not None:
        raise ValueError(
            "exclude has no effect: Neighbors are not searched again; give it to the search, "
            "as in nearest_neighbors(points, k, exclude=ids)"
        )


class Search:
    """Checked points, without duplicates, ready to be searched.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
    k : int
        Number of neighbours.
    engine : Engine, optional
        Of :func:`dimscope.nearest_neighbors`.
    at_most : bool
        If there are fewer than k other points, use all of them instead of raising an error.
    exclude : array-like of shape (n_points,), optional
        Of :func:`dimscope.nearest_neighbors`.
    copies : {"keep", "collapse"}
        Of :func:`dimscope.nearest_neighbors`.
    memory : int or str, optional
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
        exclude: Any = None,
        copies: Copies = "keep",
        memory: int | str | None = None,
        progress: Progress | None = None,
    ) -> None:
        k = index(k)
        check_word("copies", copies, Copies)
        self._is_default = engine is None
        if engine is not None and not isinstance(engine, Engine):
            raise TypeError(f"engine must be an Engine such as Exact(), not {engine!r}")
        if k < 2:
            raise ValueError(f"k is {k}; at least 2 neighbours are needed")
        if copies == "collapse" and engine is not None and engine.sampling is not None:
            raise ValueError(
                f"copies='collapse' needs the neighbours of all points, but {engine!r} "
                "searches those of a sample; use Sketched() or Exact()"
            )
        if engine is not None and home_of(points) not in engine.homes:
            raise BadPoints(
                f"{type(engine).__name__} searches in the memory of this machine; give "
                "points.cpu() for a tensor, points.compute() for a dask array"
            )
        self._points = as_points(points, memory=budget_from(memory))
        self.engine = default_engine(self._points) if engine is None else engine
        self._rows = distinct_rows(self._points)
        self.k = max(2, min(k, self.n_distinct - 1)) if at_most else k
        _check_distinct(self._points.n_points, self.n_distinct, self.k)
        self._exclusion: Exclusion | None = None
        if exclude is not None:
            groups = group_numbers(exclude, self._points.n_points, "exclude")
            self._exclude(groups[self._rows], at_most=at_most)
        has_duplicates = self.n_distinct < self._points.n_points
        distinct = self._points.select(self._rows) if has_duplicates else self._points
        if self._exclusion is None:
            self._searcher = self.engine.searcher(distinct, progress)
        else:
            self._searcher = self.engine.searcher(distinct, progress, self._exclusion)
        self._at_most, self._collapses = at_most, copies == "collapse"
        self._order: NDArray[np.intp] | None = None
        self._sample: SearchResult | None = None

    @property
    def n_distinct(self) -> int:
        """Number of distinct points."""
        return len(self._rows)

    def _exclude(self, groups: NDArray[np.intp], *, at_most: bool) -> None:
        """Bar neighbours of the same group; check that every point keeps enough others."""
        exclusion = Exclusion(groups)
        if not exclusion.bars_some:
            return
        if "exclusion" not in signature(self.engine.searcher).parameters:
            raise BadPoints(
                f"{type(self.engine).__name__} cannot exclude neighbours of equal id: its method "
                "searcher has no parameter exclusion; add it, or use Exact()"
            )
        fewest = int(exclusion.n_allowed.min())
        if not fewest:
            raise DegeneratePoints(
                f"exclude gives all {self.n_distinct} distinct points the same id, so that none "
                "has a neighbour; give rows that belong together an id of their own"
            )
        if at_most:
            self.k = max(2, min(self.k, fewest))
        if fewest < self.k:
            raise DegeneratePoints(
                f"one id of exclude has {exclusion.sizes.max()} of the {self.n_distinct} distinct "
                f"points, so that they have {fewest} neighbours of another id, but k is {self.k}; "
                "give more points of other ids, or a smaller k"
            )
        self._exclusion = exclusion

    def _engine_used(self, guarantee: Guarantee) -> Engine:
        """Return the engine; of the default one, what it chose."""
        return Exact() if self._is_default and not guarantee.failure else self.engine

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
                    "engine": repr(self._engine_used(guarantee)),
                    "shape": [self._points.n_points, self._points.n_features],
                    "dtype": self._points.source_dtype,
                    **self._excluded(result.indices),
                    **copies,
                    **result.details,
                },
                versions("scipy"),
            ),
            search_again,
            queries,
            self.n_distinct,
            self._points.fingerprints,
            None if queries is None else self._rows,
            resolution=resolution(result.distances, limit, self._wider(queries)),
        )

    def _excluded(self, indices: NDArray[np.intp]) -> dict[str, Any]:
        """Describe the exclusion; warn if the nearest neighbours often share a group."""
        if self._exclusion is None:
            return {}
        groups = self._exclusion.groups
        shared = float((groups[indices[:, 0]] == groups[indices[:, 1]]).mean())
        by_chance = float(((self._exclusion.sizes / len(groups)) ** 2).sum())
        if shared > _SHARED and shared > 2 * by_chance:
            warn(
                f"in {shared:.0%} of the points, the two nearest neighbours of another id have the "
                "same id: rows of one id lie closer together than rows of different ids, so that "
                "the ratio of the two distances tells how an id varies, which biases the dimension "
                "upward. Give the mean of each id, or one row of each",
                TightGroups,
            )
        return {"exclude": {**self._exclusion.description(), "shared": shared}}

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
        raise DegeneratePoints(f"all {n_points} {ALL_EQUAL}: they have no dimension")
    if n_distinct < 3:
        raise DegeneratePoints(
            f"only {n_distinct} of {n_points} points are distinct; at least 3 are needed"
        )
    if k >= n_distinct:
        raise DegeneratePoints(
            f"k is {k}, but there are only {n_distinct} distinct points; give k < {n_distinct}"
        )
