"""The errors and warnings that dimscope raises.

Every message says *what* is wrong, *where* (the first bad row, the file, the layer) and *what to
do*. Every error is a ``ValueError``, so code that already catches ``ValueError`` keeps working.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, get_args

__all__ = [
    "ALL_EQUAL",
    "BadPoints",
    "BadSource",
    "CaptureWarning",
    "ChangedNumbers",
    "DegeneratePoints",
    "DimscopeError",
    "EstimatorsFailed",
    "GuessedReading",
    "HubDominates",
    "Interrupted",
    "NarrowRange",
    "NearCopies",
    "NearTies",
    "OverBudget",
    "PoorRecall",
    "RepeatedPoints",
    "SampleRefused",
    "ShortNeighbors",
    "TiedPoints",
    "TightGroups",
    "about",
    "check_word",
    "first_line",
    "reason_of",
    "silent",
    "warn",
]


ALL_EQUAL = "points are the same"
"""Part of the reason why a layer has no dimension if it does not vary."""


class DimscopeError(ValueError):
    """Base class of the errors that ``dimscope`` raises."""


class BadPoints(DimscopeError):
    """The input is not an array of finite points of shape (n_points, n_features)."""


class DegeneratePoints(DimscopeError):
    """The points are valid, but their dimension is undefined: too few are distinct, or all tie."""


class SampleRefused(DegeneratePoints):
    """The operation needs the neighbours of all points, but only a sample was searched."""


class BadSource(DimscopeError):
    """A model, data set, file or optional package is missing or cannot be used."""


class OverBudget(DimscopeError):
    """A step would need more memory than the budget, ``memory``."""


class EstimatorsFailed(DimscopeError):
    """Some of several estimators failed; this error holds the estimates of the others.

    Parameters
    ----------
    estimates : Mapping of str to Estimate
        The estimates that were made.
    failures : Mapping of str to Exception
        The error of each estimator that failed.

    Examples
    --------
    >>> raise EstimatorsFailed({"pca": 45.0}, {"twonn": DegeneratePoints("all tied")})
    Traceback (most recent call last):
    dimscope.errors.EstimatorsFailed: 1 of 2 estimators failed: twonn: all tied; \
the estimates of the others are in the attribute estimates of this error
    """

    def __init__(self, estimates: Mapping[str, Any], failures: Mapping[str, Exception]) -> None:
        self.estimates, self.failures = dict(estimates), dict(failures)
        total = len(self.estimates) + len(self.failures)
        reasons = "; ".join(f"{name}: {reason_of(error)}" for name, error in failures.items())
        others = (
            "; the estimates of the others are in the attribute estimates of this error"
            if self.estimates
            else ""
        )
        super().__init__(f"{len(self.failures)} of {total} estimators failed: {reasons}{others}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.estimates, self.failures)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C stopped a measurement; ``partial`` holds what was computed until then.

    Parameters
    ----------
    partial : dict of name -> Estimate, or Profile
        In a profile, what was not measured has dimension NaN and a reason.
    """

    def __init__(self, partial: Any) -> None:
        self.partial = partial
        super().__init__(
            "interrupted; the attribute partial of this exception holds what was computed"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.partial,)


class TiedPoints(UserWarning):
    """Many points have two neighbours at the same distance, as in discrete data."""


class NarrowRange(UserWarning):
    """Counts vary by less than the distance between neighbours, so that I3D is mostly too low."""


class ShortNeighbors(UserWarning):
    """The lists of neighbours are too short to measure the error that hubs cause."""


class HubDominates(UserWarning):
    """One point is a nearest neighbour of most others, so that it decides the estimate."""


class NearTies(UserWarning):
    """Neighbours are nearly, not exactly, at the same distance, as on a grid with small noise."""


class NearCopies(UserWarning):
    """Points differ from others by no more than rounding, as one stimulus in two batches does."""


class RepeatedPoints(UserWarning):
    """Many rows repeat others exactly, so the estimate comes from much fewer points."""


class ChangedNumbers(UserWarning):
    """Profiles from versions that give different numbers are compared."""


class CaptureWarning(UserWarning):
    """Activations have a limitation, such as layers that depend on the rest of the batch."""


class GuessedReading(UserWarning):
    """A table in text can be read in more than one way; the message says which way was chosen."""


class PoorRecall(UserWarning):
    """An approximate search missed many nearest neighbours."""


class TightGroups(UserWarning):
    """Points come in tight groups or pairs, so that nearest neighbours tell of those only."""


def check_word(name: str, value: object, words: object) -> None:
    """Refuse a value that is not among the words of the option's ``Literal`` type.

    Parameters
    ----------
    name : str
        Name of the option.
    value : object
    words : Literal

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from typing import Literal
    >>> check_word("fit", "best", Literal["mle", "regression"])
    Traceback (most recent call last):
    ValueError: fit is 'best'; use one of 'mle', 'regression'
    """
    if value not in get_args(words):
        raise ValueError(f"{name} is {value!r}; use one of {', '.join(map(repr, get_args(words)))}")


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message, or the name of its class if it has none.

    Examples
    --------
    >>> first_line(OSError("no such file.\nTry again.")), first_line(MemoryError())
    ('no such file', 'MemoryError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")


def reason_of(error: BaseException) -> str:
    """Say in one line why something failed.

    Examples
    --------
    >>> reason_of(DegeneratePoints("all 5 points are the same")), reason_of(MemoryError())
    ('all 5 points are the same', 'MemoryError')
    """
    message = str(error).strip()
    if isinstance(error, DimscopeError) and message:
        return message
    return ": ".join(filter(None, (type(error).__name__, message)))


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


_BETWEEN = (functools.__file__, contextlib.__file__)  # a cached property, a context manager


_about: ContextVar[str] = ContextVar("about", default="")
_silent: ContextVar[tuple[type[Warning], ...]] = ContextVar("silent", default=())


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called this package.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    if category in _silent.get():
        return
    message = f"{_about.get()}: {message}" if _about.get() else message
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_ours(file: str) -> bool:
    return file.startswith(_PACKAGE) or file in _BETWEEN


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Put what is measured before the warnings of this package in the current thread.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught, about("layer conv1"):
    ...     warnings.simplefilter("always")
    ...     warn("many points are tied", TiedPoints)
    >>> str(caught[0].message)
    'layer conv1: many points are tied'
    """
    token = _about.set(what)
    try:
        yield
    finally:
        _about.reset(token)


@contextlib.contextmanager
def silent(*categories: type[Warning]) -> Iterator[None]:
    """Drop the warnings of this package in the current thread; the filters stay as they are.

    ``warnings.catch_warnings`` would replace the filters of all threads.

    Examples
    --------
    >>> with silent(TiedPoints):
    ...     warn("dropped", TiedPoints)
    """
    token = _silent.set(_silent.get() + categories)
    try:
        yield
    finally:
        _silent.reset(token)
