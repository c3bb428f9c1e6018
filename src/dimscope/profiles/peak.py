"""The peak of a profile: which layers may have the highest dimension, and how high it is.

The layer with the highest estimate need not be the layer with the highest dimension, and the
highest of several estimates is too high on average. Both are taken into account here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dimscope.digits import decimals, with_error
from dimscope.estimators.uncertainty import quantile
from dimscope.profiles.joint import joint_law
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.estimators.estimates import Estimate
    from dimscope.profiles.joint import JointLaw

__all__ = ["Peak", "find_peak", "peak_of"]


@by_value
@dataclass(frozen=True, eq=False)
class Peak:
    """The peak of a profile, with its uncertainty.

    Parameters
    ----------
    layer : str
        The layer with the highest estimate.
    layers : tuple of str
        Confidence set: the layers that may have the highest dimension. It contains the layer of
        highest dimension with probability ``level``, at least.
    height : float
        The highest dimension, corrected for the choice of the highest of several estimates. If one
        layer is clearly the highest, it is its estimate; in a flat profile, about two thirds of
        what the highest estimate is too high are taken off.
    std_error : float
        Standard error of the height: half the width of the interval, in units of the quantile.
    interval : tuple of float
        Confidence interval (lower, upper) of the height, at ``level``.
    probabilities : Mapping of str to float
        Layer -> the fraction of draws from the joint normal law of the estimates, centred on the
        estimates, in which the layer is the highest. It is the posterior probability to be the
        peak if nothing is known about the dimensions before (a flat prior); in a flat profile it is
        not 1/L for each of L layers.
    level : float
    is_lower_bound : bool
        Whether a layer of the set has a dimension above 20, where estimates are too low.
    left_out : tuple of str
        The layers that could not be measured.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube
    >>> x = cube(1000, 6)
    >>> profile = ds.profile(ds.Activations({"a": x[:, :2], "b": x, "c": x[:, :3]}))
    >>> peak = profile.peak()
    >>> peak.layers, peak.probabilities["b"]
    (('b',), 1.0)
    >>> peak.interval[0] < peak.height < peak.interval[1]
    True
    """

    layer: str
    layers: tuple[str, ...]
    height: float
    std_error: float
    interval: tuple[float, float]
    probabilities: Mapping[str, float]
    level: float = 0.95
    is_lower_bound: bool = False
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Peak({self})"

    def __str__(self) -> str:
        bound = "≥ " if self.is_lower_bound else ""
        text = f"the dimension is highest in {_either(self.layers)}: {bound}"
        level = f"{100 * self.level:.3g} %"
        if math.isfinite(self.std_error):
            places = decimals(self.std_error)
            lower, upper = (f"{bound:.{places}f}" for bound in self.interval)
            text += f"{with_error(self.height, self.std_error)} ({level}: {lower} to {upper})"
        else:
            text += f"{self.height:.4g}, without a standard error"
        if self.is_lower_bound:
            text += "; estimates above 20 are too low, and the more so the higher the dimension"
        if self.left_out:
            text += f"; not measured, and left out: {', '.join(self.left_out)}"
        return text


def _either(names: tuple[str, ...]) -> str:
    """Join names.

    >>> _either(("a", "b", "c"))
    'a, b or c'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def find_peak(estimates: Mapping[str, Estimate], p: float = 0.95) -> Peak:
    """Find the layers that may have the highest dimension; see :meth:`dimscope.Profile.peak`."""
    if not 0 < p < 1:
        raise ValueError(f"the level of a peak must be between 0 and 1, not {p}")
    law = joint_law(estimates)
    left_out = tuple(name for name in estimates if name not in law.layers)
    if len(law.layers) == 1:
        (layer,) = law.layers
        only = estimates[layer]
        return Peak(
            layer, law.layers, only.dimension, only.std_error, only.interval_at(p),
            {layer: 1.0}, p, only.is_lower_bound, left_out,
        )  # fmt: skip
    peak = peak_of(law, p)
    bound = any(estimates[name].is_lower_bound for name in peak.layers)
    return replace(peak, is_lower_bound=bound, left_out=left_out)


def peak_of(law: JointLaw, p: float = 0.95) -> Peak:
    """Find the peak of at least two layers with a known joint law."""
    may = _may_be_highest(law, p)
    height, error, bounds = _height(law, p)
    return Peak(
        law.layers[int(np.argmax(law.dimensions))],
        tuple(name for name, may_be in zip(law.layers, may, strict=True) if may_be),
        height,
        error,
        bounds,
        dict(zip(law.layers, _probabilities(law).tolist(), strict=True)),
        p,
    )


def _may_be_highest(law: JointLaw, p: float) -> NDArray[np.bool_]:
    """Test for each layer that no other is higher, by the largest studentised difference."""
    n = len(law.layers)
    others = [np.delete(np.arange(n), layer) for layer in range(n)]
    comparisons = [(above, np.full(n - 1, layer)) for layer, above in enumerate(others)]
    return np.array(law.p_values(comparisons)) >= 1 - p


def _probabilities(law: JointLaw) -> NDArray[np.float64]:
    """Return how often each layer is the highest in draws around the estimates."""
    winners = np.argmax(law.logs[:, None] + law.draws(), axis=0)
    return np.bincount(winners, minlength=len(law.layers)) / len(winners)


# -- height -------------------------------------------------------------------------------


def _height(law: JointLaw, p: float) -> tuple[float, float, tuple[float, float]]:
    """Return the height, its standard error and its interval, by inverting a test of the maximum.

    The test of the hypothesis "the highest dimension is h" compares the highest estimate with its
    distribution if the dimensions are those that :func:`_fitted` gives for h.
    """
    draws = law.draws()
    highest = float(law.logs.max())
    shrunken = _shrunken(law)

    def share(height: float) -> float:
        """Return how often the highest estimate would be at least what it is."""
        reaches = draws >= (highest - _fitted(law, shrunken, height))[:, None]
        return float(reaches.any(axis=0).mean())

    reach = float(np.abs(draws).max())
    middle, lower, upper = (
        _crossing(share, level, highest - reach, highest + reach)
        for level in (0.5, (1 - p) / 2, (1 + p) / 2)
    )
    error = (upper - lower) / (2 * quantile((1 + p) / 2, law.degrees_of_freedom))
    height = math.exp(middle)
    return height, height * error, (math.exp(lower), math.exp(upper))


def _shrunken(law: JointLaw) -> NDArray[np.float64]:
    """Shrink the logarithms towards their mean, by as much as their spread is due to errors.

    James and Stein's estimator (positive part, towards the mean). The estimates themselves spread
    more than the dimensions do, so that too many layers would seem to compete for the peak.
    """
    logs, n = law.logs, len(law.layers)
    if n < 4:
        return logs
    centred = np.eye(n) - 1 / n
    by_chance = float(np.trace(centred @ law.log_covariance)) / (n - 1)
    spread = float(((logs - logs.mean()) ** 2).sum())
    keep = max(0.0, 1 - (n - 3) * by_chance / spread) if spread > 0 else 0.0
    shrunken: NDArray[np.float64] = logs.mean() + keep * (logs - logs.mean())
    return shrunken


def _fitted(law: JointLaw, logs: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """Fit logarithms of dimensions of which the highest is ``height``.

    The layer with the highest estimate gets the height. Its error is then known, and the others
    move by what they share of it; none exceeds the height.
    """
    first = int(np.argmax(law.logs))
    shared = law.log_covariance[:, first] / law.log_covariance[first, first]
    fitted: NDArray[np.float64] = np.minimum(height, logs + shared * (height - law.logs[first]))
    fitted[first] = height
    return fitted


def _crossing(share: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Find where an increasing function crosses a level, by bisection."""
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < level else (low, middle)
    return (low + high) / 2
