"""The commands for saved profiles: ``compare``, ``diagnose``, ``report`` and ``cite``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from dimscope.citations import Style
from dimscope.cli.arguments import existing, profile_from, scores_from
from dimscope.cli.help import DATA, LAYERS, OUTPUT
from dimscope.cli.options import JsonOption
from dimscope.cli.tables import say

__all__ = ["cite", "compare", "diagnose", "report"]


def compare(
    profiles: Annotated[list[Path], typer.Argument(help="at least 3 saved profiles")],
    accuracy: Annotated[
        Path,
        typer.Option(
            rich_help_panel=DATA,
            help="a .csv file with a header and two columns: network, accuracy",
        ),
    ],
    layer: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=LAYERS,
            help="compare this layer; by default, the last hidden layer of each network",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(rich_help_panel=OUTPUT, help="save a plot to this .png, .svg or .pdf file"),
    ] = None,
    plot_profiles: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT, help="save a plot of the profiles over relative depth"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the dimension of one layer of each network with the network's accuracy.

    Examples
    --------
    $ dimscope compare a.json b.json c.json --accuracy accuracy.csv
    $ dimscope compare a.json b.json c.json --accuracy accuracy.csv --plot comparison.png
    $ dimscope compare a.json b.json c.json --accuracy accuracy.csv --layer input
    """
    import dimscope as ds
    from dimscope.cli.tables import comparison_table
    from dimscope.plotting.figures import check_figure_path, save_figure

    for path, option in ((plot, "--plot"), (plot_profiles, "--plot-profiles")):
        if path is not None:
            existing(path.absolute().parent, option)
            check_figure_path(path)
    scores = scores_from(existing(accuracy, "--accuracy"))
    loaded = [profile_from(path, "PROFILES") for path in profiles]
    comparison = ds.compare(loaded, scores, layer)
    if plot is not None:
        save_figure(comparison.plot(), plot)
    if plot_profiles is not None:
        save_figure(comparison.plot(of="profiles"), plot_profiles)
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), allow_nan=False))
        return
    say(f"dimension of {comparison.what}:")
    say(comparison_table(comparison))
    say(f"Pearson's r = {comparison.pearson}, Spearman's = {comparison.spearman}")
    written = [str(path) for path in (plot, plot_profiles) if path is not None]
    if written:
        say(f"written: {', '.join(written)}")


def cite(
    profile: Annotated[Path, typer.Argument(help="a saved profile")],
    style: Annotated[
        str,
        typer.Option(rich_help_panel=OUTPUT, help="bibtex, or text: one reference a line"),
    ] = "bibtex",
    methods: Annotated[
        bool,
        typer.Option(
            "--methods",
            rich_help_panel=OUTPUT,
            help="print a sentence for a methods section before the references",
        ),
    ] = False,
) -> None:
    """Say what to cite for a saved profile: dimscope, the estimators, and data that it names.

    Examples
    --------
    $ dimscope cite a.json
    $ dimscope cite a.json --style text --methods
    """
    import dimscope as ds

    loaded = profile_from(profile, "PROFILE")
    if style not in get_args(Style):
        raise typer.BadParameter(
            f"there is no style {style!r}; use {' or '.join(get_args(Style))}", param_hint="--style"
        )
    if methods:
        try:
            sentences = [loaded.methods(estimator) for estimator in loaded.estimators]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--methods") from None
        typer.echo("\n".join(sentences) + "\n")
    typer.echo(ds.cite(loaded, cast(Style, style)))


def diagnose(
    profile: Annotated[Path, typer.Argument(help="a saved profile")],
    classes: Annotated[
        int | None,
        typer.Option(
            min=2, rich_help_panel=DATA, help="number of classes; by default the number of outputs"
        ),
    ] = None,
    train_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=DATA,
            help="share of the training stimuli classified correctly",
        ),
    ] = None,
    test_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, rich_help_panel=DATA, help="share of other stimuli classified correctly"
        ),
    ] = None,
    last_hidden: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=LAYERS,
            help="name of the last hidden layer, if another program has saved the activations",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a saved profile shows: of its network, and of how far its numbers can be trusted.

    Examples
    --------
    $ dimscope diagnose a.json
    $ dimscope diagnose a.json --classes 10 --json
    $ dimscope diagnose a.json --last-hidden fc
    """
    import dimscope as ds

    loaded = profile_from(profile, "PROFILE")
    if last_hidden is not None and last_hidden not in loaded:
        raise typer.BadParameter(
            f"there is no layer {last_hidden!r}; the profile has {', '.join(loaded)}",
            param_hint="--last-hidden",
        )
    diagnosis = ds.diagnose(
        loaded,
        n_classes=classes,
        train_accuracy=train_accuracy,
        test_accuracy=test_accuracy,
        last_hidden=last_hidden,
    )
    if as_json:
        typer.echo(diagnosis.to_json())
    else:
        say(str(diagnosis))


def report(
    profiles: Annotated[list[Path], typer.Argument(help="saved profiles")],
    out: Annotated[Path, typer.Option(rich_help_panel=OUTPUT, help="the .html file to write")],
) -> None:
    """Write saved profiles as one HTML page: figures, tables, diagnoses, numbers to download.

    Examples
    --------
    $ dimscope report a.json --out page.html
    $ dimscope report a.json b.json --out page.html
    """
    import dimscope as ds

    existing(out.absolute().parent, "--out")
    ds.report([profile_from(path, "PROFILES") for path in profiles], out)
    say(f"written: {out}")
