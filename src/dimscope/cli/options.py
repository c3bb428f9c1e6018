"""Options: define those that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from dimscope.cli.help import DATA, ESTIMATOR, LAYERS, NETWORK, OUTPUT, RUN, SEARCH, words
from dimscope.networks.options import ReadoutName

__all__ = [
    "BatchSizeOption",
    "ClassesOption",
    "CopiesOption",
    "DeviceOption",
    "DiscardOption",
    "DtypeOption",
    "EngineOption",
    "EstimatorOption",
    "ExcludeOption",
    "FieldOption",
    "FitOption",
    "GroupsOption",
    "ImageSizeOption",
    "JsonOption",
    "KeepOption",
    "KeyOption",
    "LabelsOption",
    "LayersOption",
    "Level",
    "LevelOption",
    "MaskOption",
    "MemoryOption",
    "NPointsOption",
    "PerClassOption",
    "PreprocessOption",
    "ReadoutOption",
    "ResamplesOption",
    "RevisionOption",
    "RtolOption",
    "SeedOption",
    "TextOption",
    "TokensOption",
    "WeightsOption",
]


EstimatorOption = Annotated[
    str,
    typer.Option(
        "--estimator",
        autocompletion=words(
            "twonn", "gride", "mle", "i3d", "pca", "participationratio", "effectiverank"
        ),
        rich_help_panel=ESTIMATOR,
        help="twonn, gride, mle, i3d, pca, participationratio or effectiverank; with parameters, "
        "'Gride(n1=2, n2=4)'; your own estimator, FILE.py:NAME",
    ),
]


DiscardOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.99,
        rich_help_panel=ESTIMATOR,
        help="for twonn: fraction of the ratios to censor, the largest first; 0.1 by default",
    ),
]


FitOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words("mle", "regression", "triplets"),
        rich_help_panel=ESTIMATOR,
        help="for twonn: mle (the default), regression or triplets",
    ),
]


ResamplesOption = Annotated[
    int,
    typer.Option(
        min=0,
        rich_help_panel=ESTIMATOR,
        help="number of random subsets for the std over resamples: 0 (none), or at least 2",
    ),
]


KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        rich_help_panel=DATA,
        help="name of the array, in a file that holds several; the same as FILE::KEY",
    ),
]


KeepOption = Annotated[
    float,
    typer.Option(
        rich_help_panel=ESTIMATOR, help="fraction of the points in each subset of --resamples"
    ),
]


SeedOption = Annotated[
    int, typer.Option(min=0, rich_help_panel=RUN, help="seed for all random numbers")
]


JsonOption = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="print only one JSON object")
]


MemoryOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=RUN, help="memory budget, such as 4GB; half of the free memory by default"
    ),
]


EngineOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words("exact", "sketched", "sampled", "approximate"),
        rich_help_panel=SEARCH,
        help="neighbour search: exact; sketched (probability of an error 1e-6); by default the "
        "faster of the two, with a probability of at most 1e-9; "
        "sampled (only as many points as --rtol needs); or approximate (measured recall)",
    ),
]


CopiesOption = Annotated[
    str,
    typer.Option(
        "--copies",
        autocompletion=words("keep", "collapse"),
        rich_help_panel=SEARCH,
        help="near copies, which differ by no more than rounding: keep, or collapse each into the "
        "first of its rows",
    ),
]


RtolOption = Annotated[
    float | None,
    typer.Option(
        min=1e-6,
        max=0.9,
        rich_help_panel=SEARCH,
        help="for --engine sampled: standard error divided by dimension; 0.01 by default",
    ),
]


ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=DATA,
        help="for an image folder: side of the preprocessed images in pixels, instead of the size "
        "that the weights expect",
    ),
]


PreprocessOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words("weights", "imagenet"),
        rich_help_panel=DATA,
        help="for an image folder: weights (as the weights expect; the default if known), "
        "imagenet (resize 256, crop 224, normalise), or FILE.py:NAME",
    ),
]


RevisionOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=NETWORK,
        help="for timm/ and hf/: branch, tag or commit of the weights on the hub",
    ),
]


DtypeOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words("float32", "bfloat16", "float16", "float64", "auto"),
        rich_help_panel=NETWORK,
        help="type of the weights: float32, bfloat16, float16, float64; for hf/ auto",
    ),
]


DeviceOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words("cpu", "cuda", "mps", "auto"),
        rich_help_panel=NETWORK,
        help="cpu (the default), cuda, cuda:1, mps; for hf/ auto, over all devices",
    ),
]


WeightsOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words("random"),
        rich_help_panel=NETWORK,
        help="file with weights, or 'random' for an untrained network; pretrained by default",
    ),
]


LayersOption = Annotated[
    list[str] | None,
    typer.Option(
        autocompletion=words("checkpoints", "all", "last_hidden"),
        rich_help_panel=LAYERS,
        help="checkpoints (the default), all, last_hidden, a name, or a pattern such as 'layer?'; "
        "repeat the option to give several names or patterns",
    ),
]


NPointsOption = Annotated[
    int | None,
    typer.Option(min=3, rich_help_panel=DATA, help="number of points to draw from the data"),
]


PerClassOption = Annotated[
    int | None,
    typer.Option(min=3, rich_help_panel=DATA, help="number of points to draw from each class"),
]


ReadoutOption = Annotated[
    str,
    typer.Option(
        autocompletion=words(*get_args(ReadoutName)),
        rich_help_panel=LAYERS,
        help=f"{', '.join(get_args(ReadoutName))}; for --text, last by default",
    ),
]


TextOption = Annotated[
    Path | None,
    typer.Option(
        "--text",
        rich_help_panel=DATA,
        help="for a language model, instead of --data: a .txt file with one text a line, .jsonl, "
        ".json, .csv, .tsv, .parquet, or a folder of .txt files with one text each",
    ),
]


FieldOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=DATA,
        help="with --text: the field or column that holds the texts; by default the only one with "
        "text",
    ),
]


TokensOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=DATA,
        help="with --text: take the first TOKENS tokens of each text, and skip texts that have "
        "fewer; a single text is cut into parts of TOKENS tokens",
    ),
]


Level = Literal["sequence", "population"]


LevelOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=words(*get_args(Level)),
        rich_help_panel=LAYERS,
        help="with --text: sequence (one point for each text: its last token, or --readout; the "
        "default) or population (one point for each token; those of one text are not each other's "
        "neighbours)",
    ),
]


BatchSizeOption = Annotated[
    int, typer.Option(min=1, rich_help_panel=RUN, help="number of points per batch")
]


LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        rich_help_panel=DATA,
        help="a .npy file with the class of each row, or FILE::KEY for an array in an .npz or HDF5 "
        "file; for activations, or if --data is a file too",
    ),
]


MaskOption = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        rich_help_panel=DATA,
        help="for activations with an axis of tokens: a .npy file, or FILE::KEY, of shape (points, "
        "tokens) with zeros at padding, which --readout leaves out",
    ),
]


ExcludeOption = Annotated[
    Path | None,
    typer.Option(
        "--exclude",
        rich_help_panel=DATA,
        help="a .npy file with an id for each row, or ids, for those that a store holds: rows of "
        "equal id are not each other's neighbours",
    ),
]


GroupsOption = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        rich_help_panel=DATA,
        help="a .npy file with an id for each row, or ids, for those that a store holds: rows of "
        "equal id are one unit of the standard error",
    ),
]


ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        autocompletion=words("random", "fixed"),
        rich_help_panel=ESTIMATOR,
        help="with --by-class, for which classes the error of the mean holds: random (other "
        "classes; the default) or fixed (the same classes, other stimuli)",
    ),
]
