"""Peak memory and time of a profile within a budget, against a bare forward pass."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch

import dimscope as ds
from benchmarks.profiles import batches, forward, network
from benchmarks.timing import table

CASES = {"ResNet-18": (500, 500_000_000), "VGG-16": (500, 1_000_000_000)}
_BATCH, _SLOWER, _ROOM = 32, 1.3, 1.1


def run() -> str:
    """Measure all networks, each number in a process of its own, and return the table."""
    rows = []
    for name, (n, budget) in CASES.items():
        bare, spilled = (_process(what, name) for what in ("forward", "profile"))
        over = spilled["peak"] - bare["peak"]
        rows.append(
            [
                name,
                n,
                f"{spilled['captured'] / 1e9:.2f}",
                f"{spilled['widest'] / 1e9:.2f}",
                f"{budget / 1e9:.1f}",
                f"{over / 1e9:.2f}",
                f"{_ROOM * budget / 1e9:.2f}",
                f"{bare['seconds']:.1f}",
                f"{spilled['capture'] / bare['seconds']:.2f}",
                f"{spilled['seconds'] / bare['seconds']:.2f}",
                f"{_SLOWER}",
            ]
        )
        print(rows[-1], flush=True)
    return table(
        [
            "network", "N", "captured (GB)", "widest layer (GB)", "budget (GB)",
            "peak above forward (GB)", "at most (GB)", "forward (s)", "capture / forward",
            "profile / forward", "at most",
        ],
        rows,
    )  # fmt: skip


def _process(what: str, name: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", what, name],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _report(what: str, name: str) -> None:
    warnings.simplefilter("ignore", ds.TiedPoints)
    n, budget = CASES[name]
    net, images = network(name), batches(n)
    found: dict[str, float] = {}
    start, cpu = time.perf_counter(), time.process_time()
    if what == "forward":
        forward(net, images)
    else:
        with ds.reused_memory():
            activations = ds.capture(net, images, batch_size=_BATCH, memory=budget)
        found["capture"] = time.perf_counter() - start
        found["captured"] = activations.nbytes
        found["widest"] = max(one.nbytes for one in activations.points.values())
        profile = ds.profile(activations, memory=budget)
        print(profile.to_frame()[["layer", "n_features", "dimension"]], file=sys.stderr)
    found["seconds"] = time.perf_counter() - start
    found["cpu"] = time.process_time() - cpu
    found["peak"] = _peak()
    print(json.dumps(found))


def _peak() -> int:
    # not ru_maxrss, which a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    torch.manual_seed(0)
    _report(*sys.argv[1:])
