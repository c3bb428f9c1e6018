"""What all pictures share: axes, and the look of a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NAME_SIZE", "axes_or_new", "look"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
NAME_SIZE = 7  # points, of the names of layers


def _new_axes() -> Axes:
    from matplotlib.figure import Figure

    # not through pyplot: no global state, no window, nothing to close
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    return figure.add_subplot()


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure."""
    if ax is None:
        return _new_axes()
    if not hasattr(ax, "errorbar"):
        raise TypeError(
            f"ax is {ax!r}; give the axes of a figure. To write a picture: "
            "plot().figure.savefig('profile.png')"
        )
    return ax


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the n-th curve."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5,
        "capsize": 3,
        "linewidth": 1.6,
    }
