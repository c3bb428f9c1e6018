"""Panels: runs of columns of an array that lies elsewhere, kept for the next few reads.

The search goes through the features of wide points a run at a time and comes back to the
rows of a run again and again. A panel holds a longer run of all rows, so that those
reads find it in memory; how much all panels take is fixed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.blocks import Blocks
from dimscope.threads import workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PANELS_BYTES", "Panels"]

PANELS_BYTES = 1 << 27
_EACH = 2  # panels for every thread


class Panels(Blocks):
    """An array of which the columns that were read last are kept.

    Parameters
    ----------
    array : Blocks
    n_bytes : int
        What all panels may take; reads of more columns than a panel has go past them.

    Examples
    --------
    >>> from dimscope.store import open_store
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
        """Values of some rows and columns; a slice of rows may give a view."""
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
            # room is made before, so that no more are kept than the fixed number
            del self._panels[: -(_EACH * workers() - 1)]
        panel = self._array.read(slice(None), slice(first, min(first + self._width, self.shape[1])))
        with self._lock:
            self._panels.append((first, panel))
            # another thread may have read one in the meantime
            del self._panels[: -(_EACH * workers())]
        return first, panel
