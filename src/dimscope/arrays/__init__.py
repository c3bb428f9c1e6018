"""Arrays: points enter here, whatever kind of array holds them.

In: an array-like of shape (n_points, n_features). Out: :class:`Points`, checked and read block by
block, without copying the whole array. All input checks are in :mod:`~dimscope.arrays.checks`.

Each kind of array has one registered :class:`ArrayKind`: NumPy arrays and memory maps, arrays
stored outside memory (such as a layer of a store, or an HDF5 dataset), torch tensors, and dask
arrays. :func:`register` adds support for another kind. :mod:`~dimscope.arrays.files` reads points
from files, whose formats are in :mod:`~dimscope.arrays.formats`. Memory budgets are in
:mod:`~dimscope.arrays.memory`, threads in :mod:`~dimscope.arrays.threads`.

Begin reading at :mod:`dimscope.arrays.kinds`.
"""

from dimscope.arrays.block_points import Blocks, BlocksKind, H5Kind, MappedKind, ZarrKind
from dimscope.arrays.dask_points import DaskKind
from dimscope.arrays.kinds import ArrayKind, as_points, register, unregister
from dimscope.arrays.numpy_points import NumpyKind
from dimscope.arrays.points import Points
from dimscope.arrays.tensor_points import TensorKind

__all__ = ["ArrayKind", "Blocks", "Points", "as_points", "register", "unregister"]

# The kind registered last is asked first; the NumPy kind takes whatever the others leave.
for _kind in (
    NumpyKind(), MappedKind(), DaskKind(), TensorKind(), BlocksKind(), ZarrKind(), H5Kind(),
):  # fmt: skip
    register(_kind)
