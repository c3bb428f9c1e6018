"""Work shared among threads; NumPy releases the interpreter lock."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["Progress", "alone", "parallel", "spans", "workers"]

Progress = Callable[[str, float, float | None], object]
"""``progress(step, done, total)``: what is being done, how much of it, and of how much in all.

Called in the caller's thread. ``total`` is None where it is unknown.
"""


_thread = threading.local()


def workers() -> int:
    """Number of threads to use: the processors this process may run on, or one if alone.

    Examples
    --------
    >>> workers() >= 1
    True
    """
    if getattr(_thread, "alone", False):
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def spans(n: int, size: int) -> list[slice]:
    """Cut ``range(n)`` into equal spans of at most ``size``.

    Examples
    --------
    >>> spans(5, 3)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    edges = np.linspace(0, n, -(-n // size) + 1).astype(int).tolist()
    return list(itertools.starmap(slice, itertools.pairwise(edges)))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Context in which this thread shares its work with no others.

    For a task among many: whoever runs them has one thread for each.

    Examples
    --------
    >>> with alone():
    ...     workers()
    1
    """
    before = getattr(_thread, "alone", False)
    _thread.alone = True
    try:
        yield
    finally:
        _thread.alone = before


def parallel(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """``[function(item) for item in items]`` on threads; NumPy releases the lock.

    Within such a thread there are no others: work that is shared out stays where it is.

    Examples
    --------
    >>> parallel(abs, [-1, 2])
    [1, 2]
    """
    n = min(workers(), len(items))
    if n <= 1 or getattr(_thread, "busy", False):
        return [function(item) for item in items]
    with ThreadPoolExecutor(n, initializer=lambda: setattr(_thread, "busy", True)) as pool:
        return list(pool.map(function, items))
