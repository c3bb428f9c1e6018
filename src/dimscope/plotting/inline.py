"""Inline pictures: a profile as a small SVG in the text colour of the page that shows it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from dimscope.plotting.profile_plots import plot_profile

if TYPE_CHECKING:
    import dimscope as ds

__all__ = ["inline_picture"]

_COLOUR = re.compile(r"(?<=(?:fill|roke): )#[0-9a-f]{6}")  # of fill and stroke
_NOT_KEPT = re.compile(
    r"<(metadata|style)\b.*?</\1>", re.DOTALL
)  # a style holds for the whole page


def inline_picture(profile: ds.Profile) -> str:
    """Draw the curve of a profile as SVG, without a background and without colours of its own.

    Parameters
    ----------
    profile : Profile

    Returns
    -------
    str
        An ``<svg>`` element.

    Examples
    --------
    >>> from dimscope import Estimate, Layer, Profile
    >>> layers = tuple(Layer(name) for name in "ab")
    >>> profile = Profile(layers, {"twonn": {name: Estimate(3.0, 0.1) for name in "ab"}})
    >>> svg = inline_picture(profile)
    >>> svg.startswith("<svg"), "currentColor" in svg, "#0072b2" in svg
    (True, True, False)
    """
    figure = Figure(figsize=(5, 2.8), layout="constrained")
    ax = plot_profile(profile, figure.add_subplot())
    drawn: list[Any] = [figure, *figure.findobj(Axes)]
    for part in drawn:
        part.patch.set_visible(False)
    for lower_bounds in ax.patches:
        lower_bounds.set_alpha(0.08)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a layer may be named with a dollar sign
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = _NOT_KEPT.sub("", file.getvalue())
    svg = _COLOUR.sub("currentColor", svg[svg.index("<svg") :])
    # what Matplotlib leaves black, it writes without a colour
    return svg.replace("<svg", '<svg fill="currentColor" stroke-linejoin="round"', 1)
