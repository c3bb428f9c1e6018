"""Where a value comes from: the step, its parameters, the versions, and its inputs.

A :class:`Provenance` is attached to every value between two steps and saved with
it, so that a number in a paper can be traced to the call that made it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dimscope.values import by_value, from_plain, to_plain

__all__ = ["Provenance", "versions"]


@cache
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Python, dimscope, NumPy and the named distributions that are installed.

    Examples
    --------
    >>> sorted(versions())
    ['dimscope', 'numpy', 'python']
    """
    found = {"python": platform.python_version()}
    for name in ("dimscope", "numpy", *distributions):
        version = _version(name)
        if version is not None:
            found[name] = version
    return found


@by_value
@dataclass(frozen=True)
class Provenance:
    """How one value was made.

    Parameters
    ----------
    step : str
        The verb: ``"capture"``, ``"nearest_neighbors"``, ``"estimate"``, ``"profile"``.
    parameters : Mapping
        What the step was told; only values that JSON holds.
    versions : Mapping
        Distribution name -> version.
    inputs : tuple of Provenance
        How the inputs were made, oldest last.

    Examples
    --------
    >>> search = Provenance("nearest_neighbors", {"k": 2})
    >>> Provenance("estimate", {"estimator": "TwoNN()"}, inputs=(search,)).to_dict()["inputs"]
    [{'step': 'nearest_neighbors', 'parameters': {'k': 2}, 'versions': {}, 'inputs': []}]
    """

    step: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Provenance, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to dictionaries and lists, ready for JSON."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Make a provenance from what :meth:`to_dict` gave."""
        return from_plain(cls, data)
