"""Points -> Neighbors: engines that find the nearest points and say what they promise."""

from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Approximate, Engine, Exact, Sampled, Sketched
from dimscope.neighbors.searches import Search
from dimscope.neighbors.searching import nearest_neighbors
from dimscope.neighbors.values import Neighbors

__all__ = [
    "Approximate",
    "Engine",
    "Exact",
    "Neighbors",
    "Sampled",
    "Search",
    "Sketched",
    "distinct_rows",
    "nearest_neighbors",
]
