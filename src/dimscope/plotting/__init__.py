"""Plots: matplotlib axes in, axes out.

In: a :class:`~dimscope.Profile`, a :class:`~dimscope.Comparison` or a
:class:`~dimscope.ScaleCurve`, and the axes to draw on, by default those of a new figure. Out: these
axes. The global state of matplotlib is neither used nor changed.

Curves use the Okabe-Ito palette with distinct markers, so figures stay readable in print and for
colour-blind readers.

Begin reading at :mod:`dimscope.plotting.figures`, which the other modules share.
"""

from dimscope.plotting.comparison_plots import plot_comparison
from dimscope.plotting.figures import check_figure_path, save_figure
from dimscope.plotting.profile_plots import plot_profile, plot_profiles
from dimscope.plotting.scale_plots import plot_scale, plot_scales

__all__ = [
    "check_figure_path",
    "plot_comparison",
    "plot_profile",
    "plot_profiles",
    "plot_scale",
    "plot_scales",
    "save_figure",
]
