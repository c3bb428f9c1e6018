"""Headline: measure known manifolds in 100,000 dimensions, and the time for 10^4 points."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dimscope as ds
from dimscope import manifolds
from dimscope_experiments.ansuini2019.study import Study, judged

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Measure manifolds with and without the embedding, and time the largest case."""
    settings = study.of("headline")
    rows = []
    cases = [(name, d) for name in settings["manifolds"] for d in settings["dimensions"]]
    for number, (name, d) in enumerate(cases):
        plain = getattr(manifolds, name)(settings["n_points"], d, seed=settings["seed"])
        wide = manifolds.embed(plain, settings["n_features"], seed=settings["seed"])
        before, after = (float(ds.TwoNN(fit="regression")(one)) for one in (plain, wide))
        rows.append({"manifold": name, "d": d, "before": before, "after": after,
                     "change": after / before - 1})  # fmt: skip
        study.progress("embedding", number + 1, len(cases))
    frame = pd.DataFrame(rows)
    study.table("headline", "embedding", frame)
    n, width = settings["timed_points"], settings["n_features"]
    rng = np.random.default_rng(settings["seed"])
    points = rng.standard_normal((n, 10), dtype=np.float32) @ rng.standard_normal(
        (10, width), dtype=np.float32
    )
    seconds = {}
    for engine in (ds.Exact(), ds.Sketched()):
        study.progress(f"timing {engine!r}", 0, None)
        start = time.perf_counter()
        found = ds.estimate(points, engine=engine)
        seconds[type(engine).__name__] = time.perf_counter() - start
    figure = Figure(figsize=(5, 4), layout="constrained")
    ax = figure.subplots()
    for name, some in frame.groupby("manifold"):
        ax.plot(some["d"], some["after"], "o-", markersize=4, label=str(name))
    ax.plot([0, max(frame["d"])], [0, max(frame["d"])], "--", color="0.6")
    ax.set(xlabel="dimension", ylabel=f"measured in {width} dimensions")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    study.picture("headline", figure)
    low = frame[frame["d"] <= 20]
    error = float((low["after"] / low["d"] - 1).abs().max())
    return {
        "seconds_for_the_largest": {name: round(one, 1) for name, one in seconds.items()},
        "claims": [
            judged(
                10,
                "TwoNN on known manifolds embedded in 100,000 dimensions: no loss of accuracy.",
                bool(frame["change"].abs().max() < 1e-6),
                f"largest change by the embedding {frame['change'].abs().max():.1e}; up to d = 20 "
                f"the error is at most {error:.0%}, above it falls short",
            ),
            judged(
                20,
                '"In a few seconds on a desktop PC" for 10^4 points with 10^5 coordinates.',
                min(seconds.values()) < 10,
                ", ".join(f"{name}: {one:.1f} s" for name, one in seconds.items())
                + f" on two cores for {n} x {width} (dimension {found})",
            ),
        ],
    }
