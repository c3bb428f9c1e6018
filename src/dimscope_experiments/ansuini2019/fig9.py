"""Fig. 9: profiles during training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import dimscope as ds
from dimscope.files import write_beside
from dimscope_experiments.ansuini2019.images import Pictures, cifar
from dimscope_experiments.ansuini2019.study import Claim, Study, judged
from dimscope_experiments.ansuini2019.training import Course, at_epoch, error_rate, save, train
from dimscope_experiments.ansuini2019.zoo import vgg16_bn

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Profile a network during training, and track its last hidden layer in the first epochs."""
    settings = study.of("fig9")
    pictures = cifar(study, settings["n_training"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        network = vgg16_bn(settings["width"]).to(memory_format=torch.channels_last)
    course = Course(settings["epochs"], settings["learning_rate"], 128, settings["seed"])
    folder = study.kept("training", {"data": pictures.hash, "settings": settings})
    shown = pictures.training[: settings["n_points"]]
    early = _Early(study, network, shown, settings, folder / "early.csv")
    untrained = folder / "untrained.pt"
    if not untrained.exists():
        save(untrained, network.state_dict())
    train(
        network, pictures.training, pictures.training_labels, course, study, folder, "vgg16_bn",
        each_batch=early,
    )  # fmt: skip
    profiles, errors = _every_epoch(study, network, shown, pictures, folder, settings)
    frame = pd.concat([one.to_frame().assign(epoch=epoch) for epoch, one in profiles.items()])
    study.table("fig9", "profiles", frame)
    batches = pd.read_csv(folder / "early.csv")
    study.table("fig9", "first_epochs", batches)
    last = next(one.name for one in profiles[0].layers if one.role == "last_hidden")
    course_of = pd.DataFrame(
        {
            "epoch": list(profiles),
            "last_hidden": [float(one[last]) for one in profiles.values()],
            "test_error": [errors[epoch] for epoch in profiles],
        }
    )
    study.table("fig9", "course", course_of)
    _draw(study, profiles, batches, course_of)
    return {"data": pictures.hash, "claims": _claims(profiles, course_of, batches)}


class _Early:
    """Measure the last hidden layer every few batches in the first epochs."""

    def __init__(
        self, study: Study, network: Any, shown: torch.Tensor, settings: dict[str, Any], path: Any
    ) -> None:
        self._study, self._network, self._shown = study, network, shown
        self._settings, self._path = settings, path
        self._rows = pd.read_csv(path).to_dict("records") if path.exists() else []

    def __call__(self, epoch: int, batch: int) -> None:
        settings = self._settings
        if epoch > settings["early_epochs"] or batch % settings["every"]:
            return
        activations = ds.capture(self._network, self._shown, layers="last_hidden")
        try:
            found = float(_estimator()(activations[activations.layers[-1].name]))
        except ds.DegeneratePoints:
            found = np.nan
        # an epoch that was interrupted is trained, and measured, again
        self._rows = [row for row in self._rows if (row["epoch"], row["batch"]) < (epoch, batch)]
        self._rows.append({"epoch": epoch, "batch": batch, "dimension": found})
        write_beside(
            self._path, lambda beside: pd.DataFrame(self._rows).to_csv(beside, index=False)
        )


def _estimator() -> ds.Estimator:
    return ds.TwoNN(fit="regression")


def _every_epoch(
    study: Study,
    network: Any,
    shown: torch.Tensor,
    pictures: Pictures,
    folder: Any,
    settings: dict[str, Any],
) -> tuple[dict[int, ds.Profile], dict[int, float]]:
    profiles, errors = {}, {}
    for epoch in range(settings["epochs"] + 1):
        if epoch:
            at_epoch(network, folder, epoch)
        else:
            network.load_state_dict(torch.load(folder / "untrained.pt", weights_only=True))
            network.eval()
        profiles[epoch] = ds.profile(network, shown, _estimator(), name=f"epoch {epoch}")
        errors[epoch] = error_rate(network, pictures.test, pictures.test_labels)
        study.progress("measuring epochs", epoch + 1, settings["epochs"] + 1)
    return profiles, errors


def _draw(
    study: Study, profiles: dict[int, ds.Profile], batches: pd.DataFrame, course: pd.DataFrame
) -> None:
    import matplotlib as mpl

    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(profiles)))
    for (epoch, profile), colour in zip(profiles.items(), colours, strict=True):
        depth = [one.relative_depth for one in profile.layers]
        values = [float(one) for one in profile.values()]
        named = epoch in (0, 1, len(profiles) - 1)
        left.plot(depth, values, color=colour, marker="o", markersize=3,
                  label=f"epoch {epoch}" if named else None)  # fmt: skip
    left.set(xlabel="relative depth", ylabel="intrinsic dimension", ylim=(0, None))
    left.legend(frameon=False)
    most = batches.groupby("epoch")["batch"].max().max() + 1
    middle.plot(batches["epoch"] - 1 + batches["batch"] / most, batches["dimension"], ".-")
    middle.set(xlabel="epoch", ylabel="ID of the last hidden layer", ylim=(0, None))
    points = right.scatter(course["last_hidden"], course["test_error"], c=course["epoch"])
    figure.colorbar(points, ax=right, label="epoch")
    right.set(xlabel="ID of the last hidden layer", ylabel="test error")
    for ax in (left, middle, right):
        ax.spines[["top", "right"]].set_visible(False)
    study.picture("fig9", figure)


def _claims(
    profiles: dict[int, ds.Profile], course: pd.DataFrame, batches: pd.DataFrame
) -> list[Claim]:
    first, last = profiles[0], profiles[max(profiles)]
    early = [one.name for one in first.layers if 0 < one.relative_depth <= 1 / 3]
    expands = np.mean([float(last[name]) / float(first[name]) for name in early])
    whole = np.concatenate([batches["dimension"], course["last_hidden"][1:]])
    least = int(np.nanargmin(whole))
    inside = 0 < least < len(whole) - 1
    return [
        judged(
            9,
            "Training: early layers expand, last layers contract; the last hidden ID is not "
            "monotonic.",
            bool(expands > 1 and inside),
            f"early layers {expands:.2f} times the untrained ones; last hidden ID "
            f"{whole[0]:.1f} at first, {np.nanmin(whole):.1f} at its minimum, {whole[-1]:.1f} at "
            f"the end; test error {course['test_error'].iloc[-1]:.1%}",
        )
    ]
