"""What the paper says about the estimator itself, measured on clouds of known dimension.

The statements are about triplets that share no point, non-uniform densities, high dimensions
and hubs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dimscope as ds
from dimscope import manifolds
from dimscope_experiments.ansuini2019.study import Claim, Study, judged

__all__ = ["DENSITIES", "density", "high", "hubs", "run", "triplets"]


def power_law(n: int, d: int, seed: int) -> np.ndarray:
    """Draw random directions, and radii whose density falls by five orders of magnitude."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((n, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * 10 ** (5 / d * rng.random((n, 1))))


def clumps(n: int, d: int, seed: int) -> np.ndarray:
    """Draw points from three Gaussians of widths 1, 0.1 and 0.01, a thousand apart."""
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


def triplets(name: str, d: int, n: int, repeats: int) -> dict[str, Any]:
    """Compare estimates from all points with estimates from triplets that share no point."""
    both, shares, held = [], [], 0
    for seed in range(repeats):
        neighbors = ds.nearest_neighbors(getattr(manifolds, name)(n, d, seed=seed))
        every, some = (ds.TwoNN(fit=fit)(neighbors) for fit in ("mle", "triplets"))
        both.append((every.dimension, some.dimension))
        shares.append(some.n_used / n)
        held += some.interval[0] <= every.dimension <= some.interval[1]
    mean, spread = np.mean(both, axis=0), np.std(both, axis=0, ddof=1)
    change = np.diff(both, axis=1)[:, 0]
    return {
        "points": name,
        "d": d,
        "all": mean[0],
        "triplets": mean[1],
        "change": change.mean() / mean[0],
        "change_error": change.std(ddof=1) / np.sqrt(repeats) / mean[0],
        "of_the_points": np.mean(shares),
        "spread_ratio": spread[1] / spread[0],
        "held": held / repeats,
    }


def density(name: str, d: int, n: int, repeats: int) -> dict[str, Any]:
    """Measure the mean dimension of points with one density."""
    found = [float(ds.estimate(DENSITIES[name](n, d, seed))) for seed in range(repeats)]
    return {"density": name, "d": d, "measured": np.mean(found), "error": np.mean(found) / d - 1}


def high(d: int, n: int, repeats: int) -> dict[str, Any]:
    """Measure the mean dimension of a cube, a Gaussian and an exponential cloud on a paraboloid."""
    return {
        "d": d,
        "N": n,
        **{
            name: np.mean(
                [float(ds.estimate(getattr(manifolds, name)(n, d, i))) for i in range(repeats)]
            )
            for name in ("cube", "gaussian", "paraboloid")
        },
    }


def hubs(name: str, d: int, planted: bool, n: int, repeats: int) -> dict[str, Any]:
    """Measure with all points, without hubs, without as many other points, and on subsets.

    ``planted`` adds the centre of a sphere, which is nearer to every point than any other point.
    """
    rows = []
    for seed in range(repeats):
        points = getattr(manifolds, name)(n, d, seed=seed)
        if planted:
            points = np.concatenate([points, np.zeros((1, points.shape[1]))])
        neighbors = ds.nearest_neighbors(points, 16)
        named = np.bincount(neighbors.indices[:, :2].ravel(), minlength=len(points))
        order, rng = np.argsort(-named), np.random.default_rng(seed)
        few = max(1, len(points) // 100)
        parts = [
            np.arange(len(points)),
            np.sort(order[few:]),
            np.sort(rng.permutation(len(points))[few:]),
            rng.permutation(len(points))[: n // 2],
            rng.permutation(len(points))[: n // 4],
        ]
        rows.append([named.max(), *(float(ds.TwoNN()(neighbors.within(part))) for part in parts)])
    columns = ("named", "all", "without_hubs", "without_others", "half", "quarter")
    means = dict(zip(columns, np.mean(rows, axis=0).tolist(), strict=True))
    return {"points": f"{name}{' and its centre' if planted else ''}", "d": d, **means}


def run(study: Study) -> dict[str, Any]:
    """Test every statement, with the dimensions and repeats in the settings."""
    settings = study.of("statements")
    n, repeats, low = settings["n_points"], settings["repeats"], settings["dimensions"]
    hubbed = [("gaussian", d, False) for d in settings["hub_dimensions"]]
    hubbed += [("sphere", d, True) for d in settings["hub_dimensions"]]
    tasks: list[tuple[str, Callable[..., dict[str, Any]], list[Any]]] = [
        *(("triplets", triplets, [*one, n, repeats])
          for one in itertools.product(settings["manifolds"], low)),
        *(("density", density, [*one, n, repeats]) for one in itertools.product(DENSITIES, low)),
        *(("high", high, [d, n, repeats]) for d in settings["high_dimensions"]),
        *(("hubs", hubs, [*one, n, repeats]) for one in hubbed),
    ]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, (kind, measure, arguments) in enumerate(tasks):
        rows.setdefault(kind, []).append(measure(*arguments))
        study.progress("measuring statements", number + 1, len(tasks))
    frames = {kind: pd.DataFrame(several) for kind, several in rows.items()}
    for kind, frame in frames.items():
        study.table("statements", kind, frame)
    _draw(study, frames)
    return {"claims": _claims(rows)}


def _draw(study: Study, frames: dict[str, pd.DataFrame]) -> None:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (name, some), mark in zip(frames["density"].groupby("density"), "osD^vP", strict=True):
        left.plot(some["d"], some["measured"] / some["d"], f"{mark}-", markersize=4, label=name)
    left.axhline(1, linestyle="--", color="0.6")
    left.set(xlabel="dimension", ylabel="measured over true", ylim=(0, None), title="densities")
    for name, mark in zip(("cube", "gaussian", "paraboloid"), "osD", strict=True):
        some = frames["high"]
        middle.plot(some["d"], some[name], f"{mark}-", markersize=4, label=name)
    limits = [0, frames["high"]["d"].max()]
    middle.plot(limits, limits, "--", color="0.6")
    middle.set(xlabel="dimension", ylabel="measured", title="many dimensions")
    some = frames["triplets"]
    right.errorbar(some["all"], some["triplets"], some["change_error"] * some["all"], fmt="o",
                   markersize=4, capsize=2, label="manifolds")  # fmt: skip
    limits = [0, some["all"].max()]
    right.plot(limits, limits, "--", color="0.6")
    right.set(xlabel="all points", ylabel="triplets that share no point", title="triplets")
    for ax in (left, middle, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=7)
    study.picture("statements", figure)


def _claims(rows: dict[str, list[dict[str, Any]]]) -> list[Claim]:
    moved = max(rows["triplets"], key=lambda one: abs(one["change"]))
    uneven = [one for one in rows["density"] if one["d"] <= 5 and "uniform" not in one["density"]]
    off = max(uneven, key=lambda one: abs(one["error"]))
    top = max(rows["high"], key=lambda one: one["d"])
    effects = [{**one, "effect": one["all"] / one["without_hubs"] - 1} for one in rows["hubs"]]
    own, planted = (
        max(
            (one for one in effects if ("centre" in one["points"]) == added),
            key=lambda one: abs(one["effect"]),
        )
        for added in (False, True)
    )
    return [
        judged(
            12,
            'Triplets that share no point do "not significantly affect the estimate".',
            bool(abs(moved["change"]) <= 0.03),
            f"largest change of the mean {moved['change']:+.1%} ({moved['points']}, d = "
            f"{moved['d']}), its spread {moved['spread_ratio']:.1f} times that of all points",
        ),
        judged(
            13,
            'Right for "highly non-uniform" densities, for d up to 5.',
            bool(abs(off["error"]) <= 0.1),
            f"largest error {off['error']:+.0%} ({off['density']}, d = {off['d']})",
        ),
        judged(
            13,
            'Large IDs are underestimated, "especially if the density is non-uniform".',
            bool(top["paraboloid"] < top["cube"] < top["d"]),
            f"d = {top['d']} measures {top['cube']:.0f} (cube), {top['gaussian']:.0f} "
            f"(Gaussian), {top['paraboloid']:.0f} (exponential, on a paraboloid)",
        ),
        judged(
            14,
            'The estimate is "not severely affected by the presence of hubs".',
            bool(abs(own["effect"]) <= 0.1),
            f"the hubs of Gaussians change it by at most {own['effect']:+.1%}; a planted one, the "
            f"centre of a sphere with d = {planted['d']}, by {planted['effect']:+.0%}",
        ),
    ]
