"""Speed of the engine: the whole estimate against the search of every peer."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

import dimscope as ds
from benchmarks.timing import interleaved, relu_map, table

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
    """Measure all shapes and return the tables."""
    import faiss
    import skdim
    from sklearn.neighbors import NearestNeighbors

    sections = []
    for kind in ("ID 10", "noise"):
        rows = []
        for n, d in SHAPES:
            points = (
                relu_map(n, d)
                if kind == "ID 10"
                else np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
            )
            product = np.empty((n, n), np.float32)
            tasks = {
                "dimscope": lambda x=points: ds.estimate(x),
                "sketched": lambda x=points: ds.estimate(x, engine=ds.Sketched()),
                "bare": lambda x=points: x @ x.T,
                "bare out=": lambda x=points, out=product: np.matmul(x, x.T, out=out),
                "faiss": lambda x=points: faiss.knn(x, x, 3),
            }
            with tempfile.TemporaryDirectory() as folder:
                dadapy = None
                if kind == "ID 10":
                    tasks["scikit-learn"] = lambda x=points: (
                        NearestNeighbors(n_neighbors=3, algorithm="brute").fit(x).kneighbors(x)
                    )
                    tasks["scikit-dimension"] = lambda x=points: skdim.id.TwoNN().fit(x)
                    dadapy = tasks["DADApy"] = DadapyWorker(peers, points, folder)
                median = interleaved(tasks, budget=25.0)
                if dadapy is not None:
                    dadapy.close()
            others = {k: v for k, v in median.items() if k not in _OWN}
            fastest = min(others, key=lambda k: others[k])
            rows.append(
                [f"{n} x {d}"]
                + [f"{median[name]:.2f}" if name in median else "–" for name in _COLUMNS]
                + [
                    f"{others[fastest] / median['dimscope']:.2f} ({fastest})",
                    f"{median['dimscope'] / median['bare']:.2f}",
                    f"{others[fastest] / median['sketched']:.2f}",
                    f"{median['sketched'] / median['bare']:.2f}",
                ]
            )
            print(kind, rows[-1], flush=True)
        sections.append(
            f"Data: {_DESCRIBED[kind]}.\n\n"
            + table(
                [
                    "N x D",
                    *_COLUMNS,
                    "fastest peer / dimscope",
                    "dimscope / bare",
                    "fastest peer / sketched",
                    "sketched / bare",
                ],
                rows,
            )
        )
    return "\n\n".join(sections)


_OWN = ("dimscope", "sketched", "bare", "bare out=")
_COLUMNS = [*_OWN, "faiss", "scikit-learn", "scikit-dimension", "DADApy"]
_DESCRIBED = {
    "ID 10": "ReLU of a random map of a 10-dimensional Gaussian, float32",
    "noise": "isotropic Gaussian noise, float32",
}
