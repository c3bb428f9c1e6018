"""Points in a dask array: checked, and freed of duplicates, chunk by chunk where they lie.

Whoever has a dask array has loaded dask, so it is looked up, never imported here. All work
is done in pure tasks for the scheduler in force: the client of ``distributed`` if there is
one, threads otherwise. A task that is lost with its worker is run again elsewhere and gives
the same bits.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.checks import as_array, check_range, check_shape, largest_absolute
from dimscope.arrays.points import Points, repeated, row_sums
from dimscope.arrays.threads import alone, workers
from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Chunk",
    "ScatteredPoints",
    "client_in_force",
    "is_scattered",
    "rows_of_chunk",
    "scattered_points",
]


# A chunk has at most so many bytes (two are in memory at once, and their copies), and at least
# so many rows: fewer are read faster than they are multiplied.
_BYTES, _LEAST = 1 << 26, 1024


_TASKS = 8  # pairs of chunks for each thread, so that none waits long for the last


_BATCH = 1 << 22  # values compared at a time


def is_scattered(points: Any) -> bool:
    """Whether these are a dask array.

    Examples
    --------
    >>> is_scattered(np.zeros((3, 2)))
    False
    """
    loaded = sys.modules.get("dask.array")
    return loaded is not None and isinstance(points, loaded.Array)


class Chunk:
    """Rows that a task reads for itself, and forgets.

    Parameters
    ----------
    block : dask array of one block
    """

    def __init__(self, block: Any) -> None:
        self._block = block

    def read(self) -> NDArray[Any]:
        """The values."""
        return np.asarray(self._block.compute(scheduler="sync"))


@dataclass(frozen=True)
class ScatteredPoints(Points):
    """Checked points in a dask array, whole rows in each chunk.

    Parameters
    ----------
    array : dask array of shape (n, n_features)
    max_abs : float
    rows : array of shape (n_points,), optional
        The rows that count, ascending.
    sums : array of shape (n,), uint64, optional
        Of every row, by :func:`~dimscope.arrays.points.row_sums`.
    """

    array: Any
    sums: NDArray[np.uint64] | None = dataclasses.field(default=None, repr=False)

    def select(self, rows: NDArray[np.intp]) -> ScatteredPoints:
        """The points at these rows, still without a copy."""
        rows = rows if self.rows is None else self.rows[rows]
        return dataclasses.replace(self, rows=rows)

    def block(
        self,
        rows: slice | NDArray[np.intp],
        columns: slice = slice(None),
        dtype: np.dtype[Any] | None = None,
    ) -> NDArray[Any]:
        """Values of some rows and columns, brought here."""
        where = rows if self.rows is None else self.rows[rows]
        values: NDArray[Any] = np.asarray(self.array[where, columns].compute())
        return values.astype(dtype or self.dtype, copy=False)

    @property
    def edges(self) -> NDArray[np.intp]:
        """First row of every chunk, and the end."""
        return np.cumsum((0, *self.array.chunks[0]))

    def chunks(self) -> list[Any]:
        """What tasks take for the chunks: shared in memory, or read by each where all are many."""
        delayed = list(self.array.to_delayed().ravel())
        if _is_held(self.array) or 2 * self.array.nbytes <= _memory():
            return delayed
        optimize = sys.modules["dask"].optimize
        return [Chunk(optimize(self.array.blocks[i])[0]) for i in range(len(delayed))]

    def distinct_rows(self) -> NDArray[np.intp]:
        """Positions of the first occurrence of every distinct row, ascending.

        Rows of equal sums are compared with the first of them; those that differ after all
        are compared among themselves.
        """
        assert self.sums is not None, "the points were not surveyed"
        keep = np.ones(len(self.sums), dtype=bool)
        rest = repeated(self.sums)
        while len(rest):
            group = self.sums[rest]
            first = np.append(True, group[1:] != group[:-1])
            leader = rest[first][np.cumsum(first) - 1]
            rest, leader = rest[~first], leader[~first]
            same = self._are_equal(rest, leader)
            keep[rest[same]] = False
            rest = rest[~same]
        return np.flatnonzero(keep)

    def _are_equal(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.bool_]:
        edges, chunks, dask = self.edges, self.chunks(), sys.modules["dask"]
        a, b = (np.searchsorted(edges, rows, side="right") - 1 for rows in (i, j))
        places, tasks = [], []
        for pair in np.unique(a * len(edges) + b):
            one, two = divmod(int(pair), len(edges))
            where = np.flatnonzero((a == one) & (b == two))
            places.append(where)
            tasks.append(
                dask.delayed(_equal_rows)(
                    chunks[one], i[where] - edges[one], chunks[two], j[where] - edges[two]
                )
            )
        same = np.empty(len(i), dtype=bool)
        for where, part in zip(places, dask.compute(*tasks), strict=True):
            same[where] = part
        return same


def scattered_points(array: Any) -> ScatteredPoints:
    """Check a dask array of points, with the same errors as :func:`~.points.as_points`.

    Parameters
    ----------
    array : dask array of shape (n_points, n_features)
        In chunks of any shape; they are cut and joined as suits the search.

    Returns
    -------
    ScatteredPoints

    Raises
    ------
    BadPoints
        If it is no array of finite numbers, or the sizes of its chunks are unknown.

    Examples
    --------
    >>> import dask.array as da
    >>> points = scattered_points(da.from_array(np.array([[0, 1], [2, -3], [0, 1]]), chunks=1))
    >>> points.max_abs, points.distinct_rows().tolist()
    (3.0, [0, 1])
    """
    as_array(array._meta)
    if any(np.isnan(size) for size in array.shape):
        raise BadPoints(
            "the chunks of the dask array have unknown sizes; call "
            "points.compute_chunk_sizes() first"
        )
    check_shape(array.shape)
    dask = sys.modules["dask"]
    array = array.rechunk({0: _n_rows(array), 1: -1})
    points = ScatteredPoints(array, 0.0)
    tasks = [
        dask.delayed(_survey)(chunk, int(start), (int(stop - start), array.shape[1]))
        for chunk, start, stop in zip(
            points.chunks(), points.edges[:-1], points.edges[1:], strict=True
        )
    ]
    found = dask.compute(*tasks)
    for wrong, _, _ in found:
        if wrong is not None:
            raise BadPoints(wrong)
    max_abs = max(largest for _, largest, _ in found)
    long_integers = array.dtype.kind in "iu" and array.dtype.itemsize == 8
    check_range(max_abs, array.shape[1], long_integers)
    return ScatteredPoints(array, max_abs, None, np.concatenate([sums for *_, sums in found]))


def rows_of_chunk(chunk: Any, max_abs: float, rows: NDArray[np.intp] | None) -> Points:
    """Points of a chunk within a task.

    Examples
    --------
    >>> rows_of_chunk(np.array([[0.0, 1], [2, 3]]), 3.0, np.array([1])).block(slice(None))
    array([[2., 3.]])
    """
    array = chunk.read() if isinstance(chunk, Chunk) else chunk
    return Points(as_array(array), max_abs, rows)


def _survey(
    chunk: Any, start: int, shape: tuple[int, int]
) -> tuple[str | None, float, NDArray[np.uint64]]:
    with alone():
        # zero, not the chunk's own largest value: equal rows need the same dtype everywhere
        points = rows_of_chunk(chunk, 0.0, None)
        if points.array.shape != shape:
            wrong = (
                f"the dask array says that its chunk at row {start} has shape {shape}, but it has "
                f"{points.array.shape}; call points.compute_chunk_sizes() first"
            )
            return wrong, 0.0, np.empty(0, np.uint64)
        try:
            max_abs = largest_absolute(points.array, start)
        except BadPoints as error:  # returned, so that the first of all chunks is named
            return str(error), 0.0, np.empty(0, np.uint64)
        return None, max_abs, row_sums(points)


def _equal_rows(
    first: Any, i: NDArray[np.intp], second: Any, j: NDArray[np.intp]
) -> NDArray[np.bool_]:
    with alone():
        a, b = (rows_of_chunk(chunk, 0.0, None).array for chunk in (first, second))
        step = max(1, _BATCH // a.shape[1])
        same = [
            (a[i[s : s + step]] == b[j[s : s + step]]).all(axis=1) for s in range(0, len(i), step)
        ]
        return np.concatenate(same)


def _n_rows(array: Any) -> int:
    """Rows of a chunk: as many as fit, but enough chunks to keep every thread busy."""
    n, width = map(int, array.shape)
    # n_chunks^2 / 2 pairs
    n_chunks = max(1, round(math.sqrt(2 * _TASKS * _n_threads())))
    least = max(_LEAST, -(-n // n_chunks))
    rows = min(max(_BYTES // (width * int(array.dtype.itemsize)), _LEAST), least)
    return -(-n // -(-n // rows))  # even chunks


def client_in_force() -> Any:
    """The client of ``distributed`` that tasks go to, or None where dask is local.

    Examples
    --------
    >>> import dask
    >>> with dask.config.set(scheduler="threads"):
    ...     client_in_force()
    """
    scheduler = sys.modules["dask"].base.get_scheduler()
    client = getattr(scheduler, "__self__", None)
    return client if hasattr(client, "scheduler_info") else None


def _n_threads() -> int:
    client = client_in_force()
    threads = sum(client.nthreads().values()) if client else 0
    return threads or workers()  # those of a cluster may yet come


def _memory() -> float:
    """Bytes that the chunks may fill together."""
    client = client_in_force()
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    members = client.scheduler_info(n_workers=-1)["workers"].values() if client else ()
    return float(sum(one["memory_limit"] or machine for one in members) or machine)


def _is_held(array: Any) -> bool:
    """Whether the values are in memory already, so that nothing is saved by reading again."""
    distributed = sys.modules.get("distributed")
    kinds = (np.ndarray,) if distributed is None else (np.ndarray, distributed.Future)
    return any(isinstance(value, kinds) for value in dict(array.dask).values())
