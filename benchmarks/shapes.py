"""Peaks, bands and tests of shape: what they claim, counted over many samples of known profiles."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import dimscope as ds
from benchmarks.processes import on_processors, tiled
from benchmarks.timing import table
from dimscope.profiles.joint import JointLaw
from dimscope.profiles.layerwise import measure_layers
from dimscope.profiles.peak import peak_of
from dimscope.profiles.trends import tests_of

N, REPEATS, LAW_REPEATS = 500, 1000, 400
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


# -- laws ---------------------------------------------------------------------------------

# Estimates drawn from known joint laws: the dimensions in standard errors, the correlation of all
# layers, the number of classes (None: points), and the standard error relative to the dimension.
Law = tuple[Sequence[float], float, int | None, float]

_CLEAR, _TWO = (0, 0, 8, 0, 0), (0, 8, 0, 8, 0)
LAWS: dict[str, Law] = {
    **{
        f"{name}, correlation {correlation}": (means, correlation, None, 0.05)
        for name, means in {
            "flat": (0, 0, 0, 0, 0),
            "one leads by 8 errors": _CLEAR,
            "one leads by 1": (0, 0, 1, 0, 0),
            "one leads by 2": (0, 0, 2, 0, 0),
            "one leads by 3": (0, 0, 3, 0, 0),
            "two lead by 8": _TWO,
            "steps of 1": (0, 1, 2, 3, 4),
            "steps of 0.3": (0, 0.3, 0.6, 0.9, 1.2),
        }.items()
        for correlation in (0.0, 0.5, 0.9)
    },
    "first far below, others equal": ((-20, 0, 0, 0, 0), 0.3, None, 0.05),
    "last equal to the lowest of the end": ((9, 6, 0, 6, 0), 0.3, None, 0.05),
    "last leads the end by 3": ((9, 6, 0, 0, 3), 0.3, None, 0.05),
    "flat, small errors": ((0, 0, 0, 0, 0), 0.3, None, 0.02),
    "one is 10 % above, small errors": ((0, 0, np.log(1.1) / 0.02, 0, 0), 0.3, None, 0.02),
    **{
        f"{n_layers} layers, {name}, correlation {correlation}": (
            (lead, *[0] * (n_layers - 1)), correlation, None, 0.05
        )
        for n_layers in (2, 10, 30)
        for name, lead in (("flat", 0), ("one leads by 2", 2))
        for correlation in (0.0, 0.5)
    },
    **{
        f"{n} classes, {name}": (means, 0.5, n, 0.05)
        for n in (3, 4, 5, 10)
        for name, means in {"flat": (0, 0, 0, 0, 0), "one leads by 8": _CLEAR, "two": _TWO}.items()
    },
}  # fmt: skip


def drawn(task: tuple[Law, int]) -> list[float]:
    """Draw estimates from a law many times, and count how often each claim holds."""
    (means, correlation, n_classes, error), repeats = task
    rng = np.random.default_rng(0)
    n = len(means)
    truth = 5 * np.exp(error * np.array(means))
    covariance = error**2 * ((1 - correlation) * np.eye(n) + correlation)
    below, above = np.triu_indices(n, 1)
    top = int(np.argmax(truth))
    names = tuple(map(str, range(n)))
    counts = np.zeros(11)
    for _ in range(repeats):
        if n_classes is None:
            dimensions = truth * np.exp(rng.multivariate_normal(np.zeros(n), covariance))
            law = JointLaw(names, dimensions, covariance * np.outer(dimensions, dimensions))
        else:
            deviations = rng.multivariate_normal(np.zeros(n), n_classes * covariance, n_classes)
            classes = truth * (1 + deviations)
            law = JointLaw(
                names, classes.mean(axis=0), np.cov(classes.T) / n_classes, n_classes - 1
            )
        peak = peak_of(law)
        tests = tests_of(law, tuple(np.linspace(0, 1, n)), 0.1, 0.5)
        band = law.critical(0.95, np.arange(n), None) * law.log_errors
        pairs = law.critical(0.95, above, below) * law.errors_of_differences(above, below)
        errors = law.dimensions - truth
        counts += [
            names[top] in peak.layers,
            len(peak.layers) == 1,
            peak.interval[0] <= truth[top] <= peak.interval[1],
            peak.interval[0] > truth[top],
            peak.interval[1] < truth[top],
            (np.abs(law.logs - np.log(truth)) <= band).all(),
            (np.abs(errors[above] - errors[below]) <= pairs).all(),
            *(test.holds for test in tests),
        ]
    return (counts / repeats).tolist()


# -- tables -------------------------------------------------------------------------------


def _shares(seeds: int, parts: int) -> list[range]:
    edges = np.linspace(0, seeds, parts + 1).astype(int)
    return [range(low, high) for low, high in itertools.pairwise(edges.tolist())]


def tables(
    samples: Mapping[str, list[dict[str, Any]]],
    laws: Mapping[str, Sequence[float]],
    law_repeats: int = LAW_REPEATS,
) -> str:
    """Make the tables of judged samples of profiles, and of counts over laws."""
    peaks, shapes = [], []
    repeats = len(next(iter(samples.values())))
    for name, judged in samples.items():
        counts = summary(judged)
        title = name + (" (not looked at before)" if name in UNSEEN else "")
        peaks.append(
            [title, f"{counts['lead']:.1f}", f"{counts['correlation']:.2f}"]
            + [f"{counts[key]:.1%}" for key in ("set holds", "one layer")]
            + [f"{counts['layers']:.1f}"]
            + [f"{counts[key]:.1%}" for key in ("height", "too high", "too low")]
            + [f"{counts[key]:+.1%}" for key in ("bias", "bias of highest")]
        )
        shapes.append([title, *(f"{counts[key]:.1%}" for key in _CLAIMS)])
    return "\n\n".join(
        [
            f"**Peaks** of profiles of tori that share latent coordinates; N = {N}, {repeats} "
            "samples a row. A minus marks a torus with a small first circle. *Lead*: how far the "
            "highest layer leads, in errors of the difference. The truth is the mean of the "
            "estimates.",
            table(
                ["dimensions", "lead", "correlation", "set holds the peak", "set is one layer",
                 "layers in the set", "interval holds the height", "above it", "below it",
                 "error of the height", "error of the highest estimate"],
                peaks,
            ),
            "**Bands and tests** on the same samples: how often all intervals hold at once, and "
            "how often each claim is established at 5 %.",
            table(
                ["dimensions", "worst interval of one layer", "bands", "differences of adjacent "
                 "layers", "of all pairs", "rises then falls", "flat", "differs",
                 "grows at the end"],
                shapes,
            ),
            f"**Known laws**: estimates drawn from joint laws; {law_repeats} samples a row.",
            table(
                ["dimensions, in standard errors", "set holds the peak", "set is one layer",
                 "interval holds the height", "above it", "below it", "bands", "differences of all "
                 "pairs", "rises then falls", "flat", "differs", "grows at the end"],
                [[name, *(f"{share:.1%}" for share in shares)] for name, shares in laws.items()],
            ),
        ]
    )  # fmt: skip


_CLAIMS = (
    "alone", "bands", "changes", "pairs", "rises_then_falls", "flat", "differs", "grows_at_end",
)  # fmt: skip


def run(repeats: int = REPEATS, law_repeats: int = LAW_REPEATS) -> str:
    """Measure every profile and every law, and return the tables."""
    profiles = {**PROFILES, **UNSEEN}
    tasks = [(layers, N, part) for layers in profiles.values() for part in _shares(repeats, 4)]
    results = list(on_processors(measured, tasks))
    laws = on_processors(drawn, [(law, law_repeats) for law in LAWS.values()])
    return tables(
        {
            name: list(itertools.chain(*results[4 * place : 4 * place + 4]))
            for place, name in enumerate(profiles)
        },
        dict(zip(LAWS, laws, strict=True)),
        law_repeats,
    )


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
