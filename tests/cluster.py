"""A scheduler and workers of distributed, each a process of its own on this machine."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import dimscope


class Cluster:
    """Processes that end when the context does, whatever happened."""

    def __init__(self, folder):
        self.file = Path(folder) / "scheduler.json"
        self.folder = folder
        self.workers = {}
        self._processes = []

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._start(
                "scheduler", "--host", "127.0.0.1", "--port", "0",
                "--dashboard-address", "127.0.0.1:0", "--no-show",
            )  # fmt: skip
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error):
        self._undo.close()

    def add_worker(self, name):
        """Start a worker of one thread; its process can be killed as ``workers[name]``."""
        self.workers[name] = self._start(
            "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
            "--name", name, "--local-directory", str(self.folder), "--memory-limit", "2GB",
        )  # fmt: skip

    def _start(self, kind, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
        source = str(Path(dimscope.__file__).parents[1])
        with (Path(self.folder) / f"{len(self._processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(self.file)],
                env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def client(self):
        """A client of the scheduler, once it has written where it is."""
        from distributed import Client

        while not self.file.exists():
            assert self._processes[0].poll() is None, "the scheduler did not start"
            time.sleep(0.05)
        return Client(scheduler_file=str(self.file))

    def close(self):
        for process in reversed(self._processes):
            process.kill()
            process.wait()
