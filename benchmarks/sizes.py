"""Any size: sketches against faiss, a sample of a million points, and how cost grows.

With ``DIMSCOPE_PIXELS``, a ``.npy`` file of points, its r1 and r2 are found as well.

``python -m benchmarks.sizes FILE RTOL`` measures the points of a file in this process alone.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds
from benchmarks.layers import worst_error
from benchmarks.timing import embeddings, interleaved, load_faiss, relu_map, table

LARGE: dict[str, tuple[Callable[[], np.ndarray], float]] = {
    "dimension 10": (lambda: relu_map(100_000, 4096), 8),
    "dimension 20": (lambda: relu_map(100_000, 4096, 20), 4),
    "dimension 10, wide": (lambda: relu_map(10_000, 100_000), 10),
    "dimension 20, wide": (lambda: relu_map(10_000, 100_000, 20), 4),
    "clusters": (lambda: embeddings(100_000), 3),
}
if "DIMSCOPE_PIXELS" in os.environ:
    LARGE["pixels of images"] = (lambda: np.load(os.environ["DIMSCOPE_PIXELS"]), 6)
SLICE = 2000  # queries of faiss that are timed
CHECKED = 20  # rows that are compared with direct differences in float64
MILLION = (1_000_000, 768)
GROWTH = [(10_000, 256), (100_000, 256), (1_000_000, 256), (100_000, 1024), (100_000, 4096)]


def large(name: str) -> list[Any]:
    """All r1 and r2, against the time that faiss would need."""
    faiss = load_faiss()
    make, least = LARGE[name]
    points = make()
    searches: list[ds.Neighbors] = []
    tasks = {
        "ours": lambda: searches.append(ds.nearest_neighbors(points)),
        "theirs": lambda: faiss.knn(points[:SLICE], points, 3),
    }
    seconds = interleaved(tasks, 3, budget=12.0)
    ours, theirs = seconds["ours"], seconds["theirs"] * len(points) / SLICE
    found = searches[-1]
    how = found.provenance.parameters
    return [
        name, f"{len(points)} x {points.shape[1]}", f"{ours:.1f}", f"{theirs:.0f}",
        f"{theirs / ours:.1f}", f"{least:g}", f"{how['pairs'] / len(points):.1f}",
        how["open_rows"], f"{worst_error(found, points, CHECKED):.0e}", str(found.guarantee),
    ]  # fmt: skip


def growth(rtol: float = 0.02) -> tuple[list[list[Any]], dict[str, float]]:
    """Seconds of a sampled estimate, and the exponents of points and of features."""
    seconds, rows = {}, []
    for n, width in GROWTH:
        points = relu_map(n, width)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            found = ds.estimate(points, engine=ds.Sampled(rtol=rtol))
            times.append(time.perf_counter() - start)
        seconds[n, width] = float(np.median(times))
        rows.append([n, width, f"{seconds[n, width]:.2f}", found.n_queries, str(found)])
        print("growth", *rows[-1], flush=True)
    in_points = [(n, t) for (n, width), t in seconds.items() if width == 256]
    in_features = [(width, t) for (n, width), t in seconds.items() if n == 100_000]
    return rows, {"points": _exponent(in_points), "features": _exponent(in_features)}


def _exponent(pairs: list[tuple[int, float]]) -> float:
    """Slope of a line through the logarithms."""
    x, y = np.log(np.array(pairs, float)).T
    return float(np.polyfit(x, y, 1)[0])


def million(kind: str) -> dict[str, Any]:
    """A memory map of a million points, measured in a process of its own."""
    n, width = MILLION
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.npy"
        array = np.lib.format.open_memmap(path, "w+", np.float32, (n, width))
        if kind == "clusters":
            embeddings(n, width, out=array)
        else:
            rng = np.random.default_rng(0)
            mixing = rng.standard_normal((10, width), dtype=np.float32)
            for start in range(0, n, 50_000):
                some = array[start : start + 50_000]
                hidden = rng.standard_normal((len(some), 10), dtype=np.float32)
                np.maximum(hidden @ mixing, 0, out=some)
        array.flush()
        del array
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sizes", str(path), "0.01"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return dict(json.loads(done.stdout))


def alone(path: str, rtol: float) -> dict[str, Any]:
    """Seconds and the most memory that was resident, mapped pages counted."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            peak[0] = max(peak[0], int(resident.split()[1]) * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    found = ds.TwoNN()(np.load(path, mmap_mode="r"), ds.Sampled(rtol=rtol))
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    points = np.load(path, mmap_mode="r")
    rows = np.array(points[:: len(points) // 1000][:1000])
    start = time.perf_counter()
    for first in range(0, len(points), 50_000):
        rows @ points[first : first + 50_000].T
    product = (time.perf_counter() - start) * found.n_queries / len(rows)
    return {
        "seconds": seconds,
        "product": product,
        "peak": peak[0],
        "estimate": repr(found),
        "error": found.std_error / found.dimension,
        "guarantee": found.provenance.parameters["guarantee"],
    }


def run() -> str:
    """Measure all and return the tables."""
    rows = []
    for name in LARGE:
        rows.append(large(name))
        print("large", *rows[-1], flush=True)
    grown, exponents = growth()
    maps = []
    for kind in ("dimension 10", "clusters"):
        one = million(kind)
        maps.append([
            kind, f"{one['seconds']:.0f}", f"{one['seconds'] / one['product']:.2f}",
            f"{one['peak'] / 1e9:.2f}", f"{one['error']:.2%}", one["estimate"], one["guarantee"],
        ])  # fmt: skip
        print("million", *maps[-1], flush=True)
    return "\n\n".join(
        [
            "**All r1 and r2**, default engine; the time of faiss is that "
            f"of {SLICE} queries times N / {SLICE}; the error is that of {CHECKED} rows against "
            "direct differences in float64.",
            table(
                ["points", "N x D", "dimscope (s)", "faiss (s)", "ratio", "at least",
                 "pairs measured a point", "rows searched again", "largest relative error",
                 "guarantee"],
                rows,
            ),
            f"**A million points** of {MILLION[1]} features in a memory map of "
            f"{math.prod(MILLION) * 4 / 1e9:.1f} GB, `Sampled(rtol=0.01)`: at most 35 s, twice the "
            "time of a product of the sampled rows with all points, and 1.2 GB resident, with the "
            "pages of the map.",
            table(
                ["points", "seconds", "over the product", "resident (GB)",
                 "std_error / dimension", "estimate", "guarantee"],
                maps,
            ),
            "**Growth** of a sampled estimate, `Sampled(rtol=0.02)`: exponent "
            f"{exponents['points']:.2f} in the points (at most 1.1), {exponents['features']:.2f} "
            "in the features (at most 1.05).",
            table(["N", "D", "seconds", "queries", "dimension"], grown),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(alone(sys.argv[1], float(sys.argv[2]))))
