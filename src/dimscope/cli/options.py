"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "DiscardOption",
    "EngineOption",
    "EstimatorOption",
    "FitOption",
    "JsonOption",
    "KeepOption",
    "MemoryOption",
    "ResamplesOption",
    "RtolOption",
    "SeedOption",
]

EstimatorOption = Annotated[
    str,
    typer.Option(
        "--estimator",
        help="twonn, gride, mle, i3d, pca, participationratio; with parameters as in "
        "'Gride(n1=2, n2=4)'; or FILE.py:NAME for one of your own",
    ),
]
DiscardOption = Annotated[
    float, typer.Option(min=0, max=0.99, help="fraction of the largest ratios that is censored")
]
FitOption = Annotated[str, typer.Option(help="mle, regression or triplets")]
ResamplesOption = Annotated[
    int, typer.Option(min=0, help="subsets for the spread over resamples; 0 for none, else >= 2")
]
KeepOption = Annotated[float, typer.Option(help="fraction of the points in each subset")]
SeedOption = Annotated[int, typer.Option(help="for every random choice")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
MemoryOption = Annotated[
    str | None,
    typer.Option(help="for captured layers, such as 4GB; half of what is free by default"),
]
EngineOption = Annotated[
    str,
    typer.Option(
        help="exact; sketched, with a stated probability of error; sampled, as many points as "
        "--rtol needs; or approximate, with a measured recall"
    ),
]
RtolOption = Annotated[
    float, typer.Option(min=1e-6, max=0.9, help="standard error over dimension, for sampled")
]
