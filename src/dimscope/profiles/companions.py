"""Companions: what is shown beside the dimension of every layer.

The distance at which the dimension was measured and the hubness are part of every estimate from
neighbours; the effective rank and the participation ratio are measured in addition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from dimscope.errors import check_word
from dimscope.estimators.linear import EffectiveRank, ParticipationRatio

if TYPE_CHECKING:
    from dimscope.estimators.base import Estimator

__all__ = ["CompanionName", "checked_names", "companion_estimators", "digits"]

CompanionName = Literal["distance", "hubness", "effective_rank", "participation_ratio"]

_MEASURED: dict[str, Estimator] = {
    "effective_rank": EffectiveRank(),
    "participation_ratio": ParticipationRatio(),
}


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names once each, in order, or raise an error for one that is unknown.

    Examples
    --------
    >>> checked_names(["distance", "distance"])
    ('distance',)
    >>> checked_names("distance")
    Traceback (most recent call last):
    TypeError: companions is 'distance'; give a list of names, such as ['distance']
    """
    if isinstance(names, str):
        raise TypeError(f"companions is {names!r}; give a list of names, such as [{names!r}]")
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        check_word("companion", name, CompanionName)
    return unique


def companion_estimators(names: Iterable[str]) -> dict[str, Estimator]:
    """Return the estimators of the companions that must be measured, by name.

    Examples
    --------
    >>> companion_estimators(["distance", "effective_rank"])
    {'effective_rank': EffectiveRank(normalized=False)}
    """
    return {name: _MEASURED[name] for name in names if name in _MEASURED}


def digits(value: float) -> str:
    """Write the value of a companion with three digits, without an exponent above 1000.

    Examples
    --------
    >>> digits(0.01234), digits(1371.0), digits(math.nan)
    ('0.0123', '1371', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
