"""Stream: open data of any kind as one stream of batches.

If only some of the rows are requested, they are drawn at random, with the seed, from data that can
be indexed (arrays, data sets, folders). Of data that can only be iterated (a DataLoader, a
generator), the first rows are used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.data.batches import Batch, as_tensor, is_plain_tuple
from dimscope.networks.data.inputs import Attempt, Inputs
from dimscope.networks.data.items import PEEKED, Ragged, Rows, read_ragged
from dimscope.networks.data.readings import interpret
from dimscope.networks.data.signature import Signature
from dimscope.networks.data.sources import Indexed, draw, open_indexed, open_iterable
from dimscope.networks.options import CaptureOptions
from dimscope.networks.preprocessing import open_data
from dimscope.networks.tensors import shapes_differ

__all__ = ["Stream", "open_batches"]


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
    inputs : Inputs
        How the batches are split, and how the network is called.
    class_names : tuple of str or None
        Names of classes 0, 1, ...
    parts : list of array of int
        The row numbers of each batch, for data that can be indexed.
    fetch : callable, optional
        Returns the batch with the given row numbers, for data that can be indexed.
    is_array : bool
        Whether the data are a single array, which is cheap to read completely.
    no_labels : str
        Why a batch read so far has no labels although its data have some.
    """

    batches: Iterable[Batch]
    n_points: int | None
    drawn: Drawn
    inputs: Inputs
    class_names: tuple[str, ...] | None = None
    parts: list[Rows] = field(default_factory=list)
    fetch: Callable[[Rows], Batch] | None = None
    is_array: bool = False
    no_labels: str = ""

    def __post_init__(self) -> None:
        self.batches = map(self._noted, self.batches)
        if self.fetch is not None:
            fetch = self.fetch
            self.fetch = lambda rows: self._noted(fetch(rows))

    def _noted(self, batch: Batch) -> Batch:
        self.no_labels = self.no_labels or batch.no_labels
        return batch

    def identifying(self, first: Batch) -> Iterator[Batch]:
        """Yield the batches whose values identify the data, starting with ``first``."""
        yield first
        if self.fetch is not None:
            yield from map(self.fetch, self.parts[1:] if self.is_array else self.parts[1:][-1:])

    def peek(self, n_rows: int) -> Batch:
        """Return the first rows of the first batch without removing them from the stream."""
        if self.fetch is not None:
            return self.fetch(self.parts[0][:n_rows])
        first = self.first()
        return first.take(np.arange(min(n_rows, first.n_rows)))

    def first(self) -> Batch:
        """Return the first batch without removing it from the stream."""
        if self.fetch is not None:
            return self.fetch(self.parts[0])
        if isinstance(self.batches, list):  # they are held
            held: Batch = self.batches[0]
            return held.take(np.arange(held.n_rows))
        batches = iter(self.batches)
        batch = next(batches)
        # a copy stays in the stream, so that in-place operations cannot change it
        self.batches = itertools.chain([batch.take(np.arange(batch.n_rows))], batches)
        return batch

    def hold(self, at_most: int | None = None, seed: int = 0) -> None:
        """Read the batches and keep them, so that they can be run again and again.

        Parameters
        ----------
        at_most : int, optional
            Number of rows to keep: drawn with the seed from data that can be indexed, otherwise the
            first ones.
        seed : int
        """
        if at_most is not None and self.fetch is not None:
            rows = np.concatenate(self.parts)
            if len(rows) > at_most:
                places = draw(len(rows), at_most, None, seed, lambda: (None, ""))
                rows, size = rows[places], len(self.parts[0])
                self.parts = [rows[i : i + size] for i in range(0, at_most, size)]
                self.batches, self.drawn = map(self.fetch, self.parts), "sample"
        kept: list[Batch] = []
        n_rows = 0
        for batch in self.batches:
            if at_most is not None and n_rows + batch.n_rows > at_most:
                batch = batch.take(np.arange(at_most - n_rows))
                self.drawn = "first"
            if batch.n_rows:
                kept.append(batch)
            n_rows += batch.n_rows
            if n_rows == at_most:
                break
        self.batches, self.fetch, self.n_points = kept, None, n_rows

    def after(self, n_batches: int) -> Iterable[Batch]:
        """Return the batches after the first ``n_batches``, without reading those if possible."""
        if self.fetch is not None and n_batches:
            return map(self.fetch, self.parts[n_batches:])
        return itertools.islice(self.batches, n_batches, None)


def open_batches(
    data: Any,
    options: CaptureOptions,
    signature: Signature | None = None,
    attempt: Attempt | None = None,
) -> Stream:
    """Open data as a stream of batches.

    Parameters
    ----------
    data : tensor, array, tuple or dict of them, Dataset, DataLoader, iterable of batches, or path
        A path is a folder of images with one folder for each class, or a ``.npy`` file.
    options : CaptureOptions
        Only ``n_points``, ``per_class``, ``seed``, ``batch_size``, ``forward``, ``mask``, ``ids``
        and ``batch_axis`` are used.
    signature : Signature, optional
        Of the network.
    attempt : callable, optional
        Runs a few rows, to decide where the structure of the data leaves several readings; without
        it, the first reading is taken.

    Raises
    ------
    BadSource
        If the data cannot be read, or several ways to read them suit the network.
    BadPoints
        If the data have fewer rows than requested.
    """
    if isinstance(data, str | Path):
        data = open_data(Path(data))
    names = _class_names(data)
    is_part = options.n_points is not None or options.per_class is not None
    source = open_indexed(data, options, signature)
    stimuli = is_plain_tuple(data) and _are_stimuli(data, source, options, signature, attempt)
    if source is None or stimuli:
        inputs, numbered = open_iterable(data, options, signature, attempt, single=stimuli)
        split = _split_all(inputs, numbered)
        batches = _limit(split, options.n_points, options.per_class)
        return Stream(batches, None, "first" if is_part else "all", inputs, names)
    if source.n == 0:
        raise BadPoints("the data hold no rows; give at least three")
    for option in ("mask", "ids"):
        values = getattr(options, option)
        if values is not None and not isinstance(values, str) and len(values) != source.n:
            raise BadPoints(
                f"{option} has {len(values)} rows, but the data have {source.n}; give one for each "
                "row of the data"
            )
    rows = draw(source.n, options.n_points, options.per_class, options.seed, source.labels)
    size = options.batch_size
    raw = source.fetch(rows[:size])
    if isinstance(raw, Ragged):
        inputs, raw, size = read_ragged(raw, options, signature, attempt)
    else:
        inputs = interpret(raw, options, signature, attempt)
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    numbers = {int(part[0]): number for number, part in enumerate(parts, 1)}
    read = {parts[0].tobytes(): raw}  # the first batch is read once

    def fetch(part: Rows) -> Batch:
        raw = read.pop(part.tobytes(), None)
        raw = source.fetch(part) if raw is None else raw
        if isinstance(raw, Ragged):
            raw = raw.stimuli if inputs.layout.lists else raw.refuse(part)
        number = numbers.get(int(part[0]), 1)
        return inputs.split(raw, number, part)

    drawn: Drawn = "sample" if is_part else "all"
    return Stream(map(fetch, parts), len(rows), drawn, inputs, names, parts, fetch, source.is_array)


def _are_stimuli(
    data: tuple[Any, ...],
    source: Indexed | None,
    options: CaptureOptions,
    signature: Signature | None,
    attempt: Attempt | None,
) -> bool:
    """Whether a tuple of equal arrays holds stimuli, as a list would, rather than columns."""
    first = data[0]
    if source is None or attempt is None or shapes_differ(data):
        return False
    if not isinstance(as_tensor(first), Tensor) or not as_tensor(first).is_floating_point():
        return False
    options = replace(options, mask=None, ids=None)
    raw = source.fetch(np.arange(min(source.n, PEEKED)))
    interpret(raw, options, signature)  # a structure that is refused stays so
    try:
        interpret(raw, options, signature, attempt, strict=True)
    except BadSource as columns:
        if "runs on a batch as" in str(columns):
            raise
        try:
            open_iterable(data, options, signature, attempt, single=True)
        except BadSource:
            return False
        return True
    return False


def _split_all(inputs: Inputs, raws: Iterator[Any]) -> Iterator[Batch]:
    n_rows = 0
    for number, raw in enumerate(raws, 1):
        batch = inputs.split(raw, number, n_rows)
        n_rows += batch.n_rows
        yield batch


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
                reason = batch.no_labels or "the batches have none"
                raise BadPoints(f"per_class needs labels, but {reason}")
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


def _class_names(data: Any) -> tuple[str, ...] | None:
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return tuple(names)
        data = getattr(data, "dataset", None)  # of a DataLoader, a Subset
    return None
