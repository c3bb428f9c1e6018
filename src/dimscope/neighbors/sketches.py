"""Sketches: a few numbers per point that give lower bounds of distances.

Let v be the difference of two points, let the rows of Q be orthonormal directions taken from a
sample of the points, and let S be an m x n_features matrix of random signs. Then

    |Q v|^2 + |S (v - Q'Q v)|^2 / (m t)  >  |v|^2

has, for every t > 1, a probability of at most (t e^(1 - t))^(m/2). The first term is the part of
|v|^2 within the span of the directions; the second estimates the rest, divided by t. The directions
make the bound tight if the points vary mainly along a few of them. The bound holds for any points,
because the signs are drawn independently of them.

Rows that sketches cannot decide are searched with products of the points themselves. If sketches
would decide few rows, as for noise that fills its space, they are not used at all.

References ---------- D. Achlioptas, "Database-friendly random projections: Johnson-Lindenstrauss
with binary coins", Journal of Computer and System Sciences 66 (2003): the moments of a sum of
random signs are no larger than those of a Gaussian variable, and the square of a Gaussian variable
satisfies the tail bound above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from dimscope.arrays import as_points
from dimscope.arrays.threads import parallel, spans, workers
from dimscope.neighbors.products import Centred, one_thread_each
from dimscope.neighbors.tiles import Tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.exclusion import Exclusion

__all__ = [
    "Sketch",
    "SketchedTiles",
    "Sketcher",
    "sketch_widths",
    "sketched_or_exact_tiles",
    "slack",
]
_RUN, _RUNS = 128, 8  # features in one product, and products between two sums in float64
_CHUNK = 4096  # features of the directions that are made at a time
_ROWS = 1024  # points in one product
_FLAT = 1e-4  # directions with less variance than this, over the largest, are left to the signs
_UNIT = 2.0**-24  # roundoff of float32


@dataclass(frozen=True, eq=False)
class Sketch:
    """A few numbers per point, from which lower bounds of the points' distances follow.

    Parameters
    ----------
    numbers : array of shape (n_points, width), float32
    lengths : array of shape (n_points,)
        Upper bound of each point's distance from the centre.
    rounding : float
        Rounding error of a sketch, relative to the length of its point.
    stretch : float
        Largest ratio of a sketch's length to its point's length, apart from rounding.
    underflow : float
        Absolute error of a sketch caused by underflow.
    """

    numbers: NDArray[np.float32]
    lengths: NDArray[np.float64]
    rounding: float
    stretch: float
    underflow: float

    def lower(self, squares: NDArray[np.floating], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Turn squared distances between sketches into lower bounds of those between points.

        Parameters
        ----------
        squares : array of shape (len(rows), n)
            Squared distances between sketches, or lower bounds of these.
        rows : array of int

        Notes
        -----
        If a is the distance between the sketches of x and y, and d = |x - y|, then
        a <= stretch d + rounding (|x| + |y|) and |y| <= |x| + d.
        """
        apart = np.sqrt(np.maximum(squares, 0, dtype=np.float64))
        error = 2 * (self.rounding * self.lengths[rows] + self.underflow)
        near = np.maximum(apart - error[:, None], 0) / (self.stretch + self.rounding)
        return np.asarray(near * near, np.float64)


def slack(n_signs: int, failure: float) -> float:
    """Return the t > 1 at which (t e^(1 - t))^(n_signs / 2) equals the given probability.

    Examples
    --------
    >>> t = slack(64, 1e-6)
    >>> round(t, 2), bool(np.isclose((t * np.exp(1 - t)) ** 32, 1e-6))
    (2.24, True)
    """
    target = -2 * math.log(failure) / n_signs
    low, high = 1.0, 2 * target + 10
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if middle - 1 - math.log(middle) < target else (low, middle)
    return high


def sketch_widths(n_points: int, n_features: int) -> tuple[int, int]:
    """Return how many directions and signs to use; zeros if sketching is not worthwhile.

    Examples
    --------
    >>> sketch_widths(10_000, 4096), sketch_widths(100, 4096)
    ((256, 64), (0, 0))
    """
    directions, signs = (256, 64) if n_points >= 5000 and n_features >= 4096 else (64, 32)
    pays = n_points >= 1000 and n_features >= 4 * (directions + signs)
    return (directions, signs) if pays else (0, 0)


class Sketcher:
    """The sketching matrix: directions from a sample, and random signs orthogonal to them.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    unit : float
        Factor by which every value is multiplied, so that its square fits in float32.
    widths : (int, int)
        Number of directions and number of signs.
    failure : float
        Probability that the bound of at least one pair of points is wrong.
    seed : int
        Seed of the sample and of the random signs.
    """

    def __init__(
        self,
        points: Points,
        unit: float,
        widths: tuple[int, int],
        failure: float,
        seed: int = 0,
    ) -> None:
        n_directions, self._n_signs = widths
        self._seed = seed
        self._centred = Centred(points, unit)
        n, self._width = points.n_points, points.n_features
        self._slack = slack(self._n_signs, 2 * failure / (n * (n - 1)))
        rows = np.sort(np.random.default_rng(seed).permutation(n)[: 2 * n_directions])
        with one_thread_each():
            self._matrix = self._make(rows, n_directions)

    def _make(self, rows: NDArray[np.intp], n_directions: int) -> NDArray[np.float32]:
        chunks = spans(self._width, _CHUNK)

        def sampled(columns: slice) -> NDArray[np.float32]:
            out = np.empty((len(rows), columns.stop - columns.start), np.float32)
            block = self._centred.block(rows, columns, out)
            return np.asarray(block - block.mean(axis=0))

        def gram(columns: slice) -> NDArray[np.float64]:
            block = sampled(columns)
            return (block @ block.T).astype(np.float64)

        values, vectors = np.linalg.eigh(_total(parallel(gram, chunks)))
        kept = np.flatnonzero(values > _FLAT * values[-1])[-n_directions:]
        mixing = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
        p = len(kept)
        matrix = np.empty((self._width, p + self._n_signs), np.float32)

        def rough(columns: slice) -> NDArray[np.float64]:
            matrix[columns, :p] = sampled(columns).T @ mixing
            wide = matrix[columns, :p].astype(np.float64)
            return np.asarray(wide.T @ wide)

        # orthonormal except for the rounding of the sample's products, then to the last digit
        squares, turn = np.linalg.eigh(_total(parallel(rough, chunks)))
        correction = (turn / np.sqrt(squares)) @ turn.T

        def corrected(columns: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            matrix[columns, :p] = matrix[columns, :p].astype(np.float64) @ correction
            wide = matrix[columns, :p].astype(np.float64)
            return wide.T @ wide, wide.T @ self._signs(columns)

        parts = parallel(corrected, chunks)
        orthogonal, overlap = (_total([part[i] for part in parts]) for i in (0, 1))
        factor = 1 / math.sqrt(self._n_signs * self._slack)

        def without(columns: slice) -> None:
            rest = self._signs(columns) - matrix[columns, :p] @ overlap
            matrix[columns, p:] = factor * rest

        parallel(without, chunks)
        crooked = float(np.abs(np.linalg.eigvalsh(orthogonal) - 1).max(initial=1e-12))
        self._stretch = math.sqrt(1 + crooked)
        self._stretch += math.sqrt(self._width / self._slack) * (crooked + 2 * _UNIT)
        return matrix

    def _signs(self, columns: slice) -> NDArray[np.float64]:
        """Return the random signs of the given features, identical on every call."""
        shape = columns.stop - columns.start, self._n_signs
        rng = np.random.default_rng([self._seed, 1, columns.start])
        bits = np.frombuffer(rng.bytes(-(-shape[0] * shape[1] // 8)), np.uint8)
        return np.unpackbits(bits)[: shape[0] * shape[1]].reshape(shape) * 2.0 - 1

    def sketch(self, points: Points) -> Sketch:
        """Sketch the points passed to the constructor, or a subset of them.

        Parameters
        ----------
        points : Points of shape (n, n_features)

        Returns
        -------
        Sketch
        """
        n, width = points.n_points, self._matrix.shape[1]
        centred = self._centred.of(points)
        numbers, squares = np.empty((n, width), np.float32), np.empty(n)

        def work(rows: slice) -> None:
            m = rows.stop - rows.start
            total, length = np.zeros((m, width)), np.zeros(m)
            part, product = np.empty((m, width), np.float32), np.empty((m, width), np.float32)
            buffer = np.empty((m, _RUN * _RUNS), np.float32)
            for columns in spans(self._width, _RUN * _RUNS):
                block = centred.block(rows, columns, buffer)
                part[:] = 0
                for run in spans(block.shape[1], _RUN):
                    part_of_block = block[:, run]
                    np.matmul(part_of_block, self._matrix[columns][run], out=product)
                    part += product
                    length += np.vecdot(part_of_block, part_of_block)
                total += part
            numbers[rows], squares[rows] = total, length
            points.release()

        with one_thread_each():
            parallel(work, spans(n, min(_ROWS, -(-n // workers()))))
        rounding = (_RUN + _RUNS + 4) * _UNIT * float(np.linalg.norm(self._matrix))
        rounding += 2 * _UNIT * self._stretch
        underflow = self._width * 2.0**-126 * math.sqrt(width)
        # squares are summed in float32, in short runs
        lengths = np.sqrt(squares) * (1 + 1e-4) + underflow
        return Sketch(numbers, lengths, rounding, self._stretch, underflow)


def _total(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(reduce(np.add, parts))


_TRIED = 512  # points on which sketches are tried
_PROBES = 64
_PAIRS = 200  # one pair measured by differences costs as much as this many products


class SketchedTiles:
    """Kernel of a sketched search: sketches propose candidates, direct differences decide.

    Parameters
    ----------
    exact : Tiles
        Kernel of the points themselves.
    sketch : Sketch
        Sketch of the same points.
    failure : float
        Probability that at least one bound is wrong.
    progress : callable, optional
    """

    where = "sketches"
    extra = 20

    def __init__(
        self,
        exact: Tiles,
        sketch: Sketch,
        failure: float,
        progress: Progress | None = None,
    ) -> None:
        self.finer, self.failure = exact, failure
        self.n_points, self.unit = exact.n_points, exact.unit
        self.exclusion = exact.exclusion
        self._sketch = sketch
        self._tiles = Tiles(as_points(sketch.numbers), progress, exact.exclusion)

    def candidates(
        self, m: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the m other points of smallest lower bound, for each given point or for all."""
        squares, indices = self._tiles.candidates(m, rows)
        queries = np.arange(self.n_points) if rows is None else rows
        return self._sketch.lower(squares / self._tiles.unit**2, queries), indices

    def pair_squares(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute squared distances by direct differences."""
        return self.finer.pair_squares(i, j)

    def row_bounds(
        self, rows: NDArray[np.intp], among: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Compute float64 lower bounds from the points themselves, without sketches."""
        return self.finer.row_bounds(rows, among)


def sketched_or_exact_tiles(
    points: Points,
    failure: float,
    seed: int = 0,
    progress: Progress | None = None,
    exclusion: Exclusion | None = None,
) -> SketchedTiles | Tiles:
    """Return a sketched kernel, or an exact one if sketching would not be faster.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
        Distinct rows.
    failure : float
        Probability that at least one bound is wrong.
    seed : int
    progress : callable, optional
    exclusion : Exclusion, optional
        Pairs of points that are not neighbours.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2000, 500))
    >>> type(sketched_or_exact_tiles(as_points(noise), 1e-6)).__name__
    'Tiles'
    """
    exact = Tiles(points, progress, exclusion)
    widths = sketch_widths(points.n_points, points.n_features)
    if not any(widths):
        return exact
    sketcher = Sketcher(points, exact.unit, widths, failure, seed)
    if not _pays(points, exact, sketcher, seed):
        return exact
    return SketchedTiles(exact, sketcher.sketch(points), failure, progress)


def _pays(points: Points, exact: Tiles, sketcher: Sketcher, seed: int) -> bool:
    """Tell whether sketches leave few points as possible neighbours.

    They are tried on a part of the points: how many points lie within a factor of the distance to
    the second neighbour depends on the dimension of the data, not on the number of points.
    """
    tried = np.sort(np.random.default_rng([seed, 2]).permutation(points.n_points)[:_TRIED])
    sketch = sketcher.sketch(points.select(tried))
    probes = np.unique(np.linspace(0, len(tried) - 1, _PROBES).astype(int))
    tiles = Tiles(as_points(sketch.numbers))
    bounds = sketch.lower(tiles.row_bounds(probes) / tiles.unit**2, probes)
    nearest = np.argpartition(bounds, 1, axis=1)[:, :2]
    pairs = np.repeat(tried[probes], 2), tried[nearest.ravel()]
    squares = exact.pair_squares(*pairs).reshape(-1, 2)
    possible = (bounds < squares.max(axis=1)[:, None]).sum(axis=1)
    return bool(np.median(possible) <= points.n_points / _PAIRS)
