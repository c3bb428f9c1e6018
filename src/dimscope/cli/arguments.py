"""Arguments: convert the values of arguments and options, or say which one is wrong."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from dimscope import Estimator, Profile
    from dimscope.neighbors.copies import Copies
    from dimscope.neighbors.engines import Engine
    from dimscope.networks.data.texts import Texts

__all__ = [
    "bytes_from",
    "check_data",
    "copies_from",
    "data_from",
    "engine_from",
    "estimator_from",
    "existing",
    "ids_from",
    "keep_importable",
    "points_from",
    "profile_from",
    "refuse_unused",
    "row_ids_from",
    "scores_from",
    "texts_from",
]


def existing(path: Path, option: str) -> Path:
    """Return the path if it exists.

    Raises
    ------
    typer.BadParameter
        If the path does not exist.
    """
    if not path.exists():
        raise typer.BadParameter(
            f"there is no file or folder {path}{_instead(path)}", param_hint=option
        )
    return path


def _instead(path: Path) -> str:
    """Say which path may be meant: a similar name, or else the first folder that is missing."""
    from dimscope.files import near

    missing = path.absolute()
    while not missing.parent.exists():
        missing = missing.parent
    if missing != path.absolute():
        return f"; the folder {missing} does not exist either: create it, or correct the path"
    try:
        names = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        names = []
    close = near(missing.name, names, cutoff=0.8)  # most names share their suffix
    return f".{close}" if close else "; correct the path, or create it"


def profile_from(path: Path, option: str) -> Profile:
    """Load a saved profile.

    Raises
    ------
    typer.BadParameter
        If the path does not exist.
    BadSource
        If the file is not a profile.
    """
    from dimscope import Profile
    from dimscope.errors import BadSource

    try:
        return Profile.load(existing(path, option))
    except BadSource as error:
        raise BadSource(
            f"{error}; dimscope profile MODEL --data DATA --out FILE.json writes one"
        ) from None


def parted(text: str) -> tuple[str, str | None]:
    """Split FILE::KEY or STORE::LAYER, unless a file has the whole name; None if there is no key.

    Examples
    --------
    >>> parted("a.h5::x"), parted("a.npy")
    (('a.h5', 'x'), ('a.npy', None))
    """
    place, separator, key = text.rpartition("::")
    return (place, key) if separator and not Path(text).exists() else (text, None)


def points_from(text: str, key: str | None) -> Any:
    """Open the points of a file, or the layer at STORE::LAYER, read at once if it fits in memory.

    FILE::KEY names one of several arrays in a file, as ``key`` does. Print how a file was read,
    where it leaves a choice.
    """
    import numpy as np

    from dimscope.activations.store import is_store, open_store
    from dimscope.arrays.files import STANDARD_INPUT, open_points
    from dimscope.arrays.memory import budget_from
    from dimscope.errors import BadSource

    place, name = parted(text)
    if name is not None and key is not None:
        raise typer.BadParameter(
            f"{text} names the array already; omit this option", param_hint="--key"
        )
    if place != STANDARD_INPUT and "://" not in place:
        existing(Path(place), "POINTS")
    if Path(place).is_dir():
        if not is_store(place):
            raise BadSource(
                f"{place} is a folder, but not a store (dimscope capture writes one); name a file "
                f"in it, or measure every layer in it with dimscope profile {place}"
            )
        if name is None:
            raise typer.BadParameter(
                f"{text} is a store; name one of its layers, as {text}::LAYER: "
                f"{', '.join(open_store(text))}",
                param_hint="POINTS",
            )
    if name is None or Path(place).is_file():
        array, said = open_points(place, key if name is None else name)
        if said:
            typer.echo(f"{place}: {said}", err=True)
        return array
    try:
        stored = open_store(place).stored(name)
        return np.asarray(stored) if stored.nbytes <= budget_from(None) else stored
    except KeyError as error:
        raise typer.BadParameter(error.args[0], param_hint="POINTS") from None


def check_data(
    data: Path, labels: Path | None, image_size: int | None, preprocess: str | None
) -> None:
    """Refuse data that do not exist, and options that have no effect on them."""
    existing(data, "--data")
    if data.is_dir() and labels is not None:
        raise typer.BadParameter(
            "in an image folder, the folder of each image is its class; omit this option",
            param_hint="--labels",
        )
    for value, option in ((image_size, "--image-size"), (preprocess, "--preprocess")):
        if value is not None and not data.is_dir():
            raise typer.BadParameter(
                f"{data} is not an image folder, so nothing is preprocessed; omit this option",
                param_hint=option,
            )
    if labels is not None:
        existing(Path(parted(str(labels))[0]), "--labels")


def texts_from(path: Path, tokens: int | None, field: str | None) -> Texts:
    """Read the texts of ``--text``."""
    from dimscope.extras import needed

    with needed("a network"):
        from dimscope.networks.data.texts import texts

    return texts(existing(path, "--text"), tokens, field)


def data_from(
    data: Path | Texts,
    labels: Path | None,
    image_size: int | None,
    preprocess: str | None,
    network: Any,
) -> Any:
    """Open the data for a network, and print how many texts or images there are.

    The data are texts, an image folder, or an array with or without labels.
    """
    if not isinstance(data, Path):
        typer.echo(f"data: {data}", err=True)
        return data
    from dimscope.networks.preprocessing import image_folder, open_data

    if data.is_dir():
        chosen = _preprocessing_from(preprocess, network)
        images = image_folder(data, image_size, preprocessing=chosen)
        typer.echo(f"data: {len(images)} images in {len(images.classes)} classes", err=True)
        typer.echo(f"preprocessing: {images.preprocessing}", err=True)
        return images
    return data if labels is None else (open_data(data), ids_from(labels, "--labels"))


def _preprocessing_from(preprocess: str | None, network: Any) -> Any:
    from dimscope.files import load_name
    from dimscope.networks.preprocessing import Preprocessing, imagenet, preprocessing_of

    if preprocess == "imagenet":
        return imagenet(source="user")
    if preprocess is None or preprocess == "weights":
        needed = preprocessing_of(network)
        if preprocess == "weights" and needed.source != "weights":
            raise typer.BadParameter(
                f"the preprocessing that the weights expect is unknown ({needed.text}); use "
                "imagenet or FILE.py:NAME",
                param_hint="--preprocess",
            )
        return needed
    file, _, name = preprocess.rpartition(":")
    if not file.endswith(".py"):
        raise typer.BadParameter(
            f"there is no preprocessing {preprocess!r}; use weights, imagenet or FILE.py:NAME",
            param_hint="--preprocess",
        )
    keep_importable(preprocess)
    function = load_name(Path(file), name)
    if not callable(function):
        raise typer.BadParameter(
            f"{name} in {file} is a {type(function).__name__}; name a function that takes a PIL "
            "image and returns a tensor",
            param_hint="--preprocess",
        )
    return Preprocessing(f"{name} of {file}", function)


def bytes_from(memory: str | None) -> int | None:
    """Return ``--memory`` in bytes; None if it is not given."""
    from dimscope.arrays.memory import as_bytes

    try:
        return None if memory is None else as_bytes(memory)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--memory") from None


def engine_from(name: str | None, rtol: float | None, seed: int) -> Engine | None:
    """Return the engine for ``--engine`` and ``--rtol``; None if ``--engine`` is not given."""
    from dimscope import Approximate, Exact, Sampled, Sketched

    engines: dict[str, Callable[[], Engine]] = {
        "exact": Exact,
        "sketched": lambda: Sketched(seed=seed),
        "sampled": lambda: Sampled(0.01 if rtol is None else rtol, seed),
        "approximate": lambda: Approximate(seed=seed),
    }
    if name is not None and name not in engines:
        raise typer.BadParameter(
            f"there is no engine {name!r}; use {', '.join(engines)}", param_hint="--engine"
        )
    if rtol is not None and name != "sampled":
        raise typer.BadParameter(
            f"engine {name or 'exact'} does not take this option; use --engine sampled",
            param_hint="--rtol",
        )
    return None if name is None else engines[name]()


def copies_from(copies: str, estimator: Estimator) -> Copies:
    """Check ``--copies``, and refuse ``collapse`` for an estimator that does not use neighbours."""
    from dimscope.estimators.inputs import check_copies

    try:
        check_copies(cast("Copies", copies), [estimator])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--copies") from None
    return cast("Copies", copies)


def ids_from(path: Path | None, option: str) -> Any:
    """Open a .npy file, or the array at FILE::KEY; None if the option is not given."""
    import numpy as np

    from dimscope.arrays.files import choose
    from dimscope.arrays.formats.registry import list_arrays, open_array

    if path is None:
        return None
    place, key = parted(str(path))
    if key is None:
        return open_array(existing(path, option))
    arrays = list_arrays(existing(Path(place), option))
    return np.asarray(arrays[choose(arrays, place, key)[0]].read())


def row_ids_from(path: Path | None, option: str, points: str | None = None) -> Any:
    """Open the ids of ``--exclude`` or ``--groups``.

    The word ``ids`` means those that are kept with the data: it is returned as it is, or, with
    ``points``, replaced by the ids of the store at STORE::LAYER.
    """
    from dimscope.activations.store import open_store

    if path is None or str(path) != "ids" or path.exists():
        return ids_from(path, option)
    if points is None:
        return "ids"
    place, layer = parted(points)
    ids = None if layer is None or Path(place).is_file() else open_store(place).ids
    if ids is None:
        raise typer.BadParameter(
            f"{points} holds no ids of its rows; give a .npy file with an id for each row",
            param_hint=option,
        )
    return ids


def refuse_unused(estimator: Estimator, **options: Any) -> None:
    """Refuse options of the search for an estimator that does not search for neighbours."""
    from dimscope import NeighborEstimator

    for option, value in options.items():
        by_search = option == "engine"
        used = isinstance(estimator, NeighborEstimator) if by_search else estimator.uses_ids
        if value is not None and not used:
            raise typer.BadParameter(
                f"{estimator!r} does not search for neighbours; omit this option, or use a "
                "neighbour-based estimator such as twonn",
                param_hint=f"--{option}",
            )


def estimator_from(
    name: str, fit: str | None, discard: float | None, resamples: int, keep: float, seed: int
) -> Estimator:
    """Build the estimator from the command's options."""
    import dimscope as ds

    try:
        if name == "twonn":
            plain = ds.TwoNN()
            chosen: Estimator = ds.TwoNN(
                fit=plain.fit if fit is None else cast(Any, fit),  # the class refuses other words
                discard=plain.discard if discard is None else discard,
                seed=seed,
            )
        elif fit is not None or discard is not None:
            raise ValueError(f"--fit and --discard are options of twonn, not of {name}; omit them")
        elif ":" in name:
            chosen = _estimator_in_file(name)
        else:
            chosen = _estimator_by_name(name)
        if resamples:
            if not isinstance(chosen, ds.NeighborEstimator):
                raise ValueError(
                    f"{name} does not use neighbours, so it cannot be resampled; omit --resamples"
                )
            chosen = ds.Resampled(chosen, n=resamples, keep=keep, seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return chosen


def _estimator_by_name(text: str) -> Estimator:
    """Build an estimator from its name or its repr: ``gride`` or ``Gride(n1=2, n2=4)``."""
    import dimscope.estimators as public

    kinds = {
        name.lower(): kind
        for name in public.__all__
        if isinstance(kind := getattr(public, name), type)
        and issubclass(kind, public.Estimator)
        and not getattr(kind, "__abstractmethods__", None)
        and kind is not public.Resampled
    }
    try:
        tree = ast.parse(text, mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        name = call.func.id.lower() if isinstance(call.func, ast.Name) else ""
        values = [ast.literal_eval(argument) for argument in call.args]
        named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r} is not an estimator such as Gride(n1=2, n2=4)") from error
    if name not in kinds:
        raise ValueError(
            f"there is no estimator {text!r}; use one of {', '.join(sorted(kinds))}, with or "
            "without parameters, as in 'Gride(n1=2, n2=4)', or FILE.py:NAME"
        )
    try:
        return kinds[name](*values, **named)
    except TypeError as error:
        parameters = ", ".join(inspect.signature(kinds[name]).parameters)
        raise ValueError(f"{text}: {error}; its parameters are {parameters}") from error


def _estimator_in_file(spec: str) -> Estimator:
    from dimscope import Estimator
    from dimscope.files import load_name

    keep_importable(spec)
    file, _, name = spec.rpartition(":")
    estimator = load_name(Path(file), name)
    if isinstance(estimator, type) and issubclass(estimator, Estimator):
        try:
            estimator = estimator()
        except TypeError as error:
            raise ValueError(
                f"{name} in {file} needs parameters ({error}); name an instance instead"
            ) from error
    if not isinstance(estimator, Estimator):
        raise ValueError(
            f"{name} in {file} is not an Estimator; name an instance or a subclass of one"
        )
    return estimator


def keep_importable(spec: str) -> None:
    """Let the file in FILE.py:NAME import modules beside it for as long as the command runs."""
    file, _, _ = spec.rpartition(":")
    if file.endswith(".py"):
        sys.path.insert(0, str(Path(file).resolve().parent))


def scores_from(path: Path) -> dict[str, float]:
    """Read the score of each network from the first two columns of a table."""
    import pandas as pd

    from dimscope.errors import BadSource

    try:
        table = pd.read_csv(path)
        return {str(name): float(value) for name, value in table.iloc[:, :2].to_numpy()}
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadSource(
            f"{path} is not a table with a header and two columns, a name and a number "
            f"({error}); write lines such as: resnet18,0.698"
        ) from None
