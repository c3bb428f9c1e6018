"""The kernel of a sketched search: candidates by sketches, decisions by differences.

What the sketches cannot settle goes on to a product of the points themselves, and where they
settle little, as on noise that fills its space, they are not used at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dimscope.neighbors.sketches import Sketch, Sketcher, sketch_widths
from dimscope.neighbors.tiles import Tiles
from dimscope.points import as_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dimscope.points import Points

__all__ = ["SketchedTiles", "kernel_of"]

_TRIED = 512  # points on which it is tried whether sketches pay
_PROBES = 64
_PAIRS = 200  # a pair measured by differences costs as much as so many products


class SketchedTiles:
    """Lower bounds from sketches of points.

    Parameters
    ----------
    exact : Tiles
        Of the points themselves.
    sketch : Sketch
        Of the same points.
    failure : float
        Probability that any bound is wrong.
    progress : callable, optional
        Called with the fraction of the products that are done.
    """

    extra = 20

    def __init__(
        self,
        exact: Tiles,
        sketch: Sketch,
        failure: float,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.finer, self.failure = exact, failure
        self.n_points, self.unit = exact.n_points, exact.unit
        self._sketch = sketch
        self._tiles = Tiles(as_points(sketch.numbers), progress)

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """For every point, or for some, the m others of least lower bound, ascending."""
        squares, indices = self._tiles.candidates(m, rows)
        own = np.arange(self.n_points) if rows is None else rows
        return self._sketch.lower(squares / self._tiles.unit**2, own), indices

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Squared distances by direct differences."""
        return self.finer.pair_squares(i, j)

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Float64 lower bounds from some points to others, from the points themselves."""
        return self.finer.row_bounds(rows, among)


def kernel_of(
    points: Points,
    failure: float,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> SketchedTiles | Tiles:
    """A sketched kernel, or an exact one where sketches do not pay.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    failure : float
        Probability that any bound is wrong.
    seed : int
    progress : callable, optional

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2000, 500))
    >>> type(kernel_of(as_points(noise), 1e-6)).__name__
    'Tiles'
    """
    exact = Tiles(points, progress)
    widths = sketch_widths(points.n_points, points.n_features)
    if not any(widths):
        return exact
    sketcher = Sketcher(points, exact.unit, widths, failure, seed)
    if not _pays(points, exact, sketcher, seed):
        return exact
    return SketchedTiles(exact, sketcher.sketch(points), failure, progress)


def _pays(points: Points, exact: Tiles, sketcher: Sketcher, seed: int) -> bool:
    """Whether few points stay possible neighbours, for all that sketches tell.

    Tried on a part of the points: how many lie within a factor of the distance to the second
    neighbour depends on the dimension of the data, not on how many there are.
    """
    some = np.sort(np.random.default_rng([seed, 2]).permutation(points.n_points)[:_TRIED])
    sketch = sketcher.sketch(points.select(some))
    probes = np.unique(np.linspace(0, len(some) - 1, _PROBES).astype(int))
    tiles = Tiles(as_points(sketch.numbers))
    bounds = sketch.lower(tiles.row_bounds(probes) / tiles.unit**2, probes)
    nearest = np.argpartition(bounds, 1, axis=1)[:, :2]
    found = exact.pair_squares(np.repeat(some[probes], 2), some[nearest.ravel()]).reshape(-1, 2)
    possible = (bounds < found.max(axis=1)[:, None]).sum(axis=1)
    return bool(np.median(possible) <= points.n_points / _PAIRS)
