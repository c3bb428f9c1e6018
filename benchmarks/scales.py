"""Cost of all scales from one search, and of a Gaussian surrogate."""

from __future__ import annotations

import time

import numpy as np

import dimscope as ds
from benchmarks.timing import interleaved, relu_map, table


def all_scales(points: np.ndarray) -> None:
    """Decimation, blocks and ranks from one search."""
    found = ds.nearest_neighbors(points, 64)
    ds.scale_curve(found, blocks=range(1, 21))
    ds.rank_curve(found, 64)


def run() -> str:
    """Measure both and return the table."""
    points = relu_map(5000, 2000)
    median = interleaved(
        {"estimate": lambda: ds.estimate(points), "scales": lambda: all_scales(points)}, repeats=7
    )
    ratio = median["scales"] / median["estimate"]
    wide = np.random.default_rng(0).standard_normal((2000, 4096)) @ np.diag(np.arange(1, 4097.0))
    start = time.perf_counter()
    drawn = ds.surrogate(wide)
    seconds = time.perf_counter() - start
    spread = float((drawn.var(axis=0) / wide.var(axis=0)).std())
    return table(
        ["what", "measured", "at most"],
        [
            ["decimation N ... N/8, blocks 1-20, Gride ranks 1-64 over one plain estimate, "
             "5000 x 2000", f"{ratio:.1f} x ({median['estimate']:.2f} s)", "3 x"],
            ["surrogate of 2000 points of 4096 features", f"{seconds:.1f} s", "10 s"],
            ["standard deviation of its variances over the data's (sampling alone: "
             f"{np.sqrt(2 / 2000):.3f})", f"{spread:.3f}", ""],
        ],
    )  # fmt: skip
