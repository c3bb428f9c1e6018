"""Points -> Neighbors: engines that find the nearest points and say what they promise."""

from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Approximate, Engine, Exact, Sampled, Sketched
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.search import Search, nearest_neighbors

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
