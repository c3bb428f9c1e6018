"""Profiles that several figures share, kept in the cache, and how they are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import dimscope as ds
from dimscope_experiments.ansuini2019.study import Study

__all__ = ["authors_estimator", "hunchback", "kept_profile", "scatter"]


def authors_estimator(n: int = 5) -> ds.Resampled:
    """As the authors: regression, spread over subsets of 90 %."""
    return ds.Resampled(ds.TwoNN(fit="regression"), n=n, keep=0.9, seed=0)


def kept_profile(
    study: Study, key: dict[str, Any], measure: Callable[[], ds.Profile]
) -> ds.Profile:
    """The profile from the cache, or measured and put there."""
    path = study.kept("profile", json.loads(json.dumps(key))) / "profile.json"
    if not path.exists():
        measure().save(path)
    return ds.Profile.load(path)


def hunchback(profile: ds.Profile) -> tuple[float, bool]:
    """Largest dimension over the input's, and whether the output is lowest of the last third."""
    found = np.array([float(one) for one in profile.values()])
    depth = np.array([one.relative_depth for one in profile.layers])
    return float(np.nanmax(found) / found[0]), bool(found[-1] <= np.nanmin(found[depth >= 2 / 3]))


def scatter(profiles: Iterable[ds.Profile]) -> float:
    """How far profiles are from one curve over relative depth, each over its own largest value.

    Mean over depths of the standard deviation between profiles, over the mean of all.
    """
    grid = np.linspace(0, 1, 50)
    curves = []
    for profile in profiles:
        depth = [one.relative_depth for one in profile.layers]
        found = np.array([float(one) for one in profile.values()])
        curves.append(np.interp(grid, depth, found / np.nanmax(found)))
    every = np.array(curves)
    return float(every.std(axis=0, ddof=1).mean() / every.mean())
