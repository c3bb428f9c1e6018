"""Memory that stays resident while a memory map is searched, pages of the map included."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

import dimscope as ds
from dimscope.arrays.threads import alone

_PROCESS = Path("/proc/self")


def peak(file: str) -> int:
    """Return by how many bytes the resident memory of this process grows in a search of a file."""
    points = np.load(file, mmap_mode="r")
    (_PROCESS / "clear_refs").write_text("5")  # the peak starts again
    before = _status("VmRSS")
    with alone(), warnings.catch_warnings(action="ignore"):
        ds.estimate(points, engine=ds.Sampled(0.05))
    return _status("VmHWM") - before


def peak_of_new_process(file: str) -> int:
    """Return :func:`peak` of a process that has not used memory yet."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.resident", file],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


def _status(what: str) -> int:
    return int((_PROCESS / "status").read_text().split(f"{what}:")[1].split()[0]) * 1024


if __name__ == "__main__":
    print(peak(sys.argv[1]))
