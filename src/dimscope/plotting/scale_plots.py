"""Scale plots: the dimension against the number of points or the rank of the neighbours."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from dimscope.plotting.figures import Width, axes_or_new, curve_style, fit_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    import dimscope as ds


__all__ = ["plot_scale", "plot_scales"]


def plot_scale(
    curve: ds.ScaleCurve, ax: Axes | None = None, *, width: Width | None = None, **style: Any
) -> Axes:
    """Plot the dimension against the number of points or the rank of the neighbours.

    Parameters
    ----------
    curve : ScaleCurve
        What to plot. Error bars show the standard deviation over the blocks, or one standard error
        if there is a single block. The range over which the dimension is constant is shaded.
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

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> from dimscope.analysis.scale import rank_curve
    >>> rank_curve(cube(200, 2), 8).plot().get_xlabel()
    'rank of the farther neighbour'
    """
    ax = axes_or_new(ax, width)
    by_rank = len({point.ranks for point in curve.points}) > 1

    def scale_of(point: Any) -> int:
        return int(point.ranks[1] if by_rank else point.n_points)

    ax.errorbar(
        [scale_of(point) for point in curve.points],
        [point.dimension for point in curve.points],
        yerr=[point.std_error if point.n_blocks == 1 else point.std for point in curve.points],
        **{**curve_style(len(ax.containers)), **style},
    )
    plateau = curve.plateau()
    if plateau is not None:
        ax.axvspan(
            *sorted((scale_of(plateau.first), scale_of(plateau.last))),
            color="0.93",
            zorder=0,
            linewidth=0,
        )
    ax.set_xscale("log", base=2 if by_rank else 10)
    _plain_numbers(ax, by_rank)
    ax.set_xlabel("rank of the farther neighbour" if by_rank else "number of points")
    ax.set_ylabel("intrinsic dimension")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    if width is not None:
        fit_for_print(ax)
    return ax


def plot_scales(by_points: ds.ScaleCurve, by_rank: ds.ScaleCurve) -> Axes:
    """Plot both scale curves side by side, with their verdicts as titles.

    Parameters
    ----------
    by_points : ScaleCurve
        From :func:`dimscope.scale_curve`.
    by_rank : ScaleCurve
        From :func:`dimscope.rank_curve`.

    Returns
    -------
    matplotlib.axes.Axes
        The axes on the left.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left: Axes
    left, right = figure.subplots(1, 2, sharey=True)
    for curve, ax in ((by_points, left), (by_rank, right)):
        plot_scale(curve, ax)
        ax.set_title("\n".join(textwrap.wrap(curve.verdict, 60)), fontsize=9)
    right.set_ylabel("")
    return left


def _plain_numbers(ax: Axes, by_rank: bool) -> None:
    """Label the axis with plain numbers, such as 200 and 500, instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if not by_rank:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
