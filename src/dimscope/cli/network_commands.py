"""The commands that run a network: ``profile`` and ``capture``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from dimscope.cli.arguments import (
    bytes_from,
    check_data,
    copies_from,
    data_from,
    engine_from,
    estimator_from,
    existing,
    ids_from,
    keep_importable,
    refuse_unused,
    row_ids_from,
    texts_from,
)
from dimscope.cli.help import DATA, ESTIMATOR, OUTPUT
from dimscope.cli.options import (
    BatchSizeOption,
    ClassesOption,
    CopiesOption,
    DeviceOption,
    DiscardOption,
    DtypeOption,
    EngineOption,
    EstimatorOption,
    ExcludeOption,
    FieldOption,
    FitOption,
    GroupsOption,
    ImageSizeOption,
    JsonOption,
    KeepOption,
    LabelsOption,
    LayersOption,
    Level,
    LevelOption,
    MaskOption,
    MemoryOption,
    NPointsOption,
    PerClassOption,
    PreprocessOption,
    ReadoutOption,
    ResamplesOption,
    RevisionOption,
    RtolOption,
    SeedOption,
    TextOption,
    TokensOption,
    WeightsOption,
)
from dimscope.cli.tables import profile_table, say
from dimscope.errors import DimscopeError
from dimscope.estimators.estimates import ClassesAre
from dimscope.extras import MissingExtra
from dimscope.files import write_beside
from dimscope.networks.options import CaptureOptions
from dimscope.progress import ProgressBar

if TYPE_CHECKING:
    from dimscope import Plan, Profile
    from dimscope.networks.data.texts import Texts

__all__ = ["capture", "profile"]


def profile(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="torchvision/NAME[@WEIGHTS], timm/NAME, hf/NAME, FILE.py:FUNCTION, a STORE, or a "
            "folder or file of activations, one array for each layer"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=DATA,
            help="an image folder (one folder per class), or a file of an array such as .npy; "
            "omit for activations",
        ),
    ] = None,
    text: TextOption = None,
    field: FieldOption = None,
    tokens: TokensOption = None,
    weights: WeightsOption = None,
    labels: LabelsOption = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    preprocess: PreprocessOption = None,
    image_size: ImageSizeOption = None,
    layers: LayersOption = None,
    by_class: Annotated[
        bool,
        typer.Option(
            rich_help_panel=ESTIMATOR,
            help="measure each class separately, and the mean over classes",
        ),
    ] = False,
    companion: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=ESTIMATOR,
            help="show this beside the dimension, in the table and the plot: distance, hubness, "
            "effective_rank or participation_ratio; repeat the option for several",
        ),
    ] = None,
    classes: ClassesOption = None,
    exclude: ExcludeOption = None,
    groups: GroupsOption = None,
    n_points: NPointsOption = None,
    per_class: PerClassOption = None,
    readout: ReadoutOption = str(CaptureOptions.readout),
    level: LevelOption = None,
    mask: MaskOption = None,
    batch_size: BatchSizeOption = CaptureOptions.batch_size,
    memory: MemoryOption = None,
    estimator: EstimatorOption = "twonn",
    fit: FitOption = None,
    discard: DiscardOption = None,
    resamples: ResamplesOption = 0,
    keep: KeepOption = 0.9,
    engine: EngineOption = None,
    rtol: RtolOption = None,
    copies: CopiesOption = "keep",
    seed: SeedOption = 0,
    name: Annotated[
        str | None, typer.Option(rich_help_panel=OUTPUT, help="name of the profile")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            help="write the profile to this .json file, or its table alone to this .csv file",
        ),
    ] = None,
    influences: Annotated[
        bool,
        typer.Option(
            "--influences",
            rich_help_panel=OUTPUT,
            help="keep the influence of each point in --out, which differences and peaks need",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(rich_help_panel=OUTPUT, help="save a plot to this .png, .svg or .pdf file"),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--report", rich_help_panel=OUTPUT, help="write a page to this .html file"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the intrinsic dimension of every layer of a network.

    Examples
    --------
    $ dimscope profile net.py:make_model --data points.npy --out net.json --report page.html
    $ dimscope profile store.zarr --plot profile.png
    $ dimscope profile hf/model --text lines.txt --tokens 20 --out texts.json
    """
    import dimscope as ds
    from dimscope.activations.store import is_store
    from dimscope.plotting.figures import check_figure_path, save_figure
    from dimscope.profiles.companions import checked_names

    chosen = estimator_from(estimator, fit, discard, resamples, keep, seed)
    search, budget = engine_from(engine, rtol, seed), bytes_from(memory)
    refuse_unused(chosen, engine=search, exclude=exclude, groups=groups)
    kind = classes_from(classes, by_class=by_class)
    try:
        beside = checked_names(companion or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--companion") from None
    treatment = copies_from(copies, chosen)
    for path, option in ((out, "--out"), (plot, "--plot"), (page, "--report")):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(
                f"there is no folder {path.parent}; create it, or give another path",
                param_hint=option,
            )
        if path is not None and path.is_dir():
            raise typer.BadParameter(f"{path} is a folder; name a file in it", param_hint=option)
    if plot is not None:
        check_figure_path(plot)
    apart: dict[str, Any] = {}
    given_readout = readout if is_given(context, "readout") else None
    is_table = out is not None and out.suffix.lower() == ".csv"
    if influences and (out is None or is_table):
        raise typer.BadParameter(
            "influences are kept in the .json file of --out; give it, or omit this option",
            param_hint="--influences",
        )
    if out is not None and out.suffix.lower() not in ("", ".csv", ".json"):
        raise typer.BadParameter(
            f"{out} would hold a profile, which is a .json file, or its table, a .csv file",
            param_hint="--out",
        )
    options: Any = {"layers": layers, "n_points": n_points, "per_class": per_class}
    network_options = {
        "data": data,
        "text": text,
        "field": field,
        "tokens": tokens,
        "level": level,
        "weights": weights,
        "revision": revision,
        "dtype": dtype,
        "device": device,
        "preprocess": preprocess,
        "image_size": image_size,
    }
    if is_store(model):
        given_options = {**network_options, "labels": labels, "mask": mask, **options}
        refuse_for_a_store(given_options, "a store")
        source: Any = model
        options, stimuli = {}, None
    elif is_saved(model):
        drawn = {"n_points": n_points, "per_class": per_class}
        refuse_for_a_store({**network_options, **drawn}, "a file of activations")
        saved = ds.open_activations(
            model,
            layers=layers or None,
            readout=cast(Any, given_readout),  # the function refuses other words
            mask=ids_from(mask, "--mask"),
            labels=ids_from(labels, "--labels"),
        )
        typer.echo(f"{model}: {saved.provenance.parameters['opened']}", err=True)
        source, options, stimuli = saved, {}, None
    else:
        if mask is not None:
            raise typer.BadParameter(
                "MODEL is a network, which takes the mask of its data itself; omit this option",
                param_hint="--mask",
            )
        given = source_from(model, data, labels, image_size, preprocess, text, field, tokens, level)
        for path, option in ((exclude, "--exclude"), (groups, "--groups")):
            if path is not None and data is not None and data.is_dir():
                raise typer.BadParameter(
                    "in an image folder the rows have no fixed order to give ids in; capture it to "
                    "a store and give the store as MODEL",
                    param_hint=option,
                )
        if text is not None:
            readout = readout_of_texts(level, given_readout)
        if text is not None and readout == "tokens":
            for path, option in ((exclude, "--exclude"), (groups, "--groups")):
                if path is not None:
                    raise typer.BadParameter(
                        "the tokens of each text are kept apart already; omit this option",
                        param_hint=option,
                    )
            apart = {"exclude": "ids", "groups": "ids"}
        source = network_from(model, weights, seed, revision, dtype, device)
        stimuli = data_from(given, labels, image_size, preprocess, source)
        options["layers"] = layers_from(layers)
        options |= {"readout": readout, "batch_size": batch_size, "seed": seed}
    interrupted = False
    apart = apart or {
        "exclude": row_ids_from(exclude, "--exclude"),
        "groups": row_ids_from(groups, "--groups"),
    }
    try:
        with ProgressBar() as bar, ds.reused_memory():
            result = ds.profile(
                source,
                stimuli,
                chosen,
                by_class=by_class,
                companions=beside,
                classes=kind,
                engine=search,
                copies=treatment,
                name=name or (_short(model, weights) if options else None),
                memory=budget,
                progress=bar,
                on_plan=tell_plan,
                **apart,
                **options,
            )
    except ds.Interrupted as interrupt:
        result, interrupted = interrupt.partial, True
    if os.environ.get("DIMSCOPE_TRACEBACK"):
        print_tracebacks(result)
    if out is not None and is_table:
        table = result.to_frame()
        write_beside(out, lambda beside: table.to_csv(beside, index=False))
    elif out is not None:
        result.save(out, influences=influences)
    if plot is not None:
        save_figure(result.plot(companions=bool(beside)), plot)
    if page is not None:
        ds.report(result, page)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        say(profile_table(result))
        written = [str(path) for path in (out, plot, page) if path is not None]
        if written:
            say(f"written: {', '.join(written)}")
    if interrupted:
        typer.echo("dimscope: interrupted; the layers that were done are kept", err=True)
        raise typer.Exit(_INTERRUPTED)


def print_tracebacks(profile: Profile) -> None:
    """For every estimator that failed, print the traceback to standard error."""
    for part in (profile, *profile.classes.values()):
        for estimator in part.estimators:
            for layer, estimate in part.of(estimator).items():
                if estimate.traceback:
                    typer.echo(f"{layer}, {estimator}:\n{estimate.traceback}", err=True)


_INTERRUPTED = 130  # the exit code that a shell gives a program stopped by Ctrl-C

_GRACE = 10.0  # seconds for rank 0 to report an error


def capture(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(help="torchvision/NAME[@WEIGHTS], timm/NAME, hf/NAME or FILE.py:FUNCTION"),
    ],
    out: Annotated[
        str,
        typer.Option(
            rich_help_panel=OUTPUT, help="the store: a folder, or a URL that fsspec opens"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=DATA,
            help="an image folder (one folder per class), or a file of an array such as .npy",
        ),
    ] = None,
    text: TextOption = None,
    field: FieldOption = None,
    tokens: TokensOption = None,
    weights: WeightsOption = None,
    labels: LabelsOption = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    preprocess: PreprocessOption = None,
    image_size: ImageSizeOption = None,
    layers: LayersOption = None,
    n_points: NPointsOption = None,
    per_class: PerClassOption = None,
    readout: ReadoutOption = str(CaptureOptions.readout),
    level: LevelOption = None,
    batch_size: BatchSizeOption = CaptureOptions.batch_size,
    memory: MemoryOption = None,
    seed: SeedOption = 0,
    name: Annotated[
        str | None, typer.Option(rich_help_panel=OUTPUT, help="name of the network")
    ] = None,
) -> None:
    """Write the points of every layer of a network to a store; run it again to resume.

    Under torchrun, each rank captures its share of the batches.

    Examples
    --------
    $ dimscope capture net.py:make_model --data points.npy --out store.zarr
    $ dimscope capture torchvision/resnet18 --weights random --data images --out images.zarr
    $ dimscope capture hf/model --text lines.txt --tokens 20 --level population --out tokens.zarr
    """
    import dimscope as ds

    given = source_from(model, data, labels, image_size, preprocess, text, field, tokens, level)
    if text is not None:
        readout = readout_of_texts(level, readout if is_given(context, "readout") else None)
    budget = bytes_from(memory)
    ran = False
    if "://" not in out:
        existing(Path(out).absolute().parent, "--out")
    from dimscope.networks.capturing.ranks import joined, start_group

    with ExitStack() as stack:
        stack.enter_context(_rank_0_prints())
        start_group()
        ranks = stack.enter_context(joined(out))
        with ranks.together():
            if ranks.device is not None and device is not None:
                raise typer.BadParameter(
                    "under torchrun each rank has its own device; omit this option",
                    param_hint="--device",
                )
            network = network_from(model, weights, seed, revision, dtype, device)
            if ranks.device is not None:
                network = network.to(ranks.device)
            stimuli = data_from(given, labels, image_size, preprocess, network)
        with ProgressBar() as bar, ds.reused_memory():

            def running(step: str, done: float, total: float | None) -> None:
                nonlocal ran
                ran = True
                bar(step, done, total)

            options: Any = {
                "readout": readout,
                "n_points": n_points,
                "per_class": per_class,
                "batch_size": batch_size,
                "seed": seed,
                "name": name or _short(model, weights),
                "memory": budget,
                "out": out,
            }
            activations = ds.capture(
                network,
                stimuli,
                layers_from(layers),
                progress=running,
                on_plan=tell_plan,
                **options,
            )
        did = "written" if ran else "complete already"
        say(f"{did}: {out}, {len(activations)} layers of {activations.n_points} points")
        for layer, reason in activations.failures.items():
            say(f"{layer}: {reason}")


@contextmanager
def _rank_0_prints() -> Iterator[None]:
    """Let only rank 0 print, under torchrun; all ranks fail together or not at all."""
    if os.environ.get("RANK", "0") == "0" or "MASTER_ADDR" not in os.environ:
        yield
        return
    try:
        with open(os.devnull, "w") as silence, redirect_stdout(silence), redirect_stderr(silence):
            yield
    except (DimscopeError, typer.BadParameter):
        # torchrun ends all ranks when the first one fails, so let rank 0 be the first
        time.sleep(_GRACE)
        raise SystemExit(1) from None


def is_given(context: typer.Context, option: str) -> bool:
    """Whether an option was given on the command line, rather than left at its default."""
    origin = context.get_parameter_source(option)
    return origin is not None and origin.name != "DEFAULT"


def source_from(
    model: str,
    data: Path | None,
    labels: Path | None,
    image_size: int | None,
    preprocess: str | None,
    text: Path | None,
    field: str | None,
    tokens: int | None,
    level: str | None,
) -> Path | Texts:
    """Return the path of ``--data`` or the texts of ``--text``; refuse options of the other."""
    of_data = {
        "data": data,
        "labels": labels,
        "image_size": image_size,
        "preprocess": preprocess,
    }
    of_text = {"field": field, "tokens": tokens, "level": level}
    for option, value in (of_text if text is None else of_data).items():
        if value is not None:
            why = "without --text it has no effect" if text is None else "the data are --text"
            raise typer.BadParameter(
                f"{why}; omit this option", param_hint=f"--{option.replace('_', '-')}"
            )
    if text is not None:
        return texts_from(text, tokens, field)
    data = existing_data(data, model)
    check_data(data, labels, image_size, preprocess)
    return data


def readout_of_texts(level: str | None, readout: str | None) -> str:
    """Return the readout for ``--level`` and, if it was given, ``--readout``."""
    if level is not None and level not in get_args(Level):
        raise typer.BadParameter(
            f"there is no level {level!r}; use {' or '.join(get_args(Level))}", param_hint="--level"
        )
    level = level or ("population" if readout == "tokens" else "sequence")
    if (level == "population") != ((readout or level) in ("tokens", "population")):
        raise typer.BadParameter(
            f"readout {readout} is not of level {level}; omit one of the two options",
            param_hint="--readout",
        )
    return "tokens" if level == "population" else readout or "last"


def existing_data(data: Path | None, model: str) -> Path:
    """Return ``data``, or raise an error if it is missing."""
    if data is None:
        if ":" not in model and not model.startswith(("torchvision/", "timm/", "hf/")):
            existing(Path(model), "MODEL")  # it cannot be a network
        raise typer.BadParameter(
            "give the data for the network (--text FILE for a language model), or give a store as "
            f"MODEL ({model} is not a store)",
            param_hint="--data",
        )
    return data


def is_saved(model: str) -> bool:
    """Tell whether MODEL is a folder or a file of activations that another program has saved."""
    if model.startswith(("torchvision/", "timm/", "hf/")):
        return False
    path = Path(model)
    return path.is_dir() or (path.is_file() and path.suffix != ".py")


def _short(model: str, weights: str | None) -> str:
    """Return the name of a profile: the model, but of a path on this machine only the last part.

    >>> _short("hf/gpt2", None), _short("hf//no/such/folder", "random")
    ('hf/gpt2', 'hf//no/such/folder, random weights')
    """
    kind, slash, path = model.partition("/")
    is_local = kind == "hf" and Path(path).exists()
    name = f"{kind}{slash}{Path(path).resolve().name}" if is_local else model
    return f"{name}, random weights" if weights in ("random", "none") else name


def refuse_for_a_store(options: dict[str, Any], what: str) -> None:
    """Refuse options that apply only to a capture."""
    for option, value in options.items():
        if value:
            raise typer.BadParameter(
                f"MODEL is {what}, so its layers have already been captured; omit this option",
                param_hint=f"--{option.replace('_', '-')}",
            )


def network_from(
    model: str,
    weights: str | None,
    seed: int,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> Any:
    """Load the network that MODEL names."""
    import dimscope as ds

    keep_importable(model)
    try:
        return ds.load_model(
            model,
            weights=weights,
            seed=seed,
            revision=revision,
            dtype=cast(Any, dtype),  # the function refuses other words
            device=device,
        )
    except MissingExtra:
        raise
    except DimscopeError as error:
        raise typer.BadParameter(str(error), param_hint="MODEL") from None


def classes_from(classes: str | None, *, by_class: bool) -> ClassesAre:
    """Check ``--classes``, which needs ``--by-class``."""
    if classes is None:
        return "random"
    if classes not in get_args(ClassesAre):
        raise typer.BadParameter(
            f"there are no {classes!r} classes; use {' or '.join(get_args(ClassesAre))}",
            param_hint="--classes",
        )
    if not by_class:
        raise typer.BadParameter(
            "without --by-class there is no mean over classes; omit this option",
            param_hint="--classes",
        )
    return cast(ClassesAre, classes)


def layers_from(layers: list[str] | None) -> Any:
    """Convert ``--layers`` to the argument ``layers`` of :func:`dimscope.capture`."""
    if not layers:
        return CaptureOptions.layers
    return layers[0] if len(layers) == 1 else layers


def tell_plan(plan: Plan) -> None:
    """Print to standard error what goes into the network and, if on disk, where the points go."""
    typer.echo(plan.inputs if plan.how == "memory" else f"plan: {plan}", err=True)
