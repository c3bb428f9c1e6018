"""Points: checked points, read block by block from any kind of array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from dimscope.arrays.memory import check_budget
from dimscope.arrays.threads import spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Home", "Points", "repeated", "within_budget"]

Home = Literal["memory", "device", "dask"]

# Rows are first hashed over a few runs of columns; a run is one cache line of float32.
_RUN, _RUNS = 16, 4
_BATCH = 1 << 22  # values hashed or compared at a time
_COLUMNS = 8192  # columns read at a time for norms


class Points(ABC):
    """Checked points, with the same interface for every kind of array.

    A subclass defines :meth:`read` and :meth:`select`. ``home`` says where the points are searched:
    ``"memory"`` if this process reads their blocks, ``"device"`` for a tensor on a CUDA device,
    ``"dask"`` for chunks that dask tasks read.

    Parameters
    ----------
    array : object of shape (n, n_features)
        The user's array, unchanged: any real dtype, memory order and strides.
    max_abs : float
        Largest absolute value.
    rows : array of int, shape (n_points,), optional
        The rows that are points of this set (the distinct rows, or a subset); all by default.
    """

    home: ClassVar[Home] = "memory"
    _touched: ClassVar[int] = 1 << 23  # values of the rows of which some columns are read at a time

    def __init__(self, array: Any, max_abs: float, rows: NDArray[np.intp] | None = None) -> None:
        self.array, self.max_abs, self.rows = array, max_abs, rows

    @abstractmethod
    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns of the array, in its dtype or a wider one.

        Parameters
        ----------
        rows : slice or array of int
            Rows of the array. A slice may return a view; an index array returns a copy.
        columns : slice

        Returns
        -------
        array of shape (n_rows, n_columns)
        """

    @abstractmethod
    def select(self, rows: NDArray[np.intp]) -> Self:
        """Return the points at the given positions, without a copy.

        Parameters
        ----------
        rows : array of int
            Positions among these points; :meth:`rows_at` translates them to rows of the array.
        """

    @property
    def n_points(self) -> int:
        """Number of points."""
        return int(self.array.shape[0]) if self.rows is None else len(self.rows)

    @property
    def n_features(self) -> int:
        """Number of features (coordinates) of each point."""
        return int(self.array.shape[1])

    @property
    def source_dtype(self) -> str:
        """Name of the dtype of the user's array."""
        return str(self.array.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 if it holds all values exactly and no difference overflows; otherwise float64."""
        is_small = self.source_dtype in ("float16", "float32")
        # Differences of two float32 numbers overflow near the end of the range.
        return np.dtype(np.float32 if is_small and self.max_abs < 1e38 else np.float64)

    @property
    def scale(self) -> float:
        """Power of two by which to multiply so that the largest absolute value is in [1/2, 1)."""
        if not self.max_abs:
            return 1.0
        # values near the small end would need a factor that their dtype does not hold
        largest = 126 if self.dtype == np.float32 else 1022
        return float(np.ldexp(1.0, min(largest, -int(np.frexp(self.max_abs)[1]))))

    @property
    def has_near_rows(self) -> bool:
        """Whether reading single rows, in any order, takes little longer than reading all."""
        return True

    @property
    def is_plain(self) -> bool:
        """Whether blocks are float32 rows that BLAS can read in place."""
        return False

    @property
    def in_place(self) -> NDArray[Any] | None:
        """The array, if compiled code can read its rows in place; None if not.

        Its rows are float32 or float64, of the type of :attr:`dtype`, values side by side.
        """
        return None

    def rows_at(self, positions: Any) -> Any:
        """Return the rows of the array at the given positions among these points.

        Parameters
        ----------
        positions : slice or array of int
        """
        return positions if self.rows is None else self.rows[positions]

    def block(
        self,
        rows: slice | NDArray[np.intp],
        columns: slice = slice(None),
        dtype: np.dtype[Any] | None = None,
    ) -> NDArray[Any]:
        """Return the given points and columns as floats.

        A slice of rows may return a view: do not write to it. An index array returns a copy.

        Parameters
        ----------
        rows : slice or array of int
            Positions among these points.
        columns : slice
        dtype : dtype, optional
            :attr:`dtype` by default.
        """
        return self.read(self.rows_at(rows), columns).astype(dtype or self.dtype, copy=False)

    def norms(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the Euclidean norms of a few points.

        Parameters
        ----------
        rows : array of int
            Positions among these points.
        """
        squares = np.zeros(len(rows))
        for columns in spans(self.n_features, _COLUMNS):
            # squares of the largest values would overflow
            values = self.block(rows, columns, np.dtype(np.float64)) * self.scale
            squares += np.vecdot(values, values)
        return np.asarray(np.sqrt(squares) / self.scale)

    def release(self) -> None:  # noqa: B027  (most kinds have nothing to let go of)
        """Release memory taken by reading, such as pages of a memory-mapped file."""

    @property
    def nbytes(self) -> int:
        """Bytes that all values take in the dtype of :meth:`block`."""
        return self.n_points * self.n_features * self.dtype.itemsize

    def in_memory(self) -> Points:
        """Return the same points in a form whose blocks are cheap to read repeatedly."""
        return self

    # -- rows that repeat another row ------------------------------------------------------

    def suspected_duplicates(self) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        """Find the points whose hash equals that of another point.

        Returns
        -------
        positions : array of int
            Positions grouped by hash, ascending within each group.
        hashes : array of uint64
            Hashes of those points.
        """
        positions, hashes = np.arange(self.n_points), self.fingerprints
        if self.n_features > _RUN * _RUNS:
            positions = np.sort(repeated(hashes))
            hashes = self.row_hashes(positions)
        chosen = repeated(hashes)
        return positions[chosen], hashes[chosen]

    @cached_property
    def fingerprints(self) -> NDArray[np.uint64]:
        """A hash of each point; for wide points, a hash of only four runs of 16 of its values.

        Points of equal values have equal fingerprints; others nearly always have different ones.

        Examples
        --------
        >>> from dimscope.arrays import as_points
        >>> a, b = (as_points([[0.0, x], [1, 2], [3, 4]]).fingerprints for x in (1, 3))
        >>> (a == b).tolist()
        [False, True, True]
        """
        if self.n_features <= _RUN * _RUNS:
            return self.row_hashes()
        starts = np.linspace(0, self.n_features - _RUN, _RUNS).astype(int)
        hashes = np.zeros(self.n_points, dtype=np.uint64)
        for start in starts:
            hashes += self.row_hashes(columns=slice(start, start + _RUN))
        return hashes

    def row_hashes(
        self, rows: NDArray[np.intp] | None = None, columns: slice | None = None
    ) -> NDArray[np.uint64]:
        """Hash points so that equal points have equal hashes.

        Parameters
        ----------
        rows : array of int, optional
            Positions among these points; all by default.
        columns : slice, optional
            All by default.

        Returns
        -------
        array of shape (n_rows,), uint64

        Notes
        -----
        The hash is the sum, modulo 2^64, of each value's bit pattern times a random odd number.

        Examples
        --------
        >>> from dimscope.arrays import as_points
        >>> a, b, c = as_points([[0.0, 5], [1, 5], [-0.0, 5]]).row_hashes()
        >>> bool(a == c), bool(a == b)
        (True, False)
        """
        n = self.n_points if rows is None else len(rows)
        if not n:
            return np.empty(0, dtype=np.uint64)
        columns = slice(0, self.n_features) if columns is None else columns
        width = columns.stop - columns.start
        rng = np.random.default_rng(columns.start)
        odd = rng.integers(0, 2**63, width, dtype=np.uint64) * 2 + 1
        hashes = np.empty(n, dtype=np.uint64)
        # few columns of many rows would still read every page of a memory map
        step = max(1, min(_BATCH // width, self._touched // self.n_features))
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            hashes[part] = self._hash_block(part if rows is None else rows[part], columns, odd)
            self.release()
        return hashes

    def _hash_block(
        self, rows: slice | NDArray[np.intp], columns: slice, odd: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """Hash some points with the given odd numbers, one for each column."""
        values = np.ascontiguousarray(self.block(rows, columns) + 0.0)  # -0.0 equals 0.0
        bits: NDArray[Any] = values.view(f"u{values.itemsize}")
        if bits.itemsize == 8:
            # small integers have their last 32 bits zero, which a product would not spread
            bits = bits ^ (bits >> np.uint64(32))
        hashes: NDArray[np.uint64] = (bits * odd).sum(axis=1, dtype=np.uint64)
        return hashes

    def are_equal(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Compare pairs of points value by value.

        Parameters
        ----------
        i, j : arrays of int, shape (n_pairs,)

        Returns
        -------
        array of bool, shape (n_pairs,)
        """
        equal = np.empty(len(i), dtype=bool)
        step = max(1, _BATCH // self.n_features)
        for start in range(0, len(i), step):
            pairs = slice(start, start + step)
            equal[pairs] = self._equal_rows(i[pairs], j[pairs])
            self.release()
        return equal

    def _equal_rows(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.bool_]:
        equal: NDArray[np.bool_] = (self.block(i) == self.block(j)).all(axis=1)
        return equal


def within_budget(points: Points, memory: int) -> Points:
    """Return points whose blocks this process can read, without exceeding the budget.

    Raises
    ------
    OverBudget
        If they must be copied into memory and do not fit.

    Examples
    --------
    >>> from dimscope.arrays import as_points
    >>> within_budget(as_points([[0.0], [1.0], [2.0]]), 10**6).n_points
    3
    """
    if points.home != "memory":
        check_budget(points.nbytes, memory, "copying the points into memory")
    return points.in_memory()


def repeated(values: NDArray[Any]) -> NDArray[np.intp]:
    """Find the positions of values that occur more than once.

    Parameters
    ----------
    values : array of shape (n,)

    Returns
    -------
    array of int
        Positions grouped by value, ascending within each group.

    Examples
    --------
    >>> repeated(np.array([7, 5, 7, 6, 5])).tolist()
    [1, 4, 0, 2]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    positions = np.flatnonzero(counts[inverse] > 1)
    return positions[np.argsort(inverse[positions], kind="stable")]
