"""Brute force in float64, against which the engine is judged."""

import numpy as np


def brute_force(points, k=2, rows=None):
    """Distances and indices of the k nearest others of all or some points, by differences.

    Differences are divided by their largest absolute value first, so that no square
    leaves the range of float64.
    """
    x = np.asarray(points).astype(np.float64)
    rows = range(len(x)) if rows is None else rows
    distances = np.empty((len(rows), k))
    indices = np.empty((len(rows), k), dtype=np.intp)
    for place, row in enumerate(rows):
        difference = np.abs(x - x[row])
        largest = difference.max(axis=1)
        largest[largest == 0] = 1
        difference /= largest[:, None]
        distance = largest * np.sqrt(np.vecdot(difference, difference))
        distance[row] = np.inf
        indices[place] = np.argsort(distance, kind="stable")[:k]
        distances[place] = distance[indices[place]]
    return distances, indices


def worst_error(neighbors, points, rows=None):
    """Largest relative error of r1 and r2 over all points, or over some."""
    exact, _ = brute_force(points, neighbors.k, rows)
    found = neighbors.distances if rows is None else neighbors.distances[rows]
    return float(np.max(np.abs(found / exact - 1)))


class ByDLPack:
    """An array that offers its values by DLPack only."""

    def __init__(self, tensor):
        self.tensor, self.shape, self.dtype = tensor, tensor.shape, tensor.dtype

    def __len__(self):
        return len(self.tensor)

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()
