"""Known dimensions in 100,000 dimensions: the estimate before and after embedding."""

from __future__ import annotations

import numpy as np

import dimscope as ds
from benchmarks.timing import table
from dimscope import manifolds

_N, _WIDTH = 2000, 100_000
CASES = {
    "cube": ("uniform", manifolds.cube),
    "flat torus": ("uniform, curved", manifolds.torus),
    "sphere": ("uniform, curved", manifolds.sphere),
    "Gaussian": ("not uniform", manifolds.gaussian),
    "paraboloid": ("not uniform, curved", manifolds.paraboloid),
}


def run() -> str:
    """Measure all manifolds and return the table."""
    rows = []
    for name, (kind, sampler) in CASES.items():
        for d in (1, 2, 5, 10):
            points = sampler(_N, d, seed=1)
            before = ds.estimate(points)
            after = ds.estimate(manifolds.embed(points, _WIDTH, seed=2))
            repeated = [float(ds.estimate(sampler(_N, d, seed=s))) for s in range(10, 30)]
            rows.append(
                [
                    name, kind, d, before, after,
                    f"{abs(float(after) / float(before) - 1):.0e}",
                    f"{np.mean(repeated) / d - 1:+.1%}",
                ]
            )  # fmt: skip
            print(*rows[-1], flush=True)
    return table(
        ["manifold", "density", "d", "before", "in 100,000 dimensions", "relative change",
         "mean of 20 samples against d"],
        rows,
    )  # fmt: skip
