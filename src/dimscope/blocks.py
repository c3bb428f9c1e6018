"""Blocks: arrays that lie elsewhere and are read a block at a time.

What has to hold a whole array asks for ``numpy.asarray(blocks)``; the search for
neighbours reads rows and columns as it goes, so that an array larger than memory can be
measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Blocks", "SomeRows", "positions"]


class Blocks(ABC):
    """A two-dimensional array that is read block by block.

    Parameters
    ----------
    shape : (int, int)
    dtype : numpy.dtype

    Examples
    --------
    >>> class Squares(Blocks):
    ...     def read(self, rows, columns):
    ...         c = np.arange(self.shape[1])[columns]
    ...         return (positions(rows, len(self))[:, None] ** 2 + c).astype(self.dtype)
    >>> array = Squares((10**9, 2), np.dtype(float))
    >>> array[3:5].tolist(), float(array[10, 1]), array.nbytes
    ([[9.0, 10.0], [16.0, 17.0]], 101.0, 16000000000)
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    @abstractmethod
    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Values of some rows and columns, in an array of their own.

        Parameters
        ----------
        rows : slice, or array of int
        columns : slice
        """

    @property
    def nbytes(self) -> int:
        """Bytes that the whole array takes in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(columns, slice) and columns.step not in (None, 1):
            raise IndexError("columns are read in steps of one")
        # columns by number are rare (a message about one value); their rows are read whole
        part = self.read(_listed(rows), columns if isinstance(columns, slice) else slice(None))
        if not isinstance(columns, slice):
            part = part[:, columns]
        return part[0] if isinstance(rows, int | np.integer) else part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array that lies elsewhere cannot be had without a copy")
        whole = self.read(slice(None), slice(None))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"


class SomeRows(Blocks):
    """Some rows of such an array, not read yet.

    Parameters
    ----------
    array : Blocks
    rows : array of int
    """

    def __init__(self, array: Blocks, rows: NDArray[np.intp]) -> None:
        super().__init__((len(rows), array.shape[1]), array.dtype)
        self._array, self._rows = array, rows

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Values of some of these rows."""
        return self._array.read(self._rows[rows], columns)


def positions(rows: slice | NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Numbers of the rows, of n, that a slice or an array means.

    Examples
    --------
    >>> positions(slice(-2, None), 10**12).tolist(), positions(np.array([-1, 3]), 5).tolist()
    ([999999999998, 999999999999], [4, 3])
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n))
    outside = (rows < -n) | (rows >= n)
    if outside.any():
        raise IndexError(f"row {rows[outside][0]} is out of range: there are {n} rows")
    return np.where(rows < 0, rows + n, rows)


def _listed(rows: Any) -> Any:
    if isinstance(rows, slice):
        return rows
    found = np.atleast_1d(np.asarray(rows))
    return np.flatnonzero(found) if found.dtype == bool else found
