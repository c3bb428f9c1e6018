"""Companion plots: what stands beside the dimension, in panels that share the depth axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dimscope.plotting.figures import curve_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    import dimscope as ds

__all__ = ["COMPANION_TITLES", "draw_companions", "stacked_axes"]

COMPANION_TITLES = {
    "distance": "distance\n(median r1)",
    "hubness": "hubness",
    "effective_rank": "effective\nrank",
    "participation_ratio": "participation\nratio",
}

_WIDE = 20  # Ratio of the largest to the smallest value above which the axis is logarithmic.


def stacked_axes(n_panels: int) -> tuple[Axes, list[Axes]]:
    """Create the axes of a profile and, below it, panels that share its horizontal axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2 + 1.3 * n_panels), layout="constrained")
    axes = figure.subplots(
        1 + n_panels, 1, sharex=True, height_ratios=[3.2, *[1] * n_panels], squeeze=False
    ).ravel()
    return axes[0], list(axes[1:])


def draw_companions(profile: ds.Profile, panels: list[Axes]) -> None:
    """Draw one companion in each panel, against the relative depth of the layers."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    depths = [layer.relative_depth for layer in profile.layers]
    for number, (name, ax) in enumerate(zip(profile.companions, panels, strict=True), start=1):
        values = list(profile.beside(name).values())
        style = {key: value for key, value in curve_style(number).items() if key != "capsize"}
        ax.plot(depths, values, **{**style, "markersize": 4, "linewidth": 1.2})
        ax.set_ylabel(COMPANION_TITLES[name], fontsize=8)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        finite = [value for value in values if math.isfinite(value)]
        if finite and min(finite) > 0 and max(finite) > _WIDE * min(finite):
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=6))
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.yaxis.set_minor_locator(NullLocator())
        elif finite and min(finite) >= 0:
            ax.set_ylim(bottom=0)
    panels[-1].set_xlabel("relative depth")
