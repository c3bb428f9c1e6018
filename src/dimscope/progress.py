"""Progress bar: show the time left for a step, once a call has run for two seconds."""

from __future__ import annotations

import sys
import time
from html import escape
from types import TracebackType
from typing import Any

__all__ = ["ProgressBar"]


_PATIENCE = 2.0  # seconds before anything is shown


_LINE_EVERY = 10.0  # seconds between lines where there is no terminal


_REDRAWN_EVERY = 0.2  # seconds in a notebook, where each time is a message


class ProgressBar:
    """Show how far a call is: in a notebook, in a terminal, or as lines in a log.

    Give it as ``progress``. Each step has its own bar, which shows the time left for that step.
    Nothing is shown in the first two seconds, and the bar is removed at the end. If standard error
    is not a terminal, a line is printed every ten seconds instead.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> activations = ds.Activations({"a": cube(500, 2)})
    >>> with ds.ProgressBar() as bar:
    ...     profile = ds.profile(activations, progress=bar)
    """

    def __init__(self) -> None:
        self._start = self._line = time.monotonic()
        self._step_start, self._step_done = self._start, 0.0
        self._phase = ""
        self._shown: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = self._task = None

    def __call__(self, step: str, done: float, total: float | None = None) -> None:
        """Show that ``done`` out of ``total`` of a step is complete."""
        now = time.monotonic()
        phase = step.split()[0]
        if phase != self._phase:
            self._phase, self._step_start, self._task = phase, now, None
            self._step_done = done  # a call that resumes does not begin at 0
        if now - self._start < _PATIENCE:
            return
        if _in_notebook():
            if self._shown is None:
                self._shown = _NotebookBar()
            self._shown.update(self._sentence(step, done, total, now), done, total, now)
        elif sys.stderr.isatty():
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
        if not total:
            return f"{step}: {done:g} done"
        spent, gained = now - self._step_start, done - self._step_done
        left = ""
        if spent >= _PATIENCE and gained > 0:
            left = f", {spent * (total - done) / gained:.0f} s left"
        return f"{step}: {done / total:.0%} done{left}"


def _in_notebook() -> bool:
    """Whether the call comes from a notebook, which shows HTML; IPython is loaded there already."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class _NotebookBar:
    """A bar of plain HTML, so that it needs no widgets."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle: Any = display(HTML(""), display_id=True)
        self._drawn = -_REDRAWN_EVERY

    def update(self, sentence: str, done: float, total: float | None, now: float) -> None:
        if now - self._drawn < _REDRAWN_EVERY:
            return
        self._drawn = now
        # without a value, the bar moves from side to side
        place = f' value="{done:g}" max="{total:g}"' if total else ""
        self._handle.update(self._html(f"<progress{place}></progress> {escape(sentence)}"))

    def stop(self) -> None:
        self._handle.update(self._html(""))
