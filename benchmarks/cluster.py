"""Two workers against one, and a worker killed half way: ``make cluster-demo``.

The scheduler and the workers are processes of their own on this machine, one thread and one
processor each; the points are a Zarr array on disk that the workers read.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import psutil
import zarr
from distributed import Client

import dimscope as ds
from benchmarks.timing import machine, relu_map, table

_PAIRS = "_across"  # name of the tasks that do the work
_COLUMNS = ["run", "seconds", "gain", "busiest worker, CPU s", "dimension", "same bits"]
_PATIENCE = 120  # seconds


class Processes:
    """A scheduler and workers; all of them end with the context."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = Path(folder) / "scheduler.json"
        self._all: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        try:
            self._start(
                "scheduler", "--host", "127.0.0.1", "--port", "0",
                "--dashboard-address", "127.0.0.1:0", "--no-show", "--idle-timeout", "300",
            )  # fmt: skip
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def worker(self, number: int) -> int:
        """Start a worker of one thread on a processor of its own; its process id."""
        cpus = sorted(os.sched_getaffinity(0))
        process = self._start(
            "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
            "--local-directory", self._folder, "--memory-limit", "2GB", "--name", str(number),
            "--death-timeout", "60",
        )  # fmt: skip
        os.sched_setaffinity(process.pid, {cpus[number % len(cpus)]})
        return process.pid

    def client(self) -> Client:
        """A client, as soon as the scheduler says where it listens."""
        end = time.monotonic() + _PATIENCE
        while not self._file.exists():
            if time.monotonic() > end or self._all[0].poll() is not None:
                raise SystemExit(f"the scheduler did not start; see the logs in {self._folder}")
            time.sleep(0.05)
        return Client(scheduler_file=str(self._file))

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in reversed(self._all):
            process.kill()
            process.wait()

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
        with (Path(self._folder) / f"{len(self._all)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(self._file)],
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdout=log, stderr=log,
            )  # fmt: skip
        self._all.append(process)
        return process


def pairs_left(dask_scheduler: Any) -> int:
    """Pairs of chunks that are still to be multiplied; run on the scheduler."""
    return sum(
        one.state in ("waiting", "queued", "processing", "no-worker")
        for key, one in dask_scheduler.tasks.items()
        if str(key).startswith(_PAIRS)
    )


@contextlib.contextmanager
def killed_half_way(client: Client, pid: int) -> Iterator[list[float]]:
    """Kill a process once half of the pairs are done; yields the list that then holds the time."""
    killed: list[float] = []
    over = threading.Event()

    def wait() -> None:
        most = 0
        while not over.wait(0.01):
            left = client.run_on_scheduler(pairs_left)
            most = max(most, left)
            if 0 < left <= most / 2:
                os.kill(pid, signal.SIGKILL)
                killed.append(time.perf_counter())
                return

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def measured(array: da.Array, workers: list[int]) -> tuple[float, float, ds.Neighbors]:
    """Seconds of one search, processor seconds of the busiest of the workers, what was found."""
    processes = [psutil.Process(one) for one in workers]
    before, start = [_busy(one) for one in processes], time.perf_counter()
    found = ds.nearest_neighbors(array)
    seconds = time.perf_counter() - start
    busy = [_busy(one) - earlier for one, earlier in zip(processes, before, strict=True)]
    return seconds, max(busy), found


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def run(n: int, d: int, repeats: int, say: Callable[[str], None] = print) -> None:
    """Print the table of the three runs."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        store = zarr.create_array(
            Path(folder) / "points.zarr", shape=(n, d), chunks=(max(1, n // 16), d),
            dtype="float32", compressors=None,
        )  # fmt: skip
        store[:] = relu_map(n, d)
        array = da.from_zarr(Path(folder) / "points.zarr")
        processes = stack.enter_context(Processes(folder))
        first = processes.worker(0)
        client = stack.enter_context(processes.client())
        client.wait_for_workers(1, timeout=_PATIENCE)
        measured(array[: n // 8], [first])  # loads the libraries
        alone = [measured(array, [first]) for _ in range(repeats)]
        second = processes.worker(1)
        client.wait_for_workers(2, timeout=_PATIENCE)
        measured(array[: n // 8], [first, second])
        together = [measured(array, [first, second]) for _ in range(repeats)]
        start = time.perf_counter()
        with killed_half_way(client, second) as killed:
            lost = measured(array, [first])
        if not killed:
            raise SystemExit("the search was over before the worker could be killed")
        left = len(client.nthreads())
    one, reference = min(alone, key=lambda some: some[0])[0], alone[0][2]
    rows = []
    for name, runs in (
        ("one worker", alone),
        ("two workers", together),
        (f"two, one killed after {killed[0] - start:.1f} s ({left} left)", [lost]),
    ):
        seconds, busy, found = min(runs, key=lambda some: some[0])
        same = all(
            np.array_equal(other.distances, reference.distances)
            and np.array_equal(other.indices, reference.indices)
            for *_, other in runs
        )
        rows.append(
            [
                name,
                f"{seconds:.2f}",
                f"{one / seconds:.2f}",
                f"{busy:.2f}",
                f"{float(ds.TwoNN()(found)):.12g}",
                "yes" if same else "no",
            ]
        )
    say(f"{n} x {d} float32, best of {repeats}\n")
    say(table(_COLUMNS, rows))
    say(f"\n{machine()}")
    if any(row[-1] == "no" for row in rows):
        raise SystemExit("the runs differ")


def main() -> None:
    """Read the size from the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.cluster", description=__doc__)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes end too
    run(arguments.points, arguments.features, arguments.repeats)


if __name__ == "__main__":
    main()
