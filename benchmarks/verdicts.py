"""How often the verdict of a scale curve doubts that one dimension describes the points."""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks.coverage import DIMENSIONS, MANIFOLDS, SIZES, UNSEEN
from benchmarks.processes import on_processors
from benchmarks.timing import table
from dimscope import manifolds, scale_curve

# Two dimensions, and the share of the points that has the first.
MIXTURES = [(1, 5, 0.5), (2, 5, 0.5), (3, 5, 0.5), (5, 10, 0.5), (8, 10, 0.5), (2, 10, 0.1)]
REPEATS = 40

Cloud = tuple[str, tuple[float, ...], int]


def mixture(a: int, b: int, share: float, n_points: int, seed: int) -> np.ndarray:
    """Two cubes of different dimensions, far apart."""
    n_first = int(n_points * share)
    first = manifolds.embed(manifolds.cube(n_first, a, seed=seed), 12, seed=1)
    second = manifolds.cube(n_points - n_first, b, seed=seed + 1000)
    return np.concatenate([first, manifolds.embed(second, 12, seed=2) + 20])


def cell(where: Cloud, repeats: int = REPEATS) -> tuple[float, float, float, float]:
    """Shares of samples: with a plateau, fit refused, points mixed; and the median spread."""
    name, numbers, n_points = where
    plateaus, refused, spreads = [], [], []
    for seed in range(100, 100 + repeats):
        if name == "mixture":
            a, b, share = numbers
            points = mixture(int(a), int(b), share, n_points, seed)
        else:
            points = getattr(manifolds, name)(n_points, int(numbers[0]), seed=seed)
        curve = scale_curve(points)
        plateau = curve.plateau()
        plateaus.append(plateau is not None)
        refused.append(plateau is not None and plateau.goodness_of_fit < 0.01)
        spreads.append(curve.local_spread)
    mixed = np.mean(np.array(spreads) >= 0.25)
    return tuple(map(float, (np.mean(plateaus), np.mean(refused), mixed, np.median(spreads))))


def run() -> str:
    """Measure every cloud and return the tables."""
    clouds: list[Cloud] = [
        (name, (d,), n) for name, d, n in itertools.product(MANIFOLDS, DIMENSIONS, SIZES)
    ]
    clouds += [(name, (d,), n) for name, d, n in UNSEEN]
    n_single = len(clouds)
    clouds += [("mixture", numbers, n) for numbers in MIXTURES for n in SIZES]
    rows = []
    largest = 0.0
    for number, (where, shares) in enumerate(zip(clouds, on_processors(cell, clouds), strict=True)):
        name, numbers, n_points = where
        if number < n_single - len(UNSEEN):
            largest = max(largest, shares[1] + shares[2])
        what = (
            f"{numbers[0]:g} and {numbers[1]:g}, {numbers[2]:.0%} of the first"
            if name == "mixture"
            else f"{numbers[0]:g}"
        )
        rows.append([name, what, n_points, *(f"{s:.0%}" for s in shares[:3]), f"{shares[3]:.2f}"])
        print(*rows[-1], flush=True)
    summary = (
        f"Of homogeneous clouds, at most {largest:.0%} in any cell are doubted (never over 5 %). "
        f"Each cell has {REPEATS} samples."
    )
    head = ["cloud", "d", "N", "plateau", "fit refused", "points mixed", "median spread"]
    return summary + "\n\n" + table(head, rows)
