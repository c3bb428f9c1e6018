"""Real layers: the default search against the exact one, a bare product and faiss.

With ``DIMSCOPE_POINTS``, a folder of ``.npy`` files of shape (n, features), each file is one row of
the table. Distances are compared with direct differences in float64 on some rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dimscope as ds
from benchmarks.timing import embeddings, interleaved, load_faiss, relu_map, table

CHECKED = 200  # rows that are compared with direct differences in float64
REPEATS = 9
_COLUMNS = 1024  # features that are converted to float64 at a time


def distances(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distances of shape (n_queries, n_points), by differences in float64."""
    values = [torch.from_numpy(some).double() for some in (queries, points)]
    return torch.cdist(*values, compute_mode="donot_use_mm_for_euclid_dist").numpy()


def worst_error(neighbors: ds.Neighbors, points: np.ndarray, n_rows: int = CHECKED) -> float:
    """Largest relative error of r1 and r2 of some rows against float64 differences."""
    rows = np.linspace(0, len(points) - 1, n_rows).astype(int)
    squares = np.zeros((n_rows, len(points)))
    for start in range(0, points.shape[1], _COLUMNS):
        block = points[:, start : start + _COLUMNS]
        squares += distances(block[rows], block) ** 2
    squares[np.arange(n_rows), rows] = np.inf
    exact = np.sqrt(np.sort(np.partition(squares, 1, axis=1)[:, :2], axis=1))
    return float(np.abs(neighbors.distances[rows, :2] / exact - 1).max())


def clouds() -> dict[str, np.ndarray]:
    """Return the points of the files, and clouds by formula."""
    folder = os.environ.get("DIMSCOPE_POINTS")
    files = sorted(Path(folder).glob("*.npy")) if folder else []
    noise = np.random.default_rng(0).standard_normal((10_000, 1000), dtype=np.float32)
    return {
        **{file.stem: np.load(file) for file in files},
        "dimension 10": relu_map(10_000, 4096),
        "dimension 20": relu_map(10_000, 4096, 20),
        "clusters": embeddings(10_000),
        "noise": noise,
    }


def measured(name: str, points: np.ndarray, repeats: int = REPEATS) -> list[Any]:
    """One row: seconds and ratios, how the default search worked, and its error."""
    faiss = load_faiss()
    points = np.ascontiguousarray(points, np.float32)
    tasks = {
        "default": lambda: ds.nearest_neighbors(points),
        "exact": lambda: ds.nearest_neighbors(points, engine=ds.Exact()),
        "bare": lambda: points @ points.T,
        "faiss": lambda: faiss.knn(points, points, 3),
    }
    neighbors = ds.nearest_neighbors(points)  # first: it also warms the memory
    seconds = interleaved(tasks, repeats, budget=6.0)
    how = neighbors.provenance.parameters
    return [
        name, f"{len(points)} x {points.shape[1]}", *(f"{seconds[task]:.2f}" for task in tasks),
        f"{seconds['faiss'] / seconds['default']:.2f}",
        f"{seconds['default'] / seconds['exact']:.2f}", how["where"],
        f"{how['pairs'] / len(points):.1f}", how["open_rows"],
        f"{worst_error(neighbors, points):.0e}",
    ]  # fmt: skip


def run() -> str:
    """Measure every cloud and return the table."""
    rows = []
    for name, points in clouds().items():
        rows.append(measured(name, points))
        print(*rows[-1], flush=True)
    return table(
        [
            "points", "N x D", "default (s)", "exact (s)", "bare (s)", "faiss (s)",
            "faiss / default", "default / exact", "searched by", "pairs measured a point",
            "open rows", "largest relative error",
        ],
        rows,
    )  # fmt: skip
