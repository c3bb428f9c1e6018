"""Alarms: what a training run does to its representations that a user should know of.

An alarm is raised only when the change exceeds its error: both dimensions are measured on the same
stimuli, so that the error of their difference is paired, and the level allows for the number of
layers and of measurements so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dimscope.analysis.difference import Difference, difference
from dimscope.digits import with_error
from dimscope.errors import DimscopeError
from dimscope.estimators.estimates import Estimate
from dimscope.monitoring.history import Average, Snapshot
from dimscope.values import by_value

__all__ = ["Alarm", "AlarmKind", "Alarms", "Watch"]

AlarmKind = Literal["growing", "collapse", "peak"]

_ERRORS = ("train_error", "error", "train_loss", "loss")  # what may stand for the training error


@by_value
@dataclass(frozen=True, eq=False)
class Alarm:
    """Something a training run does to its representations.

    Parameters
    ----------
    kind : {"growing", "collapse", "peak"}
        The last hidden layer gains dimensions while the training error falls; a layer has lost
        its dimensions; another layer has become the highest.
    step : int
    layer : str
    text : str
        One sentence, with the numbers and their standard errors.
    numbers : Mapping of str to float
        The numbers, by name.

    Examples
    --------
    >>> print(Alarm("collapse", 300, "fc1", "fc1 has collapsed: 0.9 ± 0.1, at first 9.1 ± 0.3"))
    step 300: fc1 has collapsed: 0.9 ± 0.1, at first 9.1 ± 0.3
    """

    kind: AlarmKind
    step: int
    layer: str
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"step {self.step}: {self.text}"


@dataclass(frozen=True)
class Alarms:
    """When to raise an alarm.

    Parameters
    ----------
    growth : float
        The last hidden layer is growing if its dimension exceeds the lowest so far by this factor.
    collapse : float
        A layer has collapsed if its dimension is below this fraction of the first one, or if it
        can no longer be measured.
    level : float
        Probability of a false alarm in a training run that changes nothing, for each kind.

    Examples
    --------
    >>> Alarms(growth=1.2)
    Alarms(growth=1.2, collapse=0.25, level=0.01)
    """

    growth: float = 1.1
    collapse: float = 0.25
    level: float = 0.01

    def __post_init__(self) -> None:
        if self.growth < 1 or not 0 < self.collapse < 1 or not 0 < self.level < 1:
            raise ValueError(
                f"{self}: growth must be at least 1, collapse and level between 0 and 1"
            )


class Watch:
    """Compare every measurement with earlier ones, and raise each alarm once while it lasts.

    Parameters
    ----------
    rules : Alarms
    """

    def __init__(self, rules: Alarms) -> None:
        self.rules = rules
        self.first: Snapshot | None = None
        self.lowest: Snapshot | None = None  # by the dimension of the last hidden layer
        self.highest: Snapshot | None = None  # when the peak last moved
        self._count = 0
        self._lasting: set[tuple[AlarmKind, str]] = set()

    @property
    def references(self) -> tuple[Snapshot, ...]:
        """The measurements that later ones are compared with."""
        return tuple(item for item in (self.first, self.lowest, self.highest) if item is not None)

    def look(self, now: Snapshot) -> tuple[Alarm, ...]:
        """Return the alarms that a measurement raises."""
        self._count += 1
        if self.first is None:
            self.first = self.lowest = self.highest = now
            return ()
        standing = [*self._growing(now), *self._collapsed(now), *self._moved(now)]
        keys = {(alarm.kind, alarm.layer) for alarm in standing}
        raised = [
            alarm
            for alarm in standing
            if alarm.kind == "peak" or (alarm.kind, alarm.layer) not in self._lasting
        ]
        self._lasting = keys
        self._note(now)
        return tuple(raised)

    def _note(self, now: Snapshot) -> None:
        """Take a measurement as the reference where it is the lowest."""
        layer = now.last_hidden
        if layer is None or math.isnan(now.profile[layer].dimension):
            return
        assert self.lowest is not None
        before = self.lowest.profile.get(layer)
        # the error of the first measurement is unknown, so it is no reference for a falling one
        if (
            before is None
            or not before.dimension <= now.profile[layer].dimension
            or _training_error(self.lowest) is None
        ):
            self.lowest = now

    def _level(self, now: Snapshot, layers: int = 1) -> float:
        """Return the level of one test; the levels of all tests of a run add up to that of the run.

        1/2 + 1/6 + 1/12 + ... = 1, however many measurements there will be.
        """
        return self.rules.level / (self._count * (self._count - 1) * layers)

    def _growing(self, now: Snapshot) -> Iterator[Alarm]:
        layer, before = now.last_hidden, self.lowest
        if layer is None or before is None or before is now:
            return
        estimate, lowest = now.profile[layer], before.profile.get(layer)
        change = _change(estimate, lowest)
        error, earlier = _training_error(now), _training_error(before)
        if change is None or lowest is None or error is None or earlier is None:
            return
        name, average = error
        falls = earlier[1].mean - average.mean
        spread = math.hypot(average.std_error, earlier[1].std_error)
        level = self._level(now)
        if (
            change.difference > 0
            and change.p_value < level
            and estimate.dimension > self.rules.growth * lowest.dimension
            and falls > 0
            and _p_value(falls, spread) < level
        ):
            yield Alarm(
                "growing",
                now.step,
                layer,
                f"the last hidden layer {layer} gains dimensions while the {name} falls: "
                f"{lowest} at step {before.step}, now {estimate}, difference {change}; {name} "
                f"{_plus_minus(earlier[1])}, now {_plus_minus(average)}",
                {
                    "dimension": estimate.dimension,
                    "before": lowest.dimension,
                    "difference": change.difference,
                    "std_error": change.std_error,
                    "p_value": change.p_value,
                    f"{name}": average.mean,
                    f"{name}_before": earlier[1].mean,
                    f"{name}_error": spread,
                },
            )

    def _collapsed(self, now: Snapshot) -> Iterator[Alarm]:
        assert self.first is not None
        for layer, estimate in now.profile.items():
            first = self.first.profile.get(layer)
            if first is None or math.isnan(first.dimension):
                continue
            numbers = {"dimension": estimate.dimension, "first": first.dimension}
            if math.isnan(estimate.dimension):
                text = f"{layer} can no longer be measured: {estimate.reason}; at first {first}"
                yield Alarm("collapse", now.step, layer, text, numbers)
                continue
            change = _change(estimate, first)
            if change is None:
                continue
            level = self._level(now, len(now.profile))
            limit = self.rules.collapse
            below = limit * first.dimension - estimate.dimension
            spread = math.hypot(limit * first.std_error, estimate.std_error)
            if change.p_value < level and below > 0 and _p_value(below, spread) < level:
                yield Alarm(
                    "collapse",
                    now.step,
                    layer,
                    f"{layer} has lost more than {1 - limit:.0%} of its dimensions: {first} at "
                    f"step {self.first.step}, now {estimate}, difference {change}",
                    {
                        **numbers,
                        "difference": change.difference,
                        "std_error": change.std_error,
                        "p_value": change.p_value,
                    },
                )

    def _moved(self, now: Snapshot) -> Iterator[Alarm]:
        before = self.highest
        if before is None or now.highest is None:
            return
        old, new = before.highest, now.highest
        if old is None:
            self.highest = now
            return
        if old == new or old not in now.profile or new not in before.profile:
            return
        then = _change(before.profile[new], before.profile[old])
        change = _change(now.profile[new], now.profile[old])
        level = self._level(now, len(now.profile) ** 2)
        if then is None or change is None:
            return
        if change.p_value < level and then.p_value < level:
            yield Alarm(
                "peak",
                now.step,
                new,
                f"the peak has moved from {old} to {new}: {new} minus {old} was {then} at step "
                f"{before.step}, and is {change}",
                {
                    "difference": change.difference,
                    "std_error": change.std_error,
                    "p_value": change.p_value,
                    "difference_before": then.difference,
                    "std_error_before": then.std_error,
                    "p_value_before": then.p_value,
                },
            )
            self.highest = now

    def state_dict(self, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
        """Return which of the snapshots are references, and the alarms that last."""
        places = {id(snapshot): place for place, snapshot in enumerate(snapshots)}
        return {
            "count": self._count,
            "lasting": sorted(map(list, self._lasting)),
            **{key: places.get(id(getattr(self, key))) for key in ("first", "lowest", "highest")},
        }

    def load_state_dict(self, state: Mapping[str, Any], snapshots: Sequence[Snapshot]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self._count = state["count"]
        self._lasting = {(kind, layer) for kind, layer in state["lasting"]}
        for key in ("first", "lowest", "highest"):
            place = state[key]
            setattr(self, key, None if place is None else snapshots[place])


def _change(now: Estimate, before: Estimate | None) -> Difference | None:
    """Return the paired difference; None if there is none, or it has no error."""
    if before is None:
        return None
    try:
        change = difference(now, before)
    except DimscopeError:
        return None
    return change if change.is_rounding or math.isfinite(change.std_error) else None


def _p_value(difference: float, std_error: float) -> float:
    """Return the two-sided p-value of a difference with a normal error."""
    return math.erfc(abs(difference) / std_error / math.sqrt(2)) if std_error else 0.0


def _training_error(snapshot: Snapshot) -> tuple[str, Average] | None:
    for name in _ERRORS:
        average = snapshot.scalars.get(name)
        if average is not None and math.isfinite(average.std_error):
            return name, average
    return None


def _plus_minus(average: Average) -> str:
    return with_error(average.mean, average.std_error)
