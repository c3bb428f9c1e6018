"""Pictures: ax in, ax out.

Colours are the Okabe-Ito palette, distinct markers go with them, so that a figure
reads in print and for colour-blind readers.
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
