"""The commands for experiments: ``demo`` and ``reproduce``."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

import dimscope as ds
from dimscope.cli.help import DATA, OUTPUT, RUN
from dimscope.cli.options import SeedOption
from dimscope.cli.tables import profile_table, say
from dimscope.extras import needed
from dimscope.progress import ProgressBar

__all__ = ["demo", "describe", "reproduce"]


_REPRODUCE = ("dimscope reproduce", "dimscope[paper]")


_EPOCHS = {"trained": 30, "shuffled labels": 300, "untrained": 0}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ds.BadSource(f"cannot make the folder {folder}: {error.strerror}") from None


def describe(profiles: dict[str, ds.Profile], scores: dict[str, float]) -> str:
    """Summarise the three profiles of the demo in three sentences.

    Parameters
    ----------
    profiles : dict of str to Profile
        The keys are ``trained``, ``shuffled labels`` and ``untrained``.
    scores : dict of str to float
        Accuracy of each network on images that it was not trained on.
    """
    trained, shuffled, untrained = (
        profiles[k] for k in ("trained", "shuffled labels", "untrained")
    )
    (last,) = (layer.name for layer in trained.layers if layer.role == "last_hidden")
    return "\n".join(
        [
            f"1. The trained network ({scores['trained']:.0%} test accuracy) "
            f"{_course(trained)}: from {trained['input']} in the input to "
            f"{trained['output']} in the output, with "
            f"{trained.layers[0].n_features} pixels and at most "
            f"{max(layer.n_features for layer in trained.layers)} units per layer.",
            f"2. The same network trained on shuffled labels (test accuracy "
            f"{scores['shuffled labels']:.0%}, chance level 10%) has "
            f"{shuffled[last]} dimensions in its last hidden layer, "
            f"{_compare(shuffled[last], trained[last])} the {trained[last]} of the "
            "network trained on the true labels.",
            f"3. The untrained network stays between {_extreme(untrained, min)} and "
            f"{_extreme(untrained, max)} in its hidden layers, the trained one between "
            f"{_extreme(trained, min)} and {_extreme(trained, max)}.",
        ]
    )


def _hidden(profile: ds.Profile) -> list[float]:
    return [
        profile[layer.name].dimension
        for layer in profile.layers
        if layer.role in ("hidden", "last_hidden")
    ]


def _extreme(profile: ds.Profile, choose: Any) -> str:
    return f"{choose(_hidden(profile)):.1f}"


def _course(profile: ds.Profile) -> str:
    first, last = float(profile["input"]), float(profile["output"])
    top = max(_hidden(profile))
    # a rise counts when it is more than two standard errors of the difference
    rise = (top - first) / math.hypot(*(profile["input"].std_error,) * 2)
    if rise > 2:
        return "first expands, then compresses" if last < first else "expands its representation"
    return "compresses its representation" if last < first else "keeps the dimension"


def _compare(first: ds.Estimate, second: ds.Estimate) -> str:
    ratio = float(first) / float(second)
    difference = abs(float(first) - float(second))
    distance = difference / math.hypot(first.std_error, second.std_error)
    if distance < 2:
        return "not distinguishable from"
    return f"{ratio:.1f} times"


def demo(
    out: Annotated[
        Path, typer.Option(rich_help_panel=OUTPUT, help="folder for the figure and the profiles")
    ] = Path("dimscope-demo"),
    seed: SeedOption = 0,
) -> None:
    """Train a small network on handwritten digits and measure the dimension of its layers.

    Examples
    --------
    $ dimscope demo
    $ dimscope demo --out digits --seed 1
    """
    from dimscope.plotting.figures import save_figure
    from dimscope.plotting.profile_plots import plot_profiles

    with needed("dimscope demo", "dimscope[torch,sklearn]"):
        from dimscope_experiments.digits import DigitsNet, accuracy, split_digits, train

        digits = split_digits(seed)
    _make(out)
    profiles, scores = {}, {}
    with ProgressBar() as bar, warnings.catch_warnings():
        # sixteen grey levels give a few ties in the input; they are in the saved profiles
        warnings.simplefilter("ignore", ds.TiedPoints)
        for kind, epochs in _EPOCHS.items():
            network = DigitsNet(seed)
            target = digits.shuffled if kind == "shuffled labels" else digits.labels
            train(
                network,
                digits.images,
                target,
                epochs=epochs,
                seed=seed,
                progress=bar,
            )
            scores[kind] = accuracy(network, digits.test_images, digits.test_labels)
            profiles[kind] = ds.profile(network, digits.images, name=kind, progress=bar)
            profiles[kind].save(out / f"{kind.replace(' ', '_')}.json")
    for profile in profiles.values():
        say(profile_table(profile))
    figure = out / "profiles.png"
    save_figure(plot_profiles(profiles.values()), figure)
    say(f"\n{describe(profiles, scores)}\n\nfigure: {figure}")


def reproduce(
    figures: Annotated[
        list[str],
        typer.Argument(
            help="fig1 ... fig9 of Ansuini et al. (2019), headline (100,000 features), statements "
            "(about the estimator), or all"
        ),
    ],
    scale: Annotated[
        str, typer.Option(rich_help_panel=RUN, help="smoke, small or paper")
    ] = "small",
    out: Annotated[
        Path, typer.Option(rich_help_panel=OUTPUT, help="folder for numbers and figures")
    ] = Path("ansuini2019"),
    data: Annotated[
        Path | None, typer.Option(rich_help_panel=DATA, help="folder with the data sets")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(rich_help_panel=DATA, help="folder with weights")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RUN,
            help="folder for trained networks, so that an interrupted run can resume; "
            "by default .cache/dimscope in your home folder",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            rich_help_panel=RUN,
            help="only list the networks, weights, data, disk space and time that are needed; "
            "download nothing, and exit with 1 if something is missing",
        ),
    ] = False,
) -> None:
    """Reproduce the figures of the paper; figures that are already complete are not run again.

    Examples
    --------
    $ dimscope reproduce fig1 --scale smoke
    $ dimscope reproduce all --check
    """
    from dimscope_experiments.ansuini2019 import FIGURES, Study
    from dimscope_experiments.ansuini2019 import reproduce as run
    from dimscope_experiments.ansuini2019.page import write_page

    chosen = FIGURES if figures == ["all"] else tuple(figures)
    unknown = [figure for figure in chosen if figure not in FIGURES]
    if unknown:
        raise typer.BadParameter(
            f"there is no figure {unknown[0]!r}; use {', '.join(FIGURES)} or all",
            param_hint="FIGURES",
        )
    cache = Path.home() / ".cache" / "dimscope" if cache is None else cache
    with needed(*_REPRODUCE), ProgressBar() as bar:
        try:
            study = Study(scale, out, cache, data, weights, bar)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--scale") from None
        if not check:
            run(study, chosen)
    if check:
        raise typer.Exit(_tell_needs(study, chosen))
    page = write_page(out)
    for figure in chosen:
        record = json.loads((out / figure / "record.json").read_text(encoding="utf-8"))
        say(f"{figure}: {record.get('says', '')}".rstrip())
        for claim in record["claims"]:
            say(f"  {claim['number']}. {claim['says']} {claim['verdict']}: {claim['measured']}")
    say(f"written: {page}")


def _tell_needs(study: Any, figures: tuple[str, ...]) -> int:
    """Print what the figures need; return 1 if something is missing, else 0."""
    with needed(*_REPRODUCE):
        from dimscope_experiments.ansuini2019.requirements import RATES, Needs, needs_of

    needs_of_figures = [needs_of(study, figure) for figure in figures]
    for needs in needs_of_figures:
        alone = Needs.joined([needs])
        done = ", complete already" if study.is_done(needs.figure) else ""
        say(f"{needs.figure}: disk {_gigabytes(alone.disk)}, {_hours(alone.seconds)}{done}")
        for item in needs.items:
            say(f"  {item}")
    total = Needs.joined(needs_of_figures)
    downloads = sum(item.download for item in total.items)
    say(
        f"together, scale {study.scale}: downloads {_gigabytes(downloads)}, disk "
        f"{_gigabytes(total.disk)} for checkpoints and renderings, {_hours(total.seconds)}"
    )
    slow, fast = (f"{rate / 1e9:.0f}" for rate in RATES)
    say(
        f"time: estimated from the operations of the networks, at {slow} to {fast} billion per "
        "second as for the results in docs/paper (two cores)"
    )
    missing = [item for item in total.items if not item.is_present]
    if missing:
        say(f"missing: {', '.join(item.name for item in missing)}")
    return int(bool(missing))


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


def _hours(seconds: tuple[float, float]) -> str:
    """Write a range of times.

    >>> _hours((72, 7200)), _hours((0, 0))
    ('0.02 to 2 hours', 'minutes')
    """
    least, most = (second / 3600 for second in seconds)
    return f"{_short(least)} to {_short(most)} hours" if most >= 0.1 else "minutes"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
