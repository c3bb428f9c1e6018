"""Store writer: write points to disk batch by batch, so that a killed capture loses at most one.

Rows are written in place as the network computes them. After each complete batch, the journal,
which records how many rows are complete, is replaced. Rows that a killed capture wrote but did not
record in the journal are overwritten when it resumes, so the store has the same bytes as if the
capture had never been interrupted.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Literal

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
    checked_array,
    completed,
    key_of,
    need_zarr,
    open_array_of,
    opened,
)
from dimscope.errors import BadSource
from dimscope.networks.capturing.identity import differing
from dimscope.networks.capturing.readouts import Column, MaskedReadout
from dimscope.networks.capturing.recording import Chosen, Recorder, failures_of
from dimscope.provenance import Provenance

__all__ = ["Writer", "add_labels", "refuse_other_capture"]


_CHUNK = 1 << 16


def add_labels(
    folder: Folder,
    coding: dict[str, Any] | None,
    labels: np.ndarray[Any, Any] | None,
    start: int,
    name: Literal["labels", "ids"] = "labels",
) -> dict[str, Any] | None:
    """Append the labels or ids of a batch to a store; words are stored as numbers.

    Parameters
    ----------
    folder : Folder
    coding : dict or None
        The return value of the previous call; an empty dict on the first call.
    labels : array of shape (n_rows,) or None
    start : int
        Row number of the first label.
    name : {"labels", "ids"}

    Returns
    -------
    dict or None
        How to decode the labels: their dtype and, for labels that are words, the word that each
        number stands for. None if some rows have no label.

    Examples
    --------
    >>> folder = Folder("memory://labels.zarr")
    >>> coding = add_labels(folder, {}, np.array(["cat", "dog"]), 0)
    >>> add_labels(folder, coding, np.array(["dog", "ape"]), 2)["words"]
    ['cat', 'dog', 'ape']
    """
    if labels is None or coding is None:
        return None
    zarr = need_zarr()
    if not coding:
        coding = {"dtype": labels.dtype.str, "words": [] if labels.dtype.kind == "U" else None}
        zarr.create_array(
            f"{folder}/{name}",
            shape=(0,),
            chunks=(_CHUNK,),
            dtype="int64",
            zarr_format=3,
            compressors=None,
            overwrite=True,
        )
    if (coding["words"] is None) != (labels.dtype.kind != "U"):
        return None  # words in one batch and numbers in another name no classes
    codes = labels
    if coding["words"] is None:
        coding = {**coding, "dtype": np.result_type(coding["dtype"], labels.dtype).str}
    else:
        words = list(dict.fromkeys([*coding["words"], *labels.tolist()]))
        coding = {**coding, "words": words}
        codes_of = {word: code for code, word in enumerate(words)}
        codes = np.array([codes_of[word] for word in labels.tolist()])
    with zarr.config.set(WHOLE):
        array = checked_array(folder, name, "r+")
    array.resize((start + len(labels),))
    array[start:] = codes.astype(np.int64)
    return coding


def refuse_other_capture(folder: Folder, identity: dict[str, Any]) -> None:
    """Refuse a folder that holds another capture.

    Parameters
    ----------
    folder : Folder
    identity : dict
        Identifies the capture that is to be written.

    Raises
    ------
    BadSource
    """
    stored = completed(folder) or folder.read_json(JOURNAL)
    if stored is not None:
        _refuse_other(folder, stored, identity)


def _refuse_other(folder: Folder, stored: dict[str, Any], identity: dict[str, Any]) -> None:
    if stored.get("schema_version") != SCHEMA_VERSION:
        raise BadSource(
            f"{folder} was started by another version of dimscope; give another path as out, or "
            "remove it"
        )
    differ = differing(stored, identity)
    if differ:
        raise BadSource(
            f"{folder} holds another capture, which differs in {', '.join(differ)}; give another "
            "path as out, or remove it"
        )


class Writer:
    """Write a store batch by batch.

    With several ranks, each rank writes a share, from row ``first`` up to batch ``stop``. It keeps
    its journal and labels in ``_home`` and draws random numbers from its own ``stream``.

    Parameters
    ----------
    folder : Folder
    identity : dict
        What identifies the capture, as JSON-compatible values.
    n_points : int or None
        Number of rows; None if it is unknown.
    owner : object, optional
        An object to keep alive as long as the arrays, such as a temporary folder.
    ranks : int
        Number of processes that write to the store.

    Raises
    ------
    BadSource
        If the folder holds something other than this capture.
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
        stored = about or journal
        if stored is None and not folder.is_empty:
            raise BadSource(
                f"{folder} exists and is not a store of activations; give another path as out"
            )
        if about is None:
            folder.refuse_links()
        if stored is not None:
            _refuse_other(folder, stored, identity)
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
                    f"{folder} was started by {len(shares) - 1} ranks; resume it with the same "
                    "number, or give another path as out"
                )
            self._state = journal
        elif about is None:
            folder.write_json(JOURNAL, self._state)
            for leftover in ("layers", "labels", "ids", "ranks", "zarr.json"):
                folder.remove(leftover)

    def complete(self) -> StoredActivations | None:
        """Return the activations if the store is complete, else None."""
        return None if self._about is None else opened(self._folder, self._about, self._owner)

    @property
    def n_batches(self) -> int:
        """Number of batches written."""
        return int(self._state["batches"])

    @property
    def n_rows(self) -> int:
        """Number of rows written."""
        return int(self._state["rows"])

    @property
    def random(self) -> list[str]:
        """The network's random state after the last batch written."""
        return list(self._state["random"])

    # -- while the network runs ---------------------------------------------------------------

    def start(self, recorder: Recorder, batch: int) -> None:
        """Create the arrays, and make the columns write to them from now on.

        Parameters
        ----------
        recorder : Recorder
            A recorder that has already selected the layers.
        batch : int
            Number of rows per batch.
        """
        group = self._zarr.open_group(self._folder.url, mode="a", zarr_format=3)
        described: dict[str, dict[str, Any]] = {}
        keys = {id(column): key for key, column in recorder.columns.items()}
        # in the order of the layers; two layers may share a column, named after the first
        labels = {
            keys[id(choice.column)]: choice.layer.name for choice in reversed(recorder.chosen)
        }
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
                    key_of(name),
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
            {**asdict(choice.layer), "column": keys[id(choice.column)]}
            for choice in recorder.chosen
        ]

    def _array(self, name: str) -> Any:
        if self._folder.path is None:
            with self._zarr.config.set(WHOLE):
                array = checked_array(self._folder, key_of(name), "r+")
            return ZarrChunks(array, self._owner)
        return open_array_of(self._folder, key_of(name), self._owner)

    def add(
        self,
        recorder: Recorder,
        labels: np.ndarray[Any, Any] | None,
        ids: np.ndarray[Any, Any] | None,
        n_rows: int,
        random: Any,
    ) -> None:
        """Append the labels of new rows, and record in the journal that these rows are complete.

        Parameters
        ----------
        recorder : Recorder
        labels, ids : array of shape (n_rows,), optional
        n_rows : int
            Number of rows since the last call.
        random : list of str
            The network's random state.
        """
        start = self.n_rows - self.first
        before = self._state["labels"] if start else {}
        self._state["labels"] = add_labels(self._home, before, labels, start)
        if ids is not None:
            coding = self._state["ids"] if start else {}
            self._state["ids"] = add_labels(self._home, coding, ids, start, "ids")
        for key, column in recorder.columns.items():
            self._state["columns"][key]["reason"] = column.reason
        self._state |= {
            "rows": self.n_rows + n_rows,
            "batches": recorder.n_batches,
            "random": random,
        }
        self._home.write_json(JOURNAL, self._state)

    def resume(self, recorder: Recorder, readout: MaskedReadout) -> None:
        """Make a recorder continue after the rows that have been written.

        Raises
        ------
        BadSource
            If the journal is damaged, or rows that it lists are missing.
        """
        try:
            self._resume(recorder, readout)
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise BadSource(
                f"{self._folder}/{JOURNAL} is damaged: {error!r}; give another path as out, or "
                "remove the store"
            ) from error

    def _resume(self, recorder: Recorder, readout: MaskedReadout) -> None:
        columns: dict[str, Column] = {}
        for key, about in self._state["columns"].items():
            column = columns[key] = Column(key, readout, recorder.layout(key))
            key_of(about["array"])  # of a failed layer too, whose array is removed at the end
            if about["reason"] is not None:
                column.fail(about["reason"])
            else:
                array = self._array(about["array"])
                array.check(range(self.first, self.n_rows))
                column.resume(about["n_features"], about["dtype"], self.n_rows, array.write)
        chosen = []
        for entry in self._state["layers"]:
            layer = Layer(**{k: v for k, v in entry.items() if k != "column"})
            chosen.append(Chosen(layer, columns[entry["column"]]))
        recorder.resume(chosen, columns, self.n_rows, self.n_batches)

    # -- at the end ---------------------------------------------------------------------------

    def finish(
        self,
        recorder: Recorder,
        class_names: tuple[str, ...] | None,
        name: str,
        provenance: Provenance,
    ) -> StoredActivations:
        """Set the final length of the arrays, describe the layers in the store, and open it.

        Raises
        ------
        BadPoints
            If no layer has points.
        """
        arrays = {id(c): self._state["columns"][k]["array"] for k, c in recorder.columns.items()}
        failures = failures_of(recorder.chosen)
        for column in recorder.columns.values():
            key = key_of(arrays[id(column)])
            if column.reason is not None:
                self._folder.remove(key)
                continue
            array = checked_array(self._folder, key, "r+")
            if array.shape[0] != self.n_rows:
                array.resize((self.n_rows, array.shape[1]))
        about = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "n_points": self.n_rows,
            "layers": [
                {
                    **asdict(choice.described()),
                    "array": None if choice.column.reason else arrays[id(choice.column)],
                }
                for choice in recorder.chosen
            ],
            "failures": failures,
            "labels": self._state["labels"],
            **({"ids": self._state["ids"]} if "ids" in self._state else {}),
            "class_names": None if class_names is None else list(class_names),
            "provenance": provenance.to_dict(),
            "identity": self._state["identity"],
        }
        group = self._zarr.open_group(
            self._folder.url, mode="r+", zarr_format=3, use_consolidated=False
        )
        group.attrs[ATTRIBUTE] = about
        self._folder.remove(JOURNAL)
        return opened(self._folder, about, self._owner)
