"""Data: open arrays, data sets, folders and iterables of stimuli as one stream of batches.

If only some of the rows are requested, they are drawn at random, with the seed, from data that can
be indexed (arrays, data sets, folders). Of data that can only be iterated (a DataLoader, a
generator), the first rows are used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.batches import Batch, as_batch, as_labels, as_tensor
from dimscope.networks.capturing.options import CaptureOptions
from dimscope.networks.preprocessing import image_folder, open_data

__all__ = ["Stream", "draw", "image_folder", "labels_of", "open_batches", "open_data"]


def draw(
    n: int,
    n_points: int | None,
    per_class: int | None,
    seed: int,
    find_labels: Callable[[], np.ndarray[Any, Any] | None],
) -> np.ndarray[Any, Any]:
    """Draw rows without replacement and return their numbers in ascending order.

    Parameters
    ----------
    n : int
        Number of rows in the data.
    n_points, per_class : int, optional
        How many rows to draw, in total or from each class; all rows by default.
    seed : int
    find_labels : callable
        Returns the labels of all rows; called only if ``per_class`` is given.

    Raises
    ------
    BadPoints
        If there are too few rows, or ``per_class`` is given but there are no labels.

    Examples
    --------
    >>> draw(6, None, 1, 0, lambda: np.array([0, 0, 0, 1, 1, 1])).shape
    (2,)
    """
    generator = np.random.default_rng(seed)
    if n_points is not None:
        if n_points > n:
            raise BadPoints(f"n_points is {n_points} but the data hold {n} rows; ask for fewer")
        return np.sort(generator.choice(n, n_points, replace=False))
    if per_class is None:
        return np.arange(n)
    labels = find_labels()
    if labels is None:
        raise BadPoints(
            "per_class needs labels, but the data have none; give (inputs, labels), a data set "
            "with labels, or use n_points"
        )
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise BadPoints(
                f"class {label} has {len(rows)} rows but per_class is {per_class}; ask for fewer"
            )
        drawn.append(generator.choice(rows, per_class, replace=False))
    return np.sort(np.concatenate(drawn))


def labels_of(data: Any) -> np.ndarray[Any, Any] | None:
    """Return the labels of a data set, from its attributes if possible, else from each item."""
    if isinstance(data, Subset):
        inner = labels_of(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, ConcatDataset):
        parts = [labels_of(part) for part in data.datasets]
        labelled = [part for part in parts if part is not None]
        return np.concatenate(labelled) if len(labelled) == len(parts) else None
    if isinstance(data, TensorDataset):
        last = data.tensors[-1]
        return _classes(last, len(data)) if len(data.tensors) > 1 else None
    for name in ("targets", "labels"):
        labels = _classes(getattr(data, name, None), len(data))
        if labels is not None:
            return labels
    items = [_label_of(data[i]) for i in range(len(data))]
    return None if any(label is None for label in items) else np.asarray(items)


def _label_of(item: Any) -> Any:
    if isinstance(item, dict):
        value = item.get("labels", item.get("label"))
    else:
        value = item[1] if isinstance(item, tuple | list) and len(item) == 2 else None
    if isinstance(value, Tensor | np.ndarray | np.generic):
        count = value.numel() if isinstance(value, Tensor) else value.size
        value = value.item() if count == 1 else None
    return value if isinstance(value, int | str) else None


def _classes(values: Any, n: int) -> np.ndarray[Any, Any] | None:
    if values is None:
        return None
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array if array.shape == (n,) and array.dtype.kind in "iubU" else None


_Rows = np.ndarray[Any, Any]

Drawn = Literal["all", "sample", "first"]


@dataclass
class Stream:
    """Batches of stimuli in a fixed order.

    Parameters
    ----------
    batches : iterable of Batch
        Iterated once.
    n_points : int or None
        Number of rows; None if it is unknown.
    drawn : {"all", "sample", "first"}
        Which rows of the data the batches hold: all, a random sample, or the first ones.
    class_names : tuple of str or None
        Names of classes 0, 1, ...
    parts : list of array of int
        The row numbers of each batch, for data that can be indexed.
    fetch : callable, optional
        Returns the batch with the given row numbers, for data that can be indexed.
    is_array : bool
        Whether the data are a single array, which is cheap to read completely.
    """

    batches: Iterable[Batch]
    n_points: int | None
    drawn: Drawn
    class_names: tuple[str, ...] | None = None
    parts: list[_Rows] = field(default_factory=list)
    fetch: Callable[[_Rows], Batch] | None = None
    is_array: bool = False

    def identifying(self, first: Batch) -> Iterator[Batch]:
        """Yield the batches whose values identify the data, starting with ``first``."""
        yield first
        if self.fetch is not None:
            yield from map(self.fetch, self.parts[1:] if self.is_array else self.parts[1:][-1:])

    def first(self) -> Batch:
        """Return the first batch without removing it from the stream."""
        if self.fetch is not None:
            return self.fetch(self.parts[0])
        batches = iter(self.batches)
        batch = next(batches)
        # a copy stays in the stream, so that in-place operations cannot change it
        self.batches = itertools.chain([batch.take(np.arange(batch.n_rows))], batches)
        return batch

    def after(self, n_batches: int) -> Iterable[Batch]:
        """Return the batches after the first ``n_batches``, without reading those if possible."""
        if self.fetch is not None and n_batches:
            return map(self.fetch, self.parts[n_batches:])
        return itertools.islice(self.batches, n_batches, None)


def open_batches(data: Any, options: CaptureOptions) -> Stream:
    """Open data as a stream of batches.

    Parameters
    ----------
    data : tensor, array, (array, labels), Dataset, DataLoader, iterable of batches, or path
        A path is a folder of images with one folder for each class, or a ``.npy`` file.
    options : CaptureOptions
        Only ``n_points``, ``per_class``, ``seed`` and ``batch_size`` are used.

    Raises
    ------
    BadSource
        If the data cannot be read.
    BadPoints
        If the data have fewer rows than requested.
    """
    n_points, per_class, batch_size = options.n_points, options.per_class, options.batch_size
    if isinstance(data, str | Path):
        data = open_data(Path(data))
    names = _class_names(data)
    is_part = n_points is not None or per_class is not None
    source = _as_indexed(data)
    if source is None:
        batches = _limit(map(as_batch, _as_iterable(data, batch_size)), n_points, per_class)
        return Stream(_check(batches), None, "first" if is_part else "all", names)
    if source.n == 0:
        raise BadPoints("the data hold no rows; give at least three")
    rows = draw(source.n, n_points, per_class, options.seed, source.labels)
    parts = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    drawn: Drawn = "sample" if is_part else "all"
    return Stream(
        map(source.fetch, parts), len(rows), drawn, names, parts, source.fetch, source.is_array
    )


@dataclass(frozen=True)
class _Indexed:
    """Data that can be read at any rows."""

    n: int
    fetch: Callable[[_Rows], Batch]
    labels: Callable[[], np.ndarray[Any, Any] | None]
    is_array: bool = False


def _as_indexed(data: Any) -> _Indexed | None:
    if isinstance(data, np.ndarray | Tensor):
        data = (data, None)
    if isinstance(data, tuple) and data:
        _check_kind(data[0])
    if isinstance(data, tuple) and len(data) > 1 and isinstance(data[0], np.ndarray | Tensor):
        # never a series of batches: labels of another shape would be run as stimuli
        if len(data) > 2 or not _are_rows(*data):
            raise _not_labelled(data)
        labels = as_labels(data[1], len(data[0]))
        return _Indexed(len(data[0]), _rows_of(data[0], labels), lambda: labels, is_array=True)
    if isinstance(data, IterableDataset | DataLoader | list | tuple | Mapping):
        return None
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return _Indexed(len(data), _items_of(data), lambda: labels_of(data))
    return None


def _check_kind(values: Any) -> None:
    if isinstance(values, Tensor) and values.layout != torch.strided:
        raise BadPoints(f"the data are a {values.layout} tensor; give data.to_dense()")
    if isinstance(values, np.ndarray) and values.dtype.kind not in "biufc":
        raise BadPoints(f"the data hold {values.dtype} values, not numbers; convert them first")


def _check_batch(first: Any) -> None:
    """Refuse single stimuli given as batches: each of their values would become a row."""
    values = first[0] if isinstance(first, tuple | list) and first else first
    if not isinstance(values, Tensor | np.ndarray) or values.ndim != 1:
        return
    if values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f":
        raise BadSource(
            f"the first batch has shape {tuple(values.shape)}, one number for each stimulus; if "
            "each item of data is one stimulus, give them as one tensor: torch.stack(data)"
        )


def _as_iterable(data: Any, batch_size: int) -> Iterable[Any]:
    if isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=batch_size)
    if isinstance(data, DataLoader):
        return _apart(data)
    if isinstance(data, list | tuple) and data:
        _check_batch(data[0])
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise BadSource(
            f"batches is a {type(data).__name__}; use a tensor, an array, a Dataset, a "
            "DataLoader, an iterable of batches, an image folder or a .npy file"
        )
    return data


def _not_labelled(data: tuple[Any, ...]) -> BadSource:
    kinds = [
        f"shape {tuple(part.shape)}" if hasattr(part, "shape") else f"type {type(part).__name__}"
        for part in data
    ]
    return BadSource(
        f"the data are a tuple of {' and '.join(kinds)}, which is not (inputs, labels) with one "
        "label for each row; give such a tuple or, for a network with two inputs, a list of "
        "batches such as [(first, second)]"
    )


def _apart(loader: Iterable[Any]) -> Iterator[Any]:
    """Iterate a loader from torch's present random state, which does not advance for the caller."""
    state = torch.get_rng_state()
    batches: Iterator[Any] | None = None
    while True:
        before = torch.get_rng_state()
        torch.set_rng_state(state)
        try:
            batches = iter(loader) if batches is None else batches
            batch = next(batches)
        except StopIteration:
            return
        finally:
            state = torch.get_rng_state()
            torch.set_rng_state(before)
        yield batch


def _are_rows(first: Any, second: Any) -> bool:
    if first.ndim == 0:
        raise BadPoints(
            "the data are a single number; give an array with one row for each stimulus"
        )
    if second is None:
        return True
    return (
        isinstance(second, np.ndarray | Tensor | list)
        and np.ndim(second) == 1
        and len(second) == len(first)
    )


def _rows_of(data: Any, labels: np.ndarray[Any, Any] | None) -> Callable[[_Rows], Batch]:
    def fetch(rows: _Rows) -> Batch:
        # always a copy: the network may change its inputs in place
        if isinstance(data, Tensor):
            part = data[torch.from_numpy(rows).to(data.device)]
        else:
            part = data[rows]
        part_labels = None if labels is None else labels[rows]
        return Batch(as_tensor(part), part_labels, len(rows))

    return fetch


def _items_of(data: Any) -> Callable[[_Rows], Batch]:
    def fetch(rows: _Rows) -> Batch:
        items = [data[int(row)] for row in rows]
        try:
            return as_batch(default_collate(items))
        except (TypeError, RuntimeError) as error:
            raise BadSource(
                f"rows {rows[0]} to {rows[-1]} of the data set do not form a batch: {error}; give "
                "the data set a transform that returns tensors of equal shape"
            ) from error

    return fetch


def _limit(
    batches: Iterable[Batch], n_points: int | None, per_class: int | None
) -> Iterator[Batch]:
    """Yield the first rows, in total or of each class."""
    left = n_points
    taken: dict[Any, int] = {}
    n_rows = 0
    for batch in batches:
        if batch.n_rows == 0:
            continue
        n_rows += batch.n_rows
        if per_class is not None:
            if batch.labels is None:
                raise BadPoints("per_class needs labels, but the batches have none")
            rows = []
            for row, label in enumerate(batch.labels.tolist()):
                taken[label] = taken.get(label, 0) + 1
                if taken[label] <= per_class:
                    rows.append(row)
            if rows:
                yield batch.take(np.asarray(rows))
        elif left is None:
            yield batch
        else:
            yield batch if batch.n_rows <= left else batch.take(np.arange(left))
            left -= batch.n_rows
            if left <= 0:
                return
    if left is not None and n_rows:
        raise BadPoints(f"n_points is {n_points}, but the data have {n_rows} rows; ask for fewer")
    for label, count in taken.items():
        if per_class is not None and count < per_class:
            raise BadPoints(
                f"class {label} has {count} rows but per_class is {per_class}; ask for fewer"
            )


def _check(batches: Iterator[Batch]) -> Iterator[Batch]:
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        raise BadSource("batches is empty, or was already read; give at least one batch")


def _class_names(data: Any) -> tuple[str, ...] | None:
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return tuple(names)
        data = getattr(data, "dataset", None)  # of a DataLoader, a Subset
    return None
