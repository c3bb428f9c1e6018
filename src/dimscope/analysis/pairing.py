"""Pairing: whether two estimates come from the same stimuli, row by row.

Three sources of evidence, in this order: ids that the user gave; values that are the same in both
(the rows of one array, or of the input layer of two captures); and, if neither of these decides,
the neighbours: points that are neighbours in one representation of the stimuli are neighbours in
another more often than by chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.estimators.estimates import Estimate
    from dimscope.estimators.uncertainty import Influence

__all__ = ["check_paired"]

_INDEPENDENT = "for independent samples of stimuli, use difference(a, b, paired=False)"
_P_VALUE = 1e-4  # of the number of common pairs of neighbours, if the rows had nothing in common
_MARGIN = 1.5  # by how much they must exceed those at any other alignment of the rows
_SHIFTS = 1000  # alignments tried in each direction
_EDGES = 4000  # pairs of neighbours of the first estimate that are looked up in the second
_BLOCKS = 8  # contiguous blocks of rows, each of which must look paired
_FEW = 0.01  # fraction of rows that may be equal by chance, such as rows of zeros


def check_paired(a: Estimate, b: Estimate) -> None:
    """Refuse two estimates that do not come from the same stimuli, row by row.

    Parameters
    ----------
    a, b : Estimate
        With influences.

    Raises
    ------
    BadPoints
        If the rows differ, are in another order, or do not look paired; the message says which,
        and how to state that they are paired.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> points = cube(500, 3)
    >>> check_paired(ds.estimate(points), ds.estimate(points[:, :2]))
    >>> check_paired(ds.estimate(points), ds.estimate(points[::-1]))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: the estimates are not paired: row 0 of the first is row 499 of \
the second; give the same rows in the same order
    """
    _check_kind(a, b)
    assert a.influence is not None
    assert b.influence is not None
    first, second = a.influence.identities, b.influence.identities
    _check_groups(a.influence, b.influence)
    if a.classes:
        if a.rows != b.rows or not a.rows:
            raise BadPoints(
                "the means over classes are not known to come from the same rows; measure both as "
                "layers of one Activations, or give both Activations the same ids"
            )
        return
    if first is not None and second is not None:
        if np.array_equal(first, second):
            return
        stated = a.influence.stated and b.influence.stated
        different = _different_rows(first, second, stated=stated)
    else:
        different = None
    _check_neighbours(a.influence, b.influence, a.n_points, different)


def _check_kind(a: Estimate, b: Estimate) -> None:
    if a.n_points != b.n_points:
        raise BadPoints(
            f"the estimates come from {a.n_points} and {b.n_points} points; a paired comparison "
            f"needs the same stimuli in both; {_INDEPENDENT}"
        )
    if bool(a.classes) != bool(b.classes):
        which = "first" if a.classes else "second"
        raise BadPoints(
            f"the {which} estimate is a mean over classes and the other is not; compare two means, "
            "or two estimates from all points"
        )
    if a.classes_are != b.classes_are:
        raise BadPoints(
            f"the error of the first mean is for {a.classes_are or 'unknown'} classes, that of the "
            f"second for {b.classes_are or 'unknown'} ones; measure both with the same classes="
        )
    if a.classes != b.classes:
        only = sorted(set(a.classes) ^ set(b.classes))
        what = f"only one of them includes {', '.join(only)}" if only else "their order differs"
        raise BadPoints(f"the estimates are means over different classes: {what}")


def _check_groups(a: Influence, b: Influence) -> None:
    """Refuse errors over groups that are not those of the same rows in both."""
    if a.groups is None and b.groups is None:
        return
    if a.groups is None or b.groups is None:
        which, other = ("first", "second") if b.groups is None else ("second", "first")
        raise BadPoints(
            f"the error of the {which} estimate is over groups of rows, that of the {other} is "
            "not; measure both with the same groups"
        )
    rows, of_a, of_b = np.intersect1d(a.rows, b.rows, return_indices=True)
    unequal = np.flatnonzero(a.groups[of_a] != b.groups[of_b])
    if len(unequal):
        raise BadPoints(
            f"the estimates have different groups, first at row {rows[unequal[0]]}; measure both "
            "with the same groups"
        )


def _different_rows(
    first: NDArray[np.uint64], second: NDArray[np.uint64], *, stated: bool
) -> NDArray[np.intp] | None:
    """Return the rows of which the identities do not tell; None if they tell nothing.

    Identities that occur once tell a row; others may be rows of zeros.
    """
    unequal = np.flatnonzero(first != second)
    if stated:
        raise BadPoints(
            f"the estimates are not paired: their ids differ in {len(unequal)} rows, first in row "
            f"{unequal[0]}; {_INDEPENDENT}"
        )
    once = _occurs_once(first) & _occurs_once(second)
    moved = unequal[once[unequal] & np.isin(first[unequal], second[once])]
    if len(moved) >= max(2, _FEW * len(first)):
        row = int(moved[0])
        other = int(np.flatnonzero(second == first[row])[0])
        raise BadPoints(
            f"the estimates are not paired: row {row} of the first is row {other} of the second; "
            "give the same rows in the same order"
        )
    n_same = int((once & (first == second)).sum())
    return unequal if n_same >= max(2, _FEW * len(first)) else None


def _occurs_once(identities: NDArray[np.uint64]) -> NDArray[np.bool_]:
    _, inverse, counts = np.unique(identities, return_inverse=True, return_counts=True)
    once: NDArray[np.bool_] = (counts == 1)[inverse]
    return once


def _check_neighbours(
    a: Influence, b: Influence, n: int, different: NDArray[np.intp] | None
) -> None:
    """Refuse rows whose neighbours have no more in common than those of other rows.

    With rows that are paired, more pairs of points are neighbours in both than when the rows of
    one are moved by any number: this holds also for data sorted by class, or class by class in
    turn, of which only the right alignment stands out.
    """
    advice = (
        "measure both as layers of one dimscope.Activations, which states that row i is the same "
        "stimulus in each"
    )
    first, second = _edges(a), _edges(b)
    if different is not None:
        touching = np.zeros(n, dtype=bool)
        touching[different] = True
        first = first[:, touching[first].any(axis=0)]
    keys = np.sort(_keys(second, n))
    total, rows = first.shape[1], len(np.unique(a.rows))
    sample = first
    if total > _EDGES:
        sample = first[:, np.linspace(0, total - 1, _EDGES).astype(np.intp)]
    common = _common(sample, keys, n, 0)
    others = np.array([_common(sample, keys, n, s) for s in _shifts(n)])
    by_chance = sample.shape[1] * len(keys) / max(1, rows * (rows - 1) / 2)
    expected = max(by_chance, float(others.mean()) if len(others) else 0.0)
    stands_out = common > _MARGIN * (others.max() if len(others) else 0)
    if not stands_out or _poisson_tail(common, expected) > _P_VALUE:
        where = "" if different is None else f" in the {len(different)} rows that are not equal"
        raise BadPoints(
            f"the estimates do not look paired{where}: {common} of {sample.shape[1]} pairs of "
            f"neighbours in the first are also neighbours in the second, where chance alone would "
            f"give {expected:.3g}; if row i is the same stimulus in both, {advice}"
        )
    if different is None:
        _check_blocks(first, keys, n, advice)


def _check_blocks(first: NDArray[np.intp], keys: NDArray[np.intp], n: int, advice: str) -> None:
    """Refuse rows of which a block has nothing in common, as when a part was replaced."""
    from scipy.stats import binom

    shared = _are_common(first, keys, n, 0)
    block = first[0] * _BLOCKS // n
    sizes = np.bincount(block, minlength=_BLOCKS)
    hits = np.bincount(block, weights=shared, minlength=_BLOCKS)
    rate = float(shared.mean())
    for number in range(_BLOCKS):
        few = hits[number] < 0.2 * rate * sizes[number]
        if few and binom.cdf(hits[number], sizes[number], rate) < _P_VALUE**2:
            low, high = (math.ceil(edge * n / _BLOCKS) for edge in (number, number + 1))
            raise BadPoints(
                f"the estimates do not look paired in rows {low} to {high - 1}, where only "
                f"{int(hits[number])} of {sizes[number]} pairs of neighbours are common; "
                f"elsewhere they do. If row i is the same stimulus in both, {advice}"
            )


def _edges(influence: Influence) -> NDArray[np.intp]:
    return np.sort(influence.rows[influence.pairs], axis=0)


def _keys(edges: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    keys: NDArray[np.intp] = edges[0] * np.intp(n) + edges[1]
    return keys


def _are_common(
    edges: NDArray[np.intp], keys: NDArray[np.intp], n: int, shift: int
) -> NDArray[np.bool_]:
    """Tell which edges, with rows moved round by ``shift``, are among the sorted keys."""
    wanted = _keys(np.sort((edges + shift) % n, axis=0), n)
    if not len(keys):
        return np.zeros(len(wanted), dtype=bool)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    common: NDArray[np.bool_] = keys[places] == wanted
    return common


def _common(edges: NDArray[np.intp], keys: NDArray[np.intp], n: int, shift: int) -> int:
    return int(_are_common(edges, keys, n, shift).sum())


def _shifts(n: int) -> NDArray[np.intp]:
    if n <= 2 * _SHIFTS + 1:
        return np.arange(1, n)
    steps = np.arange(1, _SHIFTS + 1, dtype=np.intp)
    return np.concatenate([steps, -steps])


def _poisson_tail(count: int, expected: float) -> float:
    """Return the probability of ``count`` or more events."""
    from scipy.special import gammainc

    return float(gammainc(count, expected)) if count else 1.0
