"""Data: everything that holds stimuli, as batches in order.

Data that can be indexed (arrays, data sets, folders) are drawn from with the seed. Data that can
only be iterated (a DataLoader, a generator) are taken from the front.
"""

from __future__ import annotations

import itertools
import os
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
from dimscope.files import open_array
from dimscope.networks.capturing.batches import Batch, as_batch, as_labels, as_tensor
from dimscope.networks.capturing.options import CaptureOptions

__all__ = ["Stream", "draw", "image_folder", "labels_of", "open_batches", "open_data"]


def draw(
    n: int,
    n_points: int | None,
    per_class: int | None,
    seed: int,
    find_labels: Callable[[], np.ndarray[Any, Any] | None],
) -> np.ndarray[Any, Any]:
    """Rows to use, ascending.

    Parameters
    ----------
    n : int
        How many there are.
    n_points, per_class : int, optional
        How many to draw, in all or of each class, without replacement.
    seed : int
        Of the draw.
    find_labels : callable
        Returns the labels of all rows; called for ``per_class`` only.

    Raises
    ------
    BadPoints
        If there are too few rows, or no labels.

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
    """Labels of a data set, read from its attributes if possible, else item by item."""
    if isinstance(data, Subset):
        inner = labels_of(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, ConcatDataset):
        parts = [labels_of(part) for part in data.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    if isinstance(data, TensorDataset):
        last = data.tensors[-1]
        return _classes(last, len(data)) if len(data.tensors) > 1 else None
    for name in ("targets", "labels"):
        found = _classes(getattr(data, name, None), len(data))
        if found is not None:
            return found
    labels = [_label_of(data[i]) for i in range(len(data))]
    return None if any(label is None for label in labels) else np.asarray(labels)


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


MEAN = (0.485, 0.456, 0.406)


STD = (0.229, 0.224, 0.225)


def open_data(path: Path) -> Any:
    """Open what a path points to.

    Parameters
    ----------
    path : Path
        A folder of images with one folder for each class (resized to 256, centre crop 224,
        ImageNet mean and standard deviation), or a ``.npy`` file with one row for each stimulus.

    Returns
    -------
    Dataset or array
        The array is a read-only memory map.

    Raises
    ------
    BadSource
        If there is nothing, or nothing that can be read safely.
    """
    if path.is_dir():
        return image_folder(path)
    if not path.exists():
        raise BadSource(f"{path} does not exist; give an image folder or a .npy file")
    if path.suffix != ".npy":
        raise BadSource(
            f"{path} is neither a folder of images nor a .npy file; save the array with numpy.save"
        )
    array = open_array(path)
    if array.ndim == 0:
        raise BadSource(f"{path} holds one number; give an array with one row for each stimulus")
    return array


def image_folder(path: str | os.PathLike[str], size: int = 224) -> Any:
    """A folder of images, with one folder for each class, as networks for ImageNet see them.

    Parameters
    ----------
    path : path
    size : int
        Images are resized so that their shorter side is 8 / 7 of it, and the middle ``size`` x
        ``size`` is taken; then ImageNet's mean and standard deviation are applied.

    Returns
    -------
    torchvision.datasets.ImageFolder
        For images that are to be prepared in another way give it, or any data set, yourself.

    Raises
    ------
    BadSource
        If there are no such folders, or no images in one of them.
    """
    path = Path(path)
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import default_loader

    def load(file: str) -> Any:
        try:
            return default_loader(file)
        except (OSError, SyntaxError) as error:
            raise BadSource(f"{file} is not an image that can be read: {error}") from error

    prepare = transforms.Compose(
        [
            transforms.Resize(round(size * 8 / 7)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    try:
        return ImageFolder(str(path), prepare, loader=load)
    except FileNotFoundError as error:
        hint = "put the images of each class into a folder of its own, such as cat/1.jpg"
        if not any(path.iterdir()):
            raise BadSource(f"{path} is an empty folder; {hint}") from error
        if not any(entry.is_dir() for entry in path.iterdir()):
            raise BadSource(f"{path} has no folder for each class in it; {hint}") from error
        raise BadSource(f"a class folder in {path} has no images: {error}") from error


_Rows = np.ndarray[Any, Any]

Drawn = Literal["all", "sample", "first"]


@dataclass
class Stream:
    """Batches in order.

    Parameters
    ----------
    batches : iterable of Batch
        Read once.
    n_points : int or None
        How many rows will come, where that is known.
    drawn : {"all", "sample", "first"}
        Which rows of the data these are.
    class_names : tuple of str or None
        Name of class 0, 1, ...
    parts : list of array of int
        The rows of each batch of what can be indexed; then ``batches`` reads them by
        ``fetch``.
    is_array : bool
        Whether reading all of them costs little.
    """

    batches: Iterable[Batch]
    n_points: int | None
    drawn: Drawn
    class_names: tuple[str, ...] | None = None
    parts: list[_Rows] = field(default_factory=list)
    fetch: Callable[[_Rows], Batch] | None = None
    is_array: bool = False

    def known(self, first: Batch) -> Iterator[Batch]:
        """The batches by which the data are told from others, of which the first was read."""
        yield first
        if self.fetch is not None:
            yield from map(self.fetch, self.parts[1:] if self.is_array else self.parts[1:][-1:])

    def first(self) -> Batch:
        """The first batch; it stays in the stream."""
        if self.fetch is not None:
            return self.fetch(self.parts[0])
        batches = iter(self.batches)
        batch = next(batches)
        # handed out twice: what works in place on the one must not change the other
        self.batches = itertools.chain([batch.take(np.arange(batch.n_rows))], batches)
        return batch

    def after(self, n_batches: int) -> Iterable[Batch]:
        """The batches after the first few; those of what can be indexed are not read."""
        if self.fetch is not None and n_batches:
            return map(self.fetch, self.parts[n_batches:])
        return itertools.islice(self.batches, n_batches, None)


def open_batches(data: Any, options: CaptureOptions) -> Stream:
    """Turn what the caller has into a stream of batches.

    Parameters
    ----------
    data : tensor, array, (array, labels), Dataset, DataLoader, iterable of batches, or path
        A path is a folder of images with one folder for each class, or a ``.npy`` file.
    options : CaptureOptions
        Of which ``n_points``, ``per_class``, ``seed`` and ``batch_size`` count.

    Raises
    ------
    BadSource
        If the data cannot be read.
    BadPoints
        If there are fewer rows than asked for.
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
    """Data of which any rows can be had."""

    n: int
    fetch: Callable[[_Rows], Batch]
    labels: Callable[[], np.ndarray[Any, Any] | None]
    is_array: bool = False


def _as_indexed(data: Any) -> _Indexed | None:
    if isinstance(data, np.ndarray | Tensor):
        data = (data, None)
    if isinstance(data, tuple) and data:
        _check_kind(data[0])
    if isinstance(data, tuple) and len(data) == 2 and _are_rows(*data):
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
    """Refuse single stimuli where batches are expected: their values would be taken for rows."""
    one = first[0] if isinstance(first, tuple | list) and first else first
    if not isinstance(one, Tensor | np.ndarray) or one.ndim != 1:
        return
    if one.is_floating_point() if isinstance(one, Tensor) else one.dtype.kind == "f":
        raise BadSource(
            f"the first batch has shape {tuple(one.shape)}, one number for each stimulus; if these "
            "are single stimuli, give them as one tensor, torch.stack(data)"
        )


def _as_iterable(data: Any, batch_size: int) -> Iterable[Any]:
    if isinstance(data, IterableDataset):
        return DataLoader(data, batch_size=batch_size)
    if isinstance(data, list | tuple) and data:
        _check_batch(data[0])
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise BadSource(
            f"batches is a {type(data).__name__}; use a tensor, an array, a Dataset, a "
            "DataLoader, an iterable of batches, an image folder or a .npy file"
        )
    return data


def _are_rows(first: Any, second: Any) -> bool:
    if not isinstance(first, np.ndarray | Tensor):
        return False
    if first.ndim == 0:
        raise BadPoints("the data are one number; give an array with one row for each stimulus")
    if second is None:
        return True
    return (
        isinstance(second, np.ndarray | Tensor | list)
        and np.ndim(second) == 1
        and len(second) == len(first)
    )


def _rows_of(data: Any, labels: np.ndarray[Any, Any] | None) -> Callable[[_Rows], Batch]:
    def fetch(rows: _Rows) -> Batch:
        # Always a copy: the network may work in place on what it is given.
        if isinstance(data, Tensor):
            part = data[torch.from_numpy(rows).to(data.device)]
        else:
            part = data[rows]
        known = None if labels is None else labels[rows]
        return Batch(as_tensor(part), known, len(rows))

    return fetch


def _items_of(data: Any) -> Callable[[_Rows], Batch]:
    def fetch(rows: _Rows) -> Batch:
        items = [data[int(row)] for row in rows]
        try:
            return as_batch(default_collate(items))
        except (TypeError, RuntimeError) as error:
            raise BadSource(
                f"rows {rows[0]} to {rows[-1]} of the data set do not make a batch: {error}; give "
                "the data set a transform that returns tensors of one shape"
            ) from error

    return fetch


def _limit(
    batches: Iterable[Batch], n_points: int | None, per_class: int | None
) -> Iterator[Batch]:
    """Take the first rows, in all or of each class."""
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
        raise BadSource("batches is empty (or was read before); give at least one batch")


def _class_names(data: Any) -> tuple[str, ...] | None:
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return tuple(names)
        data = getattr(data, "dataset", None)  # of a DataLoader, a Subset
    return None
