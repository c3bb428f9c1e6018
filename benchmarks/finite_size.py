"""What TwoNN gives for a known dimension at a finite number of points: the table of corrections.

``python -m benchmarks.finite_size`` writes ``src/dimscope/estimators/finite_size.json``.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from benchmarks.processes import on_processors, tiled
from dimscope import TwoNN, manifolds, nearest_neighbors
from dimscope.files import write_beside

FAMILIES = ("cube", "ball", "sphere", "gaussian", "logistic")
DIMENSIONS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 140, 200, 280)
SIZES = (100, 200, 500, 1000, 2000, 5000, 10000)
FITS = ("mle", "regression")
_POINTS = 40_000  # of all samples of a cell together: the mean is known to about 0.7 %
_SEED = 500_000  # far from the seeds of the tests
TABLE = Path(__file__).parent.parent / "src" / "dimscope" / "estimators" / "finite_size.json"


def cell(where: tuple[str, int, int]) -> list[float]:
    """Mean dimension by each fit over many samples."""
    family, n, d = where
    found = []
    for i in range(max(4, _POINTS // n)):
        neighbors = nearest_neighbors(tiled(getattr(manifolds, family)(n, d, seed=_SEED + i)))
        found.append([TwoNN(fit=fit).evaluate(neighbors).dimension for fit in FITS])
    return [round(float(one), 4) for one in np.mean(found, axis=0)]


def main() -> None:
    """Measure every cell and write the table."""
    cells = list(itertools.product(FAMILIES, SIZES, DIMENSIONS))
    means = []
    for where, found in zip(cells, on_processors(cell, cells), strict=True):
        means.append(found)
        print(*where, *found, flush=True)
    shape = len(FAMILIES), len(SIZES), len(DIMENSIONS)
    observed = {fit: np.reshape([one[i] for one in means], shape) for i, fit in enumerate(FITS)}
    table = {
        "discard": 0.1,
        "families": FAMILIES,
        "n_points": SIZES,
        "dimensions": DIMENSIONS,
        "observed": {fit: values.tolist() for fit, values in observed.items()},
    }
    TABLE.parent.mkdir(exist_ok=True)
    write_beside(TABLE, lambda beside: beside.write_text(json.dumps(table), encoding="utf-8"))


if __name__ == "__main__":
    main()
