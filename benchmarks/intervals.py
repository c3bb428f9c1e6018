"""Coverage of the intervals of the other estimators, of means over classes and of I3D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.processes import on_processors, tiled
from benchmarks.timing import table
from dimscope import I3D, MLE, Activations, Estimate, Gride, TwoNN, manifolds, nearest_neighbors
from dimscope.profiles.layerwise import measure_layers

REPEATS = 200
ESTIMATORS = [
    TwoNN(fit="triplets"),
    TwoNN(discard=0),
    Gride(1, 2),
    Gride(2, 4),
    Gride(4, 8),
    MLE(k=10),
    MLE(k=10, average="dimension"),
]
CLOUDS = [(name, d, 500) for name in ("sphere", "cube", "gaussian") for d in (2, 5, 10)]
CLASSES, EACH = 10, 100
LATTICES = [(2, 300), (2, 1000), (5, 300), (5, 1000)]


def cloud(where: tuple[str, int, int]) -> list[list[Any]]:
    """Rows of one cloud: every estimator."""
    name, d, n = where
    found: dict[str, list[Estimate]] = {repr(one): [] for one in ESTIMATORS}
    k = max(estimator.wished for estimator in ESTIMATORS)
    for seed in range(REPEATS):
        neighbors = nearest_neighbors(tiled(getattr(manifolds, name)(n, d, seed=seed)), k)
        for one in ESTIMATORS:
            found[repr(one)].append(one.from_neighbors(neighbors))
    return [[key, name, d, n, *judged(several)] for key, several in found.items()]


def classes(_: None) -> list[list[Any]]:
    """Rows of means over classes whose manifolds differ in dimension."""

    def mean(seed: int) -> Estimate:
        rng = np.random.default_rng(seed)
        clouds = [
            tiled(manifolds.gaussian(EACH, int(d), seed=int(rng.integers(2**31))))
            for d in rng.integers(3, 8, CLASSES)
        ]
        labels = np.repeat(np.arange(CLASSES), EACH)
        activations = Activations({"layer": np.concatenate(clouds)}, labels=labels)
        return measure_layers(activations, by_class=True)["layer"]

    return [[f"mean over {CLASSES} classes", "gaussian", "3-7", EACH, *repeated(mean)]]


def lattice(where: tuple[int, int]) -> list[list[Any]]:
    """Rows of whole numbers in a cube."""
    d, n = where
    estimator = I3D(far=8, near=4)

    def one(seed: int) -> Estimate:
        return estimator(np.random.default_rng(seed).integers(0, 60 if d == 2 else 12, (n, d)))

    return [[repr(estimator), "whole numbers", d, n, *repeated(one)]]


def repeated(one: Callable[[int], Estimate]) -> list[Any]:
    """Judge many samples."""
    return judged([one(seed) for seed in range(REPEATS)])


def judged(several: list[Estimate]) -> list[Any]:
    """Mean, share of the intervals that hold it, and standard error over spread."""
    dimensions = np.array([one.dimension for one in several])
    mean = float(dimensions.mean())
    held = np.mean([one.interval[0] <= mean <= one.interval[1] for one in several])
    errors = np.array([one.std_error for one in several])
    return [f"{mean:.2f}", f"{held:.1%}", f"{errors.mean() / dimensions.std(ddof=1):.2f}"]


def _cell(task: tuple[str, Any]) -> list[list[Any]]:
    kind, where = task
    return {"cloud": cloud, "classes": classes, "lattice": lattice}[kind](where)


def run() -> str:
    """Measure every cell and return the table."""
    tasks = [("cloud", one) for one in CLOUDS] + [("classes", None)]
    tasks += [("lattice", one) for one in LATTICES]
    rows: list[list[Any]] = []
    for some in on_processors(_cell, tasks):
        rows += some
        for row in some:
            print(*row, flush=True)
    head = ["estimator", "points", "d", "N", "mean", "coverage", "std_error / spread"]
    shares = [float(row[5].rstrip("%")) for row in rows]
    within = np.mean([92.5 <= share <= 97.5 for share in shares])
    note = (
        f"{REPEATS} samples a row; {within:.0%} of the {len(rows)} rows have a coverage between "
        f"92.5 % and 97.5 %, the least is {min(shares):.1f} %."
    )
    return note + "\n\n" + table(head, sorted(rows, key=lambda row: row[0]))
