"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DiscardOption",
    "EngineOption",
    "EstimatorOption",
    "FitOption",
    "ImageSizeOption",
    "JsonOption",
    "KeepOption",
    "LabelsOption",
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
    float | None,
    typer.Option(
        min=0, max=0.99, help="of twonn: fraction of the largest ratios that is censored; 0.1"
    ),
]
FitOption = Annotated[str | None, typer.Option(help="of twonn: mle, regression or triplets; mle")]
ResamplesOption = Annotated[
    int, typer.Option(min=0, help="subsets for the spread over resamples; 0 for none, else >= 2")
]
KeepOption = Annotated[float, typer.Option(help="fraction of the points in each subset")]
SeedOption = Annotated[int, typer.Option(min=0, help="for every random choice")]
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
    float | None,
    typer.Option(min=1e-6, max=0.9, help="of sampled: standard error over dimension; 0.01"),
]
ImageSizeOption = Annotated[
    int, typer.Option(min=1, help="of an image folder: images are cut to so many pixels a side")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="with a .npy file as --data: a .npy file of the class of each row"
    ),
]
