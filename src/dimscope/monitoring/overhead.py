"""Overhead: hold the time of measurements below a share of the training time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

__all__ = ["Overhead"]


class Overhead:
    """Count the seconds of training and of measurements, and decide what may still be measured.

    Parameters
    ----------
    limit : float or None
        The largest share of the training time that measurements may take; None for no limit.
    now : callable
        The clock.

    Attributes
    ----------
    spent : float
        Seconds of all measurements.
    expected : float
        Seconds that the next measurement will take, as the slower of the last two did.
    skipped : int
        Number of measurements that were scheduled but left out.

    Notes
    -----
    The training time starts at the first step (:meth:`start`), and does not contain measurements. A
    measurement is allowed if all measurements, this one included, then take at most ``limit`` of
    the training time so far. So the share exceeds the limit only by what the first measurement
    takes in a short run, or the next one more than expected.

    Examples
    --------
    >>> time = iter([0.0, 0.5, 1.0, 11.0, 31.0])
    >>> overhead = Overhead(0.05, lambda: next(time))
    >>> with overhead.measuring():  # 0.5 s
    ...     pass
    >>> overhead.start()
    >>> overhead.allows(), overhead.allows()  # 1 s in all, after 10 and 30 s of training
    (False, True)
    """

    def __init__(self, limit: float | None, now: Callable[[], float] = perf_counter) -> None:
        if limit is not None and not limit > 0:
            raise ValueError(
                f"max_overhead is {limit}; use a share of the training time such as 0.05, or None "
                "to measure whatever it takes"
            )
        self.limit, self._now = limit, now
        self.spent = self._earlier = 0.0
        self.skipped = 0
        self._recent: list[float] = []
        self._begin: float | None = None
        self._paused = 0.0  # measuring, since training began

    def start(self) -> None:
        """Begin to count training time, unless it has begun."""
        if self._begin is None:
            self._begin = self._now()

    @property
    def trained(self) -> float:
        """Seconds of training."""
        running = 0.0 if self._begin is None else self._now() - self._begin - self._paused
        return self._earlier + running

    @property
    def expected(self) -> float:
        """Seconds that the next measurement will take."""
        return max(self._recent, default=0.0)

    @property
    def share(self) -> float:
        """Seconds of measurements as a share of those of training; 0 before any training."""
        trained = self.trained
        return self.spent / trained if trained > 0 else 0.0

    def allows(self) -> bool:
        """Whether another measurement keeps to the limit; count it as skipped otherwise."""
        allowed = self.limit is None or (self.spent + self.expected <= self.limit * self.trained)
        self.skipped += not allowed
        return allowed

    @contextmanager
    def measuring(self, *, once: float = 0.0) -> Iterator[None]:
        """Count the time of a measurement, also of one that fails.

        Parameters
        ----------
        once : float
            Seconds already spent on preparations that later measurements do not need.
        """
        begin = self._now()
        try:
            yield
        finally:
            seconds = self._now() - begin
            self.spent += seconds + once
            self._recent = [*self._recent, seconds][-2:]
            if self._begin is not None:
                self._paused += seconds

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds and counts, to go on with after an interruption."""
        return {
            "spent": self.spent,
            "trained": self.trained,
            "recent": list(self._recent),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned; time starts at the next :meth:`start`."""
        self.spent, self._earlier = state["spent"], state["trained"]
        self._recent, self.skipped = list(state["recent"]), state["skipped"]
        self._begin, self._paused = None, 0.0
