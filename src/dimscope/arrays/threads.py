"""Threads: split work among threads, and report progress in the caller's thread."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any

import numpy as np

__all__ = ["Progress", "alone", "parallel", "spans", "workers"]

Progress = Callable[[str, float, float | None], object]
"""``progress(step, done, total)``: the name of the step, the amount done and the total amount.

Called in the caller's thread. ``total`` is None where it is unknown.
"""


_thread = threading.local()


def workers() -> int:
    """Return the number of threads to use: the available processors, or 1 within :func:`alone`.

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
    """Keep the work of the current thread on that thread, within this context.

    Use it in a task that already runs beside others, each in its own thread.

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


def parallel(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    on_done: Callable[[int], object] | None = None,
) -> list[Any]:
    """Return ``[function(item) for item in items]``, computed on several threads.

    NumPy releases the interpreter lock, so the threads run in parallel. A nested call starts no
    further threads: it runs in the thread that makes it.

    Parameters
    ----------
    function : callable
    items : sequence
    on_done : callable, optional
        Called in the caller's thread with the number of items done so far.

    Raises
    ------
    Exception
        If calls fail: the exception of the failing item that comes first in ``items``. Calls that
        have not started when one fails are cancelled.

    Examples
    --------
    >>> parallel(abs, [-1, 2])
    [1, 2]
    """
    tell = on_done or (lambda n_done: None)
    n_threads = min(workers(), len(items))
    if n_threads <= 1 or getattr(_thread, "busy", False):
        results = []
        for item in items:
            results.append(function(item))
            tell(len(results))
        return results
    mark_busy = partial(setattr, _thread, "busy", True)
    with ThreadPoolExecutor(n_threads, initializer=mark_busy) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            if on_done is not None:
                for n_done, _ in enumerate(as_completed(futures), 1):
                    tell(n_done)
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
