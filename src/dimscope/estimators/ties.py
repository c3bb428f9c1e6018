"""Ties and copies: warn of distances that are not those of points from a continuous density.

Four things make nearest neighbours uninformative: rows that repeat others, near copies, neighbours
at exactly the same distance, and neighbours at nearly the same distance (a grid with noise).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dimscope.errors import (
    DegeneratePoints,
    NearCopies,
    NearTies,
    RepeatedPoints,
    TiedPoints,
    TightGroups,
    warn,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.neighbors.neighbors import Neighbors

__all__ = [
    "FOR_COUNTS",
    "TIE",
    "TIE_WARNINGS",
    "checked_ties",
    "concentration",
    "growth",
    "is_near_grid",
]

TIE = 1e-6  # Distances that differ by less count as equal: the accuracy of the exact engine.
TIE_WARNINGS = (TiedPoints, NearTies, NearCopies, RepeatedPoints, TightGroups)

FOR_COUNTS = "I3D for counts whose range is large compared with the distances between neighbours"
"""What to use for discrete data."""

_WARN_ABOVE = 1e-3  # Fraction of tied points, or of points with a near copy.
_TIES_BY_CHANCE = 2  # In continuous data, one or two ties within a relative 1e-6 are chance.
_ONE_PAIR = 2  # Points of a single pair of copies, which is counted, but not warned of.
_REPEATED_ABOVE = 0.1  # Fraction of the rows that repeat another row.
_FEW = 100  # So few distinct points give a dimension with an error of 10 % or more.

# The test for grids (docs/decisions/copies.md has the measurements that the numbers come from).
_INNER, _OUTER = 4, 8  # Ranks beyond those whose distances are nearly equal.
_SAMPLE = 500  # Points whose farther neighbours are searched.
_SMALLEST = 50  # Fewer points do not tell a grid from chance.
_LEAST = 3.0  # Distances that give less are not nearly equal; groups of a few points give it.
_CONCENTRATED = 1.15  # Concentration of r1: about 0.5 to 1 on grids, 1 in a uniform density.
_STEADY = 0.7  # The least growth that continuous clouds show, apart from chance.
_BLUNT = 0.8  # Growth below which ties bias the dimension upward.
_POISSON = 0.3394  # Width of ln r1 in a uniform density of dimension 1; see concentration.
_IN_PAIRS = 0.5  # Clouds that are much denser in places give 0.6 to 1, points of a line about 1.
_SPREAD = 1.4  # Standard deviation of ln growth, times the root of the number of points.


def checked_ties(neighbors: Neighbors, near: int, far: int) -> float:
    """Return the fraction of points with two neighbours at the same distance, and warn.

    Parameters
    ----------
    neighbors : Neighbors
    near, far : int
        Ranks of the two neighbours that an estimator compares.

    Returns
    -------
    float

    Raises
    ------
    DegeneratePoints
        If all points are tied.

    Warns
    -----
    RepeatedPoints
        If more than 10 % of the rows repeat another row.
    NearCopies
        If more than 0.1 % of the points, and more than one pair, are near copies. The dimension is
        biased downward.
    TiedPoints
        If more than 0.1 % of the points are tied.
    NearTies
        If the neighbours are nearly at the same distance. The dimension is biased upward.
    TightGroups
        If the two nearest neighbours give a dimension below 0.5, and no ids were excluded. The
        dimension is biased downward.
    """
    inner, outer = neighbors.distances[:, near - 1], neighbors.distances[:, far - 1]
    tied = outer <= inner * (1 + TIE)
    fraction = float(np.mean(tied))
    if fraction == 1:
        raise DegeneratePoints(
            f"all {len(inner)} distinct points have neighbours {near} and {far} at the same "
            "distance, as on a grid: all ratios of distances are 1, so the dimension cannot be "
            f"measured; use values before they were rounded, or {FOR_COUNTS}"
        )
    _warn_of_repeats(neighbors)
    has_copies = _warn_of_copies(neighbors, far)
    uncopied = float(np.mean(tied & ~_between_copies(neighbors, near)))
    if uncopied > max(_WARN_ABOVE, _TIES_BY_CHANCE / len(inner)):
        warn(
            f"{uncopied:.1%} of the points have r{near} = r{far}, as in discrete or quantised "
            f"data, which {_bias_of_ties(neighbors)}. Use values before they were rounded, or "
            f"measure at larger scales (rank_curve); or use {FOR_COUNTS}",
            TiedPoints,
        )
    elif near <= 2 and not has_copies:
        _warn_of_near_ties(neighbors)
        _warn_of_pairs(neighbors)
    return fraction


def _between_copies(neighbors: Neighbors, near: int) -> NDArray[np.bool_]:
    """Tell which points are copies, or nearest to copies: no ties of theirs come from rounding."""
    is_copied, place = neighbors.is_copied, neighbors.places[:, near - 1]
    return is_copied | ((place >= 0) & is_copied[place])


def _warn_of_repeats(neighbors: Neighbors) -> None:
    repeated = neighbors.n_duplicates / neighbors.n_points
    if repeated > _REPEATED_ABOVE:
        few = ", which are few" if neighbors.n_distinct < _FEW else ""
        warn(
            f"{repeated:.0%} of the rows repeat another row exactly and were left out: the "
            f"dimension is that of the {neighbors.n_distinct} distinct points{few}, at their "
            "scale; this adds no bias, but check that the stimuli were not read twice",
            RepeatedPoints,
        )


def _warn_of_copies(neighbors: Neighbors, far: int) -> bool:
    """Warn of near copies, and tell whether there are enough of them to bias the dimension."""
    n_copied = int(neighbors.is_copied.sum())
    if n_copied <= max(_WARN_ABOVE * len(neighbors.distances), _ONE_PAIR):
        return False
    again = "copies='collapse', to count each of them once"
    if neighbors.search_again is None and neighbors.queries is None:
        again = "Neighbors without the copies"
    bias = "They bias the dimension downward, since r1 is nearly zero"
    if 2 * int((neighbors.distances[:, far - 1] <= neighbors.resolution).sum()) > n_copied:
        bias = (
            f"Most have several, so that r{far} belongs to a copy too: the dimension is that of "
            "rounding errors, biased up or down"
        )
    warn(
        f"{n_copied / len(neighbors.distances):.1%} of the points ({n_copied}) have a neighbour "
        f"within {neighbors.resolution:.2g}, which is no more than rounding: copies of one "
        f"stimulus, such as from batches of two shapes. {bias}; give {again}",
        NearCopies,
    )
    return True


def _bias_of_ties(neighbors: Neighbors) -> str:
    ratio = growth(neighbors)
    if ratio is None:
        return "distorts the dimension"
    if ratio < _BLUNT:
        return "biases the dimension upward"
    return "blurs the dimension, which may be too large or too small"


def _warn_of_near_ties(neighbors: Neighbors) -> None:
    evidence = is_near_grid(neighbors)
    if evidence:
        warn(
            f"neighbours 1 and 2 are nearly at the same distance: they give a dimension of "
            f"{_rate(neighbors.distances):.3g}, but {evidence}. A grid or rounded values with "
            "small noise give this, and noise that is as large as these distances; it biases the "
            "dimension upward. Measure at larger scales (rank_curve), or use values before they "
            "were rounded",
            NearTies,
        )


def _warn_of_pairs(neighbors: Neighbors) -> None:
    """Warn of a dimension far below 1, which points from a density do not have."""
    n, dimension = len(neighbors.distances), _rate(neighbors.distances)
    is_free = "exclude" not in neighbors.provenance.parameters
    if is_free and n >= _SMALLEST and dimension < _IN_PAIRS:
        warn(
            f"the two nearest neighbours give a dimension of {dimension:.2g}, but no cloud has "
            "fewer than 1: the points come in pairs or tight groups, such as several trials of one "
            "stimulus, and most are nearest to a point of their own group. Average each group, or "
            "give exclude= (and groups=) with one id for each, or measure at larger scales "
            "(rank_curve)",
            TightGroups,
        )


def is_near_grid(neighbors: Neighbors) -> str:
    """Say what shows that points lie near a grid; empty if nothing does.

    Parameters
    ----------
    neighbors : Neighbors

    Notes
    -----
    Near a grid, a few neighbours of each point are at nearly the same distance, which is nearly the
    same for all points, and no others are until much farther. So the dimension d from r1 and r2 is
    large, r1 varies little even in units of 1/d (:func:`concentration`), and farther neighbours
    give a much smaller dimension (:func:`growth`). Both must hold: the first alone holds in uniform
    densities, the second alone where several scales are mixed. A dimension far above the number of
    features is enough by itself.

    Examples
    --------
    >>> from dimscope import nearest_neighbors
    >>> rng = np.random.default_rng(0)
    >>> grid = np.stack(np.meshgrid(*[np.arange(10.0)] * 2), -1).reshape(-1, 2)
    >>> is_near_grid(nearest_neighbors(grid + 0.001 * rng.standard_normal((100, 2))))
    'there are only 2 features'
    >>> is_near_grid(nearest_neighbors(rng.random((100, 2))))
    ''
    """
    n = len(neighbors.distances)
    if n < _SMALLEST:
        return ""
    dimension, n_features = _rate(neighbors.distances), _n_features(neighbors)
    chance = 4 * _SPREAD / math.sqrt(n)
    if math.log(dimension) > math.log(n_features) + 0.2 + chance:
        return f"there are only {n_features:.0f} features"
    if dimension < _LEAST or concentration(neighbors.distances[:, 0], dimension) > _CONCENTRATED:
        return ""
    ratio = growth(neighbors)
    chance = 4 * _SPREAD / math.sqrt(min(n, _SAMPLE))
    if ratio is None or math.log(max(ratio, 1e-300)) > math.log(_STEADY) - chance:
        return ""
    return f"neighbours {_INNER} and {_OUTER} one of {ratio * dimension:.2g}"


def concentration(r1: NDArray[np.float64], dimension: float) -> float:
    """Compute how much ln r1 varies, relative to a uniform density of that dimension.

    Parameters
    ----------
    r1 : array of shape (n,)
        Distances to the nearest neighbours.
    dimension : float

    Notes
    -----
    The median width of a tenth of the values of ln r1, in order, times the dimension; divided by
    what it is where r1^d is exponential. Values at several spikes, as on several grids, vary as
    little as those at one.

    Examples
    --------
    >>> r1 = np.random.default_rng(0).exponential(size=5000) ** (1 / 7)
    >>> round(concentration(r1, 7), 1)
    1.0
    """
    x = np.sort(np.log(r1))
    tenth = max(1, len(x) // 10)
    return float(np.median(x[tenth:] - x[:-tenth]) * dimension / _POISSON)


def growth(neighbors: Neighbors) -> float | None:
    """Divide the dimension from neighbours 4 and 8 by that from neighbours 1 and 2.

    Parameters
    ----------
    neighbors : Neighbors

    Returns
    -------
    float or None
        None if eight neighbours are neither given nor can be searched.

    Examples
    --------
    >>> from dimscope import nearest_neighbors
    >>> from dimscope.manifolds import torus
    >>> round(growth(nearest_neighbors(torus(2000, 2))))
    1
    """
    distances = neighbors.distances
    if neighbors.k < _OUTER:
        if neighbors.search_again is None or neighbors.n_distinct <= _OUTER:
            return None
        n = neighbors.n_distinct
        rows = np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.intp)
        distances, _ = neighbors.search_again(rows, np.zeros(n, dtype=np.intp), _OUTER)
    steps = np.log(distances[:, _OUTER - 1] / distances[:, _INNER - 1])
    mean = float(steps.mean())
    expected = sum(1 / j for j in range(_INNER, _OUTER))
    rate = _rate(neighbors.distances)
    return expected / mean / rate if mean > 0 else math.inf


def _rate(distances: NDArray[np.float64]) -> float:
    """Return the rate of ln(r2 / r1), with the largest tenth censored; see ``TwoNN``."""
    ratio = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = max(2, math.floor(0.9 * len(ratio) + 1e-9))
    total = float(ratio[:kept].sum() + (len(ratio) - kept) * ratio[kept - 1])
    return (kept - 1) / total if total > 0 else math.inf


def _n_features(neighbors: Neighbors) -> float:
    shape = neighbors.provenance.parameters.get("shape")
    return float(shape[1]) if shape else math.inf
