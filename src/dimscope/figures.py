"""Files of figures: PNG, SVG or PDF, written beside and renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dimscope.errors import BadSource
from dimscope.files import write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_figure_path", "save_figure"]

_FORMATS = (".png", ".svg", ".pdf")


def check_figure_path(path: str | os.PathLike[str]) -> Path:
    """The path, if its ending is a format that can be written.

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
    """Write the figure of these axes as PNG, SVG or PDF, beside and renamed.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    path : path
        Its ending chooses the format.

    Raises
    ------
    BadSource
        If the ending is none of these, or the file cannot be written.
    """
    path = check_figure_path(path)
    figure: Figure = ax.figure  # type: ignore[assignment]
    write_beside(path, lambda beside: figure.savefig(beside, dpi=200))
