"""Brute force in float64, against which the engine is judged."""

import numpy as np


def brute_force(points, k=2):
    """Distances and indices of the k nearest others, by direct differences.

    Differences are divided by their largest absolute value first, so that no square
    leaves the range of float64.
    """
    x = np.asarray(points).astype(np.float64)
    distances = np.empty((len(x), k))
    indices = np.empty((len(x), k), dtype=np.intp)
    for row in range(len(x)):
        difference = np.abs(x - x[row])
        largest = difference.max(axis=1)
        largest[largest == 0] = 1
        difference /= largest[:, None]
        distance = largest * np.sqrt(np.vecdot(difference, difference))
        distance[row] = np.inf
        indices[row] = np.argsort(distance, kind="stable")[:k]
        distances[row] = distance[indices[row]]
    return distances, indices


def worst_error(neighbors, points):
    """Largest relative error of r1 and r2 over all points."""
    exact, _ = brute_force(points, neighbors.k)
    return float(np.max(np.abs(neighbors.distances / exact - 1)))
