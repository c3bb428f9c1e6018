"""Where a value comes from: the step, its parameters, the versions, and its inputs.

Every value passed from one step to the next carries a :class:`Provenance`, which is saved with it,
so that a number in a paper can be traced to the call that made it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dimscope.values import by_value, from_plain, to_plain

__all__ = ["CHANGES", "NUMBERS", "Provenance", "versions"]


# For each version of the numbers, what changed since the version before. Profiles without a version
# are of version 1. docs/changes-in-numbers.md says why the numbers changed, and by how much.
CHANGES: Mapping[int, str] = {
    2: "images are preprocessed as the weights of the network expect, every row is one stimulus, "
    "and padding is left out",
}


NUMBERS = max(CHANGES)


@cache
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(*distributions: str) -> dict[str, str]:
    """Look up the versions of Python, dimscope, NumPy and the named distributions.

    Distributions that are not installed are omitted.

    Examples
    --------
    >>> sorted(versions())
    ['dimscope', 'numpy', 'python']
    """
    installed = {"python": platform.python_version()}
    for name in ("dimscope", "numpy", *distributions):
        version = _version(name)
        if version is not None:
            installed[name] = version
    return installed


@by_value
@dataclass(frozen=True, eq=False)
class Provenance:
    """How a value was made.

    Parameters
    ----------
    step : str
        Name of the step: ``"capture"``, ``"nearest_neighbors"``, ``"estimate"``, ``"profile"``.
    parameters : Mapping
        Parameters of the step; values must be JSON-compatible.
    versions : Mapping
        Distribution name -> version.
    inputs : tuple of Provenance
        How the inputs of the step were made.

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
        """Convert to JSON-compatible dictionaries and lists."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Create a provenance from the output of :meth:`to_dict`."""
        return from_plain(cls, data)
