"""History plots: the dimension of every layer while a network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.plotting.figures import Width, axes_or_new, fit_for_print

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dimscope.monitoring.history import Snapshot

__all__ = ["plot_history"]


def plot_history(
    snapshots: Sequence[Snapshot],
    ax: Axes | None = None,
    *,
    width: Width | None = None,
    **style: Any,
) -> Axes:
    """Plot the dimension of every layer against the training step.

    Layers are coloured by their place, from the input (dark) to the output (light). Bands show one
    standard error. Lower bounds have open markers.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        The measurements of a monitor (:attr:`dimscope.IDMonitor.snapshots`).
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; the axes of a new figure by default.
    width : {"column", "page"}, optional
        Draw for a paper: a new figure as wide as a column (85 mm) or a page (175 mm), with text of
        7 and 8 points.
    **style
        Keyword arguments for :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from dimscope import Estimate, Layer, Profile
    >>> from dimscope.monitoring.history import Snapshot
    >>> profiles = [Profile((Layer("fc"),), {"twonn": {"fc": Estimate(d, 0.1)}})
    ...             for d in (5.0, 4.0)]
    >>> ax = plot_history([Snapshot(100 * i, 0, 0.0, p) for i, p in enumerate(profiles)])
    >>> ax.get_legend_handles_labels()[1], ax.lines[0].get_xydata().tolist()
    (['fc'], [[0.0, 5.0], [100.0, 4.0]])
    """
    from matplotlib import colormaps

    ax = axes_or_new(ax, width)
    names = list(snapshots[-1].profile)
    steps = np.array([snapshot.step for snapshot in snapshots])
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(names)))
    for name, colour in zip(names, colours, strict=True):
        estimates = [snapshot.profile[name] for snapshot in snapshots]
        dimensions = np.array([estimate.dimension for estimate in estimates])
        errors = np.array([estimate.std_error for estimate in estimates])
        ax.fill_between(
            steps, dimensions - errors, dimensions + errors, color=colour, alpha=0.2, linewidth=0
        )
        (line,) = ax.plot(steps, dimensions, **{"color": colour, "label": name, **style})
        is_bound = np.array([estimate.is_lower_bound for estimate in estimates])
        for chosen, face in ((is_bound, "white"), (~is_bound, line.get_color())):
            ax.plot(
                steps[chosen], dimensions[chosen], "o",
                color=line.get_color(), markerfacecolor=face, markersize=4,
            )  # fmt: skip
    ax.set_xlabel("training step")
    ax.set_ylabel("intrinsic dimension")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    if width is not None:
        fit_for_print(ax)
    return ax
