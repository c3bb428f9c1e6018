"""Neighbors: the nearest neighbours of points, as accurate as the engine guarantees.

In: points, from :mod:`dimscope.arrays`, and an :class:`Engine`. Out: :class:`Neighbors`, the
distances to the nearest other points with a stated :class:`Guarantee`.

:func:`nearest_neighbors` checks the points, collapses duplicates and hands the distinct points to
the engine's searcher. The exact searchers use a certificate: fast matrix products propose
candidates, and direct differences decide between them. Where a pilot predicts that it is faster,
sketches of the points rule out most pairs first.

Begin reading at :mod:`dimscope.neighbors.search`, then :mod:`~dimscope.neighbors.certificate` and
:mod:`~dimscope.neighbors.survivors`.
"""

from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Approximate, Engine, Exact, Sampled, Sketched
from dimscope.neighbors.guarantee import Guarantee
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.search import Search, nearest_neighbors, neighbors_of
from dimscope.neighbors.searchers import SearchResult

__all__ = [
    "Approximate",
    "Engine",
    "Exact",
    "Guarantee",
    "Neighbors",
    "Sampled",
    "Search",
    "SearchResult",
    "Sketched",
    "distinct_rows",
    "nearest_neighbors",
    "neighbors_of",
]
