"""Noisy labels recognised by the turn of the last hidden layer's local dimension.

After X. Ma et al., "Dimensionality-driven learning with noisy labels" (ICML 2018): while a network
learns, the local dimension of its last hidden layer falls; when it begins to memorise wrong labels,
the dimension rises again. ``python -m dimscope_experiments.ma2018 --data FOLDER`` trains the
networks and writes the page.
"""

from __future__ import annotations

from dimscope_experiments.ma2018.noise import noisy
from dimscope_experiments.ma2018.page import write_page
from dimscope_experiments.ma2018.rules import lasting_rise, turn
from dimscope_experiments.ma2018.run import SETTINGS, Run, Settings, run

__all__ = ["SETTINGS", "Run", "Settings", "lasting_rise", "noisy", "run", "turn", "write_page"]
