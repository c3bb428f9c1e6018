"""Comparison: relate the dimension of a layer, the last hidden one, to the scores of networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.errors import BadPoints, ChangedNumbers, check_word, warn
from dimscope.estimators.uncertainty import quantile
from dimscope.files import near
from dimscope.profiles.profile import Profile
from dimscope.provenance import CHANGES
from dimscope.values import by_value, to_plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Comparison", "Correlation", "compare", "numbers_of", "warn_of_changes"]


Plotted = Literal["scores", "profiles"]
"""What :meth:`Comparison.plot` shows."""


_SPEARMAN_SPREAD = math.sqrt(1.06)  # Fieller, Hartley and Pearson 1957


@by_value
@dataclass(frozen=True, eq=False)
class Correlation:
    """A correlation coefficient.

    Parameters
    ----------
    r : float
        The coefficient; NaN if all dimensions, or all scores, are equal.
    n : int
        Number of networks.
    p_value : float
        Two-sided p-value for the hypothesis of no correlation.
    spread : float
        sqrt(n - 3) times the standard deviation of arctanh(r): 1 for Pearson, 1.03 for Spearman.

    Examples
    --------
    >>> correlation = Correlation(0.94, 14, 1e-6)
    >>> [round(bound, 2) for bound in correlation.interval]
    [0.82, 0.98]
    """

    r: float
    n: int
    p_value: float
    spread: float = 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval (lower, upper), by Fisher's transformation; NaN below four networks."""
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


@by_value
@dataclass(frozen=True, eq=False)
class Comparison:
    """The dimension of one layer of each network, the last hidden one, and the network's score.

    Parameters
    ----------
    names : tuple of str
        Names of the networks.
    dimensions, std_errors : tuple of float
        Dimensions of the layers and their standard errors.
    scores : tuple of float
        Accuracies or errors.
    pearson, spearman : Correlation
        Correlations between dimension and score.
    profiles : tuple of Profile
        The profiles that were compared, in the order of ``names``.
    layers : tuple of str
        The layer of each network.
    """

    names: tuple[str, ...]
    dimensions: tuple[float, ...]
    std_errors: tuple[float, ...]
    scores: tuple[float, ...]
    pearson: Correlation
    spearman: Correlation
    profiles: tuple[Profile, ...] = field(default=(), repr=False)
    layers: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """Say which layer was compared: the last hidden layer, or a layer by its name."""
        named = set(self.layers)
        roles = {
            layer.role
            for profile in self.profiles
            for layer in profile.layers
            if layer.name in named
        }
        if len(named) == 1 and roles != {"last_hidden"}:
            return f"layer {named.pop()}"
        return "the last hidden layer"

    def over_depth(self) -> pd.DataFrame:
        """Put the profiles into one table over relative depth.

        Returns
        -------
        pandas.DataFrame
            One row for each network and layer, with columns ``network``, ``layer``, ``role``,
            ``relative_depth``, ``dimension``, ``std_error``, ``lower``, ``upper`` and ``relative``,
            the dimension in units of that of the first layer.

        Examples
        --------
        >>> from dimscope import Estimate, Layer
        >>> layers = Layer("input", "input"), Layer("fc", "last_hidden", 2, 0.5)
        >>> profiles = [Profile(layers, {"twonn": {"input": Estimate(4.0), "fc": Estimate(d)}}, n)
        ...             for n, d in (("a", 6.0), ("b", 7.0), ("c", 8.0))]
        >>> table = compare(profiles, {"a": 0.7, "b": 0.8, "c": 0.9}).over_depth()
        >>> table[["network", "relative_depth", "relative"]].values.tolist()[:2]
        [['a', 0.0, 1.0], ['a', 0.5, 1.5]]
        """
        import pandas as pd

        columns = [
            "layer", "role", "relative_depth", "dimension", "std_error", "lower", "upper",
        ]  # fmt: skip
        parts = []
        for name, profile in zip(self.names, self.profiles, strict=True):
            frame = replace(profile, classes={}, spread={}).to_frame()
            first = frame[frame["estimator"] == profile.estimators[0]][columns]
            parts.append(
                first.assign(network=name, relative=first["dimension"] / first["dimension"].iloc[0])
            )
        return pd.concat(parts, ignore_index=True)[["network", *columns, "relative"]]

    def to_frame(self) -> pd.DataFrame:
        """Convert to a tidy table with one row for each network."""
        import pandas as pd

        return pd.DataFrame(
            {
                "network": self.names,
                "layer": self.layers or ("",) * len(self.names),
                "dimension": self.dimensions,
                "std_error": self.std_errors,
                "score": self.scores,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON-compatible values; NaN becomes None."""
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

    def plot(self, ax: Axes | None = None, *, of: Plotted = "scores", **style: Any) -> Axes:
        """Plot the scores against the dimensions, or the profiles over relative depth.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        of : {"scores", "profiles"}
        **style
            As in :func:`dimscope.plotting.plot_comparison`; for ``"profiles"`` there is none.
        """
        check_word("of", of, Plotted)
        if of == "profiles":
            from dimscope.plotting.profile_plots import plot_profiles

            return plot_profiles(self.profiles, ax, **style)
        from dimscope.plotting.comparison_plots import plot_comparison

        return plot_comparison(self, ax, **style)


def compare(
    profiles: Iterable[Profile], scores: Mapping[str, float], layer: str | None = None
) -> Comparison:
    """Correlate the dimension of each network's last hidden layer with the network's score.

    Parameters
    ----------
    profiles : iterable of Profile
        Profiles with different names, each with a layer whose role is ``last_hidden`` unless
        ``layer`` is given.
    scores : Mapping of str to float
        Name of each profile -> accuracy or error.
    layer : str, optional
        Name of another layer to compare, which every profile must have; or, for features that
        another program has saved, of the layer that is the last hidden one.

    Returns
    -------
    Comparison

    Warns
    -----
    ChangedNumbers
        If some of the profiles are from an earlier version, whose numbers differ.

    Raises
    ------
    BadPoints
        If a network has no score or no such layer, two networks have the same name, or there
        are fewer than three networks.
    TypeError
        If the scores are not given by name.

    References
    ----------
    A. Ansuini, A. Laio, J. H. Macke and D. Zoccolan, "Intrinsic dimension of data
    representations in deep neural networks", NeurIPS (2019), Fig. 4.

    Examples
    --------
    >>> from dimscope import Estimate, Layer
    >>> layer = Layer("fc", "last_hidden")
    >>> profiles = [Profile((layer,), {"twonn": {"fc": Estimate(d, 0.1)}}, name)
    ...             for name, d in (("a", 10.0), ("b", 12.0), ("c", 16.0), ("d", 18.0))]
    >>> compare(profiles, {"a": 0.9, "b": 0.88, "c": 0.84, "d": 0.82}).pearson.r
    -1.0
    """
    from scipy.stats import pearsonr, spearmanr

    profiles = list(profiles)
    n = len(profiles)
    if not isinstance(scores, Mapping):
        raise TypeError(
            f"scores is a {type(scores).__name__}; give the score of each profile by its name, "
            f"such as {{{profiles[0].name if profiles else 'net'!r}: 0.9, ...}}"
        )
    if n < 3:
        raise BadPoints(
            f"a comparison needs at least 3 networks, but there are only {n}; give more profiles"
        )
    names = tuple(profile.name for profile in profiles)
    if len(set(names)) < n:
        raise BadPoints(f"two networks have the same name: {', '.join(sorted(names))}")
    missing = [name for name in names if name not in scores]
    if missing:
        raise BadPoints(f"there is no score for {missing[0]!r}; give a score for every network")
    warn_of_changes(profiles)
    layers = tuple(_compared(profile, layer) for profile in profiles)
    estimates = [profile[name] for profile, name in zip(profiles, layers, strict=True)]
    dimensions = np.array([estimate.dimension for estimate in estimates])
    for name, compared, dimension in zip(names, layers, dimensions, strict=True):
        if not math.isfinite(dimension):
            raise BadPoints(
                f"layer {compared} of {name!r} could not be measured; leave this network out"
            )
        score = scores[name]
        if not isinstance(score, float | int | np.number) or not math.isfinite(score):
            raise BadPoints(f"the score of {name!r} is {score!r}; give a finite number")
    score_array = np.array([float(scores[name]) for name in names])
    if np.ptp(dimensions) == 0 or np.ptp(score_array) == 0:  # nothing to correlate
        linear = ranked = Correlation(math.nan, n, math.nan)
    else:
        pearson, spearman = pearsonr(dimensions, score_array), spearmanr(dimensions, score_array)
        linear = Correlation(round(float(pearson.statistic), 12), n, float(pearson.pvalue))
        ranked = Correlation(
            round(float(spearman.statistic), 12), n, float(spearman.pvalue), _SPEARMAN_SPREAD
        )
    return Comparison(
        names,
        tuple(dimensions.tolist()),
        tuple(estimate.std_error for estimate in estimates),
        tuple(score_array.tolist()),
        linear,
        ranked,
        tuple(profiles),
        layers,
    )


def numbers_of(profile: Profile) -> int | None:
    """Return the version of the numbers of a profile; None if it was not measured by dimscope.

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> from dimscope import Activations, profile
    >>> numbers_of(profile(Activations({"a": cube(100, 2)})))
    2
    """
    parameters = profile.provenance.parameters
    return int(parameters.get("numbers", 1)) if "estimators" in parameters else None


def warn_of_changes(profiles: Sequence[Profile]) -> None:
    """Warn about profiles from an earlier version, whose numbers differ from the others."""
    versions = [(profile.name, numbers_of(profile)) for profile in profiles]
    measured = [version for _, version in versions if version is not None]
    if len(set(measured)) < 2:
        return
    newest = max(measured)
    earlier = [name for name, version in versions if version is not None and version < newest]
    since = [text for number, text in CHANGES.items() if min(measured) < number <= newest]
    shown = ", ".join(earlier[:3]) + (", ..." if len(earlier) > 3 else "")
    warn(
        f"{len(earlier)} of {len(profiles)} profiles ({shown}) are from an earlier version, whose "
        f"numbers differ; since then, {'; '.join(since)}; measure them again, or see "
        "docs/changes-in-numbers.md",
        ChangedNumbers,
    )


def _compared(profile: Profile, layer: str | None) -> str:
    """Return the name of the layer to compare: the one given, or the last hidden one."""
    names = [described.name for described in profile.layers]
    if layer is not None:
        if layer not in names:
            raise BadPoints(
                f"the profile of {profile.name!r} has no layer {layer!r}; its layers are "
                f"{', '.join(names)}.{near(layer, names)}"
            )
        return layer
    for described in profile.layers:
        if described.role == "last_hidden":
            return described.name
    raise BadPoints(
        f"the profile of {profile.name!r} has no last hidden layer; name the layer to compare: "
        f"layer= (--layer), one of {', '.join(names)}"
    )
