"""Many small measurements, one process on each processor."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from dimscope.neighbors.searchers import TREE_FEATURES

__all__ = ["on_processors", "tiled"]


def on_processors(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """Results in the order of the items."""
    cpus = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for cpu in cpus:
        queue.put(cpu)
    with ProcessPoolExecutor(len(cpus), context, _alone, (queue,)) as pool:
        yield from pool.map(function, items)


def _alone(cpu: multiprocessing.Queue[int]) -> None:
    """Each process on one processor, so that they do not fight for threads."""
    os.sched_setaffinity(0, {cpu.get()})


def tiled(points: np.ndarray) -> np.ndarray:
    """Points with zeros as further features, so that the search multiplies.

    In 10 dimensions that is faster than a tree, and gives the same distances.
    """
    missing = max(0, TREE_FEATURES + 1 - points.shape[1])
    return np.pad(points, ((0, 0), (0, missing)))
