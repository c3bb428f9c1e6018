"""The errors and warnings that dimscope raises.

Every message says *what* is wrong, *where* (the first bad row, the file, the layer) and *what to
do*. Every error is a ``ValueError``, so code that already catches ``ValueError`` keeps working.
"""

from typing import get_args

__all__ = [
    "BadPoints",
    "BadSource",
    "DegeneratePoints",
    "DimscopeError",
    "PoorRecall",
    "SampleRefused",
    "TiedPoints",
    "check_word",
]


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


class TiedPoints(UserWarning):
    """Many points have two neighbours at the same distance, as in discrete data."""


class PoorRecall(UserWarning):
    """An approximate search missed many nearest neighbours."""


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
