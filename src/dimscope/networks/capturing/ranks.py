"""Ranks: processes, each with a device of its own, that capture into one store.

All ranks meet at the same few points, where each reports whether it failed: an error on one is an
error on all, and no rank waits for one that is gone.

Rank 0 runs the first batch, chooses the layers, makes the arrays, and shares out the rest in runs
of whole batches, so that row for row the store equals that of a single process. To every other
rank the capture is one that resumes after batches that another rank writes. Its journal and labels
are in ``ranks/NUMBER`` of the store until rank 0, once all are done, takes them over and completes
the store. Ranks write to the same chunks, but never to the same bytes, and none reads a chunk to
write it. That is safe in files on one machine, so these are required.
"""

from __future__ import annotations

import atexit
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from dimscope.activations.store import (
    JOURNAL,
    STOP_FLAG,
    Folder,
    StoredActivations,
    completed,
    home_of,
    need_zarr,
    read_labels,
)
from dimscope.errors import BadSource
from dimscope.networks.capturing.data import Stream
from dimscope.networks.capturing.identity import differing
from dimscope.networks.capturing.recording import Recorder
from dimscope.networks.capturing.store_writer import Writer, add_labels
from dimscope.provenance import Provenance

__all__ = ["Follower", "Leader", "Ranks", "joined"]


COME = timedelta(minutes=10)  # within which all ranks have to call


_WORK = timedelta(days=20)  # a share may take long; that a rank ended is noticed at once


_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun


class Ranks:
    """The processes of one capture; a single one has no store in common and no group.

    Examples
    --------
    >>> alone = Ranks()
    >>> alone.rank, alone.size, alone.stopped
    (0, 1, False)
    """

    def __init__(self, folder: Folder | None = None, group: Any = None) -> None:
        self._folder, self._group = folder, group
        self.rank = 0 if group is None else distributed.get_rank()
        self.size = 1 if group is None else distributed.get_world_size()
        path = None if folder is None else folder.path
        self._flag = None if path is None else path / STOP_FLAG

    @property
    def device(self) -> str | None:
        """The device of this rank, if it has one that others do not have."""
        if self._group is None or not torch.cuda.is_available():
            return None
        return f"cuda:{torch.cuda.current_device()}"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Go on when all ranks are through; what failed on one fails on all, in its words."""
        if self._group is None:
            yield
            return
        own: BaseException | None = None
        lost: BadSource | None = None
        told: list[str] = []
        try:
            yield
        except BaseException as error:  # an interrupt too: the process may live on
            own = error
        try:
            told = self.exchange("" if own is None else str(own) or type(own).__name__)
        except BadSource as error:
            lost = error
        failed = [f"rank {rank}: {words}" for rank, words in enumerate(told) if words]
        if failed and self.rank == 0 and self._flag is not None:
            self._flag.unlink(missing_ok=True)  # all have stopped
        if own is not None:
            raise own
        if lost is not None:
            raise lost
        if failed:
            raise BadSource(failed[0])

    def exchange(self, text: str) -> list[str]:
        """What each rank says, when all have said it."""
        told = [text] * self.size
        try:
            distributed.all_gather_object(told, text, group=self._group)
        except RuntimeError as error:
            raise BadSource(
                "another rank ended before the capture was whole; call it again on all ranks, "
                "and it goes on where it stopped"
            ) from error
        return told

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """If this rank fails, have the others stop after the batch that they run."""
        try:
            yield
        except BaseException:
            with suppress(OSError):
                if self._flag is not None:
                    self._flag.touch()
            raise

    @property
    def stopped(self) -> bool:
        """Whether another rank failed."""
        return self._flag is not None and self._flag.exists()

    def check(self, stream: Stream) -> None:
        """Refuse data and stores that ranks cannot share."""
        if self._group is not None and stream.fetch is None:
            raise BadSource(
                f"the data can only be iterated, so {self.size} ranks cannot share them; give a "
                "Dataset, an array, an image folder or a .npy file, or use one process"
            )
        if self._group is not None and self._flag is None:
            raise BadSource(
                f"{self.size} ranks cannot write to {self._folder} at once; give a folder on "
                "this machine as out, or use one process"
            )


@contextmanager
def joined(out: str | os.PathLike[str] | None) -> Iterator[Ranks]:
    """The ranks that capture into ``out``; one without it, or without others.

    Raises
    ------
    BadSource
        If not all ranks come, from one machine and with one ``out``.
    """
    size = 1
    if out is not None and distributed.is_available():
        begun = distributed.is_initialized()
        launched = all(name in os.environ for name in _LAUNCHED)
        if begun:
            size = distributed.get_world_size()
        elif launched:
            size = int(os.environ["WORLD_SIZE"])
    if out is None or size < 2:
        yield Ranks()
        return
    folder = Folder(out)
    try:
        if not begun:
            _begin()
        # a roll call: its timeout is short, that of the work is not
        distributed.destroy_process_group(distributed.new_group(backend="gloo", timeout=COME))
        group = distributed.new_group(backend="gloo", timeout=_WORK)
    except RuntimeError as error:
        raise BadSource(
            f"not all {size} ranks came to this capture within {COME.total_seconds():.0f} s; call "
            "it on all of them"
        ) from error
    try:
        ranks = Ranks(folder, group)
        # file systems that machines share may undo what another one wrote to the same page
        places = ranks.exchange(f"{folder.path and folder.path.absolute()} on {platform.node()}")
        if len(set(places)) > 1:
            raise BadSource(f"ranks share one folder on one machine, not {', '.join(places)}")
        yield ranks
    finally:
        distributed.destroy_process_group(group)


def _begin() -> None:
    """Begin what torchrun prepared; it ends with the process, as it cannot begin twice."""
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    distributed.init_process_group(backend, timeout=COME)
    atexit.register(_end)


def _end() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


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
