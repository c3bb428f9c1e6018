"""Exclusion: which points may not be neighbours, and the ids that say so.

Rows of equal id depend on each other by construction: tokens of one sentence, frames of one film,
trials of one stimulus. Their distances say how rows of one id differ, not how the data are spread.
With ``exclude=ids`` neighbours of equal id are barred, in every search: kernels give such pairs an
infinite lower bound, so that candidates, certificates and later searches among some of the points
never see them; a k-d tree is asked for more neighbours, and then, for the points left with too few,
trees of the other points are searched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Exclusion", "group_numbers"]


def group_numbers(ids: Any, n_points: int, name: str) -> NDArray[np.intp]:
    """Number the groups of rows with equal ids from 0, in order of first appearance.

    Parameters
    ----------
    ids : array-like of shape (n_points,)
        Integers, strings, or other values that can be compared, one for each row.
    n_points : int
    name : str
        Name of the argument, for messages.

    Returns
    -------
    array of int, shape (n_points,)

    Raises
    ------
    BadPoints
        If there is not one id for each row, or an id is missing (NaN or None).

    Examples
    --------
    >>> group_numbers(["b", "a", "b"], 3, "groups").tolist()
    [0, 1, 0]
    """
    if hasattr(ids, "detach"):  # a tensor, on whatever device
        ids = ids.detach().cpu()
    try:
        array = np.asarray(ids)
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise BadPoints(
            f"{name} must be one-dimensional, with one id for each row, such as the number of the "
            f"sentence that the row belongs to; it has shape {array.shape}"
        )
    if len(array) != n_points:
        raise BadPoints(
            f"{name} has {len(array)} ids, but there are {n_points} rows; give one id for each row"
        )
    missing = array != array
    if array.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in array.tolist()], bool)
    if np.any(missing):
        row = int(np.argmax(missing))
        raise BadPoints(
            f"{name} has no id for row {row} ({array[row]}); give every row an id, or leave out "
            "the rows without one"
        )
    if array.dtype.kind == "O":
        try:
            numbers: dict[Any, int] = {}
            first = [numbers.setdefault(value, len(numbers)) for value in array.tolist()]
        except TypeError:
            raise BadPoints(f"{name} must hold integers or strings, one for each row") from None
        return np.array(first, dtype=np.intp)
    _, first_rows, inverse = np.unique(array, return_index=True, return_inverse=True)
    rank = np.empty(len(first_rows), dtype=np.intp)
    rank[np.argsort(first_rows)] = np.arange(len(first_rows))
    return np.asarray(rank[inverse], dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Exclusion:
    """The group of every point; points of one group are not each other's neighbours.

    Parameters
    ----------
    groups : array of int, shape (n_points,)
        Numbers from 0.

    Examples
    --------
    >>> exclusion = Exclusion(np.array([0, 0, 1, 2]))
    >>> exclusion.n_groups, exclusion.n_allowed.tolist(), exclusion.bars_some
    (3, [2, 2, 3, 3], True)
    """

    groups: NDArray[np.intp]

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Number of points of each group."""
        return np.bincount(self.groups)

    @property
    def n_groups(self) -> int:
        """Number of groups with at least one point."""
        return int(np.count_nonzero(self.sizes))

    @cached_property
    def n_allowed(self) -> NDArray[np.intp]:
        """For each point, the number of points of other groups."""
        return np.asarray(len(self.groups) - self.sizes[self.groups], dtype=np.intp)

    @property
    def bars_some(self) -> bool:
        """Whether any group has more than one point."""
        return bool((self.sizes > 1).any())

    def among(self, rows: NDArray[np.intp]) -> Exclusion:
        """Return the exclusion of some of the points."""
        return Exclusion(self.groups[rows])

    def description(self) -> dict[str, Any]:
        """Describe the exclusion for the provenance."""
        digest = hashlib.sha256(self.groups.astype("<i8").tobytes()).hexdigest()[:16]
        return {"ids": self.n_groups, "largest": int(self.sizes.max()), "fingerprint": digest}
