"""Shares: what each rank of a capture writes to the store that they have in common.

Rank 0 runs the first batch, makes the choice of layers and the arrays, and shares out what
is left, in runs of whole batches, so that row for row the store is that of a single
process. To every other rank the capture is one that goes on, after batches that somebody
else writes. Its journal and its labels are in ``ranks/NUMBER`` of the store until rank 0,
once all are done, takes them over and completes the store.

Ranks write to the same chunks, but never to the same bytes, and nobody reads a chunk to
write it. That is safe in files on one machine, and so these are asked for.
"""

from __future__ import annotations

from typing import Any

from dimscope.capturing.identities import differing
from dimscope.capturing.labelling import add_labels
from dimscope.capturing.recording import Recorder
from dimscope.capturing.writing import Writer
from dimscope.errors import BadSource
from dimscope.folders import Folder, need_zarr
from dimscope.provenance import Provenance
from dimscope.store import JOURNAL, StoredActivations, completed, home_of, read_labels

__all__ = ["Follower", "Leader"]


class Leader(Writer):
    """The writer of rank 0.

    Parameters
    ----------
    folder : Folder
    identity : dict
        What makes a capture the same as another.
    parts : list of array of int
        The rows of each batch.
    size : int
        How many ranks there are.
    """

    def __init__(
        self, folder: Folder, identity: dict[str, Any], parts: list[Any], size: int
    ) -> None:
        super().__init__(folder, identity, sum(map(len, parts)), ranks=size)
        if self._about is not None:
            return
        if "shares" not in self._state:
            begin = max(1, self.n_batches)  # what one process has done stays done
            left = len(parts) - begin
            self._state["shares"] = [begin + -(-rank * left // size) for rank in range(size + 1)]
            folder.write_json(JOURNAL, self._state)
        self.stop = self._state["shares"][1]

    def finish(
        self,
        recorder: Recorder,
        class_names: tuple[str, ...] | None,
        name: str,
        provenance: Provenance,
    ) -> StoredActivations:
        """Take over what the other ranks wrote, and complete the store.

        Raises
        ------
        BadSource
            If a share is not whole.
        """
        shares = self._state["shares"]
        for rank in range(1, len(shares) - 1):
            if shares[rank] == shares[rank + 1]:
                continue
            home = home_of(self._folder, rank)
            own = home.read_json(JOURNAL)
            if own is None or own["shares"] != shares or own["batches"] != shares[rank + 1]:
                raise BadSource(f"the share of rank {rank} in {self._folder} is not whole")
            labels = read_labels(home, own["labels"])
            known = add_labels(self._folder, self._state["labels"], labels, self.n_rows)
            self._state |= {"labels": known, "rows": own["rows"], "batches": own["batches"]}
            for key, column in recorder.columns.items():
                about = self._state["columns"][key]
                about["reason"] = about["reason"] or own["columns"][key]["reason"]
                if about["reason"] is not None and column.reason is None:
                    column.fail(about["reason"])
        # from here on the journal is that of a single process
        del self._state["shares"]
        self._folder.write_json(JOURNAL, self._state)
        self._folder.remove("ranks")
        return super().finish(recorder, class_names, name, provenance)


class Follower(Writer):
    """The writer of another rank, once rank 0 has begun.

    Parameters
    ----------
    folder : Folder
    identity : dict
    parts : list of array of int
    rank : int

    Raises
    ------
    BadSource
        If this rank has another network, other data or other settings than rank 0.
    """

    def __init__(
        self, folder: Folder, identity: dict[str, Any], parts: list[Any], rank: int
    ) -> None:
        self._zarr = need_zarr()
        self._folder, self._owner = folder, None
        self._about = completed(folder)
        known = self._about or folder.read_json(JOURNAL) or {}
        differ = differing(known, identity)
        if differ:
            raise BadSource(f"its capture is not that of rank 0, with other {', '.join(differ)}")
        if self._about is not None:
            return
        begin, self.stop = known["shares"][rank : rank + 2]
        self.first = sum(map(len, parts[:begin]))
        self._home = home_of(folder, rank)
        own = self._home.read_json(JOURNAL)
        if own is not None and own["shares"] == known["shares"]:
            self._state = own
        else:
            self._state = known | {"first": self.first, "rows": self.first, "batches": begin}
            self.stream = rank
