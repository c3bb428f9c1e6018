"""An estimator that fails, in every way in which a user's estimator may."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import dimscope as ds

FAILURES = {
    "BadPoints": ds.BadPoints,
    "ZeroDivisionError": ZeroDivisionError,
    "MemoryError": MemoryError,
    "NaN": ds.DegeneratePoints,
    "infinity": ds.DegeneratePoints,
    "no number": AttributeError,
}
"""Name of a failure -> the error that it raises."""

REASONS = {
    "BadPoints": "these are bad",
    "ZeroDivisionError": "ZeroDivisionError: division by zero",
    "MemoryError": "MemoryError",
    "NaN": "gave the dimension nan for these points, and no reason",
    "infinity": "gave the dimension inf for these points, and no reason",
    "no number": "AttributeError: ",
}


@dataclass(frozen=True)
class Broken(ds.NeighborEstimator):
    """Fails as ``failure`` says; with ``size``, only on that number of points."""

    failure: str
    size: int = 0  # number of points on which it fails; 0 for any

    def evaluate(self, neighbors: Any) -> Any:
        if self.size and neighbors.n_points != self.size:
            return ds.TwoNN().evaluate(neighbors)
        match self.failure:
            case "BadPoints":
                raise ds.BadPoints("these are bad")
            case "ZeroDivisionError":
                return ds.Fit(1 / 0)
            case "MemoryError":
                raise MemoryError
            case "NaN":
                return ds.Fit(math.nan)
            case "infinity":
                return ds.Fit(math.inf)
            case "no number":
                return None
            case "Ctrl-C":
                raise KeyboardInterrupt


def without_provenance(estimate: ds.Estimate) -> ds.Estimate:
    """The estimate alone: with other estimators, the search has other parameters."""
    return replace(estimate, provenance=ds.Provenance("estimate"))
