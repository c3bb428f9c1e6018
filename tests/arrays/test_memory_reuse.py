"""Freed memory is used again within ``reused_memory``, and returned afterwards."""

import platform
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dimscope.arrays.memory import reused_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
_BLOCK = 64 << 20


@pytest.fixture(autouse=True)
def _trimmed():
    """Return what other tests have freed, which would be used again anyway."""
    with reused_memory():
        pass


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def blocks():
    for _ in range(8):
        torch.empty(_BLOCK, dtype=torch.uint8).fill_(1)


FAULTS = """
import resource

import torch

from dimscope.arrays.memory import reused_memory


def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


faults()
plain = faults()
with reused_memory():
    faults()
    print(plain, faults())
"""


@glibc
@pytest.mark.slow
def test_reused_memory_maps_freed_blocks_once():
    # in a process of its own: what others have freed would be used again anyway
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    plain, reused = map(int, done.stdout.split())
    assert plain > 1000
    assert reused < plain / 20


@glibc
def test_reused_memory_goes_back_to_the_system():
    before = resident()
    with reused_memory():
        blocks()
        assert resident() > before + _BLOCK / 2
    assert resident() < before + _BLOCK / 2


@glibc
def test_reused_memory_lasts_until_its_last_user_leaves():
    before = resident()
    with reused_memory():
        with reused_memory():
            blocks()
        assert resident() > before + _BLOCK / 2
    assert resident() < before + _BLOCK / 2


@glibc
def test_reused_memory_is_shared_by_threads():
    entered, left, before = threading.Event(), threading.Event(), resident()

    def stay():
        with reused_memory():
            entered.set()
            assert left.wait(60)
            return resident()

    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(stay)
        assert entered.wait(60)
        with reused_memory():
            blocks()
        left.set()
        assert staying.result() > before + _BLOCK / 2
    assert resident() < before + _BLOCK / 2
