"""Reproduce Ansuini, Laio, Macke and Zoccolan (NeurIPS 2019), figure by figure.

Each module ``fig1`` ... ``fig9``, ``headline`` and ``statements`` has a function ``run(study)``
that measures, plots, and returns its verdicts on the paper's claims.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from dimscope_experiments.ansuini2019.study import Study

__all__ = ["FIGURES", "Study", "reproduce"]

FIGURES = (
    "fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "fig9",
    "headline", "statements",
)  # fmt: skip


def reproduce(study: Study, figures: Iterable[str] = FIGURES) -> None:
    """Run figures one after another, skipping those already complete with the same settings.

    Parameters
    ----------
    study : Study
    figures : iterable of str
        Names from :data:`FIGURES`.
    """
    for name in figures:
        if not study.is_done(name):
            module = importlib.import_module(f"{__name__}.{name}")
            study.run(name, module.run)
