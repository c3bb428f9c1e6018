"""The commands for arrays: ``estimate`` and ``scale``."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dimscope.arrays.files import naming
from dimscope.cli.arguments import (
    bytes_from,
    copies_from,
    engine_from,
    estimator_from,
    existing,
    points_from,
    refuse_unused,
    row_ids_from,
)
from dimscope.cli.help import ESTIMATOR, OUTPUT
from dimscope.cli.options import (
    CopiesOption,
    DiscardOption,
    EngineOption,
    EstimatorOption,
    ExcludeOption,
    FitOption,
    GroupsOption,
    JsonOption,
    KeepOption,
    KeyOption,
    MemoryOption,
    ResamplesOption,
    RtolOption,
    SeedOption,
)
from dimscope.cli.tables import estimate_table, say, scale_table
from dimscope.progress import ProgressBar

__all__ = ["estimate", "scale"]


PointsArgument = Annotated[
    str,
    typer.Argument(
        help="points of shape (n_points, n_features): a .npy, .npz, .h5, .csv, .tsv, .txt, "
        ".parquet, .safetensors or .pt file; - for standard input; FILE::KEY for one of "
        "several arrays; or STORE::LAYER"
    ),
]


def estimate(
    points: PointsArgument,
    key: KeyOption = None,
    estimator: EstimatorOption = "twonn",
    fit: FitOption = None,
    discard: DiscardOption = None,
    resamples: ResamplesOption = 0,
    keep: KeepOption = 0.9,
    exclude: ExcludeOption = None,
    groups: GroupsOption = None,
    engine: EngineOption = None,
    rtol: RtolOption = None,
    copies: CopiesOption = "keep",
    memory: MemoryOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure the intrinsic dimension of an array.

    Examples
    --------
    $ dimscope estimate points.npy
    $ dimscope estimate points.npy --estimator 'Gride(n1=2, n2=4)' --json
    $ dimscope estimate store.zarr::output --engine exact
    """
    import dimscope as ds

    chosen = estimator_from(estimator, fit, discard, resamples, keep, seed)
    search, budget = engine_from(engine, rtol, seed), bytes_from(memory)
    refuse_unused(chosen, engine=search, exclude=exclude, groups=groups)
    treatment = copies_from(copies, chosen)
    array = points_from(points, key)
    with ProgressBar() as bar, naming(points):
        result = ds.estimate(
            array,
            chosen,
            search,
            exclude=row_ids_from(exclude, "--exclude", points),
            groups=row_ids_from(groups, "--groups", points),
            copies=treatment,
            memory=budget,
            progress=bar,
        )
    if as_json:
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        say(estimate_table(result, points, array.shape))


def scale(
    points: PointsArgument,
    key: KeyOption = None,
    blocks: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=ESTIMATOR,
            help="largest number of blocks to split the points into",
        ),
    ] = 20,
    ranks: Annotated[
        int,
        typer.Option(
            min=2,
            rich_help_panel=ESTIMATOR,
            help="highest neighbour rank, for Gride at ranks that double",
        ),
    ] = 64,
    estimator: EstimatorOption = "twonn",
    fit: FitOption = None,
    discard: DiscardOption = None,
    exclude: ExcludeOption = None,
    engine: EngineOption = None,
    copies: CopiesOption = "keep",
    memory: MemoryOption = None,
    seed: SeedOption = 0,
    plot: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            help="save a plot of both curves to this .png, .svg or .pdf file",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the dimension of an array at many scales, to see whether it depends on the scale.

    Examples
    --------
    $ dimscope scale points.npy
    $ dimscope scale points.npy --blocks 8 --plot scales.png
    """
    import dimscope as ds
    from dimscope.analysis.scale import depth_of_ranks
    from dimscope.errors import silent
    from dimscope.estimators.ties import TIE_WARNINGS
    from dimscope.plotting.figures import check_figure_path, save_figure
    from dimscope.plotting.scale_plots import plot_scales

    chosen = estimator_from(estimator, fit, discard, 0, 0.9, seed)
    search, budget = engine_from(engine, None, seed), bytes_from(memory)
    if not isinstance(chosen, ds.NeighborEstimator):
        raise typer.BadParameter(
            "a scale curve needs a neighbour-based estimator, such as twonn",
            param_hint="--estimator",
        )
    treatment = copies_from(copies, chosen)
    if plot is not None:
        existing(plot.absolute().parent, "--plot")
        check_figure_path(plot)
    array = points_from(points, key)
    with ProgressBar() as bar, naming(points):
        neighbors = ds.nearest_neighbors(
            array,
            max(depth_of_ranks(ranks), chosen.wished),
            search,
            at_most=True,
            exclude=row_ids_from(exclude, "--exclude", points),
            copies=treatment,
            memory=budget,
            progress=bar,
        )
        by_points = ds.scale_curve(
            neighbors,
            chosen,
            blocks=range(1, blocks + 1),
            seed=seed,
            progress=bar,
        )
    # the first scale of the ranks compares the same two neighbours as most estimators do
    with silent(*TIE_WARNINGS) if chosen.compared == (1, 2) else nullcontext():
        by_rank = ds.rank_curve(neighbors, ranks)
    if plot is not None:
        save_figure(plot_scales(by_points, by_rank), plot)
    if as_json:
        both = {"points": by_points.to_dict(), "ranks": by_rank.to_dict()}
        typer.echo(json.dumps(both, allow_nan=False))
        return
    say(scale_table(by_points, f"{points}: decreasing number of points"))
    say(by_points.verdict)
    say(scale_table(by_rank, "Gride: increasing neighbour rank"))
    say(by_rank.verdict)
    if plot is not None:
        say(f"written: {plot}")
