"""Rules: find the epoch at which the dimension turns from falling to rising.

They were fixed before the runs whose results are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import dimscope as ds

__all__ = ["LEVEL", "RISE", "WINDOW", "lasting_rise", "turn"]

WINDOW = 5  # epochs, as in the paper
RISE = 0.1  # smallest relative rise that counts in lasting_rise
LEVEL = 0.05


def turn(curve: Sequence[float], window: int = WINDOW) -> int | None:
    """Find the turn as in the paper: the dimension rises above its last values.

    Parameters
    ----------
    curve : sequence of float
        Dimension after 0, 1, 2, ... epochs.
    window : int
        Number of preceding epochs to compare with.

    Returns
    -------
    int or None
        The epoch before the first whose dimension exceeds the mean of the ``window`` preceding ones
        by more than two of their standard deviations; None if there is none.

    Notes
    -----
    A flat curve with independent normal errors exceeds the threshold with a probability of 0.09 in
    each epoch (w = 5): (x - mean) / std > 2 is t > 1.63 for Student's t with 4 degrees of freedom.

    Examples
    --------
    >>> turn([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 6.0, 9.0])
    6
    >>> turn([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]) is None
    True
    """
    for epoch in range(window, len(curve)):
        before = np.asarray(curve[epoch - window : epoch])
        if curve[epoch] - before.mean() > 2 * before.std():
            return epoch - 1
    return None


def lasting_rise(estimates: Sequence[ds.Estimate]) -> int | None:
    """Find the turn with errors: the lowest dimension, if the last one is clearly above it.

    Parameters
    ----------
    estimates : sequence of Estimate
        Estimates after 0, 1, 2, ... epochs, on the same stimuli.

    Returns
    -------
    int or None
        The epoch with the lowest dimension, if the last dimension is higher by at least a tenth,
        and significantly so: p < 0.05 divided by the number of epochs.

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> x = cube(500, 4)
    >>> estimates = [ds.estimate(x[:, :d]) for d in (4, 2, 3)]
    >>> lasting_rise(estimates), lasting_rise(estimates[:2])
    (1, None)
    """
    lowest = int(np.argmin([float(estimate) for estimate in estimates]))
    last = len(estimates) - 1
    if float(estimates[last]) < (1 + RISE) * float(estimates[lowest]):
        return None
    p_value = ds.difference(estimates[last], estimates[lowest]).p_value
    return lowest if p_value < LEVEL / last else None
