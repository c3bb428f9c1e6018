"""What can go wrong, said so that it can be mended.

Every message tells *what* is wrong, *where* it is (the first bad row, the file,
the layer) and *what to do*. Every one is a ``ValueError``, so code that already
guards a numerical call keeps working.
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
    """Base of every error that ``dimscope`` raises on purpose."""


class BadPoints(DimscopeError):
    """The input is not an array of finite points of shape (n_points, n_features)."""


class DegeneratePoints(DimscopeError):
    """The points are valid but have no dimension: too few distinct ones, or all tied."""


class SampleRefused(DegeneratePoints):
    """What was asked for takes the neighbours of all points, not of a sample."""


class BadSource(DimscopeError):
    """A model, a data set or a file cannot be read as what it was given for."""


class TiedPoints(UserWarning):
    """Many points have equal first and second distances, as discrete data do."""


class PoorRecall(UserWarning):
    """An approximate search missed many of the nearest neighbours."""


def check_word(name: str, value: object, words: object) -> None:
    """Refuse an option that is not one of the words of its ``Literal`` type.

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
