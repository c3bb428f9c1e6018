"""Fig. 3: the dimension of object manifolds against relative depth, in many networks."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import dimscope as ds
from dimscope_experiments.ansuini2019.images import (
    Pictures,
    cifar,
    imagenet,
    photographs,
    pixels,
    source_hash,
)
from dimscope_experiments.ansuini2019.layers import (
    authors_estimator,
    hunchback,
    kept_profile,
    scatter,
)
from dimscope_experiments.ansuini2019.networks import lite_values, named, preprocessing
from dimscope_experiments.ansuini2019.study import Claim, Study, judged
from dimscope_experiments.ansuini2019.zoo import Member

__all__ = ["class_profile", "published_profile", "run", "with_zoo"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def with_zoo(study: Study) -> bool:
    """Whether the networks trained on CIFAR-10 are part of the figure at this scale."""
    return bool(study.settings["fig3"]["zoo"])  # study.of replaces it by the settings of the zoo


def run(study: Study) -> dict[str, Any]:
    """Measure profiles by class of the networks trained here and those with published weights."""
    settings = study.of("fig3")
    by_class: dict[str, ds.Profile] = {}
    if with_zoo(study):
        pictures, zoo = cifar(study), study.of("zoo")
        last = max(zoo["epochs"])
        for family, width in itertools.product(zoo["families"], zoo["widths"]):
            member = Member(family, width, last)
            by_class[f"{family} x {width:g}"] = class_profile(study, member, pictures)
    for name in settings["by_class"]:
        by_class[name] = _published_by_class(study, name, settings)
    whole = {name: published_profile(study, name) for name in settings["whole"]}
    frames = [one.to_frame().assign(network=name) for name, one in by_class.items()]
    frames += [one.to_frame().assign(network=name, label="all") for name, one in whole.items()]
    study.table("fig3", "profiles", pd.concat(frames))
    _draw(study, by_class, whole)
    return {"data": _hashes(study, settings), "claims": _claims(by_class, whole)}


def _hashes(study: Study, settings: dict[str, Any]) -> dict[str, str]:
    found = {"images": source_hash(imagenet(study, settings["n_points"]))}
    return {**found, "cifar": cifar(study).hash} if with_zoo(study) else found


def class_profile(study: Study, member: Member, pictures: Pictures) -> ds.Profile:
    """Measure the profile by class of a network in the zoo, on its training images."""
    zoo = study.of("zoo")
    key = {"member": member.name, "data": pictures.hash, "per_class": zoo["per_class"], "zoo": zoo}

    def measure() -> ds.Profile:
        return ds.profile(
            member.network(study, pictures, zoo),
            (pictures.training, pictures.training_labels),
            authors_estimator(),
            by_class=True,
            per_class=zoo["per_class"],
            seed=zoo["seed"],
            name=f"{member.family} x {member.width:g}",
            progress=study.progress,
        )

    return kept_profile(study, key, measure)


def _published_by_class(study: Study, name: str, settings: dict[str, Any]) -> ds.Profile:
    """Measure the profile by class of a network with published weights."""
    key = {"network": name, "by_class": True, "scale": study.scale, "settings": settings,
           "preprocessing": str(preprocessing(name))}  # fmt: skip

    def measure() -> ds.Profile:
        data: Any
        if study.scale == "paper":
            data = photographs(study, 0, name, settings["preprocess"])
        else:
            pictures = cifar(study)
            first = torch.cat(
                [
                    torch.nonzero(pictures.training_labels == label)[: settings["per_class"], 0]
                    for label in range(settings["categories"])
                ]
            )
            shown = pictures.training[first].contiguous()
            if name.startswith("lite"):
                shown = lite_values(pixels(shown))
            data = torch.utils.data.TensorDataset(shown, pictures.training_labels[first])
            data = _Enlarged(data, settings["side"])
        return ds.profile(
            _network(study, name, settings["seed"]), data, authors_estimator(), by_class=True,
            per_class=settings["per_class"], seed=settings["seed"], name=name,
            progress=study.progress,
        )  # fmt: skip

    return kept_profile(study, key, measure)


class _Enlarged(torch.utils.data.Dataset[Any]):
    """Images brought to another size, one at a time."""

    def __init__(self, images: torch.utils.data.Dataset[Any], side: int) -> None:
        self._images, self._side = images, side

    def __len__(self) -> int:
        return len(self._images)  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> Any:
        image, label = self._images[number]
        size = (self._side, self._side)
        large = torch.nn.functional.interpolate(image[None], size, mode="bilinear")[0]
        return large, int(label)


def published_profile(study: Study, name: str) -> ds.Profile:
    """Measure the profile of a network with published weights, on images of all classes."""
    settings = study.of("fig3")
    key = {"network": name, "by_class": False, "scale": study.scale, "settings": settings,
           "preprocessing": str(preprocessing(name))}  # fmt: skip
    return kept_profile(
        study,
        key,
        lambda: ds.profile(
            _network(study, name, settings["seed"]),
            photographs(study, settings["n_points"], name, settings["preprocess"]),
            authors_estimator(), n_points=settings["n_points"], seed=settings["seed"], name=name,
            progress=study.progress,
        ),
    )  # fmt: skip


def _network(study: Study, name: str, seed: int) -> torch.nn.Module:
    weights = study.weights_of(name)
    trained = study.scale != "smoke" or name.startswith("lite")
    return named(name, trained=trained, weights=str(weights) if weights else None, seed=seed)


def _draw(study: Study, by_class: dict[str, ds.Profile], whole: dict[str, ds.Profile]) -> None:
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    # a colour for each family, a marker for each of its members
    families = {name: re.sub(r"\d.*", "", name) for name in (*by_class, *whole)}
    colours = dict(zip(dict.fromkeys(families.values()), itertools.cycle(_COLOURS), strict=False))
    for ax, several in ((left, by_class), (right, whole)):
        members = {one: itertools.cycle("osD^vPX") for one in colours}
        for name, profile in several.items():
            family = families[name]
            frame = profile.to_frame()
            if profile.classes:
                frame = frame[frame["label"] == "mean"]
            ax.errorbar(
                frame["relative_depth"], frame["dimension"], frame.get("class_std"),
                color=colours[family], marker=next(members[family]), markersize=4, capsize=2,
                linewidth=1.2, label=name,
            )  # fmt: skip
        ax.set(xlabel="relative depth", ylabel="intrinsic dimension", ylim=(0, None))
        ax.spines[["top", "right"]].set_visible(False)
        if several:
            ax.legend(frameon=False, fontsize=6, ncols=2)
    left.set_title("object manifolds: mean and spread over classes")
    right.set_title("images of all classes")
    study.picture("fig3", figure)


def _claims(by_class: dict[str, ds.Profile], whole: dict[str, ds.Profile]) -> list[Claim]:
    rises = {name: hunchback(one) for name, one in whole.items()}
    lowest = sum(low for _, low in rises.values())
    every = {**by_class, **whole}
    peaks = {name: _peak(one) for name, one in every.items() if "alexnet" not in name}
    between = [name for name, peak in peaks.items() if 0.2 <= peak <= 0.4]
    found = [
        judged(
            2,
            "Hunchback: the ID rises, then falls over depth; the output is the lowest.",
            all(peak >= 2.5 and low for peak, low in rises.values()),
            "peak / input "
            + ", ".join(f"{peak:.1f} ({name})" for name, (peak, _) in rises.items())
            + f"; the output is the lowest of the last third in {lowest} of {len(rises)}",
        )
    ]
    if len(peaks) > 1:
        found.append(
            judged(
                15,
                "Over relative depth the profiles overlap where they rise, the peak is at 0.2-0.4.",
                len(between) > len(peaks) / 2,
                f"peak between 0.2 and 0.4 in {len(between)} of {len(peaks)} networks (others than "
                f"AlexNet), median {np.median(list(peaks.values())):.2f}; scatter around one curve "
                f"{scatter(every.values()):.0%}",
            )
        )
    return found


def _peak(profile: ds.Profile) -> float:
    return max(
        profile.layers, key=lambda one: np.nan_to_num(float(profile[one.name]))
    ).relative_depth
