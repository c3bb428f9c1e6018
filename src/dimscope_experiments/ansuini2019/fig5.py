"""Fig. 5: a spectrum without a gap, a Gaussian surrogate, and the linear dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dimscope as ds
from dimscope_experiments.ansuini2019.images import imagenet, photographs, source_hash
from dimscope_experiments.ansuini2019.networks import named
from dimscope_experiments.ansuini2019.study import Claim, Study, judged

__all__ = ["run"]


def run(study: Study) -> dict[str, Any]:
    """Measure spectra and surrogates of the last hidden layer, and linear dimensions."""
    settings = study.of("fig5")
    data = photographs(study, settings["n_points"], settings["network"], settings["preprocess"])
    estimators = {
        "ID": ds.TwoNN(fit="regression"),
        "PC-ID": ds.PCA(normalized=True),
        "PC-ID, raw": ds.PCA(),
    }
    profiles, spreads = {}, {}
    for kind in ("trained", "untrained"):
        network = named(settings["network"], trained=kind == "trained", seed=settings["seed"])
        activations = ds.capture(
            network,
            data,
            n_points=settings["n_points"],
            seed=settings["seed"],
            name=kind,
            progress=study.progress,
        )
        profiles[kind] = ds.profile(activations, estimators=estimators, progress=study.progress)
        spreads[kind] = {name: _relative_spread(activations[name]) for name in activations}
        if kind == "trained":
            last = next(one.name for one in activations.layers if one.role == "last_hidden")
            points = np.asarray(activations[last])
    frame = pd.concat([one.to_frame().assign(network=name) for name, one in profiles.items()])
    frame["relative_spread"] = [
        spreads[network][layer]
        for network, layer in zip(frame["network"], frame["layer"], strict=True)
    ]
    study.table("fig5", "profiles", frame)
    spectra = {kind: ds.spectrum(points, normalized=kind == "normalised") for kind in _KINDS}
    gaps = {kind: one.gap() for kind, one in spectra.items()}
    study.table(
        "fig5",
        "spectra",
        pd.concat(
            [
                pd.DataFrame(
                    {"covariance": kind, "k": np.arange(1, len(one.eigenvalues) + 1),
                     "eigenvalue": one.eigenvalues}
                )
                for kind, one in spectra.items()
            ]
        ),
    )  # fmt: skip
    growth = _growth(study, points, settings)
    study.table("fig5", "growth", growth)
    _draw(study, spectra, growth, profiles)
    return {
        "data": source_hash(imagenet(study, settings["n_points"])),
        "gaps": {kind: vars(one) for kind, one in gaps.items()},
        "claims": _claims(profiles, growth, gaps, spreads["untrained"]),
    }


_KINDS = ("normalised", "raw")
_FLAT = 1.5  # largest over smallest ID of layers that count as flat


def _relative_spread(points: np.ndarray) -> float:
    """Return the RMS distance from the mean point, divided by the mean point's norm."""
    mean = points.mean(axis=0, dtype=np.float64)
    away = sum(float(((row - mean) ** 2).sum()) for row in points) / len(points)
    return float(np.sqrt(away / (mean @ mean)))


def _growth(study: Study, points: np.ndarray, settings: dict[str, Any]) -> pd.DataFrame:
    """Measure the dimension of the data and of equally large surrogates, over several draws."""
    rows = []
    for draw in range(settings["draws"]):
        rng = np.random.default_rng(settings["seed"] + draw)
        for size in settings["sizes"]:
            some = points[np.sort(rng.permutation(len(points))[:size])]
            cloud = ds.surrogate(points, size, seed=settings["seed"] + draw)
            for kind, chosen in (("data", some), ("surrogate", cloud)):
                found = ds.TwoNN(fit="regression")(chosen)
                rows.append({"draw": draw, "N": size, "points": kind, "dimension": float(found)})
        study.progress("drawing surrogates", draw + 1, settings["draws"])
    return pd.DataFrame(rows)


def _draw(
    study: Study,
    spectra: dict[str, ds.Spectrum],
    growth: pd.DataFrame,
    profiles: dict[str, ds.Profile],
) -> None:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (kind, one), colour in zip(spectra.items(), ("#0072B2", "#D55E00"), strict=True):
        values = one.eigenvalues / one.eigenvalues[0]
        left.loglog(np.arange(1, len(values) + 1), values, color=colour, label=kind)
    left.set(xlabel="rank", ylabel="eigenvalue over the largest", ylim=(1e-5, 1.5))
    left.legend(frameon=False, title="covariance")
    for points, marker in (("data", "o"), ("surrogate", "s")):
        each = growth[growth["points"] == points].groupby("N")["dimension"]
        middle.errorbar(
            each.mean().index, each.mean(), each.std(), marker=marker, capsize=3, label=points
        )
    middle.set(xlabel="N", ylabel="ID of the last hidden layer", ylim=(0, None))
    middle.legend(frameon=False)
    for profile, line in zip(profiles.values(), ("-", "--"), strict=True):
        depth = [one.relative_depth for one in profile.layers]
        for estimator, colour in (("ID", "#0072B2"), ("PC-ID", "#D55E00")):
            values = [float(one) for one in profile.of(estimator).values()]
            label = f"{estimator}, {profile.name}"
            right.plot(depth, values, line, marker="o", color=colour, markersize=4, label=label)
    largest = max(one.n_features for one in profiles["trained"].layers)
    top = max(float(one) for one in profiles["trained"].of("PC-ID").values())
    scaled = [one.n_features / largest * top for one in profiles["trained"].layers]
    right.plot(depth, scaled, ":", color="0.4", label="ED, rescaled")
    right.set(xlabel="relative depth", yscale="log")
    right.legend(frameon=False, fontsize=7)
    for ax in (left, middle, right):
        ax.spines[["top", "right"]].set_visible(False)
    study.picture("fig5", figure)


def _claims(
    profiles: dict[str, ds.Profile],
    growth: pd.DataFrame,
    gaps: dict[str, ds.Gap],
    spread: dict[str, float],
) -> list[Claim]:
    trained = profiles["trained"]
    hidden = [one for one in trained.layers if one.role in ("hidden", "last_hidden")]
    mean = growth.groupby(["points", "N"])["dimension"].mean()
    least, most = growth["N"].min(), growth["N"].max()
    data, cloud = (mean[kind][most] / mean[kind][least] for kind in ("data", "surrogate"))
    factor = mean["surrogate"][most] / mean["data"][most]
    linear = {
        kind: np.array([float(one.of("PC-ID")[layer.name]) for layer in hidden])
        for kind, one in profiles.items()
    }
    own = {
        kind: np.array([float(one.of("ID")[layer.name]) for layer in hidden])
        for kind, one in profiles.items()
    }
    ratio = linear["trained"] / own["trained"]
    widths = np.array([layer.n_features for layer in trained.layers])
    ids = np.array([float(one) for one in trained.values()])
    peak, widest = int(np.nanargmax(ids)), int(widths.argmax())
    flat, leaves = _flat_until(own["untrained"])
    where = "every hidden layer"
    if leaves is not None:
        name, before = hidden[leaves].name, hidden[leaves - 1].name
        where = (
            f"all hidden layers before {name}, which has {own['untrained'][leaves]:.1f}: there the "
            f"points differ by {spread[name]:.1%} of their mean ({spread[before]:.1%} in the layer "
            "before)"
        )
    # mean change between the networks, as a factor
    apart = _apart(linear) / _apart(own)
    raw = np.array([float(one) for one in trained.of("PC-ID, raw").values()])
    normal = np.array([float(one) for one in trained.of("PC-ID").values()])
    alike = float(np.corrcoef(raw, normal)[0, 1])
    sparse = min(one.n_features / float(trained[one.name]) for one in hidden)
    return [
        judged(
            1,
            "The ID is orders of magnitude below the ED in every hidden layer.",
            sparse >= 10,
            f"smallest ED / ID {sparse:.0f}",
        ),
        judged(
            3,
            "The Gaussian surrogate's ID is larger and grows with N.",
            factor >= 2 and cloud > 1,
            f"surrogate / data {factor:.2f} at N = {most}; from N = {least} the surrogate grows "
            f"by {cloud - 1:+.0%}, the data by {data - 1:+.0%}",
        ),
        judged(
            5,
            "PC-ID is one to two orders of magnitude larger than the ID.",
            ratio.min() >= 10,
            f"{ratio.min():.1f} to {ratio.max():.1f} times in the hidden layers (the paper's own "
            "figure: 3.5 to 12)",
        ),
        judged(
            5,
            "PC-ID is at least five times the ID in the hidden layers, and does not tell trained "
            "from untrained networks.",
            ratio.min() >= 5 and apart < 0.5,
            f"at least {ratio.min():.1f} times; trained over untrained: PC-ID differs by "
            f"{apart:.0%} of what the ID differs by",
        ),
        judged(
            6,
            "Untrained networks have a flat profile.",
            leaves is None or hidden[leaves].role == "last_hidden",
            f"largest over smallest ID {flat:.2f} in {where}",
        ),
        judged(
            16,
            "The ID goes on growing after the ED has started to decline.",
            peak > widest,
            f"widest at {trained.layers[widest].name}, largest ID at {trained.layers[peak].name}",
        ),
        judged(
            17,
            "Raw covariance: qualitatively the same, and no gap in the spectrum.",
            alike > 0.8 and all(one.p_value > 0.05 for one in gaps.values()),
            f"correlation of the two PC-ID over layers {alike:.2f}; p of a gap "
            + ", ".join(f"{one.p_value:.2g} ({kind})" for kind, one in gaps.items()),
        ),
    ]


def _flat_until(found: np.ndarray) -> tuple[float, int | None]:
    """Return the ratio of largest to smallest ID in the first layers, and where these end."""
    for stop in range(1, len(found) + 1):
        ratio = np.nanmax(found[:stop]) / np.nanmin(found[:stop])
        if np.isnan(found[stop - 1]) or ratio > _FLAT:
            before = found[: stop - 1]
            return float(np.nanmax(before) / np.nanmin(before)) if stop > 1 else np.nan, stop - 1
    return float(np.nanmax(found) / np.nanmin(found)), None


def _apart(several: dict[str, np.ndarray]) -> float:
    """Return the mean absolute log ratio of trained to untrained."""
    return float(np.nanmean(np.abs(np.log(several["trained"] / several["untrained"]))))
