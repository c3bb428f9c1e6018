"""What the paper says about the estimator itself, each statement measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.processes import on_processors, tiled
from benchmarks.timing import table
from dimscope import TwoNN, manifolds, nearest_neighbors

N, REPEATS = 2000, 50
CLOUDS = list(itertools.product(("sphere", "torus", "cube", "gaussian", "paraboloid"), (2, 5, 10)))
HIGH = list(itertools.product((10, 20, 30, 50, 100), (500, 2000, 10000)))


def power_law(n: int, d: int, seed: int) -> np.ndarray:
    """A direction, and a radius whose density falls by five orders of magnitude."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((n, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * 10 ** (5 / d * rng.random((n, 1))))


def clumps(n: int, d: int, seed: int) -> np.ndarray:
    """A third of the points each in Gaussians of width 1, 0.1 and 0.01, a thousand apart."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 3, (n, 1))
    return np.asarray(rng.standard_normal((n, d)) * 0.1**which + 1000 * which)


DENSITIES: dict[str, Callable[[int, int, int], np.ndarray]] = {
    "uniform (cube)": manifolds.cube,
    "Gaussian": manifolds.gaussian,
    "Student, 5 degrees": manifolds.student,
    "exponential, on a paraboloid": manifolds.paraboloid,
    "power law over 5 decades": power_law,
    "clumps, densities 1 : 10^d : 100^d": clumps,
}


def triplets(where: tuple[str, int]) -> list[Any]:
    """All points against triplets that share none."""
    name, d = where
    both, shares, held = [], [], 0
    for seed in range(REPEATS):
        neighbors = nearest_neighbors(tiled(getattr(manifolds, name)(N, d, seed=seed)))
        every, some = (TwoNN(fit=fit).from_neighbors(neighbors) for fit in ("mle", "triplets"))
        both.append((every.dimension, some.dimension))
        shares.append(some.n_used / N)
        held += some.interval[0] <= every.dimension <= some.interval[1]
    mean, spread = np.mean(both, axis=0), np.std(both, axis=0, ddof=1)
    change = np.diff(both, axis=1)[:, 0]
    error = change.std(ddof=1) / np.sqrt(REPEATS)
    return [
        name, d, f"{mean[0]:.2f}", f"{mean[1]:.2f}", f"{change.mean() / mean[0]:+.1%} "
        f"± {error / mean[0]:.1%}", f"{np.mean(shares):.0%}", f"{spread[1] / spread[0]:.1f}",
        f"{held / REPEATS:.0%}",
    ]  # fmt: skip


def density(where: tuple[str, int]) -> list[Any]:
    """Mean dimension of points of one density."""
    name, d = where
    found = [float(TwoNN()(tiled(DENSITIES[name](N, d, seed)))) for seed in range(REPEATS)]
    return [name, d, f"{np.mean(found):.2f}", f"{np.mean(found) / d - 1:+.0%}"]


def high(where: tuple[int, int]) -> list[Any]:
    """Mean dimension of a cube, a Gaussian and an exponential cloud."""
    d, n = where
    makers = [manifolds.cube, manifolds.gaussian, manifolds.paraboloid]
    repeats = max(3, 20_000 // n)
    means = [np.mean([float(TwoNN()(tiled(make(n, d, i)))) for i in range(repeats)])
             for make in makers]  # fmt: skip
    return [d, n, *(f"{mean:.1f} ({mean / d - 1:+.0%})" for mean in means)]


def hubs(where: tuple[str, int, bool]) -> list[Any]:
    """With all points, without the hubs, without as many others, and on halves and quarters."""
    name, d, planted = where
    rows = []
    for seed in range(20):
        points = tiled(getattr(manifolds, name)(N, d, seed=seed))
        if planted:  # nearer to every point of a sphere than any other point is
            points = np.concatenate([points, np.zeros((1, points.shape[1]))])
        neighbors = nearest_neighbors(points, 16)
        named = np.bincount(neighbors.indices[:, :2].ravel(), minlength=len(points))
        order, rng = np.argsort(-named), np.random.default_rng(seed)
        few = len(points) // 100
        parts = [
            np.arange(len(points)),
            np.sort(order[few:]),
            np.sort(rng.permutation(len(points))[few:]),
            rng.permutation(len(points))[: N // 2],
            rng.permutation(len(points))[: N // 4],
        ]
        rows.append([named.max(), *(float(TwoNN()(neighbors.within(part))) for part in parts)])
    most, *means = np.mean(rows, axis=0)
    title = f"{name}{' and its centre' if planted else ''}"
    return [title, d, f"{most:.0f}", *(f"{mean:.1f}" for mean in means)]


def _cell(task: tuple[str, Any]) -> list[Any]:
    kind, where = task
    return {"triplets": triplets, "density": density, "high": high, "hubs": hubs}[kind](where)


def _rows(kind: str, cells: list[Any]) -> list[list[Any]]:
    rows = list(on_processors(_cell, [(kind, one) for one in cells]))
    for row in rows:
        print(kind, *row, flush=True)
    return rows


def run() -> str:
    """Measure every statement and return its table."""
    of_hubs = [(name, d, False) for name in ("gaussian", "sphere") for d in (5, 20, 50)]
    of_hubs += [("sphere", d, True) for d in (2, 5, 20, 50)]
    densities = list(itertools.product(DENSITIES, (2, 5, 10)))
    return "\n\n".join(
        [
            "**Triplets** that share no point, for which the likelihood is exact, against all "
            f"points; N = {N}, {REPEATS} samples a row.",
            table(
                ["points", "d", "all", "triplets", "change", "of the points", "spread, triplets / "
                 "all", "interval of the triplets holds the estimate of all"],
                _rows("triplets", CLOUDS),
            ),
            f"**Density** far from uniform; N = {N}, {REPEATS} samples a row.",
            table(["density", "d", "measured", "error"], _rows("density", densities)),
            "**Many dimensions**: what is measured, and how far that is from d.",
            table(["d", "N", "cube", "Gaussian", "exponential, on a paraboloid"],
                  _rows("high", HIGH)),
            "**Hubs**, points that are among the two nearest neighbours of many others; "
            f"N = {N}, 20 samples a row. *Named* is how often the largest hub is; the centre of a "
            "sphere is added as a hub of the worst kind.",
            table(
                ["points", "d", "named", "all", "without the first 1 % of hubs",
                 "without 1 % at random", "half of the points", "a quarter"],
                _rows("hubs", of_hubs),
            ),
        ]
    )  # fmt: skip
