"""Progress bar: show the time left for a step, once a command has run for two seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Bar"]


_PATIENCE = 2.0  # seconds before anything is shown


_LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class Bar:
    """A progress callable ``bar(step, done, total)`` that draws a bar on standard error.

    Each step has its own bar, which shows the time left for that step. If standard error is not a
    terminal, a line is printed every ten seconds instead.
    """

    def __init__(self) -> None:
        self._start = self._line = time.monotonic()
        self._step_start = self._start
        self._phase = ""
        self._shown: Any = None
        self._task: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._shown is not None:
            self._shown.stop()

    def __call__(self, step: str, done: float, total: float | None = None) -> None:
        """Show that ``done`` out of ``total`` of a step is complete."""
        now = time.monotonic()
        phase = step.split()[0]
        if phase != self._phase:
            self._phase, self._step_start, self._task = phase, now, None
        if now - self._start < _PATIENCE:
            return
        if sys.stderr.isatty():
            if self._shown is None:
                self._open()
            if self._task is None:
                for old in self._shown.task_ids:
                    self._shown.update(old, visible=False)
                self._task = self._shown.add_task(step, total=total)
            self._shown.update(self._task, completed=done, total=total, description=step)
        elif now - self._line >= _LINE_EVERY:
            self._line = now
            print(self._sentence(step, done, total, now), file=sys.stderr, flush=True)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        self._shown = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            Left(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
            transient=True,
        )
        self._shown.start()

    def _sentence(self, step: str, done: float, total: float | None, now: float) -> str:
        if not total or not done:
            return f"{step}: {done:g} done"
        left = (now - self._step_start) * (total - done) / done
        return f"{step}: {done / total:.0%} done, {left:.0f} s left"
