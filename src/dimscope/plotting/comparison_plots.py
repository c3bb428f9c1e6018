"""Comparison plots: the score of each network against the dimension of one of its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dimscope.plotting.figures import NAME_SIZE, Width, axes_or_new, curve_style, fit_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    import dimscope as ds


__all__ = ["plot_comparison"]


def plot_comparison(
    comparison: ds.Comparison,
    ax: Axes | None = None,
    *,
    width: Width | None = None,
    **style: Any,
) -> Axes:
    """Plot the score of each network against the dimension of the layer that was compared.

    Parameters
    ----------
    comparison : Comparison
        What to plot. Error bars show one standard error.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; the axes of a new figure by default.
    width : {"column", "page"}, optional
        Draw for a paper: a new figure as wide as a column (85 mm) or a page (175 mm), without a
        title, with text of 7 and 8 points.
    **style
        Keyword arguments for :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax, width)
    options = {**curve_style(len(ax.containers)), "linestyle": "none", **style}
    ax.errorbar(comparison.dimensions, comparison.scores, xerr=comparison.std_errors, **options)
    for name, x, y in zip(comparison.names, comparison.dimensions, comparison.scores, strict=True):
        ax.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=NAME_SIZE)
    ax.set_xlabel(f"intrinsic dimension of {comparison.what}")
    ax.set_title(f"Pearson {comparison.pearson}, Spearman {comparison.spearman}", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    if width is not None:
        fit_for_print(ax)
    return ax
