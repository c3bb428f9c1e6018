"""Peaks, bands and tests of shape: what they claim, counted over many samples of known profiles."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import dimscope as ds
from benchmarks.processes import on_processors, tiled
from benchmarks.timing import table
from dimscope.profiles.layerwise import measure_layers

N, REPEATS = 500, 1000
_LATENT = 10

# A layer is a torus of some of the latent coordinates, which all layers share: the product of
# circles, of radius 1, or of the radius that is given for the first coordinate.
Layer = tuple[Sequence[int], float]


def _of(d: int, start: int = 0, radius: float = 1.0) -> Layer:
    return [(start + i) % _LATENT for i in range(d)], radius


PROFILES: dict[str, list[Layer]] = {
    "3 5 8 5 3": [_of(3), _of(5), _of(8), _of(5, 2), _of(3, 4)],
    "5 5 5 5 5": [_of(5, start) for start in range(5)],
    "4 4 4 4 4": [_of(4, 4 * i) for i in range(5)],
    "3 8 5 8 3": [_of(3), _of(8), _of(5), _of(8, 1), _of(3, 4)],
    "3 8 5 8- 3": [_of(3), _of(8), _of(5), _of(8, 1, 0.4), _of(3, 4)],
    "3 8 5 8-- 3": [_of(3), _of(8), _of(5), _of(8, 1, 0.25), _of(3, 4)],
    "7 6 7 6 5": [_of(7), _of(6), _of(7, 2), _of(6, 3), _of(5)],
    "8 6 5 4 3": [_of(8), _of(6), _of(5), _of(4), _of(3)],
    "3 4 5 6 8": [_of(3), _of(4), _of(5), _of(6), _of(8)],
    "5 6 7 8 8-": [_of(5), _of(6), _of(7), _of(8), _of(8, 1, 0.4)],
    "6 5 3 4 6": [_of(6), _of(5), _of(3), _of(4), _of(6, 3)],
}
# Profiles that were not looked at when the method was chosen.
UNSEEN = {
    "2 4 7 7- 4 2 5": [_of(2), _of(4), _of(7), _of(7, 1, 0.5), _of(4, 3), _of(2, 5), _of(5, 2)],
    "4 4 4": [_of(4), _of(4, 2), _of(4, 4)],
    "9 9- 9-- 9 9- 9-- 9 9- 9--": [_of(9, i, (1.0, 0.5, 0.35)[i % 3]) for i in range(9)],
}


def sample(layers: Sequence[Layer], n: int, seed: int) -> dict[str, np.ndarray]:
    """Draw the layers of one profile."""
    angle = 2 * np.pi * np.random.default_rng(seed).random((n, _LATENT))
    points = {}
    for number, (used, radius) in enumerate(layers):
        circles = np.stack([np.cos(angle[:, used]), np.sin(angle[:, used])], axis=2)
        circles[:, 0] *= radius
        points[f"layer {number}"] = tiled(circles.reshape(n, -1))
    return points


def profile_of(points: dict[str, np.ndarray]) -> ds.Profile:
    """Measure the layers of one sample, without tests of the fit."""
    return measure_layers(ds.Activations(points))


def _judged(profile: ds.Profile) -> dict[str, Any]:
    peak, trend = profile.peak(), profile.trend()
    bands = profile.simultaneous()
    changes, pairs = profile.differences(), profile.differences("all")
    return {
        "dimensions": [estimate.dimension for estimate in profile.values()],
        "alone": [estimate.interval for estimate in profile.values()],
        "errors": [estimate.std_error for estimate in profile.values()],
        "highest": list(profile).index(peak.layer),
        "set": [name in peak.layers for name in profile],
        "probabilities": list(peak.probabilities.values()),
        "height": peak.height,
        "std_error": peak.std_error,
        "interval": peak.interval,
        "bands": [bands[name] for name in profile],
        "changes": [change.interval for change in changes],
        "p_adjusted": [change.p_adjusted for change in changes],
        "pairs": [change.interval for change in pairs],
        "p": {
            name: getattr(trend, name).p_value
            for name in ("rises_then_falls", "flat", "differs", "grows_at_end")
        },
    }


def measured(task: tuple[Sequence[Layer], int, range]) -> list[dict[str, Any]]:
    """Measure and judge some samples of a profile."""
    layers, n, seeds = task
    return [_judged(profile_of(sample(layers, n, seed))) for seed in seeds]


def held(intervals: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Tell which intervals, in the last axis, hold the truth."""
    return (intervals[..., 0] <= truth) & (truth <= intervals[..., 1])


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Count how often each claim holds; the truth is the mean of all estimates."""
    array = {key: np.array([one[key] for one in results]) for key in results[0] if key != "p"}
    truth = array["dimensions"].mean(axis=0)
    n_layers = len(truth)
    top, second = np.sort(truth)[::-1][:2]
    order = np.argsort(-truth)
    gaps = array["dimensions"][:, order[0]] - array["dimensions"][:, order[1]]
    changes = np.diff(truth)
    pairs = np.array([b - a for a, b in itertools.combinations(truth, 2)])
    heights = array["interval"]
    return {
        "truth": truth,
        "lead": (top - second) / gaps.std(ddof=1),
        "correlation": np.corrcoef(array["dimensions"].T)[np.triu_indices(n_layers, 1)].mean(),
        "set holds": array["set"][:, order[0]].mean(),
        "one layer": (array["set"].sum(axis=1) == 1).mean(),
        "layers": array["set"].sum(axis=1).mean(),
        "height": held(heights, top).mean(),
        "too high": (heights[:, 0] > top).mean(),
        "too low": (heights[:, 1] < top).mean(),
        "bias": array["height"].mean() / top - 1,
        "bias of highest": array["dimensions"].max(axis=1).mean() / top - 1,
        "alone": held(array["alone"], truth).mean(axis=0).min(),
        "bands": held(array["bands"], truth).all(axis=1).mean(),
        "changes": held(array["changes"], changes).all(axis=1).mean(),
        "pairs": held(array["pairs"], pairs).all(axis=1).mean(),
        **{name: np.mean([one["p"][name] <= 0.05 for one in results]) for name in results[0]["p"]},
    }


def _shares(seeds: int, parts: int) -> list[range]:
    edges = np.linspace(0, seeds, parts + 1).astype(int)
    return [range(low, high) for low, high in itertools.pairwise(edges.tolist())]


def run(repeats: int = REPEATS) -> str:
    """Measure every profile and return the tables."""
    profiles = {**PROFILES, **UNSEEN}
    tasks = [(layers, N, part) for layers in profiles.values() for part in _shares(repeats, 4)]
    results = list(on_processors(measured, tasks))
    peaks, shapes = [], []
    for place, name in enumerate(profiles):
        counts = summary(list(itertools.chain(*results[4 * place : 4 * place + 4])))
        title = name + (" (not looked at before)" if name in UNSEEN else "")
        peaks.append(
            [title, f"{counts['lead']:.1f}", f"{counts['correlation']:.2f}"]
            + [f"{counts[key]:.1%}" for key in ("set holds", "one layer")]
            + [f"{counts['layers']:.1f}"]
            + [f"{counts[key]:.1%}" for key in ("height", "too high", "too low")]
            + [f"{counts[key]:+.1%}" for key in ("bias", "bias of highest")]
        )
        shapes.append(
            [title]
            + [
                f"{counts[key]:.1%}"
                for key in (
                    "alone", "bands", "changes", "pairs",
                    "rises_then_falls", "flat", "differs", "grows_at_end",
                )
            ]
        )  # fmt: skip
        print(*peaks[-1], *shapes[-1][1:], flush=True)
    return "\n\n".join(
        [
            f"**Peaks** of profiles of tori that share latent coordinates; N = {N}, {repeats} "
            "samples a row. *Lead*: how far the highest layer leads, in errors of the difference.",
            table(
                ["dimensions", "lead", "correlation", "set holds the peak", "set is one layer",
                 "layers in the set", "interval holds the height", "above it", "below it",
                 "error of the height", "error of the highest estimate"],
                peaks,
            ),
            "**Bands and tests**: how often all intervals hold at once, and how often each claim "
            "is established at 5 %.",
            table(
                ["dimensions", "worst interval of one layer", "bands", "differences of adjacent "
                 "layers", "of all pairs", "rises then falls", "flat", "differs",
                 "grows at the end"],
                shapes,
            ),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
