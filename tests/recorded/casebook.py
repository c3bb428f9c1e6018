"""Where cases are registered, and the clouds and profiles that several of them use."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds
from dimscope import manifolds
from recorded.plain import (
    RELATIVE,
)


@dataclass(frozen=True)
class Case:
    """A function, how closely its floats must agree, and the packages that it needs."""

    function: Callable[[], Any]
    tolerance: float
    needs: tuple[str, ...]


CASES: dict[str, Case] = {}


def case(
    *needs: str, tolerance: float = RELATIVE
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a case under the name of its function."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        one = CASES.setdefault(function.__name__, Case(function, tolerance, needs))
        # pytest, which looks for doctests, imports a module a second time
        file, other = (each.__code__.co_filename for each in (function, one.function))
        assert file == other, f"two cases are named {function.__name__}"
        return function

    return register


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """Work in a new folder, so that no message or result holds a path of this machine."""
    path = list(sys.path)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path()
    sys.path[:] = path


def uneven(n: int, width: int, seed: int = 0) -> Any:
    """A curved cloud of three dimensions in many features, by sums and products only."""
    x = np.random.default_rng(seed).random((n, 3))
    rng = np.random.default_rng(seed + 100)
    first, second = rng.integers(-3, 4, (2, 3, width)).astype(float)
    plane, bend = np.zeros((n, width)), np.zeros((n, width))
    for i in range(3):
        plane += x[:, i : i + 1] * first[i]
        bend += x[:, i : i + 1] * second[i]
    return plane + 0.25 * bend * bend


def classes() -> ds.Activations:
    """Three layers of four classes, of which one class and one layer cannot be measured."""
    labels = np.repeat([0, 1, 2, 3], [80, 90, 70, 60])[np.random.default_rng(45).permutation(300)]
    first = manifolds.cube(300, 3, seed=46)
    second = np.column_stack([first, first**2])
    second[labels == 3] = 1.0
    described = (
        ds.Layer("input", "input", 0, 0.0, 3),
        ds.Layer("middle", "last_hidden", 1, 0.5, 6),
        ds.Layer("lost", "hidden", 1, 0.5, 0),
        ds.Layer("output", "output", 2, 1.0, 2),
    )
    return ds.Activations(
        {"input": first, "middle": second, "output": first[:, :2]},
        described,
        labels,
        ("ant", "bee", "ant", "cat"),
        {"lost": "its values are not finite"},
        "by hand",
    )


def made_of_one(name: str) -> ds.Profile:
    """A profile of one layer."""
    return ds.Profile((ds.Layer(name),), {"twonn": {name: ds.Estimate(1.0, 0.1)}})


def last_hidden(name: str, dimension: float, error: float = 0.1) -> ds.Profile:
    """A profile of a network with a last hidden layer."""
    layer = ds.Layer("fc", "last_hidden", 3, 1.0, 64)
    return ds.Profile((layer,), {"twonn": {"fc": ds.Estimate(dimension, error)}}, name)
