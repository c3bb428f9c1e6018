"""Captures that are killed, in processes of their own; run by test_store_writer.py.

``python killed.py FOLDER`` runs a capture undisturbed, then ten that are killed with
SIGKILL at moments spread evenly over its batches and started again, and prints what
happened as JSON. The batches are the clock: a capture waits for its kill in the batch after the
moment, so that a busy machine kills it in the same place. Every capture is a fork, so that torch
is loaded once.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
import zarr  # noqa: F401  (loaded once, before the forks)
from torch import nn

import dimscope as ds
from dimscope.activations import chunks

MOMENTS, BATCHES, ROWS = 10, 12, 8
hold = math.inf


class Counted(nn.Module):
    """Adds noise of its own, and a byte to a file, whenever it runs."""

    def __init__(self, passes):
        super().__init__()
        self.passes = passes
        self.wide, self.narrow = nn.Linear(6, 20_000), nn.Linear(20_000, 5)
        with torch.no_grad():
            self.narrow.weight.fill_(1e-3)

    def forward(self, x):
        with open(self.passes, "ab") as file:
            file.write(b".")
        while count(self.passes) > hold:  # not of the network, which has to stay the same
            time.sleep(1)
        x = x + 0.1 * torch.randn(x.shape)
        time.sleep(0.005)
        return self.narrow(torch.relu(self.wide(x)))


def data():
    rows = torch.arange(BATCHES * ROWS * 6.0).reshape(-1, 6).sin()
    labels = ["cat" if i % 3 else "dog" for i in range(len(rows))]
    return rows, labels


def forked(work):
    """Number of a fork that does some work; its exit code is 7 where it was refused."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except ds.BadSource:
            code = 7
        finally:
            os._exit(code)
    return child


def finish(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def capture(out, passes, after=math.inf):
    """Capture, but wait for a kill in the pass after ``after``."""
    global hold
    hold = after
    torch.manual_seed(0)
    ds.capture(Counted(passes), data(), "all", batch_size=ROWS, out=out)


def count(path):
    return path.stat().st_size if path.exists() else 0


def wait(child, passes, number, one):
    """Until a capture has made so many passes, of which each lasts so long, or has ended."""
    whole, part = divmod(number, 1)
    running = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while count(passes) < whole and os.waitid(os.P_PID, child, running) is None:
        time.sleep(1e-3)
    time.sleep(part * one)


def main(folder):
    torch.set_num_threads(1)  # nothing that a fork could lose
    chunks.CHUNK_BYTES = 1 << 18  # several chunks in every direction
    for name in ("warm", "whole"):
        start = time.perf_counter()
        assert finish(forked(lambda n=name: capture(folder / f"{n}.zarr", folder / n))) == 0
        one = (time.perf_counter() - start) / (count(folder / name) + 1)
    checks = count(folder / "whole") - BATCHES  # passes before the first batch
    found = []
    for moment in range(MOMENTS):
        out, passes = folder / f"{moment}.zarr", folder / str(moment)
        batches = (BATCHES + 1) * (moment + 0.5) / MOMENTS
        after = checks + max(1, int(batches))
        child = forked(lambda: capture(out, passes, after))  # noqa: B023
        wait(child, passes, checks + batches, one)
        os.kill(child, signal.SIGKILL)
        killed = finish(child) == -signal.SIGKILL
        journal = out / "journal.json"
        written = json.loads(journal.read_text())["batches"] if journal.exists() else None
        before = count(passes)
        refused = finish(forked(lambda: ds.open_store(out))) == 7  # noqa: B023
        if not refused:  # it was complete when the kill came
            written = BATCHES
        again = finish(forked(lambda: capture(out, passes)))  # noqa: B023
        found.append(
            {
                "killed": killed,
                "written": written,
                "before": before,
                "refused": refused,
                "code": again,
                "after": count(passes) - before,
            }
        )
    print(json.dumps({"passes": count(folder / "whole"), "moments": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
