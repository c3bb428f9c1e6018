"""Fig. 4: the dimension of the last hidden layer against the test error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dimscope as ds
from dimscope_experiments.ansuini2019.fig3 import published_profile
from dimscope_experiments.ansuini2019.images import Pictures, cifar, imagenet, source_hash
from dimscope_experiments.ansuini2019.layers import authors_estimator
from dimscope_experiments.ansuini2019.study import Claim, Study, judged
from dimscope_experiments.ansuini2019.training import error_rate
from dimscope_experiments.ansuini2019.zoo import Member, members

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Measure the last hidden layer of every network in the zoo, on several random samples."""
    settings, zoo = study.of("fig4"), study.of("zoo")
    pictures = cifar(study)
    rows, profiles, errors = [], [], {}
    for member in members(zoo):
        network = member.network(study, pictures, zoo)
        errors[member.name] = error_rate(network, pictures.test, pictures.test_labels)
        measured, layer = _measure(study, member, network, pictures, settings)
        rows += [
            {"network": member.name, "family": member.family, "draw": i,
             "dimension": float(one), "resample_std": one.resample_std,
             "test_error": errors[member.name]}
            for i, one in enumerate(measured)
        ]  # fmt: skip
        values = np.array([float(one) for one in measured])
        spread = values.std(ddof=1) / np.sqrt(len(values))
        mean = ds.Estimate(float(values.mean()), float(spread), n_points=settings["n_points"])
        profiles.append(ds.Profile((layer,), {"twonn": {layer.name: mean}}, member.name))
    study.table("fig4", "draws", pd.DataFrame(rows))
    every = ds.compare(profiles, errors)
    families = {
        family: ds.compare([one for one in profiles if one.name.startswith(family)], errors)
        for family in zoo["families"]
    }
    frame = every.to_frame().rename(columns={"score": "test_error"})
    study.table("fig4", "networks", frame)
    published = ds.compare(
        [published_profile(study, name) for name in settings["published"]], settings["published"]
    )
    study.table("fig4", "published", published.to_frame().rename(columns={"score": "top_1_error"}))
    _draw(study, families)
    several = {"all": every, **families, "published weights": published}
    return {
        "data": {
            "cifar": pictures.hash,
            "images": source_hash(imagenet(study, study.of("fig3")["n_points"])),
        },
        "correlations": {
            name: {"pearson": str(one.pearson), "spearman": str(one.spearman)}
            for name, one in several.items()
        },
        "claims": _claims(every, families, published),
    }


def _measure(
    study: Study, member: Member, network: Any, pictures: Pictures, settings: dict[str, Any]
) -> tuple[list[ds.Estimate], ds.Layer]:
    found = []
    for draw in range(settings["draws"]):
        activations = ds.capture(
            network, pictures.training, layers="last_hidden", seed=settings["seed"] + draw,
            n_points=min(settings["n_points"], len(pictures.training)), name=member.name,
        )  # fmt: skip
        layer = activations.layers[-1]
        found.append(authors_estimator(settings["resamples"])(activations[layer.name]))
        study.progress(f"measuring {member.name}", draw + 1, settings["draws"])
    return found, layer


def _draw(study: Study, families: dict[str, ds.Comparison]) -> None:
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    ax = figure.subplots()
    for (family, one), mark in zip(families.items(), "osD", strict=False):
        ax.errorbar(one.dimensions, one.scores, xerr=one.std_errors, fmt=mark, capsize=2,
                    label=f"{family}, r = {one.pearson.r:.2f}")  # fmt: skip
    ax.set(xlabel="intrinsic dimension of the last hidden layer", ylabel="test error")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    study.picture("fig4", figure)


def _claims(
    every: ds.Comparison, families: dict[str, ds.Comparison], published: ds.Comparison
) -> list[Claim]:
    within = "; ".join(f"{name} {one.pearson}, {one.spearman}" for name, one in families.items())
    others = ", ".join(
        f"{name} {dimension:.1f} at {error:.1f} %"
        for name, dimension, error in zip(
            published.names, published.dimensions, published.scores, strict=True
        )
    )
    return [
        judged(
            4,
            "The last hidden ID predicts the test error across networks (published: r = 0.94).",
            every.pearson.interval[0] > 0,
            f"Pearson {every.pearson}, Spearman {every.spearman}; within families (Pearson, "
            f"Spearman): {within}; published weights, top-1 error: {others}, "
            f"r = {published.pearson.r:.2f}",
        )
    ]
