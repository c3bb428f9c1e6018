"""Failures: the layers of a capture that have no points, and why."""

from __future__ import annotations

from dimscope.capturing.recording import Chosen
from dimscope.errors import BadPoints

__all__ = ["failures_of"]


def failures_of(chosen: list[Chosen]) -> dict[str, str]:
    """Layers that have no points, and why.

    Raises
    ------
    BadPoints
        If that is all of them.
    """
    failures = {
        one.layer.name: one.column.reason for one in chosen if one.column.reason is not None
    }
    if len(failures) == len(chosen):
        first = next(iter(failures), None)
        reason = f"; {first!r}: {failures[first]}" if first is not None else ""
        raise BadPoints(f"none of the {len(failures)} selected layers has points{reason}")
    return failures
