"""HDF5 datasets: read their values, or say why they cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadSource, first_line
from dimscope.extras import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_sources", "read_dataset"]


def check_sources(dataset: Any) -> None:
    """Refuse a virtual dataset without all of its sources, for which HDF5 would read zeros.

    Parameters
    ----------
    dataset : h5py.Dataset

    Raises
    ------
    BadSource
        If a file or a dataset that it refers to is missing or too small, or if the dataset refers
        to nothing for a part of its values.
    """
    _check_sources(dataset, ())


def _check_sources(dataset: Any, above: tuple[Any, ...]) -> None:
    """Check the sources of a dataset, itself a source of those above."""
    with needed("an HDF5 dataset"):
        import h5py

    if not dataset.is_virtual or dataset in above:
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
        If the values are compressed with a filter that is not installed, or damaged.
    """
    try:
        return np.asarray(dataset[selection])
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
