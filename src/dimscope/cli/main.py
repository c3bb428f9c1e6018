"""The commands, and how errors leave: in a sentence, with exit code 1 or 2.

Code 2 is a wrong call (an option, a file that is not there, an unknown model), 1 is
data that cannot be measured. Standard output holds results only.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from dimscope.cli.capturing import (
    capture,
    existing_data,
    network_from,
    one_or_several,
    refuse_for_a_store,
    tell_plan,
)
from dimscope.cli.experiments import reproduce
from dimscope.cli.options import (
    DiscardOption,
    EngineOption,
    EstimatorOption,
    FitOption,
    ImageSizeOption,
    JsonOption,
    KeepOption,
    LabelsOption,
    MemoryOption,
    ResamplesOption,
    RtolOption,
    SeedOption,
)
from dimscope.cli.output import estimate_table, profile_table, say
from dimscope.cli.parsing import (
    bytes_from,
    data_from,
    engine_from,
    estimator_from,
    existing,
    points_from,
    scores_from,
)
from dimscope.cli.progress import Bar
from dimscope.cli.scales import scale
from dimscope.errors import DimscopeError

__all__ = ["app", "main"]

app = typer.Typer(
    help="How many dimensions does a neural network really use, layer by layer?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from dimscope import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="print it and leave"),
    ] = False,
) -> None:
    """Measure how many dimensions a neural network really uses, layer by layer."""


app.command()(reproduce)
app.command()(capture)
app.command()(scale)


@app.command()
def estimate(
    points: Annotated[
        str, typer.Argument(help="a .npy file of shape (n_points, n_features), or STORE::LAYER")
    ],
    estimator: EstimatorOption = "twonn",
    fit: FitOption = None,
    discard: DiscardOption = None,
    resamples: ResamplesOption = 0,
    keep: KeepOption = 0.9,
    engine: EngineOption = "exact",
    rtol: RtolOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure the intrinsic dimension of an array."""
    import dimscope as ds

    chosen = estimator_from(estimator, fit, discard, resamples, keep, seed)
    search = engine_from(engine, rtol, seed)
    array = points_from(points)
    with Bar() as bar:
        found = ds.estimate(array, chosen, search, progress=lambda part: bar("searching", part, 1))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), allow_nan=False))
    else:
        say(estimate_table(found, points, array.shape))


@app.command()
def profile(
    model: Annotated[
        str,
        typer.Argument(help="torchvision/NAME, timm/NAME, hf/NAME, FILE.py:FUNCTION or a STORE"),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="an image folder (one folder a class) or a .npy file; not for a STORE"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="a file of weights, or 'random' for an untrained network")
    ] = None,
    labels: LabelsOption = None,
    image_size: ImageSizeOption = 224,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            help="checkpoints, all, last_hidden, a name or a pattern such as 'layer?'; for several "
            "repeat the option"
        ),
    ] = None,
    by_class: Annotated[
        bool, typer.Option(help="one profile for each class, and their mean")
    ] = False,
    n_points: Annotated[int | None, typer.Option(min=3, help="points drawn from the data")] = None,
    per_class: Annotated[int | None, typer.Option(min=3, help="points drawn of each class")] = None,
    readout: Annotated[str, typer.Option(help="flatten, mean, first or last")] = "flatten",
    batch_size: Annotated[int, typer.Option(min=1, help="points run at a time")] = 32,
    memory: MemoryOption = None,
    estimator: EstimatorOption = "twonn",
    fit: FitOption = None,
    discard: DiscardOption = None,
    resamples: ResamplesOption = 0,
    keep: KeepOption = 0.9,
    engine: EngineOption = "exact",
    rtol: RtolOption = None,
    seed: SeedOption = 0,
    name: Annotated[str | None, typer.Option(help="name of the profile")] = None,
    out: Annotated[Path | None, typer.Option(help="write the profile to this .json file")] = None,
    plot: Annotated[Path | None, typer.Option(help="draw it to this .png, .svg or .pdf")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the intrinsic dimension of every layer of a network."""
    import dimscope as ds
    from dimscope.figures import check_figure_path, save_figure
    from dimscope.store import is_store

    chosen = estimator_from(estimator, fit, discard, resamples, keep, seed)
    search, budget = engine_from(engine, rtol, seed), bytes_from(memory)
    for path, option in ((out, "--out"), (plot, "--plot")):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.parent}", param_hint=option)
    if plot is not None:
        check_figure_path(plot)
    given: dict[str, Any] = {"layers": layers, "n_points": n_points, "per_class": per_class}
    if is_store(model):
        refuse_for_a_store({"data": data, "labels": labels, "weights": weights, **given})
        source, given, shown = model, {}, None
    else:
        shown = data_from(existing_data(data, model), labels, image_size)
        source = network_from(model, weights, seed)
        given["layers"] = one_or_several(layers)
        given |= {"readout": readout, "batch_size": batch_size, "seed": seed}
    with Bar() as bar:
        found = ds.profile(
            source,
            shown,
            chosen,
            by_class=by_class,
            engine=search,
            name=name or (model if given else None),
            memory=budget,
            progress=bar,
            on_plan=tell_plan,
            **given,
        )
    if out is not None:
        found.save(out)
    if plot is not None:
        save_figure(found.plot(), plot)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), allow_nan=False))
    else:
        say(profile_table(found))
        written = [str(path) for path in (out, plot) if path is not None]
        if written:
            say(f"written: {', '.join(written)}")


@app.command()
def compare(
    profiles: Annotated[list[Path], typer.Argument(help="profiles that were saved, at least 3")],
    accuracy: Annotated[
        Path, typer.Option(help="a .csv file with a header and two columns: network, accuracy")
    ],
    plot: Annotated[Path | None, typer.Option(help="draw it to this .png, .svg or .pdf")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the dimension of the last hidden layer of networks with how good they are."""
    import dimscope as ds
    from dimscope.cli.output import comparison_table
    from dimscope.figures import check_figure_path, save_figure

    if plot is not None:
        existing(plot.absolute().parent, "--plot")
        check_figure_path(plot)
    scores = scores_from(existing(accuracy, "--accuracy"))
    found = ds.compare([ds.Profile.load(existing(one, "PROFILES")) for one in profiles], scores)
    if plot is not None:
        save_figure(found.plot(), plot)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), allow_nan=False))
        return
    say(comparison_table(found))
    say(f"Pearson's r = {found.pearson}, Spearman's = {found.spearman}")
    if plot is not None:
        say(f"written: {plot}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the figure and the profiles")] = Path(
        "dimscope-demo"
    ),
    seed: SeedOption = 0,
) -> None:
    """Train a small network on handwritten digits and show what its layers do."""
    from dimscope.cli.demo import run_demo

    run_demo(out, seed)


def _warn(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point of the ``dimscope`` program."""
    warnings.showwarning = _warn
    try:
        app(arguments)
    except (ValueError, TypeError, OSError) as error:
        # what was given is wrong; DIMSCOPE_TRACEBACK=1 shows where that was noticed
        if os.environ.get("DIMSCOPE_TRACEBACK"):
            raise
        kind = "" if isinstance(error, DimscopeError) else f"{type(error).__name__}: "
        print(f"dimscope: {kind}{error}", file=sys.stderr)
        raise SystemExit(1) from None
