"""Store writer: the points of a running network on disk, so that a kill costs one batch.

Rows are put where they belong as the network makes them. When a batch is complete, the journal is
written beside and renamed. Whatever a killed capture left beyond the rows of its journal is
overwritten by the capture that resumes, which therefore ends with the same bytes as one that was
never disturbed.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np

from dimscope.activations.activations import Layer
from dimscope.activations.chunks import ZarrChunks, chunk_shape
from dimscope.activations.store import (
    ATTRIBUTE,
    JOURNAL,
    SCHEMA_VERSION,
    WHOLE,
    Folder,
    StoredActivations,
    completed,
    need_zarr,
    open_array_of,
    opened,
)
from dimscope.errors import BadSource
from dimscope.networks.capturing.columns import Column
from dimscope.networks.capturing.identity import differing
from dimscope.networks.capturing.options import Readout
from dimscope.networks.capturing.recording import Chosen, Recorder, failures_of
from dimscope.provenance import Provenance

__all__ = ["Writer", "add_labels"]


_CHUNK = 1 << 16


def add_labels(
    folder: Folder, known: dict[str, Any] | None, labels: np.ndarray[Any, Any] | None, start: int
) -> dict[str, Any] | None:
    """Write the labels of some rows; words are written as numbers.

    Parameters
    ----------
    folder : Folder
    known : dict or None
        What was returned for the rows before; empty before the first.
    labels : array of shape (n_rows,) or None
    start : int
        The first of the rows.

    Returns
    -------
    dict or None
        How to read them: their type, and the words that numbers stand for. None if some
        rows have no labels.

    Examples
    --------
    >>> folder = Folder("memory://labels.zarr")
    >>> known = add_labels(folder, {}, np.array(["cat", "dog"]), 0)
    >>> add_labels(folder, known, np.array(["dog", "ape"]), 2)["words"]
    ['cat', 'dog', 'ape']
    """
    if labels is None or known is None:
        return None
    zarr = need_zarr()
    if not known:
        known = {"dtype": labels.dtype.str, "words": [] if labels.dtype.kind == "U" else None}
        zarr.create_array(
            f"{folder}/labels",
            shape=(0,),
            chunks=(_CHUNK,),
            dtype="int64",
            compressors=None,
            overwrite=True,
        )
    if (known["words"] is None) != (labels.dtype.kind != "U"):
        return None  # words in one batch and numbers in another name no classes
    codes = labels
    if known["words"] is None:
        known = {**known, "dtype": np.result_type(known["dtype"], labels.dtype).str}
    else:
        words = list(dict.fromkeys([*known["words"], *labels.tolist()]))
        known = {**known, "words": words}
        place = {word: code for code, word in enumerate(words)}
        codes = np.array([place[word] for word in labels.tolist()])
    with zarr.config.set(WHOLE):
        array = zarr.open_array(f"{folder}/labels", mode="r+")
    array.resize((start + len(labels),))
    array[start:] = codes.astype(np.int64)
    return known


class Writer:
    """Put batch after batch into a store.

    One rank of several writes a share: rows from ``first`` to the batch before ``stop``,
    its journal and labels in ``_home``, and draws random numbers from its own ``stream``.

    Parameters
    ----------
    folder : Folder
    identity : dict
        What makes a capture the same as another; only values that JSON holds.
    n_points : int or None
        How many rows will come, where that is known.
    owner : object, optional
        Kept alive by what is read from the store.
    ranks : int
        How many processes write to it.

    Raises
    ------
    BadSource
        If there is something else, or another capture.
    """

    stop: int | None = None
    stream = 0
    first = 0

    def __init__(
        self,
        folder: Folder,
        identity: dict[str, Any],
        n_points: int | None,
        owner: object = None,
        ranks: int = 1,
    ) -> None:
        self._zarr = need_zarr()
        self._folder, self._owner, self._home = folder, owner, folder
        about = completed(folder)
        journal = folder.read_json(JOURNAL) if about is None else None
        self._about = about
        known = about or journal
        if known is None and not folder.is_empty:
            raise BadSource(
                f"{folder} exists and is not a store of activations; give another path as out"
            )
        if known is not None:
            self._check_same(known, identity)
            folder.tidy()
        self._state: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "identity": identity,
            "n_points": n_points,
            "rows": 0,
            "batches": 0,
        }
        if journal is not None and journal.get("batches"):
            shares = journal.get("shares")
            if shares is not None and len(shares) - 1 != ranks:
                raise BadSource(
                    f"{folder} was begun by {len(shares) - 1} ranks; go on with as many, or give "
                    "another path as out"
                )
            self._state = journal
        elif about is None:
            folder.write_json(JOURNAL, self._state)
            for leftover in ("layers", "labels", "ranks", "zarr.json"):
                folder.remove(leftover)

    def _check_same(self, known: dict[str, Any], identity: dict[str, Any]) -> None:
        if known.get("schema_version") != SCHEMA_VERSION:
            raise BadSource(
                f"{self._folder} was begun by another version of dimscope; give another path as "
                "out, or remove it"
            )
        differ = differing(known, identity)
        if differ:
            raise BadSource(
                f"{self._folder} holds another capture, with other {', '.join(differ)}; give "
                "another path as out, or remove it"
            )

    def complete(self) -> StoredActivations | None:
        """What is in the store if nothing is missing."""
        return None if self._about is None else opened(self._folder, self._about, self._owner)

    @property
    def n_batches(self) -> int:
        """How many batches are written."""
        return int(self._state["batches"])

    @property
    def n_rows(self) -> int:
        """How many rows are written."""
        return int(self._state["rows"])

    @property
    def random(self) -> list[str]:
        """Where the network's random numbers stood after the last batch."""
        return list(self._state["random"])

    # -- while the network runs ---------------------------------------------------------------

    def start(self, recorder: Recorder, batch: int) -> None:
        """Make the arrays, and have the columns write to them from now on.

        Parameters
        ----------
        recorder : Recorder
            After its choice.
        batch : int
            Rows of a batch.
        """
        group = self._zarr.open_group(self._folder.url, mode="a")
        described: dict[str, dict[str, Any]] = {}
        keys = {id(column): key for key, column in recorder.columns.items()}
        # in the order of the layers; two layers may have the same points
        labels = {keys[id(one.column)]: one.layer.name for one in reversed(recorder.chosen)}
        for number, (key, label) in enumerate(reversed(labels.items())):
            column = recorder.columns[key]
            name = f"{number:03d}-{re.sub(r'[^A-Za-z0-9_]+', '-', label)[:60].strip('-')}"
            described[key] = {
                "array": name,
                "dtype": column.dtype.name,
                "n_features": column.n_features,
                "reason": column.reason,
            }
            if column.reason is None:
                group.create_array(
                    f"layers/{name}",
                    shape=(self._state["n_points"] or column.used, column.n_features),
                    chunks=chunk_shape(
                        column.n_features, column.dtype.itemsize, batch, self._state["n_points"]
                    ),
                    dtype=column.dtype,
                    compressors=None,
                    filters=None,
                    fill_value=0,
                    attributes={"layer": label},
                )
                column.divert(self._array(name).write)
        self._state["columns"] = described
        self._state["layers"] = [
            {**asdict(one.layer), "column": keys[id(one.column)]} for one in recorder.chosen
        ]

    def _array(self, name: str) -> Any:
        if self._folder.path is None:
            with self._zarr.config.set(WHOLE):
                array = self._zarr.open_array(f"{self._folder}/layers/{name}", mode="r+")
            return ZarrChunks(array, self._owner)
        return open_array_of(self._folder, f"layers/{name}", self._owner)

    def add(
        self, recorder: Recorder, labels: np.ndarray[Any, Any] | None, n_rows: int, random: Any
    ) -> None:
        """Note that rows are whole, with their labels.

        Parameters
        ----------
        recorder : Recorder
        labels : array of shape (n_rows,), optional
        n_rows : int
            Rows since the last time.
        random : list of str
            Where the network's random numbers stand.
        """
        start = self.n_rows - self.first
        before = self._state["labels"] if start else {}
        self._state["labels"] = add_labels(self._home, before, labels, start)
        for key, column in recorder.columns.items():
            self._state["columns"][key]["reason"] = column.reason
        self._state |= {
            "rows": self.n_rows + n_rows,
            "batches": recorder.n_batches,
            "random": random,
        }
        self._home.write_json(JOURNAL, self._state)

    def resume(self, recorder: Recorder, readout: Readout) -> None:
        """Have a recorder go on after the rows that are written.

        Raises
        ------
        BadSource
            If some of them, or of what is known of them, are not there.
        """
        try:
            self._resume(recorder, readout)
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise BadSource(
                f"{self._folder}/{JOURNAL} is damaged: {error!r}; give another path as out, or "
                "remove the store"
            ) from error

    def _resume(self, recorder: Recorder, readout: Readout) -> None:
        columns: dict[str, Column] = {}
        for key, about in self._state["columns"].items():
            column = columns[key] = Column(key, readout)
            if about["reason"] is not None:
                column.fail(about["reason"])
            else:
                array = self._array(about["array"])
                array.check(range(self.first, self.n_rows))
                column.resume(about["n_features"], about["dtype"], self.n_rows, array.write)
        chosen = []
        for one in self._state["layers"]:
            layer = Layer(**{k: v for k, v in one.items() if k != "column"})
            chosen.append(Chosen(layer, columns[one["column"]]))
        recorder.resume(chosen, columns, self.n_rows, self.n_batches)

    # -- at the end ---------------------------------------------------------------------------

    def finish(
        self,
        recorder: Recorder,
        class_names: tuple[str, ...] | None,
        name: str,
        provenance: Provenance,
    ) -> StoredActivations:
        """Give the arrays their length, write what is known of the layers, and open the store.

        Raises
        ------
        BadPoints
            If none of the layers has points.
        """
        arrays = {id(c): self._state["columns"][k]["array"] for k, c in recorder.columns.items()}
        failures = failures_of(recorder.chosen)
        for column in recorder.columns.values():
            key = f"layers/{arrays[id(column)]}"
            if column.reason is not None:
                self._folder.remove(key)
                continue
            array = self._zarr.open_array(f"{self._folder}/{key}", mode="r+")
            if array.shape[0] != self.n_rows:
                array.resize((self.n_rows, array.shape[1]))
        about = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "n_points": self.n_rows,
            "layers": [
                {
                    **asdict(one.described()),
                    "array": None if one.column.reason else arrays[id(one.column)],
                }
                for one in recorder.chosen
            ],
            "failures": failures,
            "labels": self._state["labels"],
            "class_names": None if class_names is None else list(class_names),
            "provenance": provenance.to_dict(),
            "identity": self._state["identity"],
        }
        self._zarr.open_group(self._folder.url, mode="r+").attrs[ATTRIBUTE] = about
        self._folder.remove(JOURNAL)
        return opened(self._folder, about, self._owner)
