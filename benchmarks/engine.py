"""Speed of the engine: the whole estimate against the search of every peer."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

import dimscope as ds
from benchmarks.timing import interleaved, load_faiss, relu_map, table

SHAPES = [(2000, 20000), (10000, 4096), (500, 400000), (20000, 512)]
_WORKER = Path(__file__).with_name("dadapy_worker.py")


class DadapyWorker:
    """DADApy in its own environment (it needs NumPy 1), timed from outside over a pipe."""

    def __init__(self, python: str, points: np.ndarray, folder: str) -> None:
        path = Path(folder) / "points.npy"
        np.save(path, points)
        self._process = subprocess.Popen(
            [python, str(_WORKER), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready"):
            raise RuntimeError("the DADApy worker stopped; see its messages above")

    def __call__(self) -> None:
        """Search the neighbours once."""
        assert self._process.stdin is not None
        self._process.stdin.write("search\n")
        self._process.stdin.flush()
        self._wait()

    def close(self) -> None:
        """End the worker."""
        self._process.communicate("stop\n")


def run(peers: str) -> str:
    """Measure all shapes and return the table."""
    import skdim
    from sklearn.neighbors import NearestNeighbors

    faiss, rows = load_faiss(), []
    for n, d in SHAPES:
        points = relu_map(n, d)
        tasks = {
            "dimscope": lambda x=points: ds.estimate(x),
            "exact": lambda x=points: ds.estimate(x, engine=ds.Exact()),
            "bare": lambda x=points: x @ x.T,
            "faiss": lambda x=points: faiss.knn(x, x, 3),
            "scikit-learn": lambda x=points: (
                NearestNeighbors(n_neighbors=3, algorithm="brute").fit(x).kneighbors(x)
            ),
            "scikit-dimension": lambda x=points: skdim.id.TwoNN().fit(x),
        }
        with tempfile.TemporaryDirectory() as folder:
            dadapy = tasks["DADApy"] = DadapyWorker(peers, points, folder)
            median = interleaved(tasks, budget=_BUDGET)
            dadapy.close()
        peers_seconds = {name: median[name] for name in median if name not in _OWN}
        fastest = min(peers_seconds, key=lambda name: peers_seconds[name])
        rows.append(
            [f"{n} x {d}"]
            + [f"{median[name]:.2f}" for name in _COLUMNS]
            + [
                f"{median[fastest] / median['dimscope']:.2f} ({fastest})",
                f"{median['dimscope'] / median['bare']:.2f}",
            ]
        )
        print(rows[-1], flush=True)
    return table(["N x D", *_COLUMNS, "fastest peer / dimscope", "dimscope / bare"], rows)


_OWN = ("dimscope", "exact", "bare")
_COLUMNS = [*_OWN, "faiss", "scikit-learn", "scikit-dimension", "DADApy"]
_BUDGET = 6.0  # seconds for each column of a row
