"""Pictures: ax in, ax out.

Colours are the Okabe-Ito palette, distinct markers go with them, so that a figure
reads in print and for colour-blind readers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dimscope.estimates import LOWER_BOUND_ABOVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dimscope.comparison import Comparison
    from dimscope.curves import ScaleCurve, ScalePoint
    from dimscope.profiles import Profile

__all__ = [
    "plot_comparison",
    "plot_profile",
    "plot_profiles",
    "plot_scale",
]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_NAME_SIZE = 7  # points, of the names of layers


def _new_axes() -> Axes:
    from matplotlib.figure import Figure

    # not through pyplot: no global state, no window, nothing to close
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    return figure.add_subplot()


def plot_profile(
    profile: Profile, ax: Axes | None = None, *, simultaneous: bool = False, **style: Any
) -> Axes:
    """Draw the dimension of every layer against relative depth.

    Parameters
    ----------
    profile : Profile
        By class, the error bars are the standard deviation over classes; otherwise the
        95 % interval of each layer.
    ax : matplotlib.axes.Axes, optional
        New ones without it.
    simultaneous : bool
        Error bars that hold for all layers at once (:meth:`dimscope.Profile.simultaneous`).
    **style
        Passed to :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from dimscope import Estimate, Layer, Profile
    >>> p = Profile((Layer("input", "input"),), {"twonn": {"input": Estimate(3.0, 0.1)}})
    >>> p.plot().get_ylabel()
    'intrinsic dimension'
    """
    ax = _new_axes() if ax is None else ax
    several = len(profile.estimators) > 1
    for estimator in profile.estimators:
        label = " ".join(p for p in (profile.name, estimator if several else "") if p)
        _draw(profile, estimator, ax, {"label": label or None, **style}, simultaneous)
    _name_layers(profile, ax)
    _finish(ax)
    return ax


def plot_profiles(profiles: Iterable[Profile], ax: Axes | None = None) -> Axes:
    """Draw several profiles, first estimator each, into one picture with a legend.

    Parameters
    ----------
    profiles : iterable of Profile
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from dimscope import Estimate, Layer, Profile
    >>> p = [Profile((Layer("a"),), {"twonn": {"a": Estimate(d, 0.1)}}, n)
    ...      for n, d in (("one", 2.0), ("two", 5.0))]
    >>> [text.get_text() for text in plot_profiles(p).get_legend().get_texts()]
    ['one', 'two']
    """
    ax = _new_axes() if ax is None else ax
    profiles = list(profiles)
    for profile in profiles:
        _draw(profile, profile.estimators[0], ax, {"label": profile.name})
    if len({tuple((x.name, x.depth) for x in one.layers) for one in profiles}) == 1:
        _name_layers(profiles[0], ax)
    _finish(ax)
    ax.legend(frameon=False)
    return ax


def plot_scale(curve: ScaleCurve, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw the dimension against the number of points, or against the rank of the neighbours.

    Parameters
    ----------
    curve : ScaleCurve
        Error bars are the standard deviation over the blocks, or one standard error where
        there is a single block. The range over which the dimension stays the same is shaded.
    ax : matplotlib.axes.Axes, optional
        New ones without it.
    **style
        Passed to :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> from dimscope.scales import rank_curve
    >>> rank_curve(cube(200, 2), 8).plot().get_xlabel()
    'rank of the farther neighbour'
    """
    ax = _new_axes() if ax is None else ax
    by_rank = len({one.ranks for one in curve.points}) > 1

    def place(one: ScalePoint) -> int:
        return one.ranks[1] if by_rank else one.n_points

    bars = [one.std_error if one.n_blocks == 1 else one.std for one in curve.points]
    number = len(ax.containers)
    ax.errorbar(
        [place(one) for one in curve.points],
        [one.dimension for one in curve.points],
        yerr=bars,
        **{**_look(number), **style},
    )
    flat = curve.plateau()
    if flat is not None:
        ax.axvspan(
            *sorted((place(flat.first), place(flat.last))), color="0.93", zorder=0, linewidth=0
        )
    ax.set_xscale("log", base=2 if by_rank else 10)
    ax.set_xlabel("rank of the farther neighbour" if by_rank else "number of points")
    ax.set_ylabel("intrinsic dimension")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_comparison(comparison: Comparison, ax: Axes | None = None, **style: Any) -> Axes:
    """Draw the dimension of the last hidden layer of networks against their scores.

    Parameters
    ----------
    comparison : Comparison
        Error bars are one standard error.
    ax : matplotlib.axes.Axes, optional
        New ones without it.
    **style
        Passed to :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _new_axes() if ax is None else ax
    look = {**_look(len(ax.containers)), "linestyle": "none", **style}
    ax.errorbar(comparison.dimensions, comparison.scores, xerr=comparison.std_errors, **look)
    for name, x, y in zip(comparison.names, comparison.dimensions, comparison.scores, strict=True):
        ax.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=_NAME_SIZE)
    ax.set_xlabel("intrinsic dimension of the last hidden layer")
    ax.set_title(f"Pearson {comparison.pearson}, Spearman {comparison.spearman}", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the n-th curve."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5,
        "capsize": 3,
        "linewidth": 1.6,
    }


def _draw(
    profile: Profile, estimator: str, ax: Axes, style: dict[str, Any], simultaneous: bool = False
) -> None:
    frame = profile.to_frame()
    frame = frame[frame["estimator"] == estimator]
    if profile.classes:
        frame = frame[frame["label"] == "mean"]
    if simultaneous:
        bounds = profile.simultaneous(estimator=estimator)
        every = [bounds.get(layer, (math.nan, math.nan)) for layer in frame["layer"]]
        below = frame["dimension"] - [lower for lower, _ in every]
        above = [upper for _, upper in every] - frame["dimension"]
    elif profile.classes:
        below = above = frame["class_std"]
    else:
        below = frame["dimension"] - frame["lower"]
        above = frame["upper"] - frame["dimension"]
    look = {**_look(len(ax.containers)), **style}
    ax.errorbar(frame["relative_depth"], frame["dimension"], yerr=(below, above), **look)


def _name_layers(profile: Profile, ax: Axes) -> None:
    """Write the names of the layers along the top, those that there is room for."""
    top = ax.secondary_xaxis("top")
    places: dict[float, list[str]] = {}
    for layer in profile.layers:
        places.setdefault(layer.relative_depth, []).append(layer.name)
    # depth that one line of text takes up, upright
    figure: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    line = 1.1 * _NAME_SIZE / 72 / (figure.get_figwidth() * ax.get_position().width)
    shown: list[float] = []
    for place in sorted(places, reverse=True):  # the output is named before all others
        if not shown or shown[-1] - place >= line:
            shown.append(place)
    gaps = [later - earlier for later, earlier in itertools.pairwise(shown)]
    crowded = min(gaps, default=1.0) < 2 * line
    top.set_xticks(shown, [", ".join(places[place]) for place in shown])
    top.tick_params(axis="x", rotation=90 if crowded else 60, labelsize=_NAME_SIZE, length=2)
    for label in top.get_xticklabels():
        label.set_horizontalalignment("center" if crowded else "left")
        if not crowded:
            label.set_rotation_mode("anchor")


def _finish(ax: Axes) -> None:
    ax.set_xlabel("relative depth")
    ax.set_ylabel("intrinsic dimension")
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.03, 1.03)
    ax.spines[["right"]].set_visible(False)
    if ax.get_ylim()[1] > LOWER_BOUND_ABOVE:
        ax.axhspan(LOWER_BOUND_ABOVE, ax.get_ylim()[1], color="0.95", zorder=0, linewidth=0)
        # beside the axes, where no curve can cross it
        ax.annotate(
            "lower bounds",
            (1, LOWER_BOUND_ABOVE),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            rotation=90,
            fontsize=7,
            color="0.45",
        )
