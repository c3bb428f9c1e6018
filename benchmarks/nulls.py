"""Differences: how often representations that do not differ do, and small changes are found.

Each representation is the same cloud, moved in another way at random, so that both have the same
dimension on average: with noise of a small deviation, or rotated and rounded.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.processes import on_processors, tiled
from benchmarks.representations import drawn
from benchmarks.timing import table
from dimscope import MLE, Estimate, Gride, TwoNN, nearest_neighbors
from dimscope.analysis.difference import Difference
from dimscope.estimators.covariances import spread_of_difference

ESTIMATORS = {
    "TwoNN": TwoNN(), "regression": TwoNN(fit="regression"), "Gride(2, 4)": Gride(2, 4),
    "Gride(8, 16)": Gride(8, 16), "MLE(10)": MLE(10),
}  # fmt: skip
N, REPEATS = 400, 2000
N_OF_POWER = 500
CLOUDS = ("gaussian 5", "mixture 2 + 8", "contrast 0.3", "t with 3 degrees")
UNSEEN = ("t with 3 degrees",)
CHANGES = ("noise 1e-6", "noise 1e-4", "noise 1e-2", "noise 0.1", "float16", "float32")
SIXTH = ("gaussian", "cube")  # five dimensions, and a sixth of a small deviation

Pair = tuple[np.ndarray, np.ndarray]


def unchanged(cloud: str, change: str, rng: np.random.Generator) -> Pair:
    """Draw two representations of a cloud that have the same dimension."""
    points = rng.standard_normal((N, 5)) if cloud == "gaussian 5" else drawn(cloud, N, rng)
    points = tiled(points)
    if change.startswith("noise"):
        size = float(change.split()[1])
        first, second = (points + size * rng.standard_normal(points.shape) for _ in range(2))
        return first, second
    turns = (np.linalg.qr(rng.standard_normal((points.shape[1],) * 2))[0] for _ in range(2))
    first, second = ((points @ turn).astype(change).astype(np.float32) for turn in turns)
    return first, second


def widened(cloud: str, rng: np.random.Generator) -> Pair:
    """Draw five dimensions, and the same with a sixth of deviation 0.1."""
    draw = rng.standard_normal if cloud == "gaussian" else rng.random
    points = draw((N_OF_POWER, 5))
    sixth = 0.1 * rng.standard_normal((N_OF_POWER, 1))
    return tiled(points), tiled(np.concatenate([points, sixth], axis=1))


def differ(pair: Pair, k: int) -> list[Difference]:
    """Measure the differences, without asking whether the rows are paired."""
    a, b = (_estimates(points, k) for points in pair)
    differences = []
    for first, second in zip(a, b, strict=True):
        assert first.influence is not None
        assert second.influence is not None
        std_error, freedom = spread_of_difference(first.influence, second.influence)
        change = first.dimension - second.dimension
        differences.append(Difference(change, std_error, np.nan, freedom))
    return differences


def _estimates(points: np.ndarray, k: int) -> list[Estimate]:
    neighbors = nearest_neighbors(points, k)
    return [one.from_neighbors(neighbors, test_fit=False) for one in ESTIMATORS.values()]


def cell(task: tuple[str, str | None, int]) -> list[list[str]]:
    """Rows (cloud, change, estimator, refused at 5 %, at 1 %, std_error / true spread)."""
    cloud, change, repeats = task
    draw: Callable[[np.random.Generator], Pair] = (
        (lambda rng: widened(cloud, rng))
        if change is None
        else (lambda rng: unchanged(cloud, change, rng))
    )
    k = max(estimator.wished for estimator in ESTIMATORS.values())
    rng = np.random.default_rng(1)
    with warnings.catch_warnings(action="ignore"):
        samples = [differ(draw(rng), k) for _ in range(repeats)]
    rows = []
    for name, several in zip(ESTIMATORS, zip(*samples, strict=True), strict=True):
        p_values = np.array([one.p_value for one in several])
        errors = np.array([one.std_error for one in several])
        spread = np.std([one.difference for one in several], ddof=1)
        shares = [f"{np.mean(p_values < level):.1%}" for level in (0.05, 0.01)]
        missing = f"{np.mean(np.isnan(p_values)):.1%}"
        ratio = f"{np.median(errors) / spread:.2f}"
        rows.append([cloud, change or "", name, *shares, missing, ratio])
    print(*rows, sep="\n", flush=True)
    return rows


def run(repeats: int = REPEATS) -> str:
    """Measure every cell and return the tables."""
    nulls = list(itertools.product(CLOUDS, CHANGES, [repeats]))
    powers = [(name, None, repeats) for name in SIXTH]
    results = list(on_processors(cell, [*powers, *nulls]))
    found = [[name, *row[2:4]] for name, rows in zip(SIXTH, results, strict=False) for row in rows]
    rows = [row for rows in results[len(SIXTH) :] for row in rows]
    shares = np.array([[float(row[i].rstrip("%")) for i in (3, 4)] for row in rows])
    for row in rows:
        row[0] += " (not looked at before)" if row[0] in UNSEEN else ""
    within = np.mean((shares[:, 0] >= 3) & (shares[:, 0] <= 7))
    summary = (
        f"{repeats} pairs a row, N = {N}. In {within:.0%} of the {len(rows)} rows, a test at the "
        "5 % level finds a difference in 3 to 7 % of the pairs, which do not differ. Over all "
        f"rows, this rate is between {shares[:, 0].min():.1f} % and {shares[:, 0].max():.1f} %; at "
        f"the 1 % level it is between {shares[:, 1].min():.1f} % and {shares[:, 1].max():.1f} %. "
        "The standard error is the median one."
    )
    head = ["cloud", "change", "estimator", "at 5 %", "at 1 %", "no p-value", "std_error / spread"]
    power = (
        f"**A sixth dimension** of deviation 0.1 beside five, N = {N_OF_POWER}: how often it is "
        "found at 5 %."
    )
    return "\n\n".join(
        [summary, table(head, rows), power, table(["five dimensions", "estimator", "found"], found)]
    )


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
