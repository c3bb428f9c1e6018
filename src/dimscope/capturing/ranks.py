"""Ranks: processes, each with a device of its own, that capture into one store.

All of them come to the same few points, where each says whether it failed: so an error
on one is an error on all, and nobody waits for one that is gone. Who writes what is in
:mod:`~dimscope.capturing.shares`.
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

from dimscope.capturing.streams import Stream
from dimscope.errors import BadSource
from dimscope.folders import Folder

__all__ = ["Ranks", "joined"]

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
        self._flag = None if path is None else path / ".stop.part"  # which Folder.tidy removes

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
