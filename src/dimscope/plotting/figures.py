"""Figures: create axes, style curves, and save figures to files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dimscope.errors import BadSource, check_word
from dimscope.files import write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "NAME_SIZE",
    "Width",
    "axes_or_new",
    "check_figure_path",
    "curve_style",
    "fit_for_print",
    "save_figure",
]

Width = Literal["column", "page"]
"""Width of a figure in a paper of two columns."""

_SIZES: dict[Width, tuple[float, float]] = {"column": (3.35, 2.4), "page": (6.9, 2.8)}  # in inches
_PRINTED = 8  # Largest font size in a paper, in points.

NAME_SIZE = 7  # Font size of layer names, in points.

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_FORMATS = (".png", ".svg", ".pdf")


def axes_or_new(ax: Axes | None, width: Width | None = None) -> Axes:
    """Return the given axes, or the axes of a new figure, as wide as a column or a page."""
    if ax is None:
        return _new_axes(width)
    if width is not None:
        raise ValueError("the width is that of a new figure; leave out ax or width")
    if not hasattr(ax, "errorbar"):
        raise TypeError(
            f"ax is {ax!r}; give the axes of a figure. To save a plot, use "
            "plot().figure.savefig('profile.png')"
        )
    return ax


def curve_style(number: int) -> dict[str, Any]:
    """Return the colour, marker and line style of the n-th curve."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5,
        "capsize": 3,
        "linewidth": 1.6,
    }


def fit_for_print(ax: Axes) -> None:
    """Make text, lines and markers of a figure as small as those of a paper; remove the title.

    Printed at its own size, the text has 7 or 8 points.
    """
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    ax.set_title("")
    for text in ax.figure.findobj(Text):
        text.set_fontsize(min(text.get_fontsize(), _PRINTED))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_tick_params(labelsize=NAME_SIZE)
    for line in ax.findobj(Line2D):
        line.set_linewidth(min(line.get_linewidth(), 1))
        line.set_markersize(min(line.get_markersize(), 3.5))


def check_figure_path(path: str | os.PathLike[str]) -> Path:
    """Return the path, or raise an error if its ending is not that of a supported format.

    Examples
    --------
    >>> check_figure_path("p.gif")
    Traceback (most recent call last):
    dimscope.errors.BadSource: cannot write p.gif: its ending must be one of .png, .svg, .pdf
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise BadSource(f"cannot write {path}: its ending must be one of {', '.join(_FORMATS)}")
    return path


def save_figure(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Save the figure of these axes as PNG, SVG or PDF; a failed save leaves no partial file.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    path : path
        Path to write; its ending selects the format.

    Raises
    ------
    BadSource
        If the ending is not that of a supported format, or the file cannot be written.
    """
    path = check_figure_path(path)
    figure: Figure = ax.figure  # type: ignore[assignment]
    write_beside(path, lambda beside: figure.savefig(beside, dpi=200))


def _new_axes(width: Width | None) -> Axes:
    from matplotlib.figure import Figure

    if width is not None:
        check_word("width", width, Width)

    # A figure without pyplot has no global state and no window, and needs no closing.
    size = (7, 4.2) if width is None else _SIZES[width]
    figure = Figure(figsize=size, layout="constrained")
    return figure.add_subplot()
