"""Scale curves: the dimension against the number of points, or the rank of neighbours."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from dimscope.plotting.figures import axes_or_new, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    import dimscope as ds


__all__ = ["plot_scale", "plot_scales"]


def plot_scale(curve: ds.ScaleCurve, ax: Axes | None = None, **style: Any) -> Axes:
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
    >>> from dimscope.analysis.scale import rank_curve
    >>> rank_curve(cube(200, 2), 8).plot().get_xlabel()
    'rank of the farther neighbour'
    """
    ax = axes_or_new(ax)
    by_rank = len({one.ranks for one in curve.points}) > 1

    def place(point: Any) -> int:
        return int(point.ranks[1] if by_rank else point.n_points)

    bars = [one.std_error if one.n_blocks == 1 else one.std for one in curve.points]
    number = len(ax.containers)
    ax.errorbar(
        [place(one) for one in curve.points],
        [one.dimension for one in curve.points],
        yerr=bars,
        **{**look(number), **style},
    )
    flat = curve.plateau()
    if flat is not None:
        ax.axvspan(
            *sorted((place(flat.first), place(flat.last))), color="0.93", zorder=0, linewidth=0
        )
    ax.set_xscale("log", base=2 if by_rank else 10)
    _plain_numbers(ax, by_rank)
    ax.set_xlabel("rank of the farther neighbour" if by_rank else "number of points")
    ax.set_ylabel("intrinsic dimension")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_scales(by_points: ds.ScaleCurve, by_rank: ds.ScaleCurve) -> Axes:
    """Draw both curves side by side, with what they say.

    Parameters
    ----------
    by_points : ScaleCurve
        From :func:`dimscope.scale_curve`.
    by_rank : ScaleCurve
        From :func:`dimscope.rank_curve`.

    Returns
    -------
    matplotlib.axes.Axes
        Those on the left.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for curve, ax in zip((by_points, by_rank), both, strict=True):
        plot_scale(curve, ax)
        ax.set_title("\n".join(textwrap.wrap(curve.verdict, 60)), fontsize=9)
    both[1].set_ylabel("")
    left: Axes = both[0]
    return left


def _plain_numbers(ax: Axes, by_rank: bool) -> None:
    """Numbers of points as 200 and 500, not as powers."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if not by_rank:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
