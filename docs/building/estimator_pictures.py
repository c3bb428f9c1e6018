"""Pictures of the estimators: the estimate against the true dimension, for several N."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import dimscope as ds
from dimscope.manifolds import cube, gaussian
from dimscope.plotting.figures import axes_or_new, curve_style

SIZES = (200, 500, 1000, 2000)
NEIGHBOURS = {"twonn": ds.TwoNN(), "gride": ds.Gride(2, 4), "mle": ds.MLE(10)}
SPECTRA = {
    "pca": ds.PCA(),
    "participation-ratio": ds.ParticipationRatio(),
    "effective-rank": ds.EffectiveRank(),
}
Curves = dict[str, dict[int, list[float]]]


def lattice(n_points: int, dimension: int) -> Any:
    """Draw whole numbers from 0 to 99."""
    return np.random.default_rng(0).integers(0, 100, (n_points, dimension))


# What each group of estimators measures: (sampler, its name, dimensions)
CLOUDS: list[tuple[dict[str, Any], Callable[[int, int], Any], str, tuple[int, ...]]] = [
    (NEIGHBOURS, cube, "cube", (1, 2, 5, 10, 15, 20, 30, 40)),
    ({"i3d": ds.I3D()}, lattice, "lattice", (1, 2, 3, 4, 5, 6, 8)),
    (SPECTRA, gaussian, "Gaussian", (1, 10, 25, 50, 100, 200)),
]

NAMES = [name for estimators, *_ in CLOUDS for name in estimators]


def pictures() -> dict[str, bytes]:
    """Return the pictures by the name of the page that shows them."""
    drawn = {}
    for estimators, sample, cloud, dimensions in CLOUDS:
        curves: Curves = {name: {n: [] for n in SIZES} for name in estimators}
        with warnings.catch_warnings(action="ignore"):  # a few points, and ties of the lattice
            for n_points in SIZES:
                for dimension in dimensions:
                    estimates = ds.estimate(sample(n_points, dimension), estimators)
                    for name, estimate in estimates.items():
                        curves[name][n_points].append(float(estimate))
        for name in estimators:
            drawn[f"{name}.png"] = _picture(repr(estimators[name]), cloud, dimensions, curves[name])
    return drawn


def _picture(estimator: str, cloud: str, dimensions: Any, curves: dict[int, list[float]]) -> bytes:
    ax = axes_or_new(None)
    ax.plot(dimensions, dimensions, color="0.6", linestyle="--", label="true")
    for number, (n_points, estimates) in enumerate(curves.items()):
        ax.errorbar(dimensions, estimates, label=f"N = {n_points}", **curve_style(number))
    ax.set(xlabel=f"dimension of a {cloud}", ylabel=estimator, xlim=(0, None), ylim=(0, None))
    ax.legend(frameon=False)
    picture = io.BytesIO()
    ax.figure.savefig(picture, dpi=130)
    return picture.getvalue()
