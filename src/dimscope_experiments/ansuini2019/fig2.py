"""Fig. 2: a network fine-tuned on rendered objects, and renderings of known dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import dimscope as ds
from dimscope.plotting import plot_profile, plot_scale
from dimscope_experiments.ansuini2019.images import fingerprint
from dimscope_experiments.ansuini2019.layers import authors_estimator
from dimscope_experiments.ansuini2019.networks import named, with_classes
from dimscope_experiments.ansuini2019.rendering import objects, poses
from dimscope_experiments.ansuini2019.study import Claim, Study, judged
from dimscope_experiments.ansuini2019.training import Course, error_rate, train

__all__ = ["run"]

_ALLOWED = {1: 0.15, 2: 0.3, 3: 0.5}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def run(study: Study) -> dict[str, Any]:
    """Fine-tune on renderings; measure the profile, last layers by scale, and known poses."""
    settings = study.of("fig2")
    pictures, names = objects(study, settings["objects"], settings["views"])
    side = settings["side"]
    images = torch.nn.functional.interpolate(
        torch.from_numpy(pictures).float() / 255, (side, side), mode="area"
    )
    images = (images - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
    labels = torch.from_numpy(names)
    views = torch.arange(len(labels)) % settings["views"]
    held = views % (settings["views"] // settings["held_out"]) == 0
    network = with_classes(
        named(settings["network"], trained=True, seed=settings["seed"]),
        settings["objects"],
        settings["seed"],
    )
    course = Course(settings["epochs"], settings["learning_rate"], 32, settings["seed"])
    data = fingerprint(torch.from_numpy(pictures))
    folder = study.kept("objects_network", {**settings, "data": data})
    train(network, images[~held], labels[~held], course, study, folder, settings["network"])
    errors = {
        "training": error_rate(network, images[~held], labels[~held]),
        "held out": error_rate(network, images[held], labels[held]),
    }
    activations = ds.capture(network, images, name=settings["network"])
    profile = ds.profile(activations, estimators=authors_estimator(), progress=study.progress)
    study.table("fig2", "profile", profile.to_frame())
    curves = {
        layer.name: ds.scale_curve(
            np.asarray(activations[layer.name]), ds.TwoNN(fit="regression"),
            blocks=range(1, settings["blocks"] + 1),
        )
        for layer in activations.layers[-3:]
    }  # fmt: skip
    frames = [one.to_frame().assign(layer=name) for name, one in curves.items()]
    study.table("fig2", "scales", pd.concat(frames))
    known = _known(study, settings)
    study.table("fig2", "poses", known)
    _draw(study, profile, curves, known, pictures)
    return {
        "data": data,
        "errors": errors,
        "says": f"After fine-tuning, the network classifies {errors['training']:.1%} of the "
        f"training views and {errors['held out']:.1%} of the held-out views wrongly.",
        "claims": _claims(profile, curves, known, errors),
    }


def _known(study: Study, settings: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for angles in (1, 2, 3):
        shown = poses(study, settings["poses"], angles, settings["seed"])
        found = ds.TwoNN(fit="regression")(shown.reshape(len(shown), -1))
        rows.append({"angles": angles, "dimension": float(found), "std_error": found.std_error})
    return pd.DataFrame(rows)


def _draw(
    study: Study,
    profile: ds.Profile,
    curves: dict[str, ds.ScaleCurve],
    known: pd.DataFrame,
    pictures: np.ndarray,
) -> None:
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    some = pictures[:: max(1, len(pictures) // 40)][:40]
    columns = 10
    rows = len(some) // columns or 1
    tiled = some[: rows * min(columns, len(some))].reshape(rows, -1, *some.shape[1:])
    tiled = tiled.transpose(0, 3, 1, 4, 2).reshape(rows * some.shape[2], -1, 3)
    first.imshow(tiled)
    first.set(xticks=[], yticks=[], title="the objects")
    plot_profile(profile, second)
    for (name, curve), mark in zip(curves.items(), "osD", strict=True):
        # a label that begins with a line would not be shown
        plot_scale(curve, third, label=name.lstrip("_"), marker=mark)
    third.legend(frameon=False)
    third.set_ylim(0, 1.15 * max(p.dimension for one in curves.values() for p in one.points))
    fourth.errorbar(known["angles"], known["dimension"], known["std_error"], fmt="o", capsize=3)
    fourth.plot([1, 3], [1, 3], "--", color="0.6")
    fourth.set(xlabel="free angles of the pose", ylabel="input ID", xticks=[1, 2, 3])
    fourth.spines[["top", "right"]].set_visible(False)
    study.picture("fig2", figure)


def _claims(
    profile: ds.Profile,
    curves: dict[str, ds.ScaleCurve],
    known: pd.DataFrame,
    errors: dict[str, float],
) -> list[Claim]:
    measured = dict(zip(known["angles"].tolist(), known["dimension"].tolist(), strict=True))
    right = all(abs(found - angles) <= _ALLOWED[angles] for angles, found in measured.items())
    ids = [float(one) for one in profile.values()]
    last = list(curves.values())[-2]
    change = last.points[0].dimension / last.points[-1].dimension
    return [
        judged(
            2,
            "Hunchback on rendered objects: the ID rises, then falls; the output is the lowest.",
            max(ids) > ids[0] and ids[-1] == min(ids),
            f"input {ids[0]:.1f}, largest {max(ids):.1f}, output {ids[-1]:.1f}; "
            f"{errors['held out']:.1%} of the views held out are wrong",
        ),
        judged(
            3,
            "The ID of a last layer depends weakly on N.",
            abs(np.log(change)) <= np.log(1.3),
            f"{last.points[0].dimension:.1f} for {last.points[0].n_points} points, "
            f"{last.points[-1].dimension:.1f} for {last.points[-1].n_points}",
        ),
        judged(
            10,
            "Known dimension: the input ID finds the number of free angles of the pose.",
            right,
            ", ".join(f"{found:.2f} of {angles}" for angles, found in measured.items()),
        ),
    ]
