"""The pilot: a few rows against other points tell what to search with.

Exact products of all points, codes (:mod:`dimscope.neighbors.codes`) or sketches
(:mod:`dimscope.neighbors.sketches`): the time of each is predicted, and the fastest is chosen. For
codes, a few *probes* and some other points are encoded, and the pairs counted whose bound is below
the limit of the probe. For sketches, the widths are chosen as well.

A sketch with more directions and signs costs more to make and to compare, and leaves fewer pairs to
measure. How many pairs are left depends on the data: on their spectrum, and on how near neighbours
are compared with other points. So a few *probes* are searched among all points, which gives the
distances of their neighbours, and projected together with some other points on the directions of a
sample. From these, the number of survivors is counted for each width, and the time predicted in
units of one multiplication of a matrix product. The choice depends on the points, on the options of
the search and on the instructions of the processor, never on how busy or how fast the machine is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dimscope.arrays.threads import parallel, spans
from dimscope.neighbors import kernels
from dimscope.neighbors.codes import LONGEST_RUN, Codes
from dimscope.neighbors.products import Centred, one_thread_each
from dimscope.neighbors.sketches import Widths, principal_directions, slack
from dimscope.neighbors.survivors import crowd
from dimscope.neighbors.tiles import TILE, rounding_bound, tiles_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors.tiles import Tiles

__all__ = ["chosen_screen"]

# Costs in multiplications of a float32 product, measured on a processor with AVX-512. Where
# products take longer, sketches pay more often than is predicted.
_SELECTED = 60  # one bound compared with its limits
_MEASURED = 45  # one feature of a pair measured by differences in NumPy
_COMPILED = 24  # the same in a compiled kernel
_CODED = (1.0, 0.46, 0.28, 0.24)  # one product of bytes, by the level of the processor
_COMPARED = 6  # one bound of codes compared with its limits
_ENCODED = 350  # one value encoded, most of it new memory and waiting for the first tiles
_IN_RUNS = 40  # the same where the codes of a few features are multiplied at once
_FIRST = 150  # one bound of the tiles that give the first limits
_BEGUN = 2e8  # starting a search with codes
_SHARED = 0.6  # measured pairs, over those of single rows: many are of two
_MULTIPLIED = 25  # one feature of a pair of long points that a product may rule out
_SORTED = 25_000  # one survivor sorted
_DECOMPOSED = 17  # an eigenvalue decomposition, over the cube of its size
_TRIED = 7.5e8  # the pilot of sketches, at least
_DOUBLE = 2  # a multiplication in float64

_DIRECTIONS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280)
_SIGNS = (32, 64, 96, 128, 192, 256, 384, 512, 768)
_SAMPLES = (1024, 512, 256, 128, 64)  # rows that directions are taken from
_OTHERS = 512  # most points that are projected together with the probes
_FEWEST = 64  # points searched for the neighbours of probes
_PROBED = 2048  # points encoded together with the probes
_FEW_PROBED = 8  # of few points, one in so many is encoded with them
_READ_FEATURES = 1 << 15  # features that say enough of their distances, where there are more
_PROBES = 32
_SHARE = 0.012  # of an exact search, for each of two parts of the pilot
_READ = 100  # reading one point for the probes costs as much as this many products
_RUN, _ROWS = 1024, 256  # features in one product, and points
_GAIN = 0.9  # largest predicted cost, relative to the next best way
_GAIN_IN_RUNS = 0.75  # the same of codes of few points, whose pilot is small
_FEWEST_CODED = 128  # points below which no pilot is tried
_GAIN_OVER_CODES = 0.6  # the same of sketches, over that of codes
_WORTH = 0.03  # largest share of a search with codes that trying sketches may take
_HOPEFUL = (
    4 / 3
)  # cost of every other width, over the limit, above which those between are not tried
_ROOM = 1 << 28  # bytes that sketches may always take; otherwise an eighth of the points


class _Problem(NamedTuple):
    """The size of a search."""

    n_points: int
    n_features: int
    n_rows: int
    symmetric: bool
    measured: int  # the cost of a feature of a pair

    @property
    def n_pairs(self) -> float:
        """Number of pairs of which a product is computed."""
        return self.n_rows * self.n_points / (2 if self.symmetric else 1)

    @property
    def in_runs(self) -> bool:
        """Whether codes are made and multiplied by runs of features, and never kept."""
        return self.symmetric and self.n_points <= TILE

    @property
    def exact(self) -> float:
        """Cost of an exact search: of the products of all points."""
        return self.n_pairs * (self.n_features + _SELECTED)

    def measuring(self, n_each: float) -> float:
        """Cost of measuring so many pairs of each row."""
        return self.n_rows * n_each * (self.measured * self.n_features + _SORTED)


def chosen_screen(
    exact: Tiles, k: int, rows: NDArray[np.intp] | None, failure: float | None, seed: int
) -> Codes | Widths | None:
    """Choose what to search with.

    Parameters
    ----------
    exact : Tiles
        Kernel of the points.
    k : int
        Number of neighbours.
    rows : array of int, optional
        The points to search; all by default.
    failure : float or None
        Probability of an error that sketches may have; None for no sketches.
    seed : int

    Returns
    -------
    Codes, Widths or None
        Codes of the points, the widths of sketches, or nothing if exact products of all points are
        predicted to be faster.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> from dimscope.neighbors.tiles import Tiles
    >>> few = np.random.default_rng(0).standard_normal((100, 50))
    >>> chosen_screen(Tiles(as_points(few)), 2, None, 1e-9, 0) is None
    True
    """
    n_points, n_features = exact.n_points, exact.points.n_features
    n_rows = n_points if rows is None else len(rows)
    measured = _COMPILED if kernels.level and exact.points.has_near_rows else _MEASURED
    if exact.has_quick_bounds and measured > _MULTIPLIED:
        measured = _MULTIPLIED
    problem = _Problem(n_points, n_features, n_rows, rows is None, measured)
    if problem.in_runs and exact.points.in_place is None:
        problem = problem._replace(measured=_MEASURED)  # the rows of each batch are converted
    codes, lowest = None, problem.exact
    gain = _GAIN_IN_RUNS if problem.in_runs else _GAIN
    if n_points >= _FEWEST_CODED and kernels.largest_code(
        min(n_features, LONGEST_RUN) if problem.in_runs else n_features
    ):
        # the nearest of each row are measured in any case, but many pairs are of two rows
        shared = _SHARED if rows is None else 1.0
        nearest = shared * problem.measuring(k)
        most = gain * (lowest + nearest) - _coding_cost(problem)
        if nearest < most:
            possible = Codes(exact.points, exact.unit)
            survivors, open_share = _coded_survivors(possible, problem, k, seed)
            lowest += open_share * n_rows * n_points * n_features * _DOUBLE
            most = gain * (lowest + nearest) - _coding_cost(problem)
            if problem.in_runs:
                # rows with more survivors are searched again, with products of all points
                crowded = float(np.mean(survivors > crowd(n_points)))
                most -= crowded * n_rows * n_points * n_features * _DOUBLE
            cost = shared * _measuring_cost(problem, survivors)
            if cost < most:
                codes, lowest = possible, _coding_cost(problem) + cost
    if failure is None or (codes is not None and _WORTH * lowest < _TRIED):
        return codes
    # beside codes only narrow sketches pay: a smaller pilot finds them, but errs more
    gain, share = (_GAIN, _SHARE) if codes is None else (_GAIN_OVER_CODES, _SHARE / 2)
    widths = _chosen_widths(exact, problem, k, gain * lowest, share * lowest, failure, seed)
    return widths or codes


def _coding_cost(problem: _Problem) -> float:
    """Predict the cost of encoding all points and of comparing all codes."""
    n, d = problem.n_points, problem.n_features
    first = float(problem.n_rows * tiles_of(n, d)[0].stop * _FIRST)
    product = problem.n_pairs * (_CODED[kernels.level] * d + _COMPARED)
    encoded = _IN_RUNS if problem.in_runs else _ENCODED
    return _BEGUN + n * d * encoded + first + product


def _coded_survivors(
    codes: Codes, problem: _Problem, k: int, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Predict the survivors of a few probes, and the share of rows that tiles leave open.

    Tiles leave a row open where the error of float32 products exceeds the squared distance of its
    neighbours; it is then searched by a product in float64.
    """
    n_points = problem.n_points
    order = np.random.default_rng([seed, 4]).permutation(n_points)
    n_probes = min(_PROBES, max(1, n_points // _PROBES))
    n_others = min(_PROBED, n_points // (_FEW_PROBED if problem.in_runs else 4))
    probes, others = order[:n_probes], np.sort(order[n_probes:][:n_others])
    if problem.in_runs:
        every = max(1, problem.n_features // _READ_FEATURES)
        bounds = codes.dense(np.concatenate([probes, others]), every)
        squares, lengths = bounds.squares[:n_probes, n_probes:], bounds.lengths[:n_probes]
        lost, theirs = bounds.errors[:n_probes], bounds.errors[n_probes:]
    else:
        first, second = codes.encoded(probes), codes.encoded(others)
        squares, lengths = kernels.squares(first, second), first.square
        lost, theirs = first.error, second.error
    squares = np.maximum(squares, 0)
    limits = _limits(squares, lengths, k, n_points, is_cautious=problem.in_runs)
    below = np.sqrt(squares) - theirs < (np.sqrt(limits) + lost)[:, None]
    error = 4 * rounding_bound(codes.n_features, 2.0**-24) * lengths
    return np.asarray(below.mean(axis=1) * n_points + k), float(np.mean(error > limits))


def _chosen_widths(
    exact: Tiles,
    problem: _Problem,
    k: int,
    limit: float,
    allowance: float,
    failure: float,
    seed: int,
) -> Widths | None:
    """Choose the widths of sketches; None if their predicted cost is not below a limit.

    Each of two parts of the pilot may cost the allowance.
    """
    n_pairs = allowance / problem.exact * problem.n_pairs
    n_searched = int(min(problem.n_points - _PROBES, n_pairs / _READ))
    sizes = [
        size
        for size in _SAMPLES
        if 4 * size <= problem.n_points
        and _pilot_cost(problem, min(_OTHERS, n_searched), size) <= allowance
    ]
    narrowest = _DIRECTIONS[0] + _SIGNS[0]
    if not sizes or n_searched < _FEWEST or problem.n_features <= narrowest:
        return None
    with one_thread_each():
        pilot = _Pilot(exact, k, n_searched, sizes[0], seed)
        return _cheapest(problem, pilot, limit, failure)


def _cheapest(problem: _Problem, pilot: _Pilot, limit: float, failure: float) -> Widths | None:
    """Return the widths of least predicted cost; None if it is not below a limit."""
    fixed = {
        Widths(p, m): _fixed_cost(problem, Widths(p, m))
        for p in _DIRECTIONS
        for m in _SIGNS
        if 8 * p <= problem.n_points and _fits(problem, p + m)
    }
    # every other width first: where these are all too dear, so are those between
    coarse = {w for w in fixed if w.directions in _DIRECTIONS[::2] and w.signs in _SIGNS[::2]}
    best, lowest = None, _HOPEFUL * limit
    for candidates in (coarse, fixed.keys() - coarse):
        for widths in sorted(candidates, key=lambda widths: (fixed[widths], widths)):
            if fixed[widths] >= lowest:
                break
            cost = fixed[widths] + _pairs_cost(problem, pilot, widths, failure)
            if cost < lowest:
                best, lowest = widths, cost
        if best is None:
            return None
    return best if lowest < limit else None


def _pilot_cost(problem: _Problem, n_others: int, size: int) -> float:
    """Return the cost of the directions of a sample, and of projections on them."""
    per_feature = size**2 + (_PROBES + n_others) * size / 2
    return per_feature * problem.n_features + _DECOMPOSED * size**3


def _fits(problem: _Problem, width: int) -> bool:
    n_bytes = 4 * width * (problem.n_points + problem.n_features)
    room = max(_ROOM, problem.n_points * problem.n_features // 2)
    return width < problem.n_features and n_bytes <= room


def _fixed_cost(problem: _Problem, widths: Widths) -> float:
    """Predict the cost of making sketches and of comparing all of them."""
    d, (p, m) = problem.n_features, widths
    make = (3 * p**2 + 2 * p * m) * _DOUBLE * d + 4 * p**2 * d + 9 * _DECOMPOSED * p**3
    form = problem.n_points * d * (p + m)
    return make + form + problem.n_pairs * (p + m + _SELECTED)


def _pairs_cost(problem: _Problem, pilot: _Pilot, widths: Widths, failure: float) -> float:
    """Predict the cost of measuring the pairs that sketches leave."""
    n = problem.n_points
    return _measuring_cost(
        problem, pilot.survivors(widths, slack(widths.signs, failure, n * (n - 1)), n)
    )


def _measuring_cost(problem: _Problem, survivors: NDArray[np.float64]) -> float:
    """Predict the cost of measuring pairs, from the number of survivors of a few rows."""
    n, d = problem.n_points, problem.n_features
    # a crowded row is searched with a product of all points
    most = n * (d + _SELECTED) / (problem.measured * d + _SORTED)
    return problem.measuring(float(np.minimum(survivors, most).mean()))


class _Pilot:
    """Squared distances between probes and other points, and the parts along directions."""

    def __init__(self, exact: Tiles, k: int, n_searched: int, size: int, seed: int) -> None:
        self._k = k
        points = exact.points
        n, width = points.n_points, points.n_features
        order = np.random.default_rng([seed, 2]).permutation(n)
        probes, searched = np.sort(order[:_PROBES]), np.sort(order[_PROBES:][:n_searched])
        others = np.linspace(0, n_searched - 1, min(_OTHERS, n_searched)).astype(int)
        centred = Centred(points, exact.unit)
        squares, norms = _squares(centred, probes, searched, width)
        directions = principal_directions(centred, np.sort(order[-size:]), width, size // 2)
        along = _projected(centred, np.concatenate([probes, searched[others]]), directions)
        self._along = along[:_PROBES], along[_PROBES:]
        self._squares = squares[:, others]
        self._limits = _limits(squares, norms, k, n)
        self._rest: dict[int, NDArray[np.float32]] = {}
        # one deviation for each pair, so that the costs of all widths can be compared
        shape = self._squares.shape
        self._deviation = np.random.default_rng([seed, 3]).standard_normal(shape, np.float32)

    @property
    def _widest(self) -> int:
        return int(self._along[0].shape[1])

    def rest(self, p: int) -> NDArray[np.float32]:
        """Return the part of each squared distance that is not along the first p directions.

        Beyond the directions of the pilot, the rest is extrapolated by the power law that it
        follows over their second half.
        """
        if p not in self._rest:
            inside = min(p, self._widest)
            mine, theirs = (along[:, :inside] for along in self._along)
            part = np.vecdot(mine, mine)[:, None] + np.vecdot(theirs, theirs) - 2 * mine @ theirs.T
            rest = np.maximum(self._squares - part, 0).astype(np.float32)
            if p > inside > 0:
                last, before = rest.sum(), self.rest(inside // 2).sum()
                if last > 0:
                    rest = rest * np.float32((last / before) ** math.log2(p / inside))
            self._rest[p] = rest
        return self._rest[p]

    def survivors(self, widths: Widths, t: float, n_points: int) -> NDArray[np.float64]:
        """Predict the number of survivors of each probe among all points."""
        rest = self.rest(widths.directions)
        spread = 1 + np.float32(math.sqrt(2 / widths.signs)) * self._deviation
        bounds = self._squares + rest * (np.maximum(spread, 0) / np.float32(t) - 1)
        possible = (bounds < self._limits[:, None]).mean(axis=1)
        return np.asarray(possible * n_points + self._k)


def _squares(
    centred: Centred, probes: NDArray[np.intp], searched: NDArray[np.intp], width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the squared distances from probes to other points, and the norms of the probes."""
    columns = spans(width, _RUN)
    mine = [
        centred.block(probes, run, np.empty((len(probes), run.stop - run.start), np.float32))
        for run in columns
    ]
    norms = np.sum([np.vecdot(block, block) for block in mine], axis=0)
    squares = np.empty((len(probes), len(searched)), np.float32)

    def work(rows: slice) -> None:
        theirs, gram = np.zeros(rows.stop - rows.start, np.float32), 0.0
        buffer = np.empty((len(theirs), _RUN), np.float32)
        for run, block in zip(columns, mine, strict=True):
            other = centred.block(searched[rows], run, buffer)
            gram = gram + block @ other.T
            theirs += np.vecdot(other, other)
        squares[:, rows] = norms[:, None] + theirs - 2 * gram

    parallel(work, spans(len(searched), _ROWS))
    return np.maximum(squares, 0), norms


def _projected(
    centred: Centred, rows: NDArray[np.intp], directions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the coordinates of points along directions."""
    columns = spans(directions.shape[1], _RUN)

    def work(part: slice) -> NDArray[np.float32]:
        some = rows[part]
        along = np.zeros((len(some), len(directions)), np.float32)
        buffer = np.empty((len(some), _RUN), np.float32)
        for run in columns:
            along += centred.block(some, run, buffer) @ directions[:, run].T
        return along

    return np.concatenate(parallel(work, spans(len(rows), _ROWS)))


def _limits(
    squares: NDArray[np.float32],
    norms: NDArray[np.float32],
    k: int,
    n_points: int,
    *,
    is_cautious: bool = False,
) -> NDArray[np.float32]:
    """Return the squared distance of each probe's k-th neighbour among all points.

    Among fewer points it is larger, by a power of their number that follows from two ranks: the
    mean over the probes or, with caution, the probe's own if that is smaller. Where norms differ
    much, long points have neighbours that are nearly as far as others.
    """
    n_searched = squares.shape[1]
    ranks = min(k, n_searched // 8) - 1, min(4 * k, n_searched // 2) - 1
    near, far = np.maximum(np.partition(squares, ranks, axis=1)[:, ranks], 1e-5 * norms[:, None]).T
    apart = near > 0  # squares of points near the origin may underflow
    logarithms = np.log(far[apart], dtype=np.float64) - np.log(near[apart], dtype=np.float64)
    per_rank = math.log((ranks[1] + 1) / (ranks[0] + 1))
    growth = np.full(len(near), max(0.0, logarithms.sum() / max(1, len(logarithms)) / per_rank))
    if is_cautious:
        growth[apart] = np.minimum(growth[apart], logarithms / per_rank)
    return np.asarray(near * ((n_searched / n_points) ** growth).astype(np.float32))
