"""Plots: draw results on matplotlib axes.

In: a :class:`~dimscope.Profile`, a :class:`~dimscope.Comparison`, a
:class:`~dimscope.ScaleCurve` or the history of a monitor, and optionally the axes to draw on; by
default, a new figure is created. Out: the axes. The plots neither use nor change matplotlib's
global state.

Curves use the Okabe-Ito palette and distinct markers, so figures stay readable in greyscale and for
colour-blind readers.

Begin reading at :mod:`dimscope.plotting.figures`, which all other modules use.
"""

from dimscope.plotting.comparison_plots import plot_comparison
from dimscope.plotting.figures import check_figure_path, save_figure
from dimscope.plotting.history_plots import plot_history
from dimscope.plotting.profile_plots import plot_profile, plot_profiles
from dimscope.plotting.scale_plots import plot_scale, plot_scales

__all__ = [
    "check_figure_path",
    "plot_comparison",
    "plot_history",
    "plot_profile",
    "plot_profiles",
    "plot_scale",
    "plot_scales",
    "save_figure",
]
