"""Lock: one capture at a time writes to a store.

On this machine's disks, the operating system holds the lock, and releases it when the process ends.
A record beside it names the owner, for the message to others. At a URL, or
from another machine, no such lock is visible, and only the record keeps other captures out.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from dimscope.activations.store import JOURNAL, LOCK, OWNER, Folder, completed, need_zarr
from dimscope.errors import BadSource
from dimscope.extras import needed

__all__ = ["locked"]


_PATIENCE = (
    10.0  # seconds in which the last workers of a killed process end, or a record is written
)


_CLOCK = 2.0  # seconds by which the start of a process may differ when it is read again


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Keep other captures from writing to a store within the context.

    A complete store, and a folder that is not a store, are not written to and need no lock.

    Parameters
    ----------
    folder : Folder

    Raises
    ------
    BadSource
        If another process writes to the store, or may do so on another machine.

    Examples
    --------
    >>> folder = Folder("memory://locked.zarr")
    >>> with locked(folder):
    ...     with locked(folder):  # doctest: +ELLIPSIS
    ...         pass
    Traceback (most recent call last):
    dimscope.errors.BadSource: memory://locked.zarr is being written by process ...
    """
    need_zarr()  # without it nothing is written
    if completed(folder) is not None or not (folder.is_empty or folder.has(JOURNAL)):
        yield
        return
    lock = _system_lock(folder)
    try:
        _refuse(folder, folder.read_json(OWNER))
        folder.write_json(OWNER, _this_process())
        try:
            yield
        finally:
            folder.remove(OWNER)
            if completed(folder) is not None:  # nobody writes to it again
                with suppress(OSError):  # Windows removes no open file
                    folder.remove(LOCK)
    finally:
        if lock is not None:
            lock.release()


def _system_lock(folder: Folder) -> Any:
    """Take the lock of the operating system; return None where there is none."""
    if folder.path is None:
        return None
    with needed("a store"):
        from filelock import FileLock, Timeout

    folder.make()
    lock = FileLock(folder.path / LOCK)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _refuse(folder, folder.read_json(OWNER))
            lock.acquire(timeout=_PATIENCE)
    except Timeout:
        _refuse(folder, folder.read_json(OWNER))
        raise BadSource(
            f"{folder} is being written by another process; wait until it ends, or give another "
            "path as out"
        ) from None
    except NotImplementedError:  # the file system has no locks
        return None
    except OSError as error:
        raise BadSource(f"cannot lock {folder}: {error.strerror}; give another out") from None
    return lock


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, "started": psutil.Process(pid).create_time()}


def _refuse(folder: Folder, owner: Mapping[str, Any] | None) -> None:
    """Refuse a store whose recorded owner lives, or is on a machine that cannot be asked."""
    if owner is None:
        return
    host, pid, started = owner.get("host"), owner.get("pid"), owner.get("started")
    since, is_here = "at an unknown time", False
    if isinstance(pid, int) and isinstance(started, int | float):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
        is_here = host == platform.node()
        if is_here and not _lives(pid, started):
            return
    name = f"process {pid} on {host}, started {since}"
    if is_here:
        raise BadSource(
            f"{folder} is being written by {name}; wait until it ends, or give another path as out"
        )
    raise BadSource(
        f"{folder} was last written by {name}, which this machine cannot see; if that process "
        f"has ended, remove {folder}/{OWNER} and call capture again to resume"
    )


def _lives(pid: int, started: float) -> bool:
    """Whether the process lives; a later process may have its number, but not its start."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(abs(process.create_time() - started) < _CLOCK)
    except psutil.NoSuchProcess:
        return False
