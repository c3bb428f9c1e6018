"""History: the profiles of a training run, the drift of every layer, and both as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.analysis.difference import difference
from dimscope.errors import DimscopeError
from dimscope.profiles.profile import Profile
from dimscope.values import by_value, from_plain, to_plain

if TYPE_CHECKING:
    import pandas as pd

    from dimscope.estimators.estimates import Estimate
    from dimscope.estimators.uncertainty import Influence

__all__ = ["Average", "Drift", "Running", "Snapshot", "drifts_of", "history_frame", "scalars_of"]


@dataclass(frozen=True)
class Average:
    """The mean of a scalar, such as the loss, over the steps since the last measurement.

    Parameters
    ----------
    mean : float
    std_error : float
        Standard error of the mean for independent steps; NaN for fewer than two.
    n : int
        Number of steps.
    """

    mean: float
    std_error: float = math.nan
    n: int = 1


class Running:
    """The mean and spread of a scalar, added up where it lies, so that a GPU need not wait.

    Examples
    --------
    >>> running = Running()
    >>> for loss in (2.0, 3.0, 4.0):
    ...     running.add(loss)
    >>> round(running.average().mean, 3), round(running.average().std_error, 3)
    (3.0, 0.577)
    """

    def __init__(self) -> None:
        self._n = 0
        self._shift: Any = 0.0  # the first value, so that the squares stay small
        self._total: Any = 0.0
        self._squares: Any = 0.0

    def add(self, value: Any) -> None:
        """Add a number or a tensor, of which the mean counts."""
        if hasattr(value, "detach"):  # a tensor
            value = value.detach().float()
            value = value.mean() if value.ndim else value
        if not self._n:
            self._shift = value
        away = value - self._shift
        self._n += 1
        self._total = self._total + away
        self._squares = self._squares + away * away

    def average(self) -> Average:
        """Return the mean so far, with its standard error."""
        n, total, squares = self._n, float(self._total), float(self._squares)
        mean = total / n
        variance = max(0.0, squares - n * mean * mean) / (n - 1) if n > 1 else math.nan
        return Average(float(self._shift) + mean, math.sqrt(variance / n), n)


@dataclass(frozen=True)
class Drift:
    """How far a layer has moved from its first state.

    Parameters
    ----------
    change : float
        The dimension minus that of the first measurement.
    std_error : float
        Its standard error, paired: both are measured on the same stimuli.
    neighbors_kept : float
        The share of the pairs of near neighbours of the first measurement that are still among
        those of this one.
    """

    change: float = math.nan
    std_error: float = math.nan
    neighbors_kept: float = math.nan


@by_value
@dataclass(frozen=True, eq=False)
class Snapshot:
    """One measurement of a training run.

    Parameters
    ----------
    step, epoch : int
        Steps and epochs that were complete.
    seconds : float
        Training time until then, without measurements.
    profile : Profile
    drift : Mapping of str to Drift
        Of every layer, against the first measurement.
    scalars : Mapping of str to Average
        What was recorded since the measurement before.
    """

    step: int
    epoch: int
    seconds: float
    profile: Profile
    drift: Mapping[str, Drift] = field(default_factory=dict)
    scalars: Mapping[str, Average] = field(default_factory=dict)

    @property
    def last_hidden(self) -> str | None:
        """Name of the last hidden layer, if it was measured."""
        names = [layer.name for layer in self.profile.layers if layer.role == "last_hidden"]
        return names[-1] if names else None

    @property
    def highest(self) -> str | None:
        """Name of the layer with the highest estimate; None if no layer was measured."""
        measured = {
            name: estimate.dimension
            for name, estimate in self.profile.items()
            if not math.isnan(estimate.dimension)
        }
        return max(measured, key=lambda name: measured[name], default=None)

    @property
    def has_influences(self) -> bool:
        """Whether later measurements can be compared with this one, with a paired error."""
        return any(
            estimate.influence is not None
            for by_layer in self.profile.estimates.values()
            for estimate in by_layer.values()
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of :func:`history_frame`, one for each layer and estimator."""
        first = self.profile.estimators[0]
        for row in self.profile.to_frame().to_dict("records"):
            drift = self.drift.get(row["layer"], Drift()) if row["estimator"] == first else Drift()
            yield {
                "step": self.step,
                "epoch": self.epoch,
                "seconds": self.seconds,
                **{str(name): value for name, value in row.items()},
                "drift": drift.change,
                "drift_error": drift.std_error,
                "neighbors_kept": drift.neighbors_kept,
                **{name: average.mean for name, average in self.scalars.items()},
            }

    def without_influences(self) -> Snapshot:
        """Return the snapshot without what only paired differences need."""
        estimates = {
            key: {name: replace(estimate, influence=None) for name, estimate in by_layer.items()}
            for key, by_layer in self.profile.estimates.items()
        }
        return replace(self, profile=replace(self.profile, estimates=estimates))

    def to_dict(self) -> dict[str, Any]:
        """Convert to what JSON can hold."""
        return {
            **{key: getattr(self, key) for key in ("step", "epoch", "seconds")},
            "profile": self.profile.to_dict(influences=True),
            "drift": to_plain(dict(self.drift)),
            "scalars": to_plain(dict(self.scalars)),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """Rebuild what :meth:`to_dict` converted."""
        return cls(
            data["step"],
            data["epoch"],
            data["seconds"],
            Profile.from_dict(data["profile"]),
            from_plain(dict[str, Drift], data["drift"]),
            from_plain(dict[str, Average], data["scalars"]),
        )


def drifts_of(profile: Profile, first: Profile) -> dict[str, Drift]:
    """Compare every layer with its first state.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> x = cube(500, 4)
    >>> first, later = (ds.profile(ds.Activations({"a": a}, ids=range(500))) for a in (x, x[:, :2]))
    >>> drift = drifts_of(later, first)["a"]
    >>> -2.5 < drift.change < -1.5, 0 < drift.std_error < 0.3, drift.neighbors_kept < 0.3
    (True, True, True)
    >>> drifts_of(first, first)["a"].neighbors_kept
    1.0
    """
    return {
        name: _drift(estimate, first[name]) for name, estimate in profile.items() if name in first
    }


def _drift(now: Estimate, first: Estimate) -> Drift:
    kept = _kept(now.influence, first.influence)
    try:
        change = difference(now, first)
    except DimscopeError:  # one of them has no dimension, or no error
        return Drift(now.dimension - first.dimension, math.nan, kept)
    return Drift(change.difference, 0.0 if change.is_rounding else change.std_error, kept)


def _kept(now: Influence | None, first: Influence | None) -> float:
    """Return the share of the first pairs of neighbours that are still neighbours."""
    if now is None or first is None or not first.pairs.size:
        return math.nan
    before, after = (np.sort(item.rows[item.pairs], axis=0) for item in (first, now))
    size = 1 + max(before.max(), after.max(initial=0))
    return float(np.isin(*(pairs[0] * size + pairs[1] for pairs in (before, after))).mean())


def scalars_of(snapshot: Snapshot) -> dict[str, float]:
    """Return the numbers of a measurement by names that sort by depth.

    Examples
    --------
    >>> from dimscope import Estimate, Layer
    >>> layers = (Layer("input", "input"), Layer("fc", "last_hidden", 1, 0.5))
    >>> estimates = {"input": Estimate(3.0, 0.1), "fc": Estimate(2.0, 0.1)}
    >>> scalars_of(Snapshot(5, 0, 1.0, Profile(layers, {"twonn": estimates})))
    {'id/00_input': 3.0, 'id/01_fc': 2.0, 'id/last_hidden': 2.0, 'id/highest': 3.0, \
'id_error/00_input': 0.1, 'id_error/01_fc': 0.1}
    """
    profile = snapshot.profile
    digits = max(2, len(str(len(profile) - 1)))
    names = {name: f"{place:0{digits}d}_{name}" for place, name in enumerate(profile)}
    values = {f"id/{names[name]}": estimate.dimension for name, estimate in profile.items()}
    for alias, layer in (("last_hidden", snapshot.last_hidden), ("highest", snapshot.highest)):
        if layer is not None:
            values[f"id/{alias}"] = profile[layer].dimension
    values |= {f"id_error/{names[name]}": estimate.std_error for name, estimate in profile.items()}
    values |= {f"id_drift/{names[name]}": drift.change for name, drift in snapshot.drift.items()}
    for estimator in profile.estimators[1:]:
        values |= {
            f"{estimator}/{names[name]}": estimate.dimension
            for name, estimate in profile.of(estimator).items()
        }
    return values


def history_frame(snapshots: Sequence[Snapshot]) -> pd.DataFrame:
    """Return a tidy table: one row for each measurement, layer and estimator.

    Returns
    -------
    pandas.DataFrame
        The columns of :meth:`dimscope.Profile.to_frame`, after ``step``, ``epoch`` and
        ``seconds`` (of training), and before ``drift`` (the dimension minus that of the first
        measurement), ``drift_error``, ``neighbors_kept`` and the mean of each recorded scalar
        since the measurement before.
    """
    import pandas as pd

    return pd.DataFrame([row for snapshot in snapshots for row in snapshot.rows()])
