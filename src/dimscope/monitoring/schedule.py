"""Schedules: at which steps or epochs of a training run to measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from dimscope.errors import check_word

__all__ = ["Every", "LogSpaced", "Schedule", "Unit", "as_schedule"]

Unit = Literal["steps", "epochs"]
Word = Literal["step", "epoch", "log"]


class Schedule(ABC):
    """When to measure: subclasses write :meth:`after`, and count in steps or in epochs."""

    unit: Unit

    @abstractmethod
    def after(self, number: int) -> int:
        """Return the first scheduled step (or epoch) after the given one."""

    def due(self, unit: Unit, before: int, now: int) -> bool:
        """Whether a measurement is scheduled after ``before``, up to and including ``now``."""
        return unit == self.unit and self.after(before) <= now


@dataclass(frozen=True)
class Every(Schedule):
    """Measure at equal distances.

    Parameters
    ----------
    number : int
        Measure after each ``number`` of steps or epochs.
    unit : {"steps", "epochs"}

    Examples
    --------
    >>> schedule = Every(100)
    >>> schedule.after(0), schedule.after(100), schedule.due("steps", 99, 100)
    (100, 200, True)
    """

    number: int
    unit: Unit = "steps"

    def __post_init__(self) -> None:
        check_word("unit", self.unit, Unit)
        if isinstance(self.number, bool) or int(self.number) != self.number or self.number < 1:
            raise ValueError(f"measuring every {self.number!r} {self.unit}: use a whole number > 0")

    def after(self, number: int) -> int:
        """Return the first multiple after the given step."""
        return (number // self.number + 1) * self.number


@dataclass(frozen=True)
class LogSpaced(Schedule):
    """Measure often at first and ever more rarely later: at equal distances on a log scale.

    Parameters
    ----------
    per_decade : int
        Number of measurements while the step grows tenfold. Near the start, where steps are whole
        numbers, there are fewer.
    unit : {"steps", "epochs"}

    Examples
    --------
    >>> schedule, steps = LogSpaced(4), [0]
    >>> while steps[-1] < 300:
    ...     steps.append(schedule.after(steps[-1]))
    >>> steps
    [0, 1, 2, 3, 6, 10, 18, 32, 56, 100, 178, 316]
    """

    per_decade: int = 8
    unit: Unit = "steps"

    def __post_init__(self) -> None:
        check_word("unit", self.unit, Unit)
        if self.per_decade < 1:
            raise ValueError(f"per_decade is {self.per_decade}; use a number of at least 1")

    def after(self, number: int) -> int:
        """Return the first of the rounded powers after the given step."""
        if number < 1:
            return 1
        # the digits of a number bound its logarithm from below, whatever the rounding
        place = (len(str(number)) - 1) * self.per_decade
        while (step := round(10 ** (place / self.per_decade))) <= number:
            place += 1
        return step


def as_schedule(every: int | Word | Schedule) -> Schedule:
    """Return a schedule for a number of steps, for ``"step"``, ``"epoch"`` or ``"log"``.

    Raises
    ------
    ValueError
        If it is neither of these nor a schedule.

    Examples
    --------
    >>> as_schedule(50), as_schedule("epoch"), as_schedule("log")
    (Every(number=50, unit='steps'), Every(number=1, unit='epochs'), \
LogSpaced(per_decade=8, unit='steps'))
    """
    if isinstance(every, Schedule):
        return every
    if isinstance(every, str):
        if every not in get_args(Word):
            raise ValueError(
                f"every is {every!r}; give a number of steps, "
                f"{', '.join(map(repr, get_args(Word)))}, or a schedule such as "
                'LogSpaced(4, "epochs")'
            )
        words: dict[str, Schedule] = {
            "step": Every(1),
            "epoch": Every(1, "epochs"),
            "log": LogSpaced(),
        }
        return words[every]
    return Every(every)
