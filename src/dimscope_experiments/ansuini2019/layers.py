"""Layers: cache the profiles that several figures share, and compare profiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import dimscope as ds
from dimscope_experiments.ansuini2019.study import Study

__all__ = ["authors_estimator", "hunchback", "kept_profile", "scatter"]


def authors_estimator(n: int = 5) -> ds.Resampled:
    """Return the authors' estimator: regression, with the spread over subsets of 90 %."""
    return ds.Resampled(ds.TwoNN(fit="regression"), n=n, keep=0.9, seed=0)


def kept_profile(
    study: Study, key: dict[str, Any], measure: Callable[[], ds.Profile]
) -> ds.Profile:
    """Return a profile from the cache; measure and cache it if it is missing."""
    path = study.kept("profile", json.loads(json.dumps(key))) / "profile.json"
    if not path.exists():
        measure().save(path)
    return ds.Profile.load(path)


def hunchback(profile: ds.Profile) -> tuple[float, bool]:
    """Return how far the dimension rises, and whether the output is the lowest.

    The rise is the largest dimension divided by the input's. The output is compared with the
    layers in the last third of the relative depth.
    """
    found = np.array([float(one) for one in profile.values()])
    depth = np.array([one.relative_depth for one in profile.layers])
    return float(np.nanmax(found) / found[0]), bool(found[-1] <= np.nanmin(found[depth >= 2 / 3]))


def scatter(profiles: Iterable[ds.Profile]) -> float:
    """Measure how far profiles, each divided by its largest value, are from a common curve.

    Returns the standard deviation between profiles, averaged over relative depths and divided by
    the mean of all values.
    """
    grid = np.linspace(0, 1, 50)
    curves = []
    for profile in profiles:
        depth = [one.relative_depth for one in profile.layers]
        found = np.array([float(one) for one in profile.values()])
        curves.append(np.interp(grid, depth, found / np.nanmax(found)))
    every = np.array(curves)
    return float(every.std(axis=0, ddof=1).mean() / every.mean())
