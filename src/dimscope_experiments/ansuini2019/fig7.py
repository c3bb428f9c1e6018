"""Fig. 7: a drawing of the authors' interpretation; there is nothing to measure."""

from __future__ import annotations

from typing import Any

from dimscope_experiments.ansuini2019.study import Study

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Say that Fig. 7 holds no data."""
    study.folder("fig7")
    return {"says": "Fig. 7 is a drawing of how the authors see their results: no data."}
