"""The command that measures an array at many scales."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dimscope.cli.options import (
    DiscardOption,
    EngineOption,
    EstimatorOption,
    FitOption,
    JsonOption,
    SeedOption,
)
from dimscope.cli.output import say, scale_table
from dimscope.cli.parsing import engine_from, estimator_from, existing, points_from
from dimscope.cli.progress import Bar

__all__ = ["scale"]


def scale(
    points: Annotated[
        str, typer.Argument(help="a .npy file of shape (n_points, n_features), or STORE::LAYER")
    ],
    blocks: Annotated[
        int, typer.Option(min=1, help="into up to how many blocks the points are split")
    ] = 20,
    ranks: Annotated[
        int, typer.Option(min=2, help="highest rank of a neighbour, for Gride at doubling ranks")
    ] = 64,
    estimator: EstimatorOption = "twonn",
    fit: FitOption = None,
    discard: DiscardOption = None,
    engine: EngineOption = "exact",
    seed: SeedOption = 0,
    plot: Annotated[
        Path | None, typer.Option(help="draw both curves to this .png, .svg or .pdf")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the dimension of an array at many scales, to see whether it has one value."""
    import dimscope as ds
    from dimscope.figures import check_figure_path, save_figure
    from dimscope.plotting import plot_scales

    chosen, search = estimator_from(estimator, fit, discard, 0, 0.9, seed), None
    if engine != "exact":
        search = engine_from(engine, None, seed)
    if not isinstance(chosen, ds.NeighborEstimator):
        raise typer.BadParameter("scales need an estimator of neighbours", param_hint="--estimator")
    if plot is not None:
        existing(plot.absolute().parent, "--plot")
        check_figure_path(plot)
    array = points_from(points)
    with Bar() as bar:
        found = ds.nearest_neighbors(
            array,
            max(ranks, chosen.ranks),
            search,
            at_most=True,
            progress=lambda part: bar("searching", part, 1),
        )
        by_points = ds.scale_curve(
            found,
            chosen,
            blocks=range(1, blocks + 1),
            seed=seed,
            progress=lambda part: bar("blocks", part, 1),
        )
    by_rank = ds.rank_curve(found, ranks)
    if plot is not None:
        save_figure(plot_scales(by_points, by_rank), plot)
    if as_json:
        both = {"points": by_points.to_dict(), "ranks": by_rank.to_dict()}
        typer.echo(json.dumps(both, allow_nan=False))
        return
    say(scale_table(by_points, f"{points}: fewer and fewer points"))
    say(by_points.verdict)
    say(scale_table(by_rank, "Gride: neighbours further and further away"))
    say(by_rank.verdict)
    if plot is not None:
        say(f"written: {plot}")
