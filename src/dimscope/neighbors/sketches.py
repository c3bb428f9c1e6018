"""Sketches: a few numbers per point that give lower bounds of distances.

Let v be the difference of two points, let the rows of Q be orthonormal directions taken from a
sample of the points, and let S be an m x n_features matrix of random signs. Then

    |Q v|^2 + |S (v - Q'Q v)|^2 / (m t)  >  |v|^2

has, for every t > 1, a probability of at most (t e^(1 - t))^(m/2). The first term is the part of
|v|^2 within the span of the directions; the second estimates the rest, divided by t. The directions
make the bound tight if the points vary mainly along a few of them. The bound holds for any points,
because the signs are drawn independently of them.

How many directions and signs to use is decided in :mod:`dimscope.neighbors.pilot`, and
:mod:`dimscope.neighbors.survivors` searches with them.

References
----------
D. Achlioptas, "Database-friendly random projections: Johnson-Lindenstrauss with binary coins",
Journal of Computer and System Sciences 66 (2003): the moments of a sum of random signs are no
larger than those of a Gaussian variable, and the square of a Gaussian variable satisfies the tail
bound above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from dimscope.arrays.threads import parallel, spans, workers
from dimscope.neighbors import kernels
from dimscope.neighbors.products import Centred, add_product, one_thread_each, smallest_in_parts
from dimscope.neighbors.tiles import RUN, rounding_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays import Points
    from dimscope.arrays.threads import Progress

__all__ = ["Sketch", "SketchBounds", "Sketcher", "Widths", "principal_directions", "slack"]

_RUN = 256  # features in one product: short, because the rounding error grows with it
_CHUNK = 4096  # features of the matrix that are made at a time
_ROWS = 1024  # points in one product
_FLAT = 1e-4  # directions with less variance than this, over the largest, are left to the signs
_OUTLYING = 100  # squared length of an outlier, over the median
_UNIT = 2.0**-24  # roundoff of float32


class Widths(NamedTuple):
    """How many numbers a sketch has: along directions, and along random signs."""

    directions: int
    signs: int


@dataclass(frozen=True, eq=False)
class Sketch:
    """A few numbers per point, from which bounds of the points' distances follow.

    Parameters
    ----------
    numbers : array of shape (n_points, width), float32
    lengths : array of shape (n_points,)
        Upper bound of each point's distance from the centre.
    rounding : float
        Rounding error of a sketch, relative to the length of its point.
    stretch : float
        Largest ratio of the distance of two sketches to that of their points, apart from rounding.
    underflow : float
        Absolute error of a sketch caused by underflow.

    Notes
    -----
    If a is the distance between the sketches of x and y, and d = |x - y|, then
    a <= stretch d + rounding (|x| + |y|) + 2 underflow, and |y| <= |x| + d. The probability that
    this is wrong for any pair is that of the :class:`Sketcher`.
    """

    where: ClassVar[str] = "sketches"  # for the provenance

    numbers: NDArray[np.float32]
    lengths: NDArray[np.float64]
    rounding: float
    stretch: float
    underflow: float

    def among(self, rows: NDArray[np.intp] | None) -> SketchBounds:
        """Prepare a search of all points (the default), or of some of them, among all."""
        return SketchBounds(self, rows)

    def select(self, rows: NDArray[np.intp]) -> Sketch:
        """Return the sketches of some of the points."""
        return Sketch(
            self.numbers[rows], self.lengths[rows], self.rounding, self.stretch, self.underflow
        )


class SketchBounds:
    """Lower bounds of squared distances, from some points or from all of them to all points.

    Parameters
    ----------
    sketch : Sketch
    rows : array of int, optional
        The points to search; all by default.
    """

    is_whole = False

    def __init__(self, sketch: Sketch, rows: NDArray[np.intp] | None) -> None:
        self._sketch, self._rows, self._numbers = sketch, rows, sketch.numbers
        width = self._numbers.shape[1]
        norms = np.zeros(len(self._numbers), np.float32)
        for columns in spans(width, RUN):
            norms += np.vecdot(self._numbers[:, columns], self._numbers[:, columns])
        # bounds instead of distances: see Tiles
        weight = np.float32(1 - 2 * rounding_bound(width, 2.0**-24, n_parts=1))
        underflow = np.float32(width * 2.0**-126)
        self._norms = weight * norms - underflow / 2

    def _squares(self, a: slice, b: slice) -> NDArray[np.float32]:
        """Compute bounds from the searched points a to the points b; see :meth:`ceiling`."""
        rows = a if self._rows is None else self._rows[a]
        left = self._numbers[rows]
        bounds: NDArray[np.float32] = np.add.outer(self._norms[rows], self._norms[b])
        for columns in spans(left.shape[1], RUN):  # short, as the rounding bound assumes
            add_product(bounds, left[:, columns], self._numbers[b, columns], -2)
        return bounds

    def nearest(
        self, a: slice, b: slice, n_parts: int, ids: tuple[NDArray[np.int32], NDArray[np.int32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        """Find points of b that are near to each point of a; see :meth:`CodeBounds.nearest`."""
        bounds = self._squares(a, b)
        np.copyto(bounds, np.float32(np.inf), where=ids[0][:, None] == ids[1])
        return smallest_in_parts(bounds, n_parts)

    def below(
        self,
        a: slice,
        b: slice,
        ceilings: NDArray[np.float32],
        turned: NDArray[np.float32] | None = None,
    ) -> list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
        """Find the pairs whose bound is below a ceiling; see :meth:`CodeBounds.below`."""
        bounds = self._squares(a, b)
        i, j, found = kernels.below(bounds, ceilings, turned)
        if a == b and turned is not None:
            once = i > j
            i, j, found = i[once], j[once], found[once]
        reached = [ceilings[i]] if turned is None else [ceilings[i], turned[j]]
        chosen = [found < ceiling for ceiling in reached]
        return [(i[which], j[which], found[which]) for which in chosen]

    def ceiling(self, squares: NDArray[np.float64], which: slice) -> NDArray[np.float64]:
        """Turn squared distances from searched points into what no bound of a nearer point exceeds.

        Parameters
        ----------
        squares : array
            One for each of the points.
        which : slice
            Positions among the searched points.
        """
        sketch = self._sketch
        lengths = sketch.lengths[which if self._rows is None else self._rows[which]]
        error = 2 * (sketch.rounding * lengths + sketch.underflow)
        apart = (sketch.stretch + sketch.rounding) * np.sqrt(squares) + error
        return np.asarray(apart * apart, np.float64)


@cache
def slack(n_signs: int, failure: float, n_bounds: int = 1) -> float:
    """Return the t > 1 at which (t e^(1 - t))^(n_signs / 2) equals ``failure / n_bounds``.

    Examples
    --------
    >>> t = slack(64, 1e-6)
    >>> round(t, 2), bool(np.isclose((t * np.exp(1 - t)) ** 32, 1e-6))
    (2.24, True)
    """
    # the quotient of a small probability would underflow
    target = 2 * (math.log(n_bounds) - math.log(failure)) / n_signs
    low, high = 1.0, 2 * target + 10
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if middle - 1 - math.log(middle) < target else (low, middle)
    return high


def principal_directions(
    centred: Centred, rows: NDArray[np.intp], n_features: int, n_directions: int
) -> NDArray[np.float32]:
    """Return the directions along which a sample of points varies most, as rows.

    Parameters
    ----------
    centred : Centred
    rows : array of int
        The sample.
    n_features : int
    n_directions : int
        At most. Directions without variance are left out, as are outliers of the sample.

    Returns
    -------
    array of shape (p, n_features), float32
        Largest variance first; orthonormal except for rounding.
    """
    chunks = spans(n_features, _CHUNK)

    def read(columns: slice) -> NDArray[np.float32]:
        out = np.empty((len(rows), columns.stop - columns.start), np.float32)
        return centred.block(rows, columns, out)

    def norms(columns: slice) -> NDArray[np.float64]:
        block = read(columns)
        return np.asarray(np.vecdot(block, block), np.float64)

    squares = _total(parallel(norms, chunks))
    # beside an outlier, the other points seem to vary along no direction
    rows = rows[squares <= _OUTLYING * np.median(squares)]

    def sampled(columns: slice) -> NDArray[np.float32]:
        block = read(columns)
        return np.asarray(block - block.mean(axis=0))

    def gram(columns: slice) -> NDArray[np.float64]:
        block = sampled(columns)
        return (block @ block.T).astype(np.float64)

    values, vectors = np.linalg.eigh(_total(parallel(gram, chunks)))
    kept = np.flatnonzero(values > _FLAT * values[-1])[::-1][:n_directions]
    mixing = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    directions = np.empty((len(kept), n_features), np.float32)

    def mix(columns: slice) -> None:
        np.matmul(mixing.T, sampled(columns), out=directions[:, columns])

    parallel(mix, chunks)
    return directions


class Sketcher:
    """The sketching matrix: directions from a sample, and random signs orthogonal to them.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    unit : float
        Factor by which every value is multiplied, so that its square fits in float32.
    widths : Widths
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
        # half of the probability for the bounds of n (n - 1) / 2 pairs
        self._slack = slack(self._n_signs, failure, n * (n - 1))
        # and half for rounding: by Hoeffding, a sum of random signs is beyond c with a probability
        # of at most 2 e^(-c^2 / 2); all products and all their partial sums count
        n_sums = 2 * n * self._n_signs * self._width
        self._partial = math.sqrt(2 * (math.log(4 * n_sums) - math.log(failure)))
        rows = np.sort(np.random.default_rng(seed).permutation(n)[: 2 * n_directions])
        with one_thread_each():
            self._matrix = self._make(rows, n_directions)

    def _make(self, rows: NDArray[np.intp], n_directions: int) -> NDArray[np.float32]:
        chunks = spans(self._width, _CHUNK)
        rough = principal_directions(self._centred, rows, self._width, n_directions)
        p = len(rough)
        matrix = np.empty((p + self._n_signs, self._width), np.float32)

        def gram(columns: slice) -> NDArray[np.float64]:
            wide = rough[:, columns].astype(np.float64)
            return np.asarray(wide @ wide.T)

        # orthonormal to the last digit
        squares, turn = np.linalg.eigh(_total(parallel(gram, chunks)))
        correction = (turn / np.sqrt(squares)) @ turn.T

        def corrected(columns: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            matrix[:p, columns] = correction @ rough[:, columns].astype(np.float64)
            wide = matrix[:p, columns].astype(np.float64)
            return wide @ wide.T, self._signs(columns) @ wide.T

        parts = parallel(corrected, chunks)
        orthogonal, overlap = (_total([part[i] for part in parts]) for i in (0, 1))
        factor = 1 / math.sqrt(self._n_signs * self._slack)

        def without(columns: slice) -> None:
            rest = self._signs(columns) - overlap @ matrix[:p, columns].astype(np.float64)
            matrix[p:, columns] = factor * rest

        parallel(without, chunks)
        self._n_directions = p
        crooked = float(np.abs(np.linalg.eigvalsh(orthogonal) - 1).max(initial=1e-12))
        self._stretch = math.sqrt(1 + crooked)
        self._stretch += math.sqrt(self._width / self._slack) * (crooked + 2 * _UNIT)
        return matrix

    def _signs(self, columns: slice) -> NDArray[np.float64]:
        """Return the random signs of the given features, identical on every call."""
        shape = self._n_signs, columns.stop - columns.start
        rng = np.random.default_rng([self._seed, 1, columns.start])
        bits = np.frombuffer(rng.bytes(-(-shape[0] * shape[1] // 8)), np.uint8)
        return np.unpackbits(bits)[: shape[0] * shape[1]].reshape(shape) * 2.0 - 1

    @property
    def _rounding(self) -> float:
        """Rounding error of a sketch, relative to the length of its point.

        Every product and every partial sum of a run has an error of one roundoff, relative to a
        bound of its size. Along a direction, this bound is the length of those values of the point
        that it sums. Along signs, it is c times this length, with high probability, because it is a
        sum of random signs. In any order of summation, the lengths for a run of n products add up
        to at most n + 4 times the length of the run, and the lengths of r runs to at most sqrt(r)
        times that of the point.
        """
        run, n_runs = min(_RUN, self._width), -(-self._width // _RUN)
        n_roundoffs = math.sqrt(n_runs) * (run + 4) + n_runs
        directions = math.sqrt(self._n_directions) * (run + 4 + n_runs)
        signs = self._partial / math.sqrt(self._slack) * n_roundoffs
        return math.hypot(directions, signs) * _UNIT + 2 * _UNIT * self._stretch

    def sketch(self, points: Points, progress: Progress | None = None) -> Sketch:
        """Sketch the points passed to the constructor, or a subset of them.

        Parameters
        ----------
        points : Points of shape (n, n_features)
        progress : callable, optional

        Returns
        -------
        Sketch
        """
        n, width = points.n_points, len(self._matrix)
        centred = self._centred.of(points)
        numbers, squares = np.zeros((n, width), np.float32), np.empty(n)

        def work(rows: slice) -> None:
            length = np.zeros(rows.stop - rows.start)
            buffer = np.empty((len(length), min(_RUN, self._width)), np.float32)
            for columns in spans(self._width, _RUN):
                block = centred.block(rows, columns, buffer)
                add_product(numbers[rows], block, self._matrix[:, columns])
                length += np.vecdot(block, block)
            squares[rows] = length
            points.release()

        parts = spans(n, min(_ROWS, -(-n // workers())))

        def report(n_done: int) -> None:
            if progress is not None:
                progress("sketching", n_done / len(parts), 1.0)

        with one_thread_each():
            parallel(work, parts, report)
        underflow = self._width * 2.0**-126 * math.sqrt(width)
        # squares are summed in float32, in short runs
        lengths = np.sqrt(squares) * (1 + 1e-4) + underflow
        return Sketch(numbers, lengths, self._rounding, self._stretch, underflow)


def _total(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(reduce(np.add, parts))
