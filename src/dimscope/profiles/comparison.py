"""Comparison: the dimension of the last hidden layer of networks against how good they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints
from dimscope.estimators.uncertainty import quantile
from dimscope.profiles.profile import Profile
from dimscope.values import to_plain, value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Comparison", "Correlation", "compare"]


@value
@dataclass(frozen=True, eq=False)
class Correlation:
    """A correlation coefficient.

    Parameters
    ----------
    r : float
        NaN if all dimensions, or all scores, are the same.
    n : int
        Networks.
    p_value : float
        Two-sided, of no correlation.
    spread : float
        Standard deviation of arctanh(r) times sqrt(n - 3): 1 for Pearson's, 1.03 for Spearman's.

    Examples
    --------
    >>> one = Correlation(0.94, 14, 1e-6)
    >>> [round(bound, 2) for bound in one.interval]
    [0.82, 0.98]
    """

    r: float
    n: int
    p_value: float
    spread: float = 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """(lower, upper) at 95 %, by Fisher's transformation; NaN for fewer than four networks."""
        if self.n < 4 or not math.isfinite(self.r):
            return math.nan, math.nan
        if abs(self.r) >= 1:
            return self.r, self.r
        half = quantile(0.975) * self.spread / math.sqrt(self.n - 3)
        middle = math.atanh(self.r)
        return math.tanh(middle - half), math.tanh(middle + half)

    def __str__(self) -> str:
        lower, upper = self.interval
        if math.isnan(lower):
            return f"{self.r:.2f} (n = {self.n}, no interval)"
        return f"{self.r:.2f} ({lower:.2f} to {upper:.2f}, n = {self.n})"


@value
@dataclass(frozen=True, eq=False)
class Comparison:
    """The last hidden layer of several networks, and their scores.

    Parameters
    ----------
    names : tuple of str
    dimensions, std_errors : tuple of float
        Of the last hidden layer.
    scores : tuple of float
        Accuracy or error.
    pearson, spearman : Correlation
        Between dimension and score.
    """

    names: tuple[str, ...]
    dimensions: tuple[float, ...]
    std_errors: tuple[float, ...]
    scores: tuple[float, ...]
    pearson: Correlation
    spearman: Correlation

    def to_frame(self) -> pd.DataFrame:
        """A tidy table, one row a network."""
        import pandas as pd

        return pd.DataFrame(
            {
                "network": self.names,
                "dimension": self.dimensions,
                "std_error": self.std_errors,
                "score": self.scores,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to what JSON can hold; NaN becomes None."""
        plain: dict[str, Any] = to_plain(
            {
                "networks": self.to_frame().to_dict("records"),
                **{
                    name: {"r": c.r, "p_value": c.p_value, "interval": c.interval}
                    for name, c in (("pearson", self.pearson), ("spearman", self.spearman))
                },
            }
        )
        return plain

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw it; see :func:`dimscope.plotting.plot_comparison`."""
        from dimscope.plotting.comparison_plots import plot_comparison

        return plot_comparison(self, ax, **style)


def compare(profiles: Iterable[Profile], scores: Mapping[str, float]) -> Comparison:
    """Correlate the dimension of the last hidden layer with a score of each network.

    Parameters
    ----------
    profiles : iterable of Profile
        Each with a name of its own and a layer of the role ``last_hidden``.
    scores : Mapping of str to float
        Name of the network -> accuracy, or error.

    Returns
    -------
    Comparison

    Raises
    ------
    BadPoints
        If a network has no score or no last hidden layer, or there are fewer than three.

    References
    ----------
    A. Ansuini, A. Laio, J. H. Macke and D. Zoccolan, "Intrinsic dimension of data
    representations in deep neural networks", NeurIPS (2019), Fig. 4.

    Examples
    --------
    >>> from dimscope import Estimate
    >>> from dimscope import Layer
    >>> layer = Layer("fc", "last_hidden")
    >>> several = [Profile((layer,), {"twonn": {"fc": Estimate(d, 0.1)}}, name)
    ...            for name, d in (("a", 10.0), ("b", 12.0), ("c", 16.0), ("d", 18.0))]
    >>> compare(several, {"a": 0.9, "b": 0.88, "c": 0.84, "d": 0.82}).pearson.r
    -1.0
    """
    from scipy.stats import pearsonr, spearmanr

    several = list(profiles)
    if len(several) < 3:
        raise BadPoints(f"a comparison needs at least 3 networks, but there are {len(several)}")
    names = [one.name for one in several]
    if len(set(names)) < len(names):
        raise BadPoints(f"two networks have the same name: {', '.join(sorted(names))}")
    missing = [name for name in names if name not in scores]
    if missing:
        raise BadPoints(f"there is no score for {missing[0]!r}; give one for every network")
    last = [_last_hidden(one) for one in several]
    dimensions = np.array([one.dimension for one in last])
    if not np.isfinite(dimensions).all():
        name = names[int(np.flatnonzero(~np.isfinite(dimensions))[0])]
        raise BadPoints(f"the last hidden layer of {name!r} has no dimension")
    for name in names:
        score = scores[name]
        if not isinstance(score, float | int | np.number) or not math.isfinite(score):
            raise BadPoints(f"the score of {name!r} is {score!r}; give a finite number")
    chosen = np.array([float(scores[name]) for name in names])
    n = len(names)
    if np.ptp(dimensions) == 0 or np.ptp(chosen) == 0:  # nothing to correlate
        linear = ranked = Correlation(math.nan, n, math.nan)
    else:
        one, two = pearsonr(dimensions, chosen), spearmanr(dimensions, chosen)
        linear = Correlation(round(float(one.statistic), 12), n, float(one.pvalue))
        ranked = Correlation(round(float(two.statistic), 12), n, float(two.pvalue), math.sqrt(1.06))
    errors = tuple(one.std_error for one in last)
    return Comparison(
        tuple(names), tuple(dimensions.tolist()), errors, tuple(chosen.tolist()), linear, ranked
    )


def _last_hidden(profile: Profile) -> Any:
    for layer in profile.layers:
        if layer.role == "last_hidden":
            return profile[layer.name]
    raise BadPoints(f"the profile of {profile.name!r} has no last hidden layer")
