"""Plan: the bytes and the time that a capture takes, and where its points are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dimscope.html import facts

__all__ = ["Destination", "Plan"]

Destination = Literal["memory", "store", "passes"]
_PLACES: dict[Destination, str] = {
    "memory": "in memory",
    "store": "on disk",
    "passes": "some layers at a time",
}


@dataclass(frozen=True)
class Plan:
    """What a capture needs, as estimated after its first batch.

    Parameters
    ----------
    how : {"memory", "store", "passes"}
        Where the points are kept: all in memory; in a store on disk, which is read layer by layer;
        or in memory for one group of layers at a time, with one pass over the data per group.
    row_bytes : int
        Bytes per stimulus, summed over the captured layers.
    n_points : int or None
        Number of stimuli; None for data that can only be iterated.
    budget : int
        How many bytes the captured layers may take in memory.
    seconds : float or None
        Time for all batches in all passes, extrapolated from the first batch.
    groups : tuple of tuple of str
        The layers of each pass, if there are several passes.
    inputs : str
        How the data were read: which parts are inputs, labels or masks, and which are not used.

    Examples
    --------
    >>> from dimscope.arrays.memory import as_bytes
    >>> Plan.of(6_760_352, 500, as_bytes("1GB"), seconds=92.4)
    Plan(3.4 GB for 500 points, on disk (budget 1.0 GB); 1 pass, about 92 s)
    >>> Plan.of(8_000, 1000, as_bytes("1GB")).how
    'memory'
    """

    how: Destination
    row_bytes: int
    n_points: int | None
    budget: int
    seconds: float | None = None
    groups: tuple[tuple[str, ...], ...] = ()
    inputs: str = ""

    @classmethod
    def of(
        cls,
        row_bytes: int,
        n_points: int | None,
        budget: int,
        *,
        seconds: float | None = None,
        out: bool = False,
        room: int | None = None,
        widths: Sequence[tuple[tuple[str, ...], int]] = (),
    ) -> Plan:
        """Decide where the points are kept.

        Parameters
        ----------
        row_bytes : int
        n_points : int or None
        budget : int
        seconds : float, optional
            Time for one pass.
        out : bool
            Whether to write to disk even if the points fit in memory.
        room : int, optional
            Number of free bytes on the disk; unlimited by default.
        widths : sequence of ((str, ...), int)
            For each array of points, the names of the layers that share it, and the bytes per row.

        Examples
        --------
        >>> widths = [(("a", "e"), 4), (("b",), 2), (("c",), 3)]
        >>> Plan.of(9, 100, 600, room=0, widths=widths).groups
        (('a', 'e', 'b'), ('c',))
        """
        if out or n_points is None or n_points * row_bytes <= budget:
            return cls("store" if out else "memory", row_bytes, n_points, budget, seconds)
        groups: list[list[str]] = []
        left = 0
        for names, width in widths:
            if not groups or width * n_points > left:
                groups.append([])
                left = budget
            groups[-1].extend(names)
            left -= width * n_points
        # a layer that does not fit even alone must be read from disk, block by block
        wide = any(width * n_points > budget for _, width in widths)
        if room is None or n_points * row_bytes <= room or wide or not groups:
            return cls("store", row_bytes, n_points, budget, seconds)
        seconds = None if seconds is None else seconds * len(groups)
        return cls("passes", row_bytes, n_points, budget, seconds, tuple(map(tuple, groups)))

    @property
    def where(self) -> str:
        """Where the points are kept, as text."""
        return _PLACES[self.how]

    @property
    def passes(self) -> int:
        """How many times the network runs over the data."""
        return max(1, len(self.groups))

    @property
    def bytes(self) -> int | None:
        """Size of the points of all captured layers in bytes; None if their number is unknown."""
        return None if self.n_points is None else self.n_points * self.row_bytes

    def __str__(self) -> str:
        budget = _size(self.budget)
        if self.bytes is not None:
            amount = (
                f"{_size(self.bytes)} for {self.n_points} points, {self.where} (budget {budget})"
            )
        elif self.how == "memory":
            amount = f"{_size(self.row_bytes)} a point, in memory up to {budget}, then on disk"
        else:
            amount = f"{_size(self.row_bytes)} a point, {self.where} (budget {budget})"
        passes = "1 pass" if self.passes == 1 else f"{self.passes} passes"
        passes = ", ".join(filter(None, (passes, self._time)))
        return "; ".join(filter(None, (amount, passes, self.inputs)))

    def _repr_html_(self) -> str:
        return facts(
            [
                ("points", self.n_points),
                ("size", f"{_size(self.row_bytes)} a point"),
                ("size of all points", None if self.bytes is None else _size(self.bytes)),
                ("kept", self.where),
                ("budget", _size(self.budget)),
                ("passes", self.passes),
                ("time", self._time),
                ("data", self.inputs),
            ]
        )

    @property
    def _time(self) -> str:
        if self.seconds is None:
            return ""
        return f"about {self.seconds:{'.0f' if self.seconds >= 10 else '.2g'}} s"

    def __repr__(self) -> str:
        return f"Plan({self})"


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"
