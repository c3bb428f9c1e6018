"""Profile plots: the dimension of every layer against its depth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.estimators.estimates import LOWER_BOUND_ABOVE
from dimscope.plotting.companion_plots import draw_companions, stacked_axes
from dimscope.plotting.figures import NAME_SIZE, Width, axes_or_new, curve_style, fit_for_print
from dimscope.profiles.profile import over_classes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    import dimscope as ds


__all__ = ["plot_profile", "plot_profiles"]


def plot_profile(
    profile: ds.Profile,
    ax: Axes | None = None,
    *,
    width: Width | None = None,
    simultaneous: bool = False,
    companions: bool = False,
    peak: bool = False,
    **style: Any,
) -> Axes:
    """Plot the dimension of every layer against its relative depth.

    Parameters
    ----------
    profile : Profile
        What to plot. Error bars show the standard deviation over classes if the profile is by
        class, otherwise the 95 % interval of each layer.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; the axes of a new figure by default.
    width : {"column", "page"}, optional
        Draw for a paper: a new figure as wide as a column (85 mm) or a page (175 mm), without a
        title, with text of 7 and 8 points.
    simultaneous : bool
        Draw intervals that hold for all layers at once (:meth:`dimscope.Profile.simultaneous`).
    companions : bool
        Draw what stands beside the dimension (:attr:`dimscope.Profile.companions`) in panels below,
        on a new figure.
    peak : bool
        Mark the layers that may have the highest dimension (:meth:`dimscope.Profile.peak`), by
        triangles above them.
    **style
        Keyword arguments for :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the dimension.

    Raises
    ------
    ValueError
        If companions are to be drawn, but ``ax`` or ``width`` is given or the profile has none; or
        if both ``ax`` and ``width`` are given.

    Examples
    --------
    >>> from dimscope import Estimate, Layer, Profile
    >>> profile = Profile((Layer("input", "input"),), {"twonn": {"input": Estimate(3.0, 0.1)}})
    >>> profile.plot().get_ylabel()
    'intrinsic dimension'
    """
    is_new_figure = ax is None
    panels: list[Axes] = []
    if companions:
        if ax is not None or width is not None:
            raise ValueError(
                "companions are drawn in panels of a new figure; leave out ax and width"
            )
        if not profile.companions:
            raise ValueError("the profile has no companions; measure it with companions=[...]")
        ax, panels = stacked_axes(len(profile.companions))
    ax = axes_or_new(ax, width)
    drawn = [name for name in profile.estimators if name not in profile.companions]
    needs_legend = len(drawn) > 1
    for estimator in drawn:
        label = " ".join(filter(None, (profile.name, estimator if needs_legend else "")))
        _draw(profile, estimator, ax, {"label": label or None, **style}, simultaneous)
        if peak:
            _mark_peak(profile, estimator, ax)
    _name_layers(profile, ax)
    _finish(ax, [profile])
    if needs_legend or len(ax.get_legend_handles_labels()[1]) > bool(profile.name):
        ax.legend(frameon=False)
    if is_new_figure:
        text = _points_and_bars(profile, simultaneous)
        ax.set_title(f"{profile.name}, {text}" if profile.name else text, fontsize=9)
    if panels:
        draw_companions(profile, panels)
        ax.set_xlabel("")
    if width is not None:
        fit_for_print(ax)
    return ax


def plot_profiles(
    profiles: Iterable[ds.Profile], ax: Axes | None = None, *, width: Width | None = None
) -> Axes:
    """Plot the first estimator of several profiles on the same axes, with a legend.

    Parameters
    ----------
    profiles : iterable of Profile
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; the axes of a new figure by default.
    width : {"column", "page"}, optional
        Draw for a paper: a new figure as wide as a column (85 mm) or a page (175 mm), without a
        title, with text of 7 and 8 points.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from dimscope import Estimate, Layer, Profile
    >>> profiles = [Profile((Layer("a"),), {"twonn": {"a": Estimate(d, 0.1)}}, name)
    ...             for name, d in (("one", 2.0), ("two", 5.0))]
    >>> [text.get_text() for text in plot_profiles(profiles).get_legend().get_texts()]
    ['one', 'two']
    """
    is_new_figure = ax is None
    ax = axes_or_new(ax, width)
    profiles = list(profiles)
    for profile in profiles:
        _draw(profile, profile.estimators[0], ax, {"label": profile.name})
    if len({tuple((x.name, x.depth) for x in profile.layers) for profile in profiles}) == 1:
        _name_layers(profiles[0], ax)
    _finish(ax, profiles)
    ax.legend(frameon=False)
    texts = {_points_and_bars(profile, simultaneous=False) for profile in profiles}
    if is_new_figure and len(texts) == 1:
        ax.set_title(texts.pop(), fontsize=9)
    if width is not None:
        fit_for_print(ax)
    return ax


def _points_and_bars(profile: ds.Profile, simultaneous: bool) -> str:
    """Say how many points were measured, and what the error bars are."""
    if simultaneous:
        bars = "95 % for all layers at once"
    elif profile.classes:
        means = profile.of(profile.estimators[0]).values()
        bars = over_classes(means).replace("mean over", "standard deviation over")
    else:
        bars = "95 % intervals"
    estimates = profile.of(profile.estimators[0]).values()
    n_points = max((estimate.n_points for estimate in estimates), default=0)
    return f"{n_points} points, bars: {bars}"


def _draw(
    profile: ds.Profile, estimator: str, ax: Axes, style: dict[str, Any], simultaneous: bool = False
) -> None:
    frame = profile.to_frame()
    frame = frame[frame["estimator"] == estimator]
    if profile.classes:
        frame = frame[frame["label"] == "mean"]
    if simultaneous:
        bounds = profile.simultaneous(estimator=estimator)
        intervals = [bounds.get(layer, (math.nan, math.nan)) for layer in frame["layer"]]
        below = frame["dimension"] - [lower for lower, _ in intervals]
        above = [upper for _, upper in intervals] - frame["dimension"]
    elif profile.classes:
        below = above = frame["class_std"]
    else:
        below = frame["dimension"] - frame["lower"]
        above = frame["upper"] - frame["dimension"]
    options = {**curve_style(len(ax.containers)), **style}
    bars = ax.errorbar(frame["relative_depth"], frame["dimension"], yerr=(below, above), **options)
    _mark_missing(frame, ax, bars.lines[0].get_color())


def _mark_peak(profile: ds.Profile, estimator: str, ax: Axes) -> None:
    """Put a triangle above each layer that may be the peak."""
    from matplotlib.transforms import ScaledTranslation

    peak = profile.peak(estimator)
    tops = {layer: profile.of(estimator)[layer].interval[1] for layer in peak.layers}
    places = [layer.relative_depth for layer in profile.layers if layer.name in tops]
    color = ax.lines[-1].get_color()
    label = f"peak ({100 * peak.level:.3g} %)"
    (marks,) = ax.plot(places, list(tops.values()), "v", color=color, markersize=5, label=label)
    figure: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    marks.set_transform(ax.transData + ScaledTranslation(0, 6 / 72, figure.dpi_scale_trans))


def _mark_missing(frame: pd.DataFrame, ax: Axes, color: Any) -> None:
    """Mark layers that were not measured, or not for all classes, with a cross on the axis.

    The reasons are in the table and in ``Profile.to_frame``; here, the number of such layers is in
    the legend entry of the crosses.
    """
    missing = frame[frame["reason"] != ""]
    if missing.empty:
        return
    n_layers = int(missing["dimension"].isna().sum())
    n_partly = len(missing) - n_layers
    words = [f"{n_layers} not measured"] * bool(n_layers)
    words += [f"{n_partly} with classes missing"] * bool(n_partly)
    ax.plot(
        missing["relative_depth"], np.zeros(len(missing)), "x",
        color=color, markersize=5, clip_on=False, label=f"{', '.join(words)}",
    )  # fmt: skip


def _name_layers(profile: ds.Profile, ax: Axes) -> None:
    """Write as many layer names along the top as fit."""
    top = ax.secondary_xaxis("top")
    places: dict[float, list[str]] = {}
    for layer in profile.layers:
        places.setdefault(layer.relative_depth, []).append(layer.name)
    # The relative depth that an upright line of text takes up.
    figure: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    line = 1.1 * NAME_SIZE / 72 / (figure.get_figwidth() * ax.get_position().width)
    shown: list[float] = []
    for place in sorted(places, reverse=True):  # The output layer is always named.
        if not shown or shown[-1] - place >= line:
            shown.append(place)
    gaps = [later - earlier for later, earlier in itertools.pairwise(shown)]
    crowded = min(gaps, default=1.0) < 2 * line
    top.set_xticks(shown, [", ".join(places[place]) for place in shown])
    top.tick_params(axis="x", rotation=90 if crowded else 60, labelsize=NAME_SIZE, length=2)
    for label in top.get_xticklabels():
        label.set_horizontalalignment("center" if crowded else "left")
        if not crowded:
            label.set_rotation_mode("anchor")


def _finish(ax: Axes, profiles: list[ds.Profile]) -> None:
    ax.set_xlabel("relative depth")
    ax.set_ylabel("intrinsic dimension")
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.03, 1.03)
    ax.spines[["right"]].set_visible(False)
    has_lower_bounds = any(
        estimate.is_lower_bound
        for profile in profiles
        for name in profile.estimators
        if name not in profile.companions
        for estimate in profile.of(name).values()
    )
    if has_lower_bounds and ax.get_ylim()[1] > LOWER_BOUND_ABOVE:
        ax.axhspan(LOWER_BOUND_ABOVE, ax.get_ylim()[1], color="0.95", zorder=0, linewidth=0)
        # Outside the axes, where no curve crosses the text.
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
