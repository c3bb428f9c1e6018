"""Fig. 6: digits, digits with random luminance, and digits with shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

import dimscope as ds
from dimscope.plotting import plot_profiles
from dimscope_experiments.ansuini2019.images import digits, fingerprint
from dimscope_experiments.ansuini2019.networks import DIGIT_LAYERS, digit_network
from dimscope_experiments.ansuini2019.study import Claim, Study, judged
from dimscope_experiments.ansuini2019.training import Course, error_rate, train

__all__ = ["run"]

PUBLISHED = {
    "MNIST": (13.2, 12.6, 11.9, 9.8, 9.4, 7.8, 6.2),
    "MNIST*": (3.0, 2.9, 3.1, 8.0, 8.3, 7.4, 6.2),
    "MNIST-dagger": (13.1, 13.4, 12.9, 12.8, 17.8, 21.3, 9.0),
}


def run(study: Study) -> dict[str, Any]:
    """Sweep the luminance, train three networks, and measure their layers on test digits."""
    settings = study.of("fig6")
    images, labels = digits(study)
    data = fingerprint(images, labels)
    held, seed = settings["held_out"], settings["seed"]
    brightness = torch.rand(len(images), 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    sweep = {
        value: ds.estimate((images[:held] + value * brightness[:held]).flatten(1), estimator())
        for value in settings["lambdas"]
    }
    study.table(
        "fig6",
        "luminance",
        pd.DataFrame(
            [
                {"lambda": value, "input_dimension": one.dimension, "std_error": one.std_error}
                for value, one in sweep.items()
            ]
        ),
    )
    bright = min(
        (value for value in sweep if value),
        key=lambda value: abs(float(sweep[value]) - settings["wanted"]),
    )
    shuffled = labels.clone()
    order = torch.randperm(len(labels) - held, generator=torch.Generator().manual_seed(seed + 1))
    shuffled[held:] = labels[held:][order]
    variants = {
        "MNIST": (images, labels, False),
        "MNIST*": (images + bright * brightness, labels, False),
        "MNIST-dagger": (images, shuffled, True),
    }
    profiles, errors = {}, {}
    for name, (shown, target, to_zero) in variants.items():
        course = Course(
            settings["most_epochs"] if to_zero else settings["epochs"],
            settings["shuffled_learning_rate" if to_zero else "learning_rate"],
            # labels that follow no rule are learnt one by one: small batches forget some again
            batch_size=settings["shuffled_batch_size"] if to_zero else Course.batch_size,
            seed=seed,
            to_zero_error=to_zero,
            falls=True,
        )
        ramped = _Ramp(images, brightness, bright, settings["ramp"] * course.epochs, held)
        network = digit_network(seed)
        key = {"variant": name, "lambda": bright, "data": data, "settings": settings}
        epochs = train(
            network, ramped if name == "MNIST*" else shown[held:], target[held:], course, study,
            study.kept("digits", key), name,
        )  # fmt: skip
        errors[name] = {
            "epochs": epochs,
            "training_error": error_rate(network, shown[held:], target[held:]),
            "test_error": error_rate(network, shown[:held], labels[:held]),
        }
        profiles[name] = ds.profile(
            network, shown[:held], estimator(), layers=list(DIGIT_LAYERS), name=name,
            progress=study.progress,
        )  # fmt: skip
    frames = [one.to_frame().assign(network=name) for name, one in profiles.items()]
    study.table("fig6", "profiles", pd.concat(frames))
    table = pd.DataFrame(errors).T.rename_axis("network").reset_index()
    study.table("fig6", "errors", table)
    _draw(study, profiles)
    return {
        "data": data,
        "lambda": bright,
        "errors": errors,
        "says": "MNIST* is MNIST with a luminance added to each image: lambda times a random "
        "number between 0 and 1. MNIST-dagger is MNIST with shuffled training labels. Test "
        "accuracy: "
        + ", ".join(f"{1 - one['test_error']:.1%} on {name}" for name, one in errors.items())
        + f" (chance is 10 %; published for MNIST*: 98 %). With lambda = {bright:g}, the input "
        "ID is nearest to the published one.",
        "claims": _claims(profiles, errors, sweep, bright),
    }


@dataclass(frozen=True)
class _Ramp:
    """Digits to train on whose luminance grows to its full strength in the first epochs.

    At full strength from the start the brightness of an image outweighs its digit a thousand
    times, and the network stayed at chance.
    """

    images: torch.Tensor
    brightness: torch.Tensor
    strength: float
    epochs: float
    held_out: int

    def __call__(self, epoch: int) -> torch.Tensor:
        now = float(self.strength ** min(1.0, epoch / self.epochs))
        shown: torch.Tensor = self.images + now * self.brightness
        return shown[self.held_out :]


def estimator() -> ds.Estimator:
    """Return the authors' estimator: regression, with the spread over five subsets of 90 %."""
    return ds.Resampled(ds.TwoNN(fit="regression"), n=5, keep=0.9, seed=0)


def _draw(study: Study, profiles: dict[str, ds.Profile]) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    ours, theirs = figure.subplots(1, 2, sharey=True)
    plot_profiles(profiles.values(), ours)
    ours.set_title("here")
    drawn = [bars.lines[0] for bars in ours.containers]
    for (name, values), line in zip(PUBLISHED.items(), drawn, strict=True):
        depth = [layer.relative_depth for layer in profiles[name].layers]
        theirs.plot(depth, values, color=line.get_color(), marker=line.get_marker(), label=name)
    theirs.set_ylim(0, 1.05 * max(ours.get_ylim()[1], *map(max, PUBLISHED.values())))
    theirs.set(title="published", xlabel="relative depth")
    theirs.spines[["top", "right"]].set_visible(False)
    study.picture("fig6", figure)


def _claims(
    profiles: dict[str, ds.Profile],
    errors: dict[str, dict[str, float]],
    sweep: dict[float, ds.Estimate],
    bright: float,
) -> list[Claim]:
    plain, lit, dagger = (profiles[name] for name in PUBLISHED)
    before, after = float(sweep[0]), float(sweep[bright])
    top = max(float(lit[name]) for name in DIGIT_LAYERS[1:-1])
    collapses = abs(before - 13) <= 1 and abs(after - 3) <= 0.5 and top > after
    ratio = float(dagger["d1"]) / float(plain["d1"])
    grows = errors["MNIST-dagger"]["training_error"] == 0 and ratio >= 1.5
    rise = max(float(plain[name]) for name in DIGIT_LAYERS[1:4]) - float(plain["input"])
    return [
        judged(
            7,
            "Luminance: the input ID collapses (13 -> 3) and a hunchback appears.",
            collapses,
            f"input {before:.1f} without, {after:.1f} at lambda = {bright:g}; "
            f"largest hidden {top:.1f}",
        ),
        judged(
            8,
            "Shuffled labels: the ID grows in the last layers.",
            grows,
            f"training error {errors['MNIST-dagger']['training_error']:.2%}; last hidden layer "
            f"{float(dagger['d1']):.1f} against {float(plain['d1']):.1f}, {ratio:.1f} times",
        ),
        judged(
            11,
            "The number of classes is at most 2^ID at the output.",
            2 ** float(plain["output"]) >= 10,
            f"2^{float(plain['output']):.1f} = {2 ** float(plain['output']):.0f}, 10 classes",
        ),
        judged(
            18,
            "The rise in the first layers is not seen for the small network on MNIST.",
            rise <= 2 * plain["input"].std_error,
            f"largest of the first layers less the input: {rise:+.1f} "
            f"± {plain['input'].std_error:.1f}",
        ),
        judged(
            19,
            "Shuffled labels: the ID at the output almost saturates its bound of 10.",
            float(dagger["output"]) >= 8,
            f"{dagger['output']} of 10",
        ),
    ]
