"""Tables: print estimates, profiles, scale curves and comparisons to the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dimscope.digits import with_error
from dimscope.profiles.companions import digits
from dimscope.profiles.profile import over_classes

if TYPE_CHECKING:
    from dimscope import Comparison, Estimate, Profile, ScaleCurve

__all__ = ["comparison_table", "estimate_table", "profile_table", "say", "scale_table"]


_EIGHTHS = " ▏▎▍▌▋▊▉"


_BAR_WIDTH = 24


def say(thing: Any) -> None:
    """Print text or a table to standard output, 110 columns wide if that is not a terminal."""
    console = Console(highlight=False, soft_wrap=isinstance(thing, str))
    if not console.is_terminal:
        console = Console(highlight=False, soft_wrap=isinstance(thing, str), width=110)
    console.print(thing)


def estimate_table(estimate: Estimate, title: str, shape: tuple[int, ...]) -> Table:
    """Build a table of one estimate, with one quantity per line."""
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column()
    lower, upper = estimate.interval
    table.add_row("dimension", Text(str(estimate), style="bold"))
    if not math.isnan(lower):
        table.add_row("95 % interval", f"{lower:.4g} to {upper:.4g}")
    if estimate.n_groups is not None:
        reason = f"; {estimate.reason}" if estimate.reason else ""
        table.add_row("groups", f"{estimate.n_groups}, the units of the standard error{reason}")
    if estimate.resample_std is not None:
        table.add_row(
            "resamples", f"std {estimate.resample_std:.3g} over {len(estimate.resamples)} subsets"
        )
    table.add_row("points", f"{shape[0]} x {shape[1]} features, {estimate.n_used} used")
    if "guarantee" in estimate.provenance.parameters:
        table.add_row("neighbours", str(estimate.provenance.parameters["guarantee"]))
    if not math.isnan(estimate.distance):
        table.add_row("distance", f"median r1 = {estimate.distance:.3g}")
    if not math.isnan(estimate.hubness):
        table.add_row("hubness", f"{estimate.hubness:.2f}")
    if estimate.n_duplicates:
        table.add_row("duplicates", f"{estimate.n_duplicates} rows collapsed")
    if estimate.n_copies:
        table.add_row("near copies", f"{estimate.n_copies} rows differ by rounding only")
    if estimate.tie_fraction:
        table.add_row("ties", f"{estimate.tie_fraction:.2%} of the points have r1 = r2")
    if not math.isnan(estimate.goodness_of_fit):
        table.add_row("goodness of fit", f"p = {estimate.goodness_of_fit:.2g}")
    if estimate.is_lower_bound:
        table.add_row("note", "above 20, a neighbour-based estimate is a lower bound")
        if estimate.corrected is not None:
            low, high = estimate.corrected.interval
            table.add_row(
                "corrected",
                f"{estimate.corrected.dimension:.3g} ({low:.3g} to {high:.3g}), if the data "
                "locally resemble a cube, a ball, a sphere or a cloud of independent coordinates",
            )
    parameters = estimate.provenance.parameters
    table.add_row("estimator", str(parameters.get("estimator", "")))
    if "near" in parameters and "far" in parameters:
        table.add_row("radii", f"near = {parameters['near']}, far = {parameters['far']}")
    return table


def scale_table(curve: ScaleCurve, title: str) -> Table:
    """Build a table of a scale curve, with one scale per line and a bar for each."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("points", "blocks", "neighbours", "mean distance", "dimension", "std"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", min_width=_BAR_WIDTH)
    highest = max(point.dimension for point in curve.points)
    for point in curve.points:
        table.add_row(
            str(point.n_points), str(point.n_blocks), f"{point.ranks[0]}, {point.ranks[1]}",
            f"{point.distance:.3g}", with_error(point.dimension, point.std_error),
            "" if math.isnan(point.std) else f"{point.std:.2g}",
            Text(_bar(point.dimension / highest), style="cyan", no_wrap=True),
        )  # fmt: skip
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Build a table of networks, sorted by the dimension of the layer that was compared."""
    table = Table()
    table.add_column("network", overflow="fold")
    for heading in ("dimension", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = zip(
        comparison.dimensions,
        comparison.std_errors,
        comparison.scores,
        comparison.names,
        strict=True,
    )
    for dimension, error, score, name in sorted(rows):
        table.add_row(name, with_error(dimension, error), f"{score:.4g}")
    return table


def profile_table(profile: Profile) -> Table:
    """Build a table of a profile, with one layer per line and a bar for each."""
    estimator = profile.estimators[0]
    estimates = profile.of(estimator)
    spread = {name: _spread(profile, estimator, name) for name in estimates}
    with_spread = not all(math.isnan(std) for std in spread.values())
    table = Table(title=profile.name, title_justify="left", title_style="bold")
    table.add_column("layer", overflow="fold")
    for heading in ("depth", "units", "dimension"):
        table.add_column(heading, justify="right", no_wrap=True)
    beside = {name: profile.beside(name) for name in profile.companions}
    for name in beside:
        table.add_column(name.replace("_", " "), justify="right")
    if with_spread:
        over = "classes" if profile.classes else "resamples"
        table.add_column(f"std over {over}", justify="right")
    table.add_column("profile", min_width=_BAR_WIDTH)
    measured = [e.dimension for e in estimates.values() if not math.isnan(e.dimension)]
    caption = "\n".join([_caption(profile, estimator), *_missing_classes(profile, estimator)])
    table.caption, table.caption_justify = Text(caption), "left"
    for layer in profile.layers:
        estimate = estimates[layer.name]
        cells: list[str | Text] = [layer.name, str(layer.depth), str(layer.n_features)]
        if math.isnan(estimate.dimension):
            cells += [
                "-",
                *[""] * (len(beside) + with_spread),
                Text(estimate.reason, style="dim", overflow="fold"),
            ]
        else:
            bar = Text(_bar(estimate.dimension / max(measured)), style="cyan", no_wrap=True)
            values = [digits(by[layer.name]) for by in beside.values()]
            cells += [str(estimate), *values, *[f"{spread[layer.name]:.2g}"] * with_spread, bar]
        table.add_row(*cells)
    return table


def _caption(profile: Profile, estimator: str) -> str:
    """Describe what was measured and how, and explain the symbols in the table."""
    measured = [
        estimate
        for estimate in profile.of(estimator).values()
        if not math.isnan(estimate.dimension)
    ]
    if not measured:
        return ""
    if profile.classes:
        parts = [over_classes(profile.of(estimator).values())]
        measured = [
            estimate for p in profile.classes.values() for estimate in p.of(estimator).values()
        ]
    else:
        parts = [f"{measured[0].n_points} points"]
    parameters = next(
        (estimate.provenance.parameters for estimate in measured if estimate.provenance.parameters),
        {},
    )
    parts.append(str(parameters.get("estimator", estimator)))
    if "guarantee" in parameters:
        parts.append(f"neighbours {parameters['guarantee']}")
    if any(not math.isnan(estimate.std_error) for estimate in profile.of(estimator).values()):
        kind = next((e.classes_are for e in profile.of(estimator).values() if e.classes_are), "")
        parts.append(f"± is one standard error{f', for {kind} classes' if kind else ''}")
    if any(estimate.is_lower_bound for estimate in profile.of(estimator).values()):
        parts.append("≥ marks a lower bound: above 20, there are too few points to say more")
    return "; ".join(parts)


def _missing_classes(profile: Profile, estimator: str) -> list[str]:
    """Say, for each reason, in which layers the mean leaves classes out."""
    layers: dict[str, list[str]] = {}
    for layer, estimate in profile.of(estimator).items():
        if estimate.classes and estimate.classes_failed:
            layers.setdefault(estimate.reason, []).append(layer)
    return [f"{', '.join(names)}: {reason}" for reason, names in layers.items()]


def _spread(profile: Profile, estimator: str, layer: str) -> float:
    if profile.classes:
        return profile.spread[estimator][layer]
    std = profile.of(estimator)[layer].resample_std
    return math.nan if std is None else std


def _bar(share: float) -> str:
    whole, part = divmod(round(share * _BAR_WIDTH * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")
