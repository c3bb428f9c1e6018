"""Pictures: ax in, ax out.

Colours are the Okabe-Ito palette, distinct markers go with them, so that a figure
reads in print and for colour-blind readers.
"""

from dimscope.plotting.comparisons import plot_comparison
from dimscope.plotting.curves import plot_scale, plot_scales
from dimscope.plotting.layers import plot_profile, plot_profiles

__all__ = [
    "plot_comparison",
    "plot_profile",
    "plot_profiles",
    "plot_scale",
    "plot_scales",
]
