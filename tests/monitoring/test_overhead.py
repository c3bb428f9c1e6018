import random

import pytest

from dimscope.monitoring.overhead import Overhead


class Clock:
    """A clock that a test sets."""

    time = 100.0

    def __call__(self):
        return self.time


def measure(overhead, clock, seconds):
    with overhead.measuring():
        clock.time += seconds


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.5])
def test_measurements_take_at_most_the_limit_of_the_training_time(limit):
    clock, costs = Clock(), random.Random(0)
    overhead = Overhead(limit, clock)
    measure(overhead, clock, 1.0)
    overhead.start()
    measured, scheduled = 0, 3000
    for _ in range(scheduled):
        clock.time += 1.0
        if overhead.allows():
            measured += 1
            measure(overhead, clock, costs.uniform(0.9, 1.0))
    assert overhead.trained == pytest.approx(scheduled)
    assert 0.9 * limit < overhead.share <= limit * 1.02
    assert measured + overhead.skipped == scheduled


def test_no_limit_allows_everything():
    clock = Clock()
    overhead = Overhead(None, clock)
    overhead.start()
    measure(overhead, clock, 100.0)
    assert overhead.allows()
    assert overhead.skipped == 0


def test_measuring_is_not_training():
    clock = Clock()
    overhead = Overhead(0.05, clock)
    clock.time += 50.0  # before training begins
    overhead.start()
    clock.time += 10.0
    measure(overhead, clock, 5.0)
    overhead.start()
    assert overhead.trained == pytest.approx(10.0)
    assert overhead.share == pytest.approx(0.5)


def test_a_slow_measurement_is_expected_again_until_two_were_fast():
    clock = Clock()
    overhead = Overhead(0.05, clock)
    for seconds, expected in ((5.0, 5.0), (0.1, 5.0), (0.1, 0.1)):
        measure(overhead, clock, seconds)
        assert overhead.expected == pytest.approx(expected)


def test_a_measurement_that_fails_is_counted():
    clock = Clock()
    overhead = Overhead(0.05, clock)

    def measure_with(work):
        with overhead.measuring(once=1.0):
            work()

    def fail():
        clock.time += 2.0
        raise RuntimeError

    with pytest.raises(RuntimeError):
        measure_with(fail)
    assert overhead.spent == pytest.approx(3.0)


def test_state_continues_in_another_process():
    clock = Clock()
    overhead = Overhead(0.05, clock)
    overhead.start()
    clock.time += 100.0
    measure(overhead, clock, 2.0)
    assert overhead.allows()
    clock.time -= 50.0
    assert not overhead.allows()
    clock.time += 50.0
    later, other = Overhead(0.05, (new := Clock())), overhead.state_dict()
    new.time = 0.0
    later.load_state_dict(other)
    new.time += 1000.0  # before it goes on
    later.start()
    new.time += 10.0
    assert later.trained == pytest.approx(110.0)
    assert later.spent == pytest.approx(2.0)
    assert later.skipped == 1


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_bad_limit_is_refused(limit):
    with pytest.raises(ValueError, match="max_overhead"):
        Overhead(limit)
