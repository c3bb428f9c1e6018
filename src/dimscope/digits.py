"""Digits: print numbers with their errors alike everywhere."""

from __future__ import annotations

import math

__all__ = ["decimals", "with_error"]


def decimals(error: float) -> int:
    """Return how many decimals a number with this error has.

    The error has two digits if it starts with 1, else one.

    Examples
    --------
    >>> decimals(0.0912), decimals(1.18), decimals(0.198), decimals(34.0)
    (2, 1, 2, 0)
    """
    mantissa, _, exponent = f"{error:e}".partition("e")
    return max(0, (mantissa[0] == "1") - int(exponent))


def with_error(number: float, error: float, sign: str = "") -> str:
    """Write a number with its error, both to the same place.

    Without an error, the number has four digits.

    Parameters
    ----------
    number, error : float
    sign : {"", "+"}
        ``"+"`` writes the sign of a positive number too.

    Examples
    --------
    >>> with_error(3.0213, 0.0912), with_error(58.67, 1.18), with_error(3.0213, math.nan)
    ('3.02 ± 0.09', '58.7 ± 1.2', '3.021')
    >>> with_error(1.24, 0.51, sign="+")
    '+1.2 ± 0.5'
    """
    if not 0 < error < math.inf:
        return f"{number:{sign}.4g}"
    places = decimals(error)
    return f"{number:{sign}.{places}f} ± {error:.{places}f}"
