"""The command that makes the figures of papers again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dimscope.cli.output import say
from dimscope.cli.progress import Bar

__all__ = ["reproduce"]


def reproduce(
    figures: Annotated[
        list[str],
        typer.Argument(
            help="fig1 ... fig9 of Ansuini et al. (2019), headline (100,000 features), statements "
            "(about the estimator), or all"
        ),
    ],
    scale: Annotated[str, typer.Option(help="smoke, small or paper")] = "small",
    out: Annotated[Path, typer.Option(help="folder for numbers and figures")] = Path("ansuini2019"),
    data: Annotated[Path | None, typer.Option(help="folder with the data sets")] = None,
    weights: Annotated[Path | None, typer.Option(help="folder with weights")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="folder for trained networks, from which a run goes on; "
            "by default .cache/dimscope in your home"
        ),
    ] = None,
) -> None:
    """Make the figures of the paper again; what is done is kept."""
    from dimscope_experiments.ansuini2019 import FIGURES, Study
    from dimscope_experiments.ansuini2019 import reproduce as run
    from dimscope_experiments.ansuini2019.page import write_page

    chosen = FIGURES if figures == ["all"] else tuple(figures)
    unknown = [one for one in chosen if one not in FIGURES]
    if unknown:
        raise typer.BadParameter(
            f"there is no figure {unknown[0]!r}; use {', '.join(FIGURES)} or all",
            param_hint="FIGURES",
        )
    cache = Path.home() / ".cache" / "dimscope" if cache is None else cache
    with Bar() as bar:
        try:
            study = Study(scale, out, cache, data, weights, bar)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--scale") from None
        run(study, chosen)
    page = write_page(out)
    for one in chosen:
        record = json.loads((out / one / "record.json").read_text(encoding="utf-8"))
        say(f"{one}: {record.get('says', '')}".rstrip())
        for claim in record["claims"]:
            say(f"  {claim['number']}. {claim['says']} {claim['verdict']}: {claim['measured']}")
    say(f"written: {page}")
