"""HDF5 datasets: read their values, or say why they cannot be read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadSource, first_line
from dimscope.extras import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_sources", "read_dataset"]


def check_sources(dataset: Any) -> None:
    """Refuse a dataset whose values are not all there, for which HDF5 would read zeros.

    Parameters
    ----------
    dataset : h5py.Dataset

    Raises
    ------
    BadSource
        If a part was never written and no value was stated for it, or if a file or a dataset that
        it refers to is missing or too small, or if it refers to nothing for a part of its values.
    """
    _check_sources(dataset, ())


def _check_written(dataset: Any) -> None:
    """Refuse a dataset that was not written to its end."""
    settings, place = dataset.id.get_create_plist(), f"{dataset.name} of {dataset.file.filename}"
    for number in range(settings.get_external_count()):
        name, offset, size = settings.get_external(number)
        path = _source_path(Path(dataset.file.filename), name.decode(errors="replace"))
        if path is not None and path.stat().st_size < offset + min(size, dataset.nbytes):
            raise BadSource(f"{place} lies in the file {path}, which is too short; copy it again")
    if settings.get_external_count() or _has_stated_fill(settings) or not dataset.size:
        return
    if dataset.chunks is None:
        written, total = int(dataset.id.get_storage_size() > 0), 1
    else:
        lengths = zip(dataset.shape, dataset.chunks, strict=True)
        total = math.prod(-(-length // chunk) for length, chunk in lengths)
        written = dataset.id.get_num_chunks()
    if written < total:
        raise BadSource(
            f"{place}: {total - written} of its {total} parts were never written, and would be "
            "read as zeros; write them, or give the rows that were written as an array"
        )


def _has_stated_fill(settings: Any) -> bool:
    """Tell whether the writer stated what values that were not written are."""
    with needed("an HDF5 dataset"):
        import h5py
    return bool(settings.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED)


def _check_sources(dataset: Any, above: tuple[Any, ...]) -> None:
    """Check the sources of a dataset, itself a source of those above."""
    with needed("an HDF5 dataset"):
        import h5py

    if not dataset.is_virtual:
        _check_written(dataset)
        return
    if dataset in above:
        return
    chain = (*above, dataset)
    n_covered = 0
    for target, file_name, name, selected in dataset.virtual_sources():
        n_values = target.get_select_npoints()
        n_covered += n_values
        if file_name == ".":
            _check_source(chain, dataset.file, name, selected, n_values)
            continue
        path = _source_path(Path(dataset.file.filename), file_name)
        if path is None:
            raise _refused(chain, f"the file {file_name}, which is missing")
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise _refused(
                chain, f"the file {file_name}, which cannot be read ({first_line(error)})"
            ) from None
        with file:
            _check_source(chain, file, name, selected, n_values)
    if 0 <= n_covered < dataset.size:
        raise _refused(chain, f"other data for {n_covered} of its {dataset.size} values only")


def _source_path(path: Path, file_name: str) -> Path | None:
    """Find a file that a virtual dataset names, where HDF5 looks for it."""
    name = Path(file_name)
    places = [path.parent / name, path.parent / name.name, path.resolve().parent / name, name]
    return next((place for place in places if place.is_file()), None)


def _check_source(
    chain: tuple[Any, ...], file: Any, name: str, selected: Any, n_values: int
) -> None:
    with needed("an HDF5 dataset"):
        import h5py

    source = file.get(name)
    where = f"{name} of the file {file.filename}"
    if not isinstance(source, h5py.Dataset):
        raise _refused(chain, f"{where}, which is missing")
    if selected.get_simple_extent_ndims():
        last = selected.get_select_bounds()[1]
        is_small = any(i >= length for i, length in zip(last, source.shape, strict=False))
    else:  # the whole source, whose shape is not stated
        is_small = source.size < n_values
    if is_small:
        raise _refused(chain, f"{where}, whose shape {source.shape} is too small")
    _check_sources(source, chain)


def _refused(chain: tuple[Any, ...], what: str) -> BadSource:
    dataset = chain[0]
    return BadSource(
        f"{dataset.name} of {dataset.file.filename} is a virtual dataset, which refers to {what}; "
        "copy all data into one file"
    )


def read_dataset(dataset: Any, selection: Any = ...) -> NDArray[Any]:
    """Read values of a dataset into a new array.

    Parameters
    ----------
    dataset : h5py.Dataset
    selection : index
        As h5py takes it; by default everything.

    Raises
    ------
    BadSource
        If the values are compressed with a filter that is not installed, or damaged, or missing.
    """
    try:
        values = np.asarray(dataset[selection])
    except (OSError, ValueError) as error:
        place = f"{dataset.name} of {dataset.file.filename}"
        filters = _missing_filters(dataset)
        if filters:
            raise BadSource(
                f"{place} is compressed with {', '.join(filters)}, which h5py does not know; "
                "install hdf5plugin and import it first, or save the data with gzip"
            ) from None
        raise BadSource(
            f"{place} cannot be read: it is damaged ({first_line(error)}); copy it again"
        ) from None
    for name in ("_FillValue", "missing_value"):  # as netCDF marks what is missing
        if name in dataset.attrs and np.isin(values, dataset.attrs[name]).any():
            raise BadSource(
                f"{dataset.name} of {dataset.file.filename} holds its {name}, "
                f"{np.ravel(dataset.attrs[name])[0]}, which marks missing values; remove these rows"
            )
    return values


def _missing_filters(dataset: Any) -> list[str]:
    with needed("an HDF5 dataset"):
        import h5py

    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number) for number in range(settings.get_nfilters())]
    return [
        f"{name.decode(errors='replace') or 'a filter'} (filter {code})"
        for code, _, _, name in filters
        if not h5py.h5z.filter_avail(code)
    ]
