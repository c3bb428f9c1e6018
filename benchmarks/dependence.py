"""Errors over groups of rows and over classes: ``python -m benchmarks.dependence --mnist FOLDER``.

It writes the tables of docs/decisions/dependence.md. The folder holds the test set of MNIST, as the
original files; without it, the cells of MNIST are left out.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import on_processors
from benchmarks.timing import fill, table
from dimscope import (
    MLE,
    Activations,
    Difference,
    Estimate,
    TightGroups,
    TwoNN,
    difference,
    nearest_neighbors,
)
from dimscope.profiles.layerwise import measure_layers

REPEATS = 200
ESTIMATORS = [TwoNN(), MLE(10)]
PAGE = Path(__file__).parent.parent / "docs" / "decisions" / "dependence.md"

Cloud = tuple[np.ndarray, np.ndarray]


# -- groups of rows -----------------------------------------------------------------------


def repeated(rng: np.random.Generator, n_groups: int, low: int, high: int) -> np.ndarray:
    """Ids of groups of random sizes."""
    return np.repeat(np.arange(n_groups), rng.integers(low, high + 1, n_groups))


def clusters(rng: np.random.Generator, ids: np.ndarray, d: int, spread: float) -> Cloud:
    """Groups around centres of their own."""
    centres = rng.standard_normal((ids.max() + 1, d))
    return centres[ids] + spread * rng.standard_normal((len(ids), d)), ids


def of_different_dimensions(rng: np.random.Generator, ids: np.ndarray) -> Cloud:
    """Groups far apart, each in a space of 2 to 8 dimensions."""
    local = rng.integers(2, 9, ids.max() + 1)[ids]
    points = 50 * rng.standard_normal((ids.max() + 1, 8))[ids]
    return points + rng.standard_normal(points.shape) * (np.arange(8) < local[:, None]), ids


def series(rng: np.random.Generator, n: int, phi: float, d: int) -> np.ndarray:
    """A stationary autoregressive series of variance 1."""
    steps = rng.standard_normal((n, d))
    steps[1:] *= np.sqrt(1 - phi**2)
    for step in range(1, n):
        steps[step] += phi * steps[step - 1]
    return steps


def blocks(rng: np.random.Generator, n: int, phi: float, d: int, length: int) -> Cloud:
    """One series, of which groups are blocks of adjacent rows."""
    return series(rng, n, phi, d), np.arange(n) // length


def texts(rng: np.random.Generator, ids: np.ndarray, phi: float, d: int) -> Cloud:
    """A series for each text, around a centre of its own."""
    parts = [series(rng, n, phi, d) + 0.7 * rng.standard_normal(d) for n in np.bincount(ids)]
    return np.concatenate(parts), ids


def films(rng: np.random.Generator, ids: np.ndarray, step: float, d: int) -> Cloud:
    """A random walk for each film, from a start of its own."""
    walks = [
        rng.standard_normal(d) + step * rng.standard_normal((n, d)).cumsum(axis=0)
        for n in np.bincount(ids)
    ]
    return np.concatenate(walks), ids


@functools.cache
def digits(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the test set of MNIST."""
    parts = []
    for name, start in (("t10k-images-idx3-ubyte.gz", 16), ("t10k-labels-idx1-ubyte.gz", 8)):
        with gzip.open(Path(folder) / name) as file:
            parts.append(np.frombuffer(file.read(), np.uint8, offset=start))
    return parts[0].reshape(-1, 28, 28).astype(np.float32), parts[1]


def augmented(rng: np.random.Generator, ids: np.ndarray, folder: str) -> Cloud:
    """Digits shifted by up to two pixels and turned by up to ten degrees."""
    from scipy.ndimage import rotate, shift

    images, _ = digits(folder)
    chosen = rng.permutation(len(images))[: ids.max() + 1]
    moved = [
        rotate(
            shift(images[chosen[i]], rng.uniform(-2, 2, 2), order=1),
            rng.uniform(-10, 10),
            reshape=False,
            order=1,
        ).ravel()
        for i in ids
    ]
    return np.array(moved), ids


Sampler = Callable[[np.random.Generator, str], Cloud]

# name, sampler, whether neighbours of the own group are excluded
CHOSEN_ON: list[tuple[str, Sampler, bool]] = [
    (
        "20 clusters of 5 to 50",
        lambda rng, _: clusters(rng, repeated(rng, 20, 5, 50), 5, 0.3),
        False,
    ),
    (
        "50 clusters of 5 to 50",
        lambda rng, _: clusters(rng, repeated(rng, 50, 5, 50), 5, 1.0),
        True,
    ),
    (
        "200 clusters of 5 to 20",
        lambda rng, _: clusters(rng, repeated(rng, 200, 5, 20), 5, 0.3),
        False,
    ),
    (
        "50 clusters of other dimensions",
        lambda rng, _: of_different_dimensions(rng, repeated(rng, 50, 5, 50)),
        False,
    ),
    ("blocks of 50, phi 0.95", lambda rng, _: blocks(rng, 1500, 0.95, 5, 50), False),
    ("blocks of 50, phi 0.95", lambda rng, _: blocks(rng, 1500, 0.95, 5, 50), True),
    (
        "50 texts of 10 to 50, phi 0.8",
        lambda rng, _: texts(rng, repeated(rng, 50, 10, 50), 0.8, 8),
        True,
    ),
    (
        "20 films of 20 to 60",
        lambda rng, _: films(rng, repeated(rng, 20, 20, 60), 0.1, 5),
        False,
    ),
]
PUT_AWAY: list[tuple[str, Sampler, bool]] = [
    (
        "20 clusters of 5 to 50, d = 8",
        lambda rng, _: clusters(rng, repeated(rng, 20, 5, 50), 8, 0.5),
        False,
    ),
    (
        "20 clusters of 5 to 50, d = 8",
        lambda rng, _: clusters(rng, repeated(rng, 20, 5, 50), 8, 1.5),
        True,
    ),
    (
        "200 clusters of 5 to 50, d = 3",
        lambda rng, _: clusters(rng, repeated(rng, 200, 5, 50), 3, 0.2),
        False,
    ),
    (
        "100 clusters of other dimensions",
        lambda rng, _: of_different_dimensions(rng, repeated(rng, 100, 5, 50)),
        False,
    ),
    (
        "12 clusters of other dimensions",
        lambda rng, _: of_different_dimensions(rng, repeated(rng, 12, 30, 50)),
        False,
    ),
    ("blocks of 50, phi 0.8", lambda rng, _: blocks(rng, 2000, 0.8, 5, 50), False),
    (
        "50 texts of 10 to 50, phi 0.9",
        lambda rng, _: texts(rng, repeated(rng, 50, 10, 50), 0.9, 6),
        True,
    ),
    (
        "50 films of 10 to 40, d = 8",
        lambda rng, _: films(rng, repeated(rng, 50, 10, 40), 0.2, 8),
        False,
    ),
    (
        "MNIST, 100 images, 5 to 15 each",
        lambda rng, folder: augmented(rng, repeated(rng, 100, 5, 15), folder),
        False,
    ),
    (
        "MNIST, 100 images, 5 to 15 each",
        lambda rng, folder: augmented(rng, repeated(rng, 100, 5, 15), folder),
        True,
    ),
]


def cell(task: tuple[str, int, str]) -> list[list[Any]]:
    """Rows of one cell: every estimator, by rows and by groups."""
    warnings.simplefilter("ignore", TightGroups)
    kind, number, folder = task
    name, sampler, excludes = (CHOSEN_ON if kind == "chosen on" else PUT_AWAY)[number]
    estimates: dict[tuple[str, bool], list[Estimate]] = {}
    k = max(estimator.wished for estimator in ESTIMATORS)
    for seed in range(REPEATS):
        rng = np.random.default_rng([seed, number, kind == "chosen on"])
        points, ids = sampler(rng, folder)
        neighbors = nearest_neighbors(points, k, exclude=ids if excludes else None)
        over_groups = neighbors.in_groups(ids)
        for estimator in ESTIMATORS:
            for value in (neighbors, over_groups):
                key = estimator.name, value is over_groups
                estimate = estimator.from_neighbors(value, test_fit=False)
                estimates.setdefault(key, []).append(estimate)
    return [
        [
            name,
            "yes" if excludes else "no",
            estimator.name,
            f"{np.mean([float(e) for e in estimates[estimator.name, True]]):.2f}",
            *judged(estimates[estimator.name, False]),
            *judged(estimates[estimator.name, True]),
        ]
        for estimator in ESTIMATORS
    ]


def judged(measured: Sequence[Estimate | Difference]) -> list[str]:
    """Standard error (root of the mean square) over spread, and coverage of the mean."""
    values = np.array([value_of(one) for one in measured])
    errors = np.array([one.std_error for one in measured])
    mean, spread = values.mean(), values.std(ddof=1)
    covered = np.mean([one.interval[0] <= mean <= one.interval[1] for one in measured])
    return [f"{np.sqrt((errors**2).mean()) / spread:.2f}", f"{covered:.0%}"]


def value_of(measured: Estimate | Difference) -> float:
    """Return the number that the error and the interval are of."""
    return measured.dimension if isinstance(measured, Estimate) else measured.difference


# -- classes ------------------------------------------------------------------------------


def classes(task: tuple[str, str, str]) -> list[list[Any]]:
    """Rows of means over the digits of MNIST, with errors for fixed and for random classes.

    The classes are the ten digits with new images each time, or six digits drawn anew, each a class
    of its own also if it is drawn twice: as from a large number of classes.
    """
    drawn, sizes, folder = task
    images, labels = digits(folder)
    by_digit = [np.flatnonzero(labels == digit) for digit in range(10)]
    estimates: dict[tuple[str, str], list[Estimate]] = {}
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        left = [rng.permutation(rows) for rows in by_digit]
        chosen = range(10) if drawn == "same digits" else rng.integers(0, 10, 6)
        rows, titles = [], []
        for title, digit in enumerate(chosen):
            n = 60 if sizes == "equal" else 30 + 60 * title // (len(chosen) - 1)
            rows.append(left[digit][:n])
            left[digit] = left[digit][n:]
            titles.append(np.full(n, title))
        layers = {"pixels": images[np.concatenate(rows)].reshape(-1, 784)}
        data = Activations(layers, labels=np.concatenate(titles))
        for kind in ("fixed", "random"):
            profile = measure_layers(data, ESTIMATORS, by_class=True, classes=kind)
            for name in profile.estimators:
                estimates.setdefault((name, kind), []).append(profile.of(name)["pixels"])
    return [
        [
            drawn,
            sizes,
            estimator.name,
            f"{np.mean([float(e) for e in estimates[estimator.name, 'fixed']]):.2f}",
            *judged(estimates[estimator.name, "fixed"]),
            *judged(estimates[estimator.name, "random"]),
        ]
        for estimator in ESTIMATORS
    ]


# -- differences --------------------------------------------------------------------------


def differences(task: tuple[str, str]) -> list[list[Any]]:
    """Rows of differences between digits of MNIST and the ReLU of a random map of them."""
    over, folder = task
    images, labels = digits(folder)
    weights = np.random.default_rng(0).standard_normal((784, 300), dtype=np.float32)
    changes: dict[str, list[Difference]] = {estimator.name: [] for estimator in ESTIMATORS}
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        if over == "fixed classes":
            rows = np.concatenate(
                [rng.permutation(np.flatnonzero(labels == digit))[:60] for digit in range(10)]
            )
            points, ids, groups = images[rows].reshape(-1, 784), labels[rows], None
        else:
            points, groups = augmented(rng, repeated(rng, 60, 5, 15), folder)
            ids = None
        layers = {"pixels": points, "map": np.maximum(points @ weights, 0)}
        profile = measure_layers(
            Activations(layers, labels=ids),
            ESTIMATORS,
            by_class=ids is not None,
            classes="random" if ids is None else "fixed",
            groups=groups,
        )
        for estimator in ESTIMATORS:
            of = profile.of(estimator.name)
            changes[estimator.name].append(difference(of["pixels"], of["map"]))
    return [
        [over, name, f"{np.mean([value_of(one) for one in measured]):.2f}", *judged(measured)]
        for name, measured in changes.items()
    ]


# -- the page -----------------------------------------------------------------------------


OVER = ("fixed classes", "60 groups of augmentations")


def _measure(task: tuple[Any, ...]) -> list[list[Any]]:
    if task[0] in OVER:
        return differences(task)
    return classes(task) if task[0] in ("same digits", "new digits") else cell(task)


def run(folder: str = "") -> dict[str, str]:
    """Measure every cell and return the tables by name."""
    tasks: list[tuple[Any, ...]] = [
        (kind, number, folder)
        for kind, cells in (("chosen on", CHOSEN_ON), ("put away", PUT_AWAY))
        for number, (name, *_) in enumerate(cells)
        if folder or not name.startswith("MNIST")
    ]
    if folder:
        tasks += [
            (drawn, sizes, folder)
            for drawn in ("same digits", "new digits")
            for sizes in ("equal", "unequal")
        ]
        tasks += [(over, folder) for over in OVER]
    names = ("chosen on", "put away", "classes", "differences")
    rows: dict[str, list[list[Any]]] = {name: [] for name in names}
    for task, measured in zip(tasks, on_processors(_measure, tasks), strict=True):
        rows[task[0] if task[0] in rows else names[2 + (task[0] in OVER)]] += measured
        for row in measured:
            print(*row, flush=True)
    head = ["rows", "exclude", "estimator", "mean"]
    head += ["by rows: SE / spread", "coverage", "by groups: SE / spread", "coverage"]
    class_head = ["classes", "sizes", "estimator", "mean"]
    class_head += ["fixed: SE / spread", "coverage", "random: SE / spread", "coverage"]
    heads = dict.fromkeys(names, head)
    heads["classes"] = class_head
    heads["differences"] = ["over", "estimator", "mean difference", "SE / spread", "coverage"]
    return {name: table(heads[name], measured) for name, measured in rows.items() if measured}


def main() -> None:
    """Put each table between its markers on the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.dependence")
    parser.add_argument("--mnist", default="", help="folder with the test set of MNIST")
    tables = run(parser.parse_args().mnist)
    for name, text in tables.items():
        fill(PAGE, name, text)


if __name__ == "__main__":
    main()
