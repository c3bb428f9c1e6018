"""Memory of a network is used again while it is captured, and given back afterwards."""

import platform
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dimscope.networks.capturing.readouts import Column
from dimscope.networks.capturing.session import reused_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
_BLOCK = 64 << 20


def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def blocks():
    for _ in range(8):
        torch.empty(_BLOCK, dtype=torch.uint8).fill_(1)


@glibc
def test_reused_memory_reuses_freed_blocks():
    plain = faults(blocks)
    with reused_memory():
        blocks()
        assert faults(blocks) < plain / 20


@glibc
def test_reused_memory_returns_memory_to_the_system():
    before = resident()
    with reused_memory():
        blocks()
        assert resident() > before + _BLOCK / 2
    assert resident() < before + _BLOCK / 2


def test_reused_memory_nests_and_works_in_threads():
    def use(_):
        with reused_memory(), reused_memory():
            return float(torch.ones(1000).sum())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(50))) == [1000.0] * 50


@pytest.mark.parametrize("known", [None, 7, 100])
def test_column_grows_and_keeps_its_rows(known):
    rows = torch.randn(100, 2000)
    column = Column("layer", lambda tensor: tensor, known)
    for batch in rows.split(9):
        column.append(batch, len(batch))
    points = column.finish()
    assert points.flags.writeable
    np.testing.assert_array_equal(points, rows.numpy())
