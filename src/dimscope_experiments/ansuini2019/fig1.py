"""Fig. 1: how the estimator works, shown on digits: the ratios mu and the line through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dimscope as ds
from dimscope_experiments.ansuini2019.images import digits, fingerprint
from dimscope_experiments.ansuini2019.study import Study

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Plot the ratios mu of digit images, their empirical distribution, and the fitted line."""
    settings = study.of("fig1")
    images, _ = digits(study)
    points = images[: settings["n_points"]].flatten(1)
    neighbors = ds.nearest_neighbors(points)
    estimator = ds.TwoNN(fit="regression")
    found = estimator(neighbors)
    mu = np.sort(neighbors.distances[:, 1] / neighbors.distances[:, 0])
    share = np.arange(1, len(mu) + 1) / len(mu)
    kept = int(0.9 * len(mu))
    frame = pd.DataFrame({"mu": mu, "F": share, "kept": np.arange(len(mu)) < kept})
    study.table("fig1", "ratios", frame)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_neighbours(left)
    middle.step(mu, share, where="post", color="#0072B2")
    middle.set(xlabel="mu = r2 / r1", ylabel="F(mu)", xlim=(1, mu[kept] * 1.1))
    x, y = np.log(mu[:-1]), -np.log1p(-share[:-1])
    right.plot(x[:kept], y[:kept], ".", color="#0072B2", markersize=3, label="kept, 90 %")
    right.plot(x[kept:], y[kept:], ".", color="0.7", markersize=3, label="discarded")
    right.plot(x, float(found) * x, color="#D55E00", label=f"slope {float(found):.1f}")
    right.set(xlabel="ln mu", ylabel="-ln(1 - F)")
    right.legend(frameon=False)
    for ax in (middle, right):
        ax.spines[["top", "right"]].set_visible(False)
    study.picture("fig1", figure)
    return {
        "data": fingerprint(points),
        "dimension": float(found),
        "std_error": found.std_error,
        "says": f"The line through the ratios of {len(points)} digits has the slope {found}.",
    }


def _draw_neighbours(ax: Any) -> None:
    """Plot a few points of a sheet, and the two circles around each of three points."""
    points = np.random.default_rng(3).random((40, 2))
    neighbors = ds.nearest_neighbors(points)
    ax.plot(*points.T, "o", color="0.6", markersize=4)
    for i in (4, 11, 23):
        ax.plot(*points[i], "o", color="#D55E00", markersize=5)
        for radius, line in zip(neighbors.distances[i], ("-", "--"), strict=True):
            angle = np.linspace(0, 2 * np.pi, 100)
            circle = points[i] + radius * np.column_stack([np.cos(angle), np.sin(angle)])
            ax.plot(*circle.T, line, color="#0072B2", linewidth=1)
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[], title="r1 (solid) and r2 (dashed)")
