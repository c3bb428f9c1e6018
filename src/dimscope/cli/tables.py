"""Tables for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from dimscope import Comparison, Estimate, Profile, ScaleCurve

__all__ = ["comparison_table", "estimate_table", "profile_table", "say", "scale_table"]


_EIGHTHS = " ▏▎▍▌▋▊▉"


_BAR_WIDTH = 24


def say(thing: Any) -> None:
    """Print to standard output, wide enough for a table when it is not a terminal."""
    console = Console(highlight=False, soft_wrap=isinstance(thing, str))
    if not console.is_terminal:
        console = Console(highlight=False, soft_wrap=isinstance(thing, str), width=110)
    console.print(thing)


def estimate_table(found: Estimate, title: str, shape: tuple[int, ...]) -> Table:
    """One estimate, a quantity a line."""
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column()
    lower, upper = found.interval
    table.add_row("dimension", Text(str(found), style="bold"))
    if not math.isnan(lower):
        table.add_row("95 % interval", f"{lower:.4g} to {upper:.4g}")
    if found.resample_std is not None:
        table.add_row(
            "resamples", f"std {found.resample_std:.3g} over {len(found.resamples)} subsets"
        )
    table.add_row("points", f"{shape[0]} x {shape[1]} features, {found.n_used} used")
    if "guarantee" in found.provenance.parameters:
        table.add_row("neighbours", str(found.provenance.parameters["guarantee"]))
    if found.n_duplicates:
        table.add_row("duplicates", f"{found.n_duplicates} rows collapsed")
    if found.tie_fraction:
        table.add_row("ties", f"{found.tie_fraction:.2%} of the points have r1 = r2")
    if not math.isnan(found.goodness_of_fit):
        table.add_row("goodness of fit", f"p = {found.goodness_of_fit:.2g}")
    if found.is_lower_bound:
        table.add_row("note", "above 20 a neighbour estimate is a lower bound")
        if found.corrected is not None:
            low, high = found.corrected.interval
            table.add_row(
                "corrected",
                f"{found.corrected.dimension:.3g} ({low:.3g} to {high:.3g}), if the data are "
                "locally like a cube, a ball, a sphere or a cloud of independent coordinates",
            )
    table.add_row("estimator", str(found.provenance.parameters.get("estimator", "")))
    return table


def scale_table(curve: ScaleCurve, title: str) -> Table:
    """A scale curve, a scale a line, with a small drawing."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("points", "blocks", "neighbours", "distance", "dimension", "std"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", min_width=_BAR_WIDTH)
    most = max(one.dimension for one in curve.points)
    for one in curve.points:
        table.add_row(
            str(one.n_points), str(one.n_blocks), f"{one.ranks[0]}, {one.ranks[1]}",
            f"{one.distance:.3g}", f"{one.dimension:.3g} ± {one.std_error:.2g}",
            "" if math.isnan(one.std) else f"{one.std:.2g}",
            Text(_bar(one.dimension / most), style="cyan", no_wrap=True),
        )  # fmt: skip
    return table


def comparison_table(found: Comparison) -> Table:
    """Networks by the dimension of their last hidden layer."""
    table = Table()
    table.add_column("network", overflow="fold")
    for heading in ("dimension", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = zip(found.dimensions, found.std_errors, found.scores, found.names, strict=True)
    for dimension, error, score, name in sorted(rows):
        table.add_row(name, f"{dimension:.3g} ± {error:.2g}", f"{score:.4g}")
    return table


def profile_table(profile: Profile) -> Table:
    """A profile, a layer a line, with a small drawing."""
    estimator = profile.estimators[0]
    found = profile.of(estimator)
    spread = {name: _spread(profile, estimator, name) for name in found}
    with_spread = not all(math.isnan(one) for one in spread.values())
    table = Table(title=profile.name, title_justify="left", title_style="bold")
    table.add_column("layer", overflow="fold")
    for heading in ("depth", "units", "dimension"):
        table.add_column(heading, justify="right", no_wrap=True)
    if with_spread:
        over = "classes" if profile.classes else "resamples"
        table.add_column(f"std over {over}", justify="right")
    table.add_column("profile", min_width=_BAR_WIDTH)
    measured = [e.dimension for e in found.values() if not math.isnan(e.dimension)]
    table.caption, table.caption_justify = _what_it_shows(profile, estimator), "left"
    for layer in profile.layers:
        one = found[layer.name]
        cells: list[str | Text] = [layer.name, str(layer.depth), str(layer.n_features)]
        if math.isnan(one.dimension):
            cells += ["-", *[""] * with_spread, Text(one.reason, style="dim", overflow="fold")]
        else:
            bar = Text(_bar(one.dimension / max(measured)), style="cyan", no_wrap=True)
            cells += [str(one), *[f"{spread[layer.name]:.2g}"] * with_spread, bar]
        table.add_row(*cells)
    return table


def _what_it_shows(profile: Profile, estimator: str) -> str:
    """What was measured and how, and what the signs in the table mean."""
    shown = [one for one in profile.of(estimator).values() if not math.isnan(one.dimension)]
    if not shown:
        return ""
    if profile.classes:
        n = len(profile.classes)
        said = [f"mean over {n} {'class' if n == 1 else 'classes'}"]
        shown = [one for p in profile.classes.values() for one in p.of(estimator).values()]
    else:
        said = [f"{shown[0].n_points} points"]
    parameters = next((one.provenance.parameters for one in shown if one.provenance.parameters), {})
    said.append(str(parameters.get("estimator", estimator)))
    if "guarantee" in parameters:
        said.append(f"neighbours {parameters['guarantee']}")
    if any(not math.isnan(one.std_error) for one in profile.of(estimator).values()):
        said.append("± is one standard error")
    if any(one.is_lower_bound for one in profile.of(estimator).values()):
        said.append("≥ marks a lower bound: above 20, points are too few to say more")
    return "; ".join(said)


def _spread(profile: Profile, estimator: str, layer: str) -> float:
    if profile.classes:
        return profile.spread[estimator][layer]
    std = profile.of(estimator)[layer].resample_std
    return math.nan if std is None else std


def _bar(share: float) -> str:
    whole, part = divmod(round(share * _BAR_WIDTH * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")
