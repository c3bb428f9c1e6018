import itertools
import math

import pytest

from dimscope.monitoring import Every, LogSpaced
from dimscope.monitoring.schedule import as_schedule


def steps_of(schedule, limit):
    steps, step = [], 0
    while (step := schedule.after(step)) <= limit:
        steps.append(step)
    return steps


def test_every_measures_at_multiples():
    assert steps_of(Every(30), 100) == [30, 60, 90]


@pytest.mark.parametrize("per_decade", [1, 3, 8, 50])
def test_log_spaced_steps_are_the_rounded_powers_in_order(per_decade):
    powers = {round(10 ** (i / per_decade)) for i in range(5 * per_decade + 1)}
    assert steps_of(LogSpaced(per_decade), 10**5) == sorted(powers)


def test_log_spaced_steps_grow_by_a_constant_factor():
    steps = steps_of(LogSpaced(4), 10**6)[-8:]
    ratios = [math.log10(b / a) for a, b in itertools.pairwise(steps)]
    assert ratios == pytest.approx([0.25] * 7, abs=1e-3)


def test_schedule_is_due_when_a_step_jumps_over_a_scheduled_one():
    schedule = Every(100)
    assert schedule.due("steps", 95, 103)
    assert not schedule.due("steps", 100, 199)
    assert not schedule.due("steps", 100, 100)
    assert not schedule.due("epochs", 0, 100)


def test_log_spaced_epochs_are_due_in_epochs_only():
    schedule = LogSpaced(2, "epochs")
    assert schedule.due("epochs", 9, 10)
    assert not schedule.due("steps", 9, 10)


@pytest.mark.parametrize("every", [0, -3, 1.5, True, "week", "steps"])
def test_bad_schedule_is_refused(every):
    with pytest.raises(ValueError, match="every"):
        as_schedule(every)


def test_bad_unit_is_refused():
    with pytest.raises(ValueError, match="unit is 'weeks'"):
        Every(3, "weeks")
    with pytest.raises(ValueError, match="per_decade is 0"):
        LogSpaced(0)
