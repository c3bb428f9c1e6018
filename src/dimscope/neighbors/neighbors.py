"""Neighbors: the distances to the nearest other points, with their guaranteed accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints, DegeneratePoints, SampleRefused
from dimscope.neighbors.copies import first_copies
from dimscope.neighbors.exclusion import group_numbers
from dimscope.neighbors.guarantee import Guarantee
from dimscope.provenance import Provenance
from dimscope.values import by_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    SearchAgain = Callable[
        [NDArray[np.intp], NDArray[np.intp], int], tuple[NDArray[np.float64], NDArray[np.intp]]
    ]

__all__ = ["Neighbors", "check_lists", "numbers", "positions"]


def check_lists(
    distances: NDArray[np.float64],
    indices: NDArray[np.intp],
    queries: NDArray[np.intp],
    n_distinct: int,
) -> None:
    """Refuse distances and indices that cannot be those of nearest neighbours.

    Parameters
    ----------
    distances, indices : arrays of shape (n, k)
    queries : array of shape (n,)
        The point that each row belongs to.
    n_distinct : int

    Raises
    ------
    BadPoints, DegeneratePoints
        If a distance is not finite, is negative or zero, or is smaller than the one before it; if a
        point is listed as its own neighbour; or if a neighbour is listed twice.
    """
    bad = ~np.isfinite(distances).all(axis=1) | (distances < 0).any(axis=1)
    if bad.any():
        raise BadPoints(f"a distance of row {int(bad.argmax())} is negative or not finite")
    bad = (np.diff(distances, axis=1) < 0).any(axis=1)
    if bad.any():
        raise BadPoints(f"the distances of row {int(bad.argmax())} are not in ascending order")
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
        raise BadPoints(f"row {int(bad.argmax())} lists a neighbour twice")
    bad = (indices == queries[:, None]).any(axis=1)
    if bad.any():
        raise BadPoints(
            f"row {int(bad.argmax())} lists the point as its own neighbour; leave it out"
        )


def numbers(values: Any, kinds: str, dtype: type[Any], what: str) -> NDArray[Any]:
    """Convert to an array of integers or reals, or raise an error that says what the values are."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise BadPoints(f"{what} are ragged: rows differ in length") from None
    if array.dtype.kind not in kinds:
        wanted = "whole numbers" if kinds == "iu" else "real numbers"
        raise BadPoints(f"{what} must be {wanted}, but are {array.dtype}")
    return array.astype(dtype, copy=False)


def positions(rows: Any) -> NDArray[np.intp]:
    """Convert to a one-dimensional array of positions.

    >>> positions([2, 0]).tolist()
    [2, 0]
    """
    rows = np.asarray(rows)
    if rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise BadPoints("rows must be a list of whole numbers; for a mask give np.flatnonzero")
    return np.asarray(rows, dtype=np.intp)


@by_value
@dataclass(frozen=True, eq=False)
class Neighbors:
    """Distances to the k nearest other points, and which points those are.

    Returned by :func:`dimscope.nearest_neighbors`. You can also construct it from the results of
    any other metric or search: ``Neighbors(distances, indices)``.

    Parameters
    ----------
    distances : array of shape (n_distinct, k)
        Ascending in each row, excluding the point itself; float64.
    indices : array of shape (n_distinct, k)
        The neighbours, as positions among the distinct points.
    rows : array of shape (n_distinct,), optional
        Row of each distinct point in the user's array; by default, all rows are distinct.
    n_points : int, optional
        Number of rows of the user's array, duplicates included.
    guarantee : Guarantee
        Guaranteed accuracy of the distances; nothing is guaranteed by default. A string is taken as
        a guarantee stated in words.
    queries : array of shape (n_queries,), optional
        The point that each row of ``distances`` belongs to, as its position among the distinct
        points; all points by default.
    n_distinct : int, optional
        Number of distinct points searched; the number of rows by default.
    fingerprints : array of uint64, shape (n_points,), optional
        A hash of each row of the user's array, to recognise the same rows in other estimates.
    all_rows : array of shape (n_distinct,), optional
        Row of each distinct point, if only a sample was searched, so that ``rows`` are fewer.
    groups : array of int, shape (n_queries,), optional
        The group of each row of ``distances``: rows of one group are one independent unit of the
        standard errors.
    resolution : float
        Neighbours up to this distance are near copies: they differ by no more than rounding
        (:func:`dimscope.neighbors.copies.resolution`). 0 if there are none.
    n_collapsed : int
        Number of near copies that were collapsed; they are counted in ``n_points``.

    Raises
    ------
    BadPoints
        If the shapes differ, k < 2, a distance is negative or not finite, a row is not ascending,
        or a point is listed as its own neighbour.
    DegeneratePoints
        If there are fewer than three distinct points, or a distance is zero
        (duplicates must be collapsed first).

    Examples
    --------
    >>> Neighbors([[1.0, 2.0], [1.0, 3.0], [2.0, 3.0]], [[1, 2], [0, 2], [0, 1]])
    Neighbors(n=3, k=2, as given)
    """

    distances: NDArray[np.float64]
    indices: NDArray[np.intp]
    rows: NDArray[np.intp] | None = None
    n_points: int = 0
    guarantee: Guarantee = field(default_factory=Guarantee)
    provenance: Provenance = field(default_factory=lambda: Provenance("neighbors"), repr=False)
    search_again: SearchAgain | None = field(default=None, repr=False, compare=False)
    queries: NDArray[np.intp] | None = None
    n_distinct: int = 0
    fingerprints: NDArray[np.uint64] | None = field(default=None, repr=False, compare=False)
    all_rows: NDArray[np.intp] | None = field(default=None, repr=False, compare=False)
    groups: NDArray[np.intp] | None = field(default=None, repr=False)
    resolution: float = 0.0
    n_collapsed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.guarantee, str):
            object.__setattr__(self, "guarantee", Guarantee.stated(self.guarantee))
        distances = numbers(self.distances, "biuf", np.float64, "distances")
        indices = numbers(self.indices, "iu", np.intp, "indices")
        object.__setattr__(self, "distances", distances)
        object.__setattr__(self, "indices", indices)
        if distances.ndim != 2 or distances.shape != indices.shape or distances.shape[1] < 2:
            raise BadPoints(
                "distances and indices must both have shape (n_points, k) with k >= 2, but they "
                f"have {distances.shape} and {indices.shape}"
            )
        if len(distances) < 3:
            raise DegeneratePoints(
                f"there are only {len(distances)} distinct points; give at least 3"
            )
        rows = np.arange(len(distances)) if self.rows is None else np.asarray(self.rows)
        object.__setattr__(self, "rows", rows)
        if rows.shape != (len(distances),):
            raise BadPoints(
                f"rows must hold one number for each of the {len(distances)} distinct points, "
                f"but have shape {rows.shape}"
            )
        if self.groups is not None and self.groups.shape != rows.shape:
            raise BadPoints(
                f"groups must hold one number for each of the {len(distances)} rows, but have "
                f"shape {self.groups.shape}"
            )
        if not self.n_distinct:
            object.__setattr__(self, "n_distinct", len(distances))
        if self.queries is not None:
            queries = numbers(self.queries, "iu", np.intp, "queries")
            object.__setattr__(self, "queries", queries)
            inside = queries.shape == (len(distances),) and (
                0 <= queries.min() <= queries.max() < self.n_distinct
            )
            if not inside or len(np.unique(queries)) < len(queries):
                raise BadPoints(
                    f"queries must hold {len(distances)} different positions, one for each row, "
                    f"between 0 and {self.n_distinct - 1}"
                )
        if len(np.unique(rows)) < len(rows):
            raise BadPoints("rows must contain every distinct point once, but some appear twice")
        if not self.n_points:
            object.__setattr__(self, "n_points", self.n_distinct)
        if self.n_points < self.n_distinct:
            raise BadPoints(
                f"n_points is {self.n_points}, but there are {self.n_distinct} distinct points"
            )
        if self.queries is None and self.n_distinct != len(distances):
            raise BadPoints(
                f"there are {len(distances)} rows for {self.n_distinct} distinct points; pass "
                "queries to say which points the rows belong to"
            )
        queries = np.arange(len(indices)) if self.queries is None else self.queries
        check_lists(distances, indices, queries, self.n_distinct)

    @property
    def n_queries(self) -> int | None:
        """Number of points whose neighbours were searched; None if that is all points."""
        return None if self.queries is None else len(self.queries)

    @property
    def places(self) -> NDArray[np.intp]:
        """For each neighbour, the row of :attr:`distances` that holds its own neighbours, or -1."""
        if self.queries is None:
            return self.indices
        place = np.full(self.n_distinct, -1, dtype=np.intp)
        place[self.queries] = np.arange(len(self.queries))
        return place[self.indices]

    @property
    def rows_of_points(self) -> NDArray[np.intp]:
        """Row of each distinct point in the user's array, whether it was searched or not."""
        if self.all_rows is not None:
            return self.all_rows
        if self.queries is not None:
            return np.arange(self.n_distinct)
        assert self.rows is not None  # set in __post_init__
        return self.rows

    @property
    def n_duplicates(self) -> int:
        """Number of rows that repeat an earlier row and were collapsed into it."""
        return self.n_points - self.n_distinct - self.n_collapsed

    @property
    def is_copied(self) -> NDArray[np.bool_]:
        """Which points have a near copy as their nearest neighbour."""
        return np.asarray(self.distances[:, 0] <= self.resolution)

    @property
    def n_copies(self) -> int:
        """Number of rows that are near copies of an earlier row, whether collapsed or kept."""
        if self.n_collapsed or not self.is_copied.any():
            return self.n_collapsed
        if self.queries is None:
            return int((self._first_copies < np.arange(self.n_distinct)).sum())
        earlier = self.indices < self.queries[:, None]
        return int((earlier & (self.distances <= self.resolution)).any(axis=1).sum())

    @property
    def _first_copies(self) -> NDArray[np.intp]:
        return first_copies(self.distances, self.indices, self.resolution)

    @property
    def k(self) -> int:
        """Number of neighbours of each point."""
        return int(self.distances.shape[1])

    def hubness(self, k: int) -> float:
        """Compute the skewness of N_k, the number of points that have a point among their first k.

        Parameters
        ----------
        k : int
            Number of neighbours, at most :attr:`k`.

        Returns
        -------
        float
            About 0 without hubs, above 1 if a few points are neighbours of many others; 0 if N_k is
            the same for all points. NaN if only a sample was searched.

        Notes
        -----
        N_k(x) is the in-degree of the distinct point x in the graph of k nearest neighbours; its
        mean is k. Hubness is E[(N_k - k)^3] / sd(N_k)^3 over all distinct points.

        References
        ----------
        M. Radovanovic, A. Nanopoulos and M. Ivanovic, "Hubs in space: popular nearest neighbors in
        high-dimensional data", Journal of Machine Learning Research 11, 2487 (2010).

        Examples
        --------
        >>> star = Neighbors([[1, 2], [1, 2], [1, 2], [1, 2]], [[1, 2], [0, 2], [0, 1], [0, 1]])
        >>> round(star.hubness(1), 3)  # N_1 = 3, 1, 0, 0: (8 - 1 - 1) / 4 / 1.5^1.5
        0.816
        """
        if self.queries is not None:
            return math.nan
        if not 1 <= k <= self.k:
            raise ValueError(f"k is {k}; there are 1 to {self.k} neighbours")
        excess = np.bincount(self.indices[:, :k].ravel(), minlength=self.n_distinct) - float(k)
        variance = np.mean(excess**2)
        return float(np.mean(excess**3) / variance**1.5) if variance else 0.0

    def __repr__(self) -> str:
        return f"Neighbors(n={self.n_distinct}, k={self.k}, {self.guarantee})"

    def in_groups(self, ids: Any) -> Neighbors:
        """Return the same neighbours with groups of rows as the units of the standard errors.

        Parameters
        ----------
        ids : array-like of shape (n_points,)
            An id for each row of the user's array; rows of equal id are one unit.

        Raises
        ------
        BadPoints
            If there is not one id for each row, or an id is missing.

        Examples
        --------
        >>> neighbors = Neighbors([[1.0, 2.0], [1.0, 3.0], [2.0, 3.0]], [[1, 2], [0, 2], [0, 1]])
        >>> neighbors.in_groups(["a", "b", "a"]).groups.tolist()
        [0, 1, 0]
        """
        assert self.rows is not None  # set in __post_init__
        return replace(self, groups=group_numbers(ids, self.n_points, "groups")[self.rows])

    def refuse_sample(self, what: str) -> None:
        """Raise an error if these are the neighbours of a sample only.

        Parameters
        ----------
        what : str
            Name of the operation that needs the neighbours of all points, for the message.
        """
        if self.queries is not None:
            raise SampleRefused(
                f"{what} needs the neighbours of all points, but only a sample of "
                f"{len(self.queries)} of {self.n_distinct} was searched; use Exact() or Sketched()"
            )

    def thinned(self, kept: NDArray[np.bool_], k: int, depth: int) -> Thinned | None:
        """Return the k nearest neighbours among some of the points, without searching again.

        Points whose lists are left with fewer than k neighbours are left out, as in a sample.

        Parameters
        ----------
        kept : array of bool, shape (n_distinct,)
        k : int
        depth : int
            How many neighbours of each list to look at; more make no difference then.

        Returns
        -------
        Thinned or None
            None if fewer than three points have k neighbours left.

        Examples
        --------
        >>> n = Neighbors([[1, 2, 3], [1, 1, 2], [1, 1, 2], [1, 2, 3]],
        ...               [[1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 1, 0]])
        >>> thinned = n.thinned(np.array([True, True, False, True]), k=2, depth=3)
        >>> thinned.neighbors.distances.tolist()
        [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
        """
        position = np.cumsum(kept) - 1
        queries = np.arange(self.n_distinct) if self.queries is None else self.queries
        searched = np.flatnonzero(kept[queries])
        indices = self.indices[searched, :depth]
        is_kept = kept[indices]
        # a product, which is faster than sums of short rows
        ones = np.ones(is_kept.shape[1], np.float32)
        with np.errstate(invalid="ignore"):  # some BLAS kernels raise the flag for unused lanes
            n_left = (is_kept.astype(np.float32) @ ones).astype(np.intp)
        # of the kept neighbours, which follow each other row by row, the first k of each row
        first = np.cumsum(n_left) - n_left
        enough = n_left >= k
        if np.count_nonzero(enough) < 3:
            return None
        places = np.flatnonzero(is_kept)[first[enough][:, None] + np.arange(k)]
        rows, columns = np.divmod(places, indices.shape[1])
        searched = searched[enough]
        all_points = self.queries is None and bool(enough.all())
        neighbors = self._unchecked(
            self.distances[searched[:, None], columns],
            position[indices[rows, columns]],
            None if all_points else position[queries[searched]],
            int(np.count_nonzero(kept)),
        )
        share = float(np.mean(enough))
        return Thinned(neighbors, share, float(n_left[enough].sum() / n_left.sum()))

    def stacked(self, columns: Iterable[NDArray[np.intp]]) -> Neighbors:
        """Return the lists of all points, once for each choice of columns, as one sample.

        Parameters
        ----------
        columns : iterable of arrays of int, shape (k,)
            Positions in the lists, ascending; k is the same for all.

        Examples
        --------
        >>> n = Neighbors([[1.0, 2, 3]] * 4, [[1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 1, 0]])
        >>> n.stacked([np.array([0, 1]), np.array([1, 2])]).distances[[0, 4]].tolist()
        [[1.0, 2.0], [2.0, 3.0]]
        """
        columns = list(columns)
        return self._unchecked(
            np.concatenate([self.distances[:, chosen] for chosen in columns]),
            np.concatenate([self.indices[:, chosen] for chosen in columns]),
            None,
            len(columns) * len(self.distances),
        )

    def _unchecked(
        self,
        distances: NDArray[np.float64],
        indices: NDArray[np.intp],
        queries: NDArray[np.intp] | None,
        n_distinct: int,
    ) -> Neighbors:
        """Create Neighbors from parts of these, which were checked, without checking them again."""
        neighbors = object.__new__(Neighbors)
        values = {
            "distances": distances, "indices": indices, "rows": np.arange(len(distances)),
            "n_points": n_distinct, "guarantee": self.guarantee, "provenance": self.provenance,
            "search_again": None, "queries": queries, "n_distinct": n_distinct,
            "fingerprints": None, "all_rows": None, "groups": None,
            "resolution": 0.0, "n_collapsed": 0,
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(neighbors, name, value)
        return neighbors

    def without_copies(self, k: int = 2, *, at_most: bool = False) -> Neighbors:
        """Collapse near copies into the first of their rows, and find k neighbours of what is left.

        Parameters
        ----------
        k : int
        at_most : bool
            If fewer than k other points are left, use all of them instead of raising an error.

        Returns
        -------
        Neighbors
            ``n_points`` still counts all rows, and ``n_copies`` those that were collapsed.

        Raises
        ------
        DegeneratePoints
            If too few points are left, or as in :meth:`within`.

        Examples
        --------
        >>> from dimscope import nearest_neighbors
        >>> n = nearest_neighbors([[1.0], [4.0], [9.0], [1.0 + 2e-16], [1.0 + 4e-16]])
        >>> n.n_copies, n.without_copies().rows.tolist()
        (2, [0, 1, 2])
        """
        self.refuse_sample("collapsing near copies")
        neighbors = self
        # of a point with many copies, the lists hold some only: what is left is looked at again
        while len(kept := np.unique(neighbors._first_copies)) < neighbors.n_distinct:
            left = len(kept)
            if left < 3 or (left <= k and not at_most):
                raise DegeneratePoints(
                    f"only {left} of {self.n_distinct} distinct points are left when near copies "
                    f"are collapsed; at least {3 if at_most else k + 1} are needed"
                )
            neighbors = neighbors.within(kept, min(neighbors.k, left - 1))
        k = min(k, neighbors.k)
        return replace(
            neighbors,
            distances=neighbors.distances[:, :k],
            indices=neighbors.indices[:, :k],
            n_points=self.n_points,
            fingerprints=self.fingerprints,
            n_collapsed=self.n_collapsed + self.n_distinct - neighbors.n_distinct,
        )

    def within(self, rows: NDArray[Any], k: int = 2) -> Neighbors:
        """Return the k nearest neighbours within a subset of the distinct points.

        Resamples, blocks and decimation can therefore share one search. Neighbours outside ``rows``
        are removed from the lists, and the few points left with fewer than k neighbours are
        searched again among ``rows``.

        Parameters
        ----------
        rows : array of int, shape (m,)
            Positions among the distinct points, without repeats.
        k : int
            Number of neighbours.

        Returns
        -------
        Neighbors
            Neighbours of the m points, in the order of ``rows``.

        Raises
        ------
        DegeneratePoints
            If a list has fewer than k neighbours left and the points cannot be searched again,
            because this object was constructed directly.

        Examples
        --------
        >>> n = Neighbors([[1, 2, 3], [1, 1, 2], [1, 1, 2], [1, 2, 3]],
        ...               [[1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 1, 0]])
        >>> n.within([0, 1, 3]).distances.tolist()
        [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]]
        """
        return self.split([rows], k)[0]

    def split(self, groups: Iterable[Any], k: int = 2) -> list[Neighbors]:
        """Apply :meth:`within` to several disjoint groups of points.

        Parameters
        ----------
        groups : iterable of arrays of int
            Positions among the distinct points, without repeats.
        k : int
            Number of neighbours.

        Returns
        -------
        list of Neighbors
            One for each group.

        Raises
        ------
        DegeneratePoints
            As in :meth:`within`.

        Examples
        --------
        >>> from dimscope import nearest_neighbors
        >>> neighbors = nearest_neighbors([[0.0], [1.0], [2.0], [4.0], [5.0], [7.0]])
        >>> [n.distances[:, 0].tolist() for n in neighbors.split([[0, 2, 4], [1, 3, 5]])]
        [[2.0, 2.0, 3.0], [3.0, 3.0, 3.0]]
        """
        self.refuse_sample("searching among some of the points")
        group_rows = [positions(group) for group in groups]
        if not group_rows:
            return []
        rows = np.concatenate(group_rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_distinct:
            raise BadPoints(f"rows must be between 0 and {self.n_distinct - 1}")
        sizes = [len(group) for group in group_rows]
        labels = np.full(self.n_distinct, -1, dtype=np.intp)
        labels[rows] = np.repeat(np.arange(len(group_rows)), sizes)
        position = np.empty(self.n_distinct, dtype=np.intp)
        position[rows] = np.concatenate([np.arange(size) for size in sizes])
        if (np.bincount(rows, minlength=1) > 1).any():
            raise BadPoints("rows must not repeat: a repeated point has a neighbour at distance 0")
        candidates = self.indices[rows]
        kept = labels[candidates] == labels[rows][:, None]
        # a stable sort of the flags brings the survivors to the front, still ascending
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(self.distances[rows], order, axis=1)
        indices = np.take_along_axis(candidates, order, axis=1)
        short = np.flatnonzero(kept.sum(axis=1) < k)
        if len(short):
            if self.search_again is None:
                raise DegeneratePoints(
                    f"{len(short)} of {len(rows)} points have fewer than {k} of their {self.k} "
                    "neighbours among the chosen rows; give Neighbors with more neighbours"
                )
            if indices.shape[1] < k:
                wide = np.zeros((2, len(rows), k))
                wide[0, :, : distances.shape[1]], wide[1, :, : indices.shape[1]] = (
                    distances,
                    indices,
                )
                distances, indices = wide[0], wide[1].astype(np.intp)
            distances[short], indices[short] = self.search_again(rows[short], labels, k)
        indices = position[indices]
        assert self.rows is not None  # set in __post_init__
        guarantee = self.guarantee.among_some()
        result = []
        for group, stop in zip(group_rows, np.cumsum(sizes), strict=True):
            here = slice(stop - len(group), stop)
            result.append(
                Neighbors(
                    distances[here], indices[here], self.rows[group], len(group), guarantee,
                    self.provenance, _among(self.search_again, group, self.n_distinct),
                    groups=None if self.groups is None else self.groups[group],
                    resolution=self.resolution,
                )
            )  # fmt: skip
        return result


@dataclass(frozen=True)
class Thinned:
    """Neighbours among some of the points.

    Parameters
    ----------
    neighbors : Neighbors
    share : float
        Share of the points whose lists are long enough.
    share_with_neighbor : float
        The same share, if it is known that a given point of the list is kept.
    """

    neighbors: Neighbors
    share: float
    share_with_neighbor: float


def _among(again: SearchAgain | None, rows: NDArray[np.intp], n: int) -> SearchAgain | None:
    """Restrict a search to a subset of n points, numbering the subset from 0."""
    if again is None:
        return None

    def search_again(
        queries: NDArray[np.intp], labels: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        whole = np.full(n, -1, dtype=np.intp)
        whole[rows] = labels
        distances, indices = again(rows[queries], whole, k)
        position = np.empty(n, dtype=np.intp)
        position[rows] = np.arange(len(rows))
        return distances, position[indices]

    return search_again
