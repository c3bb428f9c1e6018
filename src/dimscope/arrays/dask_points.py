"""Dask arrays: checked, hashed and compared chunk by chunk, on the workers that hold the chunks.

This module never imports dask: a user who passes a dask array has already imported it. All work
runs as pure tasks on the active scheduler: the client of ``distributed`` if there is one, threads
otherwise. If a worker dies, its tasks run again on another worker and give identical results.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from dimscope.arrays.checks import check_range, check_shape, largest_absolute
from dimscope.arrays.kinds import ArrayKind
from dimscope.arrays.memory import total_memory
from dimscope.arrays.numpy_points import NumpyPoints, as_numpy
from dimscope.arrays.points import Home, Points, repeated
from dimscope.arrays.threads import alone, workers
from dimscope.errors import BadPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Chunk", "DaskKind", "DaskPoints", "chunk_points", "client_in_force"]

# A chunk has at most this many bytes (two are in memory at once, with their copies), and at least
# this many rows: fewer are read faster than they are multiplied.
_BYTES, _LEAST = 1 << 26, 1024
_BATCH = 1 << 22  # values compared at a time
_TASKS = 8  # pairs of chunks for each thread, so that none waits long for the last


class DaskKind(ArrayKind):
    """Dask arrays with chunks of any shape; they are rechunked to suit the search."""

    def accepts(self, array: Any) -> bool:
        """Accept dask arrays, if dask has been imported."""
        dask_array = sys.modules.get("dask.array")
        return dask_array is not None and isinstance(array, dask_array.Array)

    def open(self, array: Any, memory: int | None = None) -> DaskPoints:
        """Check an array chunk by chunk, and wrap it."""
        return dask_points(array)

    def home(self, array: Any) -> Home:
        """Return ``"dask"``."""
        return "dask"


class Chunk:
    """Rows that a task computes when it needs them and does not keep in memory.

    Parameters
    ----------
    block : dask array with a single block
    """

    def __init__(self, block: Any) -> None:
        self._block = block

    def read(self) -> NDArray[Any]:
        """Compute the values."""
        return np.asarray(self._block.compute(scheduler="sync"))


class DaskPoints(Points):
    """Checked points in a dask array whose chunks hold whole rows.

    Parameters
    ----------
    array : dask array of shape (n, n_features)
    max_abs : float
    rows : array of shape (n_points,), optional
        Which rows of the array belong to this set of points, ascending; all by default.
    hashes : array of shape (n,), uint64, optional
        Hash of every row of the array, from :meth:`~dimscope.arrays.Points.row_hashes`.
    """

    home: ClassVar[Home] = "dask"

    def __init__(
        self,
        array: Any,
        max_abs: float,
        rows: NDArray[np.intp] | None = None,
        hashes: NDArray[np.uint64] | None = None,
    ) -> None:
        super().__init__(array, max_abs, rows)
        self._hashes = hashes

    def select(self, rows: NDArray[np.intp]) -> Self:
        """Return the points at the given positions, without a copy."""
        return type(self)(self.array, self.max_abs, self.rows_at(rows), self._hashes)

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns into this process."""
        return np.asarray(self.array[rows, columns].compute())

    def in_memory(self) -> Points:
        """Compute the points into the memory of this process."""
        return NumpyPoints(as_numpy(self.array), self.max_abs, self.rows)

    @property
    def edges(self) -> NDArray[np.intp]:
        """Index of the first row of every chunk, followed by the number of rows."""
        return np.cumsum((0, *self.array.chunks[0]))

    def chunks(self) -> list[Any]:
        """Return one task argument per chunk: delayed values, or a :class:`Chunk` to read later."""
        delayed = list(self.array.to_delayed().ravel())
        if _is_held(self.array) or 2 * self.array.nbytes <= _memory():
            return delayed
        optimize = sys.modules["dask"].optimize
        return [Chunk(optimize(self.array.blocks[i])[0]) for i in range(len(delayed))]

    def suspected_duplicates(self) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        """Find the points whose hash equals that of another point, across all chunks."""
        positions = repeated(self.fingerprints)
        return positions, self.fingerprints[positions]

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """Hashes of all points, which the check of the array has computed."""
        assert self._hashes is not None, "a DaskPoints made by the check of an array has hashes"
        hashes: NDArray[np.uint64] = self._hashes[self.rows_at(slice(None))]
        return hashes

    def are_equal(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Compare pairs of points value by value, with one task per pair of chunks."""
        edges, chunks, dask = self.edges, self.chunks(), sys.modules["dask"]
        a, b = (np.searchsorted(edges, rows, side="right") - 1 for rows in (i, j))
        places, tasks = [], []
        for pair in np.unique(a * len(edges) + b):
            first, second = divmod(int(pair), len(edges))
            where = np.flatnonzero((a == first) & (b == second))
            places.append(where)
            tasks.append(
                dask.delayed(_equal_rows)(
                    chunks[first], i[where] - edges[first], chunks[second], j[where] - edges[second]
                )
            )
        equal = np.empty(len(i), dtype=bool)
        for where, part in zip(places, dask.compute(*tasks), strict=True):
            equal[where] = part
        return equal


def dask_points(array: Any) -> DaskPoints:
    """Check a dask array of points and wrap it, as :func:`dimscope.arrays.as_points` does.

    Parameters
    ----------
    array : dask array of shape (n_points, n_features)

    Raises
    ------
    BadPoints
        If a value is not a finite number, or the chunk sizes are unknown.

    Examples
    --------
    >>> import dask.array as da
    >>> points = dask_points(da.from_array(np.array([[0, 1], [2, -3], [0, 1]]), chunks=1))
    >>> points.max_abs, points.suspected_duplicates()[0].tolist()
    (3.0, [0, 2])
    """
    as_numpy(array._meta)
    if any(np.isnan(size) for size in array.shape):
        raise BadPoints(
            "the dask array has chunks of unknown size; call points.compute_chunk_sizes() first"
        )
    check_shape(array.shape)
    dask = sys.modules["dask"]
    array = array.rechunk({0: _n_rows(array), 1: -1})
    points = DaskPoints(array, 0.0)
    tasks = [
        dask.delayed(_survey)(chunk, int(start), (int(stop - start), array.shape[1]))
        for chunk, start, stop in zip(
            points.chunks(), points.edges[:-1], points.edges[1:], strict=True
        )
    ]
    surveys = dask.compute(*tasks)
    for message, _, _ in surveys:
        if message is not None:
            raise BadPoints(message)
    max_abs = max(largest for _, largest, _ in surveys)
    long_integers = array.dtype.kind in "iu" and array.dtype.itemsize == 8
    check_range(max_abs, array.shape[1], long_integers)
    return DaskPoints(array, max_abs, None, np.concatenate([hashes for *_, hashes in surveys]))


def chunk_points(chunk: Any, max_abs: float, rows: NDArray[np.intp] | None = None) -> NumpyPoints:
    """Wrap the points of one chunk, inside a task.

    Parameters
    ----------
    chunk : array or Chunk
    max_abs : float
        Largest absolute value over all chunks, so that every chunk gets the same dtype.
    rows : array of int, optional
        The rows of the chunk to use; all by default.

    Examples
    --------
    >>> chunk_points(np.array([[0.0, 1], [2, 3]]), 3.0, np.array([1])).block(slice(None))
    array([[2., 3.]])
    """
    array = chunk.read() if isinstance(chunk, Chunk) else chunk
    return NumpyPoints(as_numpy(array), max_abs, rows)


def _survey(
    chunk: Any, start: int, shape: tuple[int, int]
) -> tuple[str | None, float, NDArray[np.uint64]]:
    """Return a chunk's error message (or None), its largest absolute value and its row hashes."""
    with alone():
        # zero, not the chunk's own largest value: equal rows need the same dtype everywhere
        points = chunk_points(chunk, 0.0)
        if points.array.shape != shape:
            message = (
                f"the dask array declares shape {shape} for the chunk at row {start}, but the "
                f"chunk has {points.array.shape}; call points.compute_chunk_sizes() first"
            )
            return message, 0.0, np.empty(0, np.uint64)
        try:
            max_abs = largest_absolute(points.array, start)
        except BadPoints as error:  # returned, so that the first of all chunks is named
            return str(error), 0.0, np.empty(0, np.uint64)
        return None, max_abs, points.row_hashes()


def _equal_rows(
    first: Any, i: NDArray[np.intp], second: Any, j: NDArray[np.intp]
) -> NDArray[np.bool_]:
    with alone():
        a, b = (chunk_points(chunk, 0.0).array for chunk in (first, second))
        step = max(1, _BATCH // a.shape[1])
        parts = [
            (a[i[s : s + step]] == b[j[s : s + step]]).all(axis=1) for s in range(0, len(i), step)
        ]
        return np.concatenate(parts)


def _n_rows(array: Any) -> int:
    """Return the rows per chunk: few enough to fit in memory and to give every thread a chunk."""
    n, width = map(int, array.shape)
    # n_chunks^2 / 2 pairs
    n_chunks = max(1, round(math.sqrt(2 * _TASKS * _n_threads())))
    least = max(_LEAST, -(-n // n_chunks))
    rows = min(max(_BYTES // (width * int(array.dtype.itemsize)), _LEAST), least)
    return -(-n // -(-n // rows))  # even chunks


def client_in_force() -> Any:
    """Return the ``distributed`` client that receives tasks, or None if dask runs locally.

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
    return threads or workers()  # the workers of a cluster may still be starting


def _memory() -> float:
    """Return the memory in bytes that all chunks together may take."""
    client = client_in_force()
    machine = total_memory()
    members = client.scheduler_info(n_workers=-1)["workers"].values() if client else ()
    return float(sum(worker["memory_limit"] or machine for worker in members) or machine)


def _is_held(array: Any) -> bool:
    """Tell whether the values are already in memory; if so, reading later saves no memory."""
    distributed = sys.modules.get("distributed")
    kinds = (np.ndarray,) if distributed is None else (np.ndarray, distributed.Future)
    return any(isinstance(value, kinds) for value in dict(array.dask).values())
