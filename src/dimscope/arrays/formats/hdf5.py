"""HDF5: arrays in groups, which are read block by block."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dimscope.arrays.block_points import H5Blocks
from dimscope.arrays.checks import check_dtype
from dimscope.arrays.formats.base import Arrays, SavedArray, damaged
from dimscope.arrays.hdf5_datasets import check_sources, read_dataset
from dimscope.errors import BadPoints, BadSource, first_line
from dimscope.extras import needed

__all__ = ["list_hdf5"]


def list_hdf5(path: Path) -> Arrays:
    """List the arrays of an HDF5 file, and of its groups."""
    with needed(str(path)):
        import h5py
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = str(error)
        if "unable to lock" in reason:
            raise BadSource(
                f"{path} is locked by a program that writes to it; wait until it has closed it"
            ) from None
        if "signature not found" in reason:
            raise BadSource(
                f"{path} is not an HDF5 file; give it the suffix of its format"
            ) from None
        raise damaged(path, first_line(error)) from None
    arrays: Arrays = {}
    try:
        _list_group(h5py, file, "", arrays, ())
    except (AttributeError, KeyError, OSError, RuntimeError, ValueError) as error:
        file.close()
        raise damaged(path, first_line(error)) from None
    if not any(array.dtype not in (_SPARSE, _LINK) for array in arrays.values()):
        names = [name for name, array in arrays.items() if array.dtype == _SPARSE]
        if names:
            raise BadSource(f"{path} holds only the sparse matrix {names[0]}; give its .toarray()")
        links = [f"{name} to {_target(h5py, file, name)}" for name in arrays]
        if links:
            raise BadSource(
                f"{path} holds no array, but links, which are not followed: "
                f"{', '.join(links[:_SHOWN])}{', ...' if len(links) > _SHOWN else ''}; give the "
                "file that holds the array"
            )
        raise BadSource(f"{path} holds no array; save one of shape (n_points, n_features)")
    return arrays


_SPARSE, _LINK = "sparse matrix", "link, not followed"
_SHOWN = 8  # links in a message


def _list_group(h5py: Any, group: Any, place: str, arrays: Arrays, above: tuple[Any, ...]) -> None:
    """List the arrays in a group and its groups; sparse matrices and links cannot be read."""
    # not visititems, which skips links and gives only one of the names of an array
    for key in group:
        name = f"{place}{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            read = partial(_refuse_link, h5py, group, key, name)
            arrays[name] = SavedArray((), _LINK, read, False)
            continue
        item = group[key]
        if isinstance(item, h5py.Dataset):
            shape = item.shape if item.shape is not None else (0,)
            is_numeric = item.dtype.kind in "biuf"
            dtype = "text" if h5py.check_string_dtype(item.dtype) else str(item.dtype)
            arrays[name] = SavedArray(shape, dtype, partial(_opened, item), is_numeric)
        elif not isinstance(item, h5py.Group) or item in (group, *above) or _is_index(item):
            continue  # a named type, a group inside itself, or an index of PyTables
        elif {"data", "indices", "indptr"} <= set(item):
            # counts as numbers, so that no other array is taken for the points without a word
            read = partial(_refuse_sparse, group, name)
            arrays[name] = SavedArray(_sparse_shape(item), _SPARSE, read)
        else:
            _list_group(h5py, item, f"{name}/", arrays, (group, *above))


def _is_index(group: Any) -> bool:
    """Tell whether a group holds how PyTables, also for pandas, finds rows of a table."""
    return bool(group.name.rpartition("/")[2].startswith("_i_"))


def _sparse_shape(group: Any) -> tuple[int, ...]:
    stated = group.attrs.get("shape", group.get("shape"))
    if stated is None:
        return (max(0, len(group["indptr"]) - 1), 0)
    return tuple(int(n) for n in stated)


def _target(h5py: Any, group: Any, key: str) -> str:
    """Return what a link leads to.

    >>> import h5py
    >>> with h5py.File("x.h5", "w", driver="core", backing_store=False) as file:
    ...     file["a"], file["b"] = h5py.SoftLink("/x"), h5py.ExternalLink("y.h5", "/x")
    ...     _target(h5py, file, "a"), _target(h5py, file, "b")
    ('/x', '/x in y.h5')
    """
    link = group.get(key, getlink=True)
    is_external = isinstance(link, h5py.ExternalLink)
    return f"{link.path} in {link.filename}" if is_external else str(link.path)


def _refuse_link(h5py: Any, group: Any, key: str, name: str) -> Any:
    raise BadSource(
        f"{name} of {group.file.filename} is a link, which is not followed, to "
        f"{_target(h5py, group, key)}; name the array itself"
    )


def _refuse_sparse(group: Any, name: str) -> Any:
    raise BadSource(
        f"{name} of {group.file.filename} is a sparse matrix; give its .toarray(), or name other "
        "arrays"
    )


def _opened(dataset: Any) -> Any:
    transposing = {"MATLAB": "MATLAB_class" in dataset.attrs}
    transposing["Octave"] = "OCTAVE_NEW_FORMAT" in dataset.parent.attrs
    for program, has_written in transposing.items():
        if not has_written:
            continue
        raise BadSource(
            f"{dataset.name} of {dataset.file.filename} was written by {program}, which transposes "
            "arrays in HDF5 files; read it with h5py.File, and give the transposed array"
        )
    if dataset.dtype.names and "pandas_type" in dataset.parent.attrs:
        raise BadSource(
            f"{dataset.name} of {dataset.file.filename} is a table of pandas, with the fields "
            f"{', '.join(dataset.dtype.names)}, not an array; read it with pandas.read_hdf, and "
            "save it with DataFrame.to_parquet"
        )
    if dataset.dtype.metadata and "vlen" in dataset.dtype.metadata and dataset.dtype.kind == "O":
        _refuse_ragged(dataset)
    if dataset.shape is None or dataset.ndim < 2 or dataset.dtype.kind not in "biuf":
        check_dtype(np.empty(0, dataset.dtype))
        if dataset.shape is None:
            return np.empty(0)
        check_sources(dataset)
        return read_dataset(dataset)
    return H5Blocks(dataset)


def _refuse_ragged(dataset: Any) -> None:
    """Refuse rows of differing lengths; text is refused as everywhere."""
    if dataset.dtype.metadata["vlen"] not in (str, bytes):
        raise BadPoints(
            "points are ragged (rows may differ in length); save an array of shape "
            "(n_points, n_features)"
        )
