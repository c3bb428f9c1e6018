"""What the paper says about the estimator itself, each statement measured."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.processes import on_processors
from benchmarks.timing import table
from dimscope_experiments.ansuini2019 import statements

N, REPEATS, HUB_REPEATS = 2000, 50, 20
CLOUDS = list(itertools.product(("sphere", "torus", "cube", "gaussian", "paraboloid"), (2, 5, 10)))
HIGH = list(itertools.product((10, 20, 30, 50, 100), (500, 2000, 10000)))


def _triplets(name: str, d: int) -> list[Any]:
    one = statements.triplets(name, d, N, REPEATS)
    return [
        name, d, f"{one['all']:.2f}", f"{one['triplets']:.2f}",
        f"{one['change']:+.1%} ± {one['change_error']:.1%}", f"{one['of_the_points']:.0%}",
        f"{one['spread_ratio']:.1f}", f"{one['held']:.0%}",
    ]  # fmt: skip


def _density(name: str, d: int) -> list[Any]:
    one = statements.density(name, d, N, REPEATS)
    return [name, d, f"{one['measured']:.2f}", f"{one['error']:+.0%}"]


def _high(d: int, n: int) -> list[Any]:
    one = statements.high(d, n, max(3, 20_000 // n))
    means = (one[name] for name in ("cube", "gaussian", "paraboloid"))
    return [d, n, *(f"{mean:.1f} ({mean / d - 1:+.0%})" for mean in means)]


def _hubs(name: str, d: int, planted: bool) -> list[Any]:
    title, d, most, *means = statements.hubs(name, d, planted, N, HUB_REPEATS).values()
    return [title, d, f"{most:.0f}", *(f"{mean:.1f}" for mean in means)]


_KINDS = {"triplets": _triplets, "density": _density, "high": _high, "hubs": _hubs}


def _cell(task: tuple[str, Any]) -> list[Any]:
    kind, where = task
    return _KINDS[kind](*where)


def _rows(kind: str, cells: list[Any]) -> list[list[Any]]:
    rows = list(on_processors(_cell, [(kind, one) for one in cells]))
    for row in rows:
        print(kind, *row, flush=True)
    return rows


def run() -> str:
    """Measure every statement and return its table."""
    of_hubs = [(name, d, False) for name in ("gaussian", "sphere") for d in (5, 20, 50)]
    of_hubs += [("sphere", d, True) for d in (2, 5, 20, 50)]
    densities = list(itertools.product(statements.DENSITIES, (2, 5, 10)))
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
            f"N = {N}, {HUB_REPEATS} samples a row. The column *named* states how many "
            "points have the largest hub among their two nearest neighbours. The centre of a "
            "sphere is added as a hub of the worst kind.",
            table(
                ["points", "d", "named", "all", "without the first 1 % of hubs",
                 "without 1 % at random", "half of the points", "a quarter"],
                _rows("hubs", of_hubs),
            ),
        ]
    )  # fmt: skip
