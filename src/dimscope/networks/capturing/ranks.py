"""Ranks: capture into one store with several processes, each on its own device.

All ranks synchronise at a few points, where they exchange their errors: an error on one rank is
raised on all, and no rank waits for one that has ended.

Rank 0 runs the first batch, selects the layers, creates the arrays, and assigns each rank a range
of consecutive batches, so that the store has the same rows in the same order as the store of a
single process. Every other rank works as if it resumed a capture after the batches of the ranks
before it. It keeps its journal and labels in the folder ``ranks/NUMBER`` of the store until all
ranks are done; then rank 0 merges them and completes the store. Ranks may write to the same chunk,
but never to the same bytes, and no rank reads a chunk before it writes. This is safe only for files
on one machine, so no other stores are accepted.

A capture joins the process group that the caller has started. Only the command line starts one
itself, with :func:`start_group`.
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
from dimscope.networks.capturing.identity import differing
from dimscope.networks.capturing.recording import Recorder
from dimscope.networks.capturing.store_writer import Writer, add_labels
from dimscope.networks.data.stream import Stream
from dimscope.provenance import Provenance

__all__ = ["Follower", "Leader", "Ranks", "joined", "start_group"]


COME = timedelta(minutes=10)  # for all ranks to call the capture


_WORK = timedelta(days=20)  # for a share; a rank that ends early is noticed at once


_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun


class Ranks:
    """The processes that share a capture: only this one, or all those in a process group.

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
        """CUDA device of this rank; None for a single process or without CUDA."""
        if self._group is None or not torch.cuda.is_available():
            return None
        return f"cuda:{torch.cuda.current_device()}"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait for all ranks when the context ends; raise an error of any rank on all of them."""
        if self._group is None:
            yield
            return
        error_here: BaseException | None = None
        error_of_exchange: BadSource | None = None
        messages: list[str] = []
        try:
            yield
        except BaseException as error:  # an interrupt too: the process may continue
            error_here = error
        try:
            message = "" if error_here is None else str(error_here) or type(error_here).__name__
            messages = self.exchange(message)
        except BadSource as error:
            error_of_exchange = error
        failures = [f"rank {rank}: {message}" for rank, message in enumerate(messages) if message]
        if failures and self.rank == 0 and self._flag is not None:
            self._flag.unlink(missing_ok=True)  # all ranks have stopped
        if error_here is not None:
            raise error_here
        if error_of_exchange is not None:
            raise error_of_exchange
        if failures:
            raise BadSource(failures[0])

    def exchange(self, text: str) -> list[str]:
        """Send a text to all ranks, and return the texts of all ranks."""
        texts = [text] * self.size
        try:
            distributed.all_gather_object(texts, text, group=self._group)
        except RuntimeError as error:
            raise BadSource(
                "another rank ended before the capture was complete; call capture again on "
                "all ranks to resume it"
            ) from error
        return texts

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """If this rank fails, make the others stop after their current batch."""
        try:
            yield
        except BaseException:
            with suppress(OSError):
                if self._flag is not None:
                    self._flag.touch()
            raise

    @property
    def stopped(self) -> bool:
        """Whether any rank has failed."""
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
    """Join the ranks that capture into ``out``; without ``out``, this process works alone.

    Raises
    ------
    BadSource
        If this is one of several processes that have no process group, a rank does not join in
        time, or the ranks are on different machines or use a different ``out``.
    """
    if out is None or not distributed.is_available():
        yield Ranks()
        return
    size = distributed.get_world_size() if distributed.is_initialized() else _n_launched()
    if size < 2:
        yield Ranks()
        return
    if not distributed.is_initialized():
        raise BadSource(
            f"this is one of {size} processes (WORLD_SIZE), which would all write to {out}; call "
            "torch.distributed.init_process_group first, so that they share the work"
        )
    folder = Folder(out)
    try:
        # A roll call with a short timeout, before the group with the long one. It ends when all
        # have joined that group: a rank that ended it at once would close connections that a
        # slower rank is still making.
        roll_call = distributed.new_group(backend="gloo", timeout=COME)
        group = distributed.new_group(backend="gloo", timeout=_WORK)
        distributed.destroy_process_group(roll_call)
    except RuntimeError as error:
        raise _absent(size) from error
    try:
        ranks = Ranks(folder, group)
        # on a shared file system one machine may overwrite pages that another one wrote
        places = ranks.exchange(f"{folder.path and folder.path.absolute()} on {platform.node()}")
        if len(set(places)) > 1:
            raise BadSource(
                "all ranks must use the same folder on one machine, but they use "
                f"{', '.join(places)}; give every rank the same out"
            )
        yield ranks
    finally:
        distributed.destroy_process_group(group)


def _absent(size: int) -> BadSource:
    return BadSource(
        f"not all {size} ranks called capture within {COME.total_seconds():.0f} s; call it on "
        "all of them"
    )


def _n_launched() -> int:
    """Return the number of processes that a launcher such as torchrun has started."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if "RANK" in os.environ and size.isdecimal() else 1


def start_group() -> None:
    """Start the process group of torchrun, which lasts until the process ends.

    For a program that owns its process, such as the command line. It has no effect without
    torchrun, or if a group exists.

    Raises
    ------
    BadSource
        If not all ranks join in time.
    """
    if not all(name in os.environ for name in _LAUNCHED) or _n_launched() < 2:
        return
    if not distributed.is_available() or distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        distributed.init_process_group(backend, timeout=COME)
    except RuntimeError as error:
        raise _absent(_n_launched()) from error
    atexit.register(_end)


def _end() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


class Leader(Writer):
    """The writer of rank 0, which assigns the shares and completes the store.

    Parameters
    ----------
    folder : Folder
    identity : dict
        What identifies the capture; see :meth:`Session.identity`.
    parts : list of array of int
        The row numbers of each batch.
    size : int
        Number of ranks.
    """

    def __init__(
        self, folder: Folder, identity: dict[str, Any], parts: list[Any], size: int
    ) -> None:
        super().__init__(folder, identity, sum(map(len, parts)), ranks=size)
        if self._about is not None:
            return
        if "shares" not in self._state:
            begin = max(1, self.n_batches)  # keep the batches that one process has written
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
        """Merge the journals and labels of the other ranks, and complete the store.

        Raises
        ------
        BadSource
            If a share is incomplete.
        """
        shares = self._state["shares"]
        for rank in range(1, len(shares) - 1):
            if shares[rank] == shares[rank + 1]:
                continue
            home = home_of(self._folder, rank)
            share = home.read_json(JOURNAL)
            if share is None or share["shares"] != shares or share["batches"] != shares[rank + 1]:
                raise BadSource(
                    f"the share of rank {rank} in {self._folder} is incomplete; call the capture "
                    "again on all ranks to resume it"
                )
            labels = read_labels(home, share["labels"])
            coding = add_labels(self._folder, self._state["labels"], labels, self.n_rows)
            if "ids" in share:
                ids = read_labels(home, share["ids"], "ids")
                before = self._state["ids"]
                self._state["ids"] = add_labels(self._folder, before, ids, self.n_rows, "ids")
            self._state |= {"labels": coding, "rows": share["rows"], "batches": share["batches"]}
            for key, column in recorder.columns.items():
                about = self._state["columns"][key]
                about["reason"] = about["reason"] or share["columns"][key]["reason"]
                if about["reason"] is not None and column.reason is None:
                    column.fail(about["reason"])
        # from now on the journal is that of a single process
        del self._state["shares"]
        self._folder.write_json(JOURNAL, self._state)
        self._folder.remove("ranks")
        return super().finish(recorder, class_names, name, provenance)


class Follower(Writer):
    """The writer of any rank other than 0, created after rank 0 has written the first batch.

    Parameters
    ----------
    folder : Folder
    identity : dict
    parts : list of array of int
    rank : int

    Raises
    ------
    BadSource
        If this rank's network, data or options differ from those of rank 0.
    """

    def __init__(
        self, folder: Folder, identity: dict[str, Any], parts: list[Any], rank: int
    ) -> None:
        self._zarr = need_zarr()
        self._folder, self._owner = folder, None
        self._about = completed(folder)
        journal = self._about or folder.read_json(JOURNAL) or {}
        differ = differing(journal, identity)
        if differ:
            raise BadSource(
                f"its capture differs from that of rank 0 in {', '.join(differ)}; call capture "
                "with the same arguments on all ranks"
            )
        if self._about is not None:
            return
        begin, self.stop = journal["shares"][rank : rank + 2]
        self.first = sum(map(len, parts[:begin]))
        self._home = home_of(folder, rank)
        share = self._home.read_json(JOURNAL)
        if share is not None and share["shares"] == journal["shares"]:
            self._state = share
        else:
            self._state = journal | {"first": self.first, "rows": self.first, "batches": begin}
            self.stream = rank
