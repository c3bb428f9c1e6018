"""Comparisons: the last hidden layer of networks against how good they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dimscope.plotting.figures import NAME_SIZE, axes_or_new, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    import dimscope as ds


__all__ = ["plot_comparison"]


def plot_comparison(comparison: ds.Comparison, ax: Axes | None = None, **style: Any) -> Axes:
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
    ax = axes_or_new(ax)
    drawn = {**look(len(ax.containers)), "linestyle": "none", **style}
    ax.errorbar(comparison.dimensions, comparison.scores, xerr=comparison.std_errors, **drawn)
    for name, x, y in zip(comparison.names, comparison.dimensions, comparison.scores, strict=True):
        ax.annotate(name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=NAME_SIZE)
    ax.set_xlabel("intrinsic dimension of the last hidden layer")
    ax.set_title(f"Pearson {comparison.pearson}, Spearman {comparison.spearman}", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
