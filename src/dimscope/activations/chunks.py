"""Chunks: read and write the points of one layer, stored as a Zarr array, block by block.

A chunk is an uncompressed file of numbers in row-major order: activations hardly compress, and a
plain file can be read and written in part. Rows are therefore written in place as they arrive,
whatever the batch size, and any rows and columns can be read without the rest. Stores that are not
on a local file system are read and written through Zarr, one chunk at a time.
"""

from __future__ import annotations

import mmap
import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.block_points import Blocks, positions
from dimscope.arrays.memory import empty_array
from dimscope.errors import BadSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkFiles", "Chunked", "ZarrChunks", "chunk_shape"]


CHUNK_BYTES = 8 << 20


# O_BINARY is of Windows, O_NOFOLLOW of other systems: a link could lead out of the store
_WRITE = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


_FEW, _MANY = 16, 256  # rows of the chunks of a wide layer


def chunk_shape(
    n_features: int, itemsize: int, batch: int, n_points: int | None = None
) -> tuple[int, int]:
    """Return the rows and columns of a chunk of about 8 MB.

    Parameters
    ----------
    n_features : int
    itemsize : int
        Size of one value in bytes.
    batch : int
        Number of rows written at a time. If that many whole rows exceed 8 MB, each chunk holds as
        many rows as a batch (at least 16, at most 256) and only some of the columns, so that a
        batch fills whole chunks.
    n_points : int, optional
        Number of rows in total.

    Examples
    --------
    >>> chunk_shape(1000, 4, 32), chunk_shape(1000, 4, 32, 500), chunk_shape(802816, 4, 32)
    ((2097, 1000), (500, 1000), (32, 61756))
    """
    values = CHUNK_BYTES // itemsize
    rows = min(max(batch, _FEW), _MANY)
    pieces = 1
    if rows * n_features <= values:
        rows = values // n_features
    else:
        pieces = -(-n_features * rows // values)
    return min(rows, n_points or rows), -(-n_features // pieces)


class Chunked(Blocks):
    """A layer in a store.

    Parameters
    ----------
    shape : (int, int)
    chunks : (int, int)
        Rows and columns of a chunk.
    dtype : numpy.dtype
    owner : object, optional
        An object to keep alive, such as the folder of a temporary store.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        dtype: np.dtype[Any],
        owner: object = None,
    ) -> None:
        super().__init__(shape, dtype)
        self.chunks = chunks
        self._owner = owner

    @abstractmethod
    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write whole rows, starting at row ``start``; rows beyond the end extend the layer."""

    def check(self, rows: range) -> None:
        """Raise an error if a chunk that holds any of these rows is missing."""

    def _columns(self, columns: slice) -> Iterator[tuple[int, slice, slice]]:
        """Yield for each chunk its number, the columns in it, and their place in the result."""
        first, last, _ = columns.indices(self.shape[1])
        width = self.chunks[1]
        for number in range(first // width, -(-last // width)):
            left = number * width
            low, high = max(first, left), min(last, left + width)
            if low < high:
                yield number, slice(low - left, high - left), slice(low - first, high - first)


class ChunkFiles(Chunked):
    """Chunks as local files, in the layout of the Zarr specification.

    Parameters
    ----------
    folder : Path
        The folder of the Zarr array.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        dtype: np.dtype[Any],
        owner: object = None,
    ) -> None:
        super().__init__(shape, chunks, dtype, owner)
        self._folder = folder

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write whole rows in place, overwriting any rows already there."""
        height, width = self.chunks
        self.shape = max(self.shape[0], start + len(rows)), self.shape[1]
        done = 0
        while done < len(rows):
            band, within = divmod(start + done, height)
            part = rows[done : done + height - within]
            for number, inside, columns in self._columns(slice(None)):
                piece = part[:, columns]
                if inside.stop < width:  # pad the last chunk of columns as Zarr does
                    piece = np.zeros((len(part), width), self.dtype)
                    piece[:, inside] = part[:, columns]
                offset = within * width * self.dtype.itemsize
                self._put(self._path(band, number), offset, np.ascontiguousarray(piece))
            done += len(part)

    def _put(self, path: Path, offset: int, piece: NDArray[Any]) -> None:
        size = self.chunks[0] * self.chunks[1] * self.dtype.itemsize
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, _WRITE, 0o666)
            with open(handle, "r+b", buffering=0) as file:
                if os.fstat(handle).st_size != size:
                    file.truncate(size)  # zeros that take no disk space until they are written
                file.seek(offset)
                left = piece.data.cast("B")
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            raise BadSource(f"cannot write {path}: {error.strerror}") from None

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns, memory-mapping one chunk at a time."""
        where = positions(rows, len(self))
        low, high, _ = columns.indices(self.shape[1])
        out = empty_array((len(where), max(0, high - low)), self.dtype)
        bands = where // self.chunks[0]
        for band in np.unique(bands).tolist():
            selected = np.flatnonzero(bands == band)
            inside = where[selected] - band * self.chunks[0]
            # copy consecutive rows at once
            source: Any = _as_slice(inside)
            target: Any = _as_slice(selected)
            for number, within, place in self._columns(columns):
                out[target, place] = self._map(self._path(band, number))[:, within][source]
        return out

    def check(self, rows: range) -> None:
        """Raise an error if a chunk that holds any of these rows is missing.

        Raises
        ------
        BadSource
        """
        size = self.chunks[0] * self.chunks[1] * self.dtype.itemsize
        for band in range(rows.start // self.chunks[0], -(-rows.stop // self.chunks[0])):
            for number in range(-(-self.shape[1] // self.chunks[1])):
                path = self._path(band, number)
                if not path.is_file() or path.stat().st_size != size:
                    raise self._damaged(path)

    def _map(self, path: Path) -> NDArray[Any]:
        # mapped anew each time, because mapped pages count as memory of the process
        try:
            with path.open("rb") as file:
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            raise self._damaged(path) from None
        if len(pages) != self.chunks[0] * self.chunks[1] * self.dtype.itemsize:
            raise self._damaged(path)
        return np.frombuffer(pages, self.dtype).reshape(self.chunks)

    def _damaged(self, path: Path) -> BadSource:
        return BadSource(
            f"the store is damaged: the chunk {path} is missing or truncated; copy the store "
            "again, or capture again"
        )

    def _path(self, band: int, number: int) -> Path:
        return self._folder / "c" / str(band) / str(number)


class ZarrChunks(Chunked):
    """Chunks read through Zarr: in object stores, in memory, or compressed.

    Parameters
    ----------
    array : zarr.Array
    """

    def __init__(self, array: Any, owner: object = None) -> None:
        super().__init__(array.shape, array.chunks, array.dtype, owner)
        self._array = array

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write whole rows; a chunk that is only partly overwritten is read and rewritten."""
        stop = start + len(rows)
        if stop > self.shape[0]:
            self.shape = stop, self.shape[1]
            self._array.resize(self.shape)
        height = self.chunks[0]
        for first in range(start - start % height, stop, height):
            low, high = max(first, start), min(first + height, stop)
            self._array[low:high] = rows[low - start : high - start]

    def read(self, rows: slice | NDArray[np.intp], columns: slice) -> NDArray[Any]:
        """Read rows and columns, one chunk at a time."""
        where = positions(rows, len(self))
        low, high, _ = columns.indices(self.shape[1])
        out = empty_array((len(where), max(0, high - low)), self.dtype)
        bands = where // self.chunks[0]
        for band in np.unique(bands).tolist():
            selected = np.flatnonzero(bands == band)
            first = band * self.chunks[0]
            stop = min(first + self.chunks[0], self.shape[0])
            for number, within, place in self._columns(columns):
                left = number * self.chunks[1]
                part = self._array[first:stop, left + within.start : left + within.stop]
                out[selected, place] = part[where[selected] - first]
        return out


def _as_slice(positions: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Convert consecutive positions to a slice; return others unchanged."""
    first, last = int(positions[0]), int(positions[-1])
    if last - first == len(positions) - 1 and (np.diff(positions) == 1).all():
        return slice(first, last + 1)
    return positions
