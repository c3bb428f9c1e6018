"""Fig. 8: one curve per class, in a network like AlexNet."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dimscope.plotting import plot_profiles
from dimscope_experiments.ansuini2019.fig3 import class_profile
from dimscope_experiments.ansuini2019.images import cifar
from dimscope_experiments.ansuini2019.study import Study
from dimscope_experiments.ansuini2019.zoo import Member

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Measure the classes separately in the widest AlexNet in the zoo."""
    zoo = study.of("zoo")
    member = Member("alexnet", max(zoo["widths"]), max(zoo["epochs"]))
    pictures = cifar(study)
    profile = class_profile(study, member, pictures)
    study.table("fig8", "profiles", profile.to_frame())
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    plot_profiles(profile.classes.values(), figure.subplots()).set_title(member.name, pad=40)
    study.picture("fig8", figure)
    each = np.array([[float(e) for e in one.values()] for one in profile.classes.values()])
    spread = float((each.std(axis=0, ddof=1) / each.mean(axis=0)).mean())
    return {
        "data": pictures.hash,
        "says": "The dimensions of single classes differ from their mean over classes by "
        f"{spread:.0%}, on average over layers.",
    }
