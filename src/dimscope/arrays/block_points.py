"""Blocks: arrays stored outside memory, such as a layer of a store, read one block at a time.

:class:`Blocks` is the array; :class:`SelectedRows` is a selection of its rows. The search reads the
same ranges of columns repeatedly, so :class:`Panels` caches the most recently read columns, up to a
fixed number of bytes.
"""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dimscope.arrays.checks import (
    check_container,
    check_dtype,
    check_range,
    check_shape,
    largest_absolute,
)
from dimscope.arrays.hdf5_datasets import check_sources, read_dataset
from dimscope.arrays.kinds import ArrayKind
from dimscope.arrays.memory import is_mapped, release
from dimscope.arrays.numpy_points import NumpyPoints, as_numpy, checked
from dimscope.arrays.points import Points
from dimscope.arrays.threads import spans, workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "PANELS_BYTES",
    "BlockPoints",
    "Blocks",
    "BlocksKind",
    "FlatBlocks",
    "H5Blocks",
    "H5Kind",
    "MappedBlocks",
    "MappedKind",
    "Panels",
    "SelectedRows",
    "ZarrBlocks",
    "ZarrKind",
    "positions",
]


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
    has_near_rows = False  # see Points.has_near_rows

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    @abstractmethod
    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read the given rows and columns into a new array.

        Parameters
        ----------
        rows : slice, or array of int
        columns : slice
        """

    @property
    def nbytes(self) -> int:
        """Bytes that the whole array would take in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        rows, columns = _rows_and_columns(key)
        if isinstance(columns, slice) and columns.step not in (None, 1):
            raise IndexError("columns can only be sliced with a step of 1")
        # a single column is rare (a message about one value); its rows are read whole
        part = self.read(
            _listed(rows, len(self)), columns if isinstance(columns, slice) else slice(None)
        )
        if not isinstance(columns, slice):
            part = part[:, columns]
        return part[0] if isinstance(rows, int | np.integer) else part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array stored outside memory cannot be converted without a copy")
        whole = self.read(slice(None), slice(None))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"


class SelectedRows(Blocks):
    """A selection of the rows of an array, read only on demand.

    Parameters
    ----------
    array : Blocks
    rows : array of int
    """

    def __init__(self, array: Blocks, rows: NDArray[np.intp]) -> None:
        super().__init__((len(rows), array.shape[1]), array.dtype)
        self._array, self._rows = array, rows
        self.has_near_rows = bool(getattr(array, "has_near_rows", False))

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read the given rows and columns of the selection."""
        return self._array.read(self._rows[rows], columns)


def positions(rows: slice | NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Return the row numbers that a slice or an index array selects from n rows.

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


def _rows_and_columns(key: Any) -> tuple[Any, Any]:
    """Return what an index selects of the rows and of the columns.

    >>> _rows_and_columns(...), _rows_and_columns((..., 2))
    ((slice(None, None, None), slice(None, None, None)), (slice(None, None, None), 2))
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [number for number, part in enumerate(parts) if part is Ellipsis]
    if len(dots) == 1:
        parts[dots[0] : dots[0] + 1] = [slice(None)] * (3 - len(parts))
    parts += [slice(None)] * (2 - len(parts))
    if len(parts) > 2 or len(dots) > 1 or any(_is_no_selection(part) for part in parts):
        raise IndexError(
            f"the index {key!r} selects no rows and columns; read the whole array into memory for "
            "it, with numpy.asarray"
        )
    return parts[0], parts[1]


def _is_no_selection(part: Any) -> bool:
    return part is None or isinstance(part, bool | np.bool_ | str) or np.ndim(part) > 1


def _listed(rows: Any, n: int) -> Any:
    if isinstance(rows, slice):
        return rows
    array = np.atleast_1d(np.asarray(rows))
    if array.dtype == bool:
        if len(array) != n:
            raise IndexError(f"the index has {len(array)} truth values, but there are {n} rows")
        return np.flatnonzero(array)
    if len(array) and array.dtype.kind not in "iu":
        raise IndexError(f"{rows!r} is no row; give whole numbers, truth values or a slice")
    return array.astype(np.intp)


PANELS_BYTES = 1 << 27


_EACH = 2  # panels for every thread


class Panels(Blocks):
    """An array with a cache of the most recently read columns.

    Parameters
    ----------
    array : Blocks
    n_bytes : int
        Size limit of the cache. The cache consists of panels, each a range of columns; a read wider
        than a panel bypasses the cache.

    Examples
    --------
    >>> from dimscope.activations.store import open_store
    >>> import torch, dimscope as ds
    >>> _ = ds.capture(torch.nn.ReLU(), torch.ones(3, 8), out="memory://panels.zarr")
    >>> panels = Panels(open_store("memory://panels.zarr").stored("input"))
    >>> panels[1:, 2:4].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, array: Blocks, n_bytes: int = PANELS_BYTES) -> None:
        super().__init__(array.shape, array.dtype)
        self._array = array
        row = n_bytes // (_EACH * workers()) // (len(array) * array.dtype.itemsize)
        self._width = min(row, array.shape[1])
        self._panels: list[tuple[int, NDArray[Any]]] = []  # the first column; last used last
        self._lock = threading.Lock()

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read the given rows and columns; a slice of rows may return a view."""
        first, last, _ = columns.indices(self.shape[1])
        if last - first > self._width:
            return self._array.read(rows, columns)
        start, panel = self._panel(first, last)
        return panel[:, first - start : last - start][rows]

    def _panel(self, first: int, last: int) -> tuple[int, NDArray[Any]]:
        with self._lock:
            for number, (start, panel) in enumerate(self._panels):
                if start <= first and last <= start + panel.shape[1]:
                    self._panels.append(self._panels.pop(number))
                    return start, panel
            # make room first, so that no more panels are kept than the fixed number
            del self._panels[: -(_EACH * workers() - 1)]
        panel = self._array.read(slice(None), slice(first, min(first + self._width, self.shape[1])))
        with self._lock:
            self._panels.append((first, panel))
            # another thread may have read a panel in the meantime
            del self._panels[: -(_EACH * workers())]
        return first, panel


class BlockPoints(Points):
    """Points in an array that is read block by block; see :class:`~dimscope.arrays.Points`."""

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns of the array; see :meth:`dimscope.arrays.Points.read`."""
        values: NDArray[Any] = self.array.read(rows, columns)
        return values

    def select(self, rows: NDArray[np.intp]) -> Self:
        """Return the points at the given positions, without a copy."""
        return type(self)(self.array, self.max_abs, self.rows_at(rows))

    @property
    def has_near_rows(self) -> bool:
        """Whether reading single rows, in any order, takes little longer than reading all."""
        return bool(getattr(self.array, "has_near_rows", False))

    @property
    def is_plain(self) -> bool:
        """Whether blocks are float32 rows that BLAS can read without conversion."""
        return bool(self.array.dtype == self.dtype == np.float32) and self.rows is None


class MappedBlocks(Blocks):
    """The blocks of a memory map; pages that were read are released.

    Parameters
    ----------
    array : array of shape (n, n_features)
        A memory map, or a view of one.
    """

    has_near_rows = True

    def __init__(self, array: NDArray[Any]) -> None:
        check_shape(array.shape)
        super().__init__((array.shape[0], array.shape[1]), array.dtype)
        self._array = array

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read the given rows and columns into a new array."""
        values = np.array(self._array[:, columns][rows])
        release(self._array)
        return values


_GATHERED = 8  # rows of a memory map that are gathered at a time; each may map 2 MB of it


class MappedPoints(NumpyPoints):
    """Points in a memory map; see :class:`~dimscope.arrays.Points`."""

    in_place = None  # rows far apart are gathered, see read

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns of the map; see :meth:`dimscope.arrays.Points.read`."""
        if isinstance(rows, slice) or (len(rows) and np.ptp(rows) < 2 * len(rows)):
            return super().read(rows, columns)  # rows side by side share their pages
        # the system maps the pages around each row as well: many times the size of rows far apart
        width = len(range(*columns.indices(self.n_features)))
        values = np.empty((len(rows), width), self.array.dtype)
        for part in spans(len(rows), _GATHERED):
            values[part] = super().read(rows[part], columns)
            self.release()
        return values


class MappedKind(ArrayKind):
    """Memory maps of files: whole maps are read in place, selected rows only on demand."""

    def accepts(self, array: Any) -> bool:
        """Accept memory maps and their views."""
        return is_mapped(array)

    def open(self, array: Any, memory: int | None = None) -> Points:
        """Check a memory map and wrap it."""
        points = checked(as_numpy(array))
        return MappedPoints(points.array, points.max_abs)

    def take(self, array: Any, rows: NDArray[np.intp]) -> Any:
        """Select the given rows, without reading them."""
        return SelectedRows(MappedBlocks(as_numpy(array)), rows)


class BlocksKind(ArrayKind):
    """Arrays that are read block by block."""

    def accepts(self, array: Any) -> bool:
        """Accept :class:`Blocks`."""
        return isinstance(array, Blocks)

    def open(self, array: Any, memory: int | None = None) -> Points:
        """Check an array and wrap it; read it whole if it fits in ``memory``."""
        if memory is not None and array.nbytes <= memory:
            return checked(np.asarray(array))
        panels = array
        if not isinstance(array, Panels):
            n_bytes = PANELS_BYTES if memory is None else min(PANELS_BYTES, memory // 2)
            panels = Panels(array, n_bytes)
        check_dtype(panels)
        check_shape(panels.shape)
        max_abs = largest_absolute(panels)
        is_long = panels.dtype.kind in "iu" and panels.dtype.itemsize == 8
        check_range(max_abs, panels.shape[1], is_long)
        return BlockPoints(panels, max_abs)

    def take(self, array: Any, rows: NDArray[np.intp]) -> SelectedRows:
        """Select the given rows without reading them."""
        return SelectedRows(array, rows)


class ZarrBlocks(Blocks):
    """The blocks of a Zarr array that the user opened.

    Parameters
    ----------
    array : zarr.Array of shape (n, n_features)
    """

    def __init__(self, array: Any) -> None:
        check_container(array)
        check_shape(array.shape)
        super().__init__(array.shape, array.dtype.newbyteorder("="))
        self._array = array

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read the given rows and columns into a new array."""
        if not isinstance(rows, slice):
            rows = positions(rows, len(self))
        values = np.asarray(self._array.oindex[rows, columns])
        return values.astype(self.dtype, copy=False)


class ZarrKind(BlocksKind):
    """Zarr arrays, read whole if they fit in the budget, otherwise block by block."""

    def accepts(self, array: Any) -> bool:
        """Accept Zarr arrays; only a program that has loaded Zarr has any."""
        zarr = sys.modules.get("zarr")
        return zarr is not None and isinstance(array, zarr.Array)

    def open(self, array: Any, memory: int | None = None) -> Points:
        """Check an array and wrap it."""
        return super().open(ZarrBlocks(array), memory)

    def take(self, array: Any, rows: NDArray[np.intp]) -> SelectedRows:
        """Select the given rows without reading them."""
        return super().take(ZarrBlocks(array), rows)


_READ_BYTES = 1 << 23


class FlatBlocks(Blocks):
    """The blocks of an array whose rows are read by slices; axes after the first are flattened.

    Parameters
    ----------
    array : array of shape (n, ...)
        Kept as long as this object.

    Examples
    --------
    >>> FlatBlocks(np.arange(8).reshape(2, 2, 2))[1:, 1:3].tolist()
    [[5, 6]]
    """

    def __init__(self, array: Any) -> None:
        shape = array.shape
        super().__init__(
            (int(shape[0]), int(np.prod(shape[1:], dtype=np.int64))), array.dtype.newbyteorder("=")
        )
        self._array = array
        whole = max(1, self.shape[1] * self.dtype.itemsize)
        chunks = getattr(array, "chunks", None)
        chunk = chunks[0] if chunks else 1
        self._height = max(1, _READ_BYTES // whole // chunk) * chunk  # whole chunks of rows

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read the given rows and columns into a new array."""
        where = positions(rows, len(self))
        low, high, _ = columns.indices(self.shape[1])
        out = np.empty((len(where), max(0, high - low)), self.dtype)
        bands = where // self._height
        for band in np.unique(bands).tolist():
            selected = np.flatnonzero(bands == band)
            inside = where[selected]
            first = int(inside.min())
            part = self._part(first, int(inside.max()) + 1, low, high)
            out[selected] = part[inside - first]
            release(self._array)
        return out

    def _part(self, first: int, last: int, low: int, high: int) -> NDArray[Any]:
        if self._array.ndim == 2:
            return self._read((slice(first, last), slice(low, high)))
        return self._read(slice(first, last)).reshape(last - first, -1)[:, low:high]

    def _read(self, selection: Any) -> NDArray[Any]:
        return np.asarray(self._array[selection])


class H5Blocks(FlatBlocks):
    """The blocks of an HDF5 dataset; axes after the first are flattened.

    Parameters
    ----------
    array : h5py.Dataset of shape (n, ...)
        Kept open as long as this object.
    """

    def __init__(self, array: Any) -> None:
        check_sources(array)
        super().__init__(array)

    def _read(self, selection: Any) -> NDArray[Any]:
        return read_dataset(self._array, selection)


class H5Kind(BlocksKind):
    """HDF5 datasets, read whole if they fit in the budget, otherwise block by block."""

    def accepts(self, array: Any) -> bool:
        """Accept datasets of h5py; only a program that has loaded h5py has any."""
        h5py = sys.modules.get("h5py")
        return h5py is not None and isinstance(array, h5py.Dataset)

    def open(self, array: Any, memory: int | None = None) -> Points:
        """Check a dataset and wrap it."""
        return super().open(_h5_blocks(array), memory)

    def take(self, array: Any, rows: NDArray[np.intp]) -> SelectedRows:
        """Select the given rows without reading them."""
        return super().take(_h5_blocks(array), rows)


def _h5_blocks(dataset: Any) -> H5Blocks:
    check_dtype(np.empty(0, dataset.dtype))
    check_shape(dataset.shape or ())
    return H5Blocks(dataset)
