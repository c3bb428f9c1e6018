"""Saved: open activations that other programs have saved, or hold in memory.

Every array of a file, a folder of files, a mapping or a tuple is a layer. Arrays stay where they
are: files are mapped, or read block by block, when a layer is measured.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dimscope.activations.activations import Activations, Layer, Role
from dimscope.activations.dominance import warn_of_dominance
from dimscope.activations.readouts import VectorReadout, is_stored, points_of
from dimscope.activations.store import is_store, open_store
from dimscope.arrays.block_points import FlatBlocks, H5Blocks, H5Kind, ZarrBlocks
from dimscope.arrays.checks import check_container, check_dtype
from dimscope.arrays.dask_points import DaskKind
from dimscope.arrays.files import are_weights, checked_array, naming
from dimscope.arrays.formats.base import SavedArray
from dimscope.arrays.formats.registry import FORMATS, format_of, list_arrays, refuse_zarr
from dimscope.arrays.formats.tensors import leaves
from dimscope.arrays.frames import as_frame, is_frame
from dimscope.arrays.numpy_points import as_numpy
from dimscope.arrays.tensor_points import is_tensor, tensor_values
from dimscope.errors import BadPoints, BadSource, CaptureWarning, check_word, warn
from dimscope.files import near
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["natural_key", "open_activations"]


def open_activations(
    source: Any,
    *,
    layers: str | Sequence[str] | None = None,
    readout: VectorReadout | None = None,
    mask: Any = None,
    labels: Any = None,
    name: str | None = None,
) -> Activations:
    """Open activations that another program has saved, or holds in memory.

    Parameters
    ----------
    source : path, mapping of name -> array, or sequence of arrays
        A folder with one file for each layer, a file with one array for each layer, safetensors
        files with or without their index, or a store of :func:`dimscope.capture`; a dict of arrays
        or tensors, or the tuple ``hidden_states`` of a transformer. The first axis of every array
        is that of the stimuli.
    layers : str or sequence of str, optional
        Names, or patterns such as ``"blocks.*"``, of the layers to open, in order of depth. By
        default all layers, in the order that the source states; file names and the names in HDF5
        and safetensors files are sorted, with numbers in order of size. A warning says so if the
        names differ in more than their numbers, so that the order may be wrong.
    readout : {"flatten", "mean", "max", "first", "last"}, optional
        How to make one point of each stimulus from an array with more than two axes, as for
        :func:`dimscope.capture`. Needed for arrays with three axes, which may hold tokens; by
        default, arrays with four or more axes are flattened.
    mask : array-like of shape (n_points, n_tokens), optional
        Non-zero at real tokens, zero at padding. It applies to arrays whose second axis is that of
        the tokens, and is refused with arrays that have four or more axes. Without a mask, every
        position counts as a token.
    labels : array-like of shape (n_points,), optional
        Class of each row.
    name : str, optional
        Name of the network; by default the name of the file or folder.

    Returns
    -------
    Activations
        ``provenance.parameters["opened"]`` says in one line which layers were found, in which
        order, and what was left out. The depth of a layer is its position.

    Raises
    ------
    BadSource
        If a file cannot be read, a layer does not exist, two layers have the same name, or the
        arrays are the weights of a network.
    BadPoints
        If the layers differ in their number of rows, or an array needs a readout.

    Examples
    --------
    >>> a = open_activations({"conv": np.ones((6, 2, 4, 4)), "fc": np.ones((6, 5))})
    >>> [(layer.name, layer.n_features) for layer in a.layers]
    [('conv', 32), ('fc', 5)]
    >>> open_activations((np.ones((6, 7, 5)), np.ones((6, 7, 5))))
    Traceback (most recent call last):
    dimscope.errors.BadPoints: layer 0: its shape is (6, 7, 5), whose second axis may be that of \
tokens; give readout='mean', 'max', 'first' or 'last', with mask= if there is padding, or \
readout='flatten'
    """
    if readout is not None:
        check_word("readout", readout, VectorReadout)
    if isinstance(source, str | os.PathLike):
        if is_store(source):
            given = {"layers": layers, "readout": readout, "mask": mask, "labels": labels}
            for option, value in given.items():
                if value is not None:
                    raise BadSource(
                        f"{os.fspath(source)} is a store, in which {option} is stated already; "
                        "leave it out"
                    )
            return open_store(source)
        path = Path(source)
        listed = _in_folder(path) if path.is_dir() else _in_file(path)
        place, title = str(path), path.name
    else:
        listed = _in_memory(source)
        place = title = ""
    arrays = listed.arrays
    groups = _chosen(arrays, layers, place or "the activations")
    left_out = []
    if layers is None:
        if are_weights(arrays):
            raise BadSource(
                f"{place or 'the source'} holds the weights of a network, not its activations: "
                f"{_shortened(list(arrays))}; name the layers that are meant: layers=[...]"
            )
        if place:
            left_out = [key for key in groups[0] if _is_no_layer(arrays[key])]
            groups = [[key for key in groups[0] if key not in left_out]]
    not_read = [f"{key} {arrays[key]}" for key in left_out]
    not_read += listed.left_out if layers is None else []
    chosen = [key for group in groups for key in group]
    if not chosen:
        raise BadSource(
            f"{place} holds no array of numbers with two or more axes" + _said_left_out(not_read)
        )
    _check_rows({key: arrays[key].shape for key in chosen})
    n_points = arrays[chosen[0]].shape[0]
    tokens = None if mask is None else _checked_mask(mask, n_points)
    if tokens is not None:
        _refuse_convolutions({key: arrays[key].shape for key in chosen})
    points, dominance = {}, {}
    for key in chosen:
        with naming(f"layer {key}"):
            points[key], dominance[key] = points_of(arrays[key], readout, tokens)
    warn_of_dominance(dominance, len(chosen))
    if layers is None:
        _warn_of_batches(chosen)
    if listed.order == _NATURAL and not all(map(_is_numbered, groups)):
        warn(
            f"the order of the layers is guessed from their names: {_shortened(chosen)}; name them "
            "in order of depth: layers=[...]",
            CaptureWarning,
        )
    how_many = "1 layer" if len(chosen) == 1 else f"{len(chosen)} layers"
    said = f"{how_many}, {'as named' if layers is not None else listed.order}: {_shortened(chosen)}"
    said += _said_left_out(not_read)
    if readout not in (None, "flatten") and tokens is None:
        said += (
            "; no mask was given, so every position counts as a token: give mask= (--mask) if some "
            "are padding"
        )
    last = max(1, len(chosen) - 1)
    return Activations(
        points,
        tuple(
            Layer(key, _ROLES.get(key, "hidden"), number, number / last, int(points[key].shape[1]))
            for number, key in enumerate(chosen)
        ),
        None if labels is None else np.asarray(labels),
        name=title if name is None else name,
        provenance=Provenance("activations", {"source": place, "opened": said}, versions()),
    )


_ROLES: dict[str, Role] = {"input": "input", "output": "output"}


def _is_no_layer(saved: SavedArray) -> bool:
    """Tell whether an array holds no layer: one axis, text, or a table of one column, as labels."""
    is_column = saved.dtype == "table" and saved.shape[1:] == (1,)
    return len(saved.shape) < 2 or not saved.is_numeric or is_column


def _is_numbered(names: Sequence[str]) -> bool:
    """Tell whether names differ in their numbers alone, and the numbers can be read in one way."""
    # signs stay: next to layers 0 and 1, layer -1 may be the last
    plain = {re.sub(r"\d+", "0", name) for name in names if name not in _ROLES}
    whole, decimal = (
        sorted(names, key=partial(natural_key, decimals=decimals)) for decimals in (False, True)
    )
    return len(plain) < 2 and (whole == decimal or not _can_be_decimals(names))


# a hyphen behind a letter or a digit separates, as in conv-1
_SIGN = r"(?:(?<![^\W_])-)?"
_NUMBER = re.compile(rf"({_SIGN}\d+)")
_DECIMAL = re.compile(rf"(?<!\d)(?<!\d\.)({_SIGN}\d+\.\d+)(?!\.?\d)")  # but not in 1.2.3


def natural_key(name: str, *, decimals: bool = False) -> tuple[Any, ...]:
    """Return a key that sorts names with numbers in order of size; input first, output last.

    Parameters
    ----------
    name : str
    decimals : bool
        Whether 1.25 is one number; otherwise it is two.

    Examples
    --------
    >>> sorted(["layer10", "output", "layer2", "input"], key=natural_key)
    ['input', 'layer2', 'layer10', 'output']
    >>> sorted(["h_-1", "h_-12", "h_-2"], key=natural_key)
    ['h_-12', 'h_-2', 'h_-1']
    """
    rank = {"input": -1, "output": 1}.get(name, 0)
    parts: list[tuple[int, float, str]] = []
    for place, piece in enumerate(_DECIMAL.split(name) if decimals else [name]):
        if place % 2:
            parts.append((1, float(piece), ""))
            continue
        for number, part in enumerate(_NUMBER.split(piece)):
            parts.append((1, int(part), "") if number % 2 else (0, 0, part.lower()))
    return rank, tuple(parts), name


def _can_be_decimals(names: Iterable[str]) -> bool:
    """Tell whether 1.25 in names may be one number; 1.1 and 1.10 count from 1 to 10.

    >>> _can_be_decimals(["a_1.1", "a_1.25"]), _can_be_decimals(["a_1.1", "a_1.10"])
    (True, False)
    """
    keys = [natural_key(name, decimals=True)[:2] for name in names]
    return len(set(keys)) == len(keys)


def _are_decimals(names: Iterable[str]) -> bool:
    """Tell whether 1.25 in names is likely to be one number, not two as in blocks.1.25.

    >>> _are_decimals(["epoch_0.5", "epoch_1.25"]), _are_decimals(["blocks.0.5", "blocks.1.25"])
    (True, False)
    """
    found = [match for name in names for match in _DECIMAL.finditer(name)]
    in_path = any(match.string[: match.start()].endswith(".") for match in found)
    return bool(found) and not in_path and _can_be_decimals(names)


def _warn_of_batches(names: Sequence[str]) -> None:
    """Warn of lists of arrays, which may hold batches: conv1/0, conv1/1, as hooks collect them."""
    inside: dict[str, list[str]] = {}
    for name in names:
        place, _, last = name.rpartition("/")
        if place and last.isdigit() and "hidden" not in place:
            inside.setdefault(place, []).append(last)
    lists = [place for place, numbers in inside.items() if len(numbers) > 1 and "0" in numbers]
    if lists:
        warn(
            f"each array in {lists[0]} is read as a layer, {lists[0]}/0, {lists[0]}/1, ...; if "
            "these are batches of one layer, join them: torch.cat(batches)",
            CaptureWarning,
        )


_NATURAL = "names in natural order"
_STATED = "in the order of the source"


def _said_left_out(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return f"; left out: {', '.join([*names[:_NAMED], *more])}" if names else ""


_NAMED = 20


def _shortened(names: Sequence[str]) -> str:
    if len(names) <= 8:
        return ", ".join(names)
    return f"{', '.join(names[:4])}, ..., {', '.join(names[-2:])}"


def _chosen(
    arrays: Mapping[str, SavedArray], layers: str | Sequence[str] | None, place: str
) -> list[list[str]]:
    """Return the names that each pattern matches first; all names if there are no patterns."""
    if layers is None:
        return [list(arrays)]
    groups: list[list[str]] = []
    chosen: set[str] = set()
    for pattern in [layers] if isinstance(layers, str) else layers:
        names = [name for name in arrays if name == pattern or fnmatchcase(name, pattern)]
        if not names:
            raise BadSource(
                f"there is no layer {pattern!r} in {place}; the layers are "
                f"{_shortened(list(arrays))}.{near(pattern, arrays)}"
            )
        groups.append([name for name in names if name not in chosen])
        chosen.update(names)
    return groups


def _check_rows(shapes: Mapping[str, tuple[int, ...]]) -> None:
    first, *others = shapes
    n_points = shapes[first][0] if shapes[first] else 0
    if others and n_points < 3 and {shape[0] for shape in shapes.values() if shape} == {n_points}:
        raise BadPoints(
            f"each of {len(shapes)} layers has {n_points} rows; if each array is a stimulus, stack "
            "those of one layer with numpy.concatenate"
        )
    for name in (first, *others):
        if len(shapes[name]) < 2:
            raise BadPoints(
                f"layer {name} has shape {shapes[name]}; a layer has one row for each stimulus: "
                "use reshape(-1, 1) if it has one feature, or leave it out"
            )
        if shapes[name][0] != shapes[first][0]:
            raise BadPoints(
                f"layers must have one row for each stimulus, but {first} has {shapes[first][0]} "
                f"rows and {name} has {shapes[name][0]}"
                f"{_transposed(shapes, first, name) or _transposed(shapes, name, first)}; save the "
                "same stimuli, or name the layers that belong together: layers=[...]"
            )


def _transposed(shapes: Mapping[str, tuple[int, ...]], first: str, name: str) -> str:
    agrees = len(shapes[name]) == 2 and shapes[name][1] == shapes[first][0]
    return f" (is {name} transposed?)" if agrees else ""


def _refuse_convolutions(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a mask for arrays with four or more axes, whose second axis is that of channels."""
    for name, shape in shapes.items():
        if len(shape) > 3:
            others = [other for other in shapes if len(shapes[other]) < 4]
            advice = (
                f"name the others, layers={others[:12]}{' and so on' if len(others) > 12 else ''}"
                if others
                else "leave the mask out"
            )
            raise BadPoints(
                f"layer {name} has shape {shape}, to which a mask of tokens does not apply; "
                + advice
            )


def _checked_mask(mask: Any, n_points: int) -> NDArray[np.bool_]:
    values = checked_array(tensor_values(mask) if is_tensor(mask) else mask)
    tokens: NDArray[np.bool_] = np.asarray(values) != 0
    if tokens.ndim != 2 or len(tokens) != n_points or not tokens.any(axis=1).all():
        raise BadPoints(
            f"mask has shape {tokens.shape}; give one row of tokens for each of the {n_points} "
            "stimuli, with at least one real token in each"
        )
    return tokens


# -- sources -----------------------------------------------------------------------------------


class _Listed(NamedTuple):
    """The arrays of a source in order, what the order is, and what was not read."""

    arrays: dict[str, SavedArray]
    order: str
    left_out: Sequence[str] = ()


def _in_memory(source: Any) -> _Listed:
    arrays = {}
    for name, leaf in leaves(source, "the source").items():
        value = as_frame(leaf)
        if is_frame(value):
            with naming(f"layer {name}"):
                value = as_numpy(value)
        if not name or not hasattr(value, "shape") or not hasattr(value, "dtype"):
            raise BadPoints(
                f"{name or 'the source'} is a {type(leaf).__name__}, not "
                f"{'an array' if name else 'a set of layers'}; give a mapping of layer name -> "
                "array, such as {'hidden': output.hidden_states[1]}"
            )
        if any(n != n for n in value.shape):  # a dask array may not know its number of rows
            raise BadPoints(
                f"layer {name} has an unknown number of rows; call its compute_chunk_sizes() first"
            )
        shape = tuple(int(n) for n in value.shape)
        with naming(f"layer {name}"):
            value = _unread(value.detach() if is_tensor(value) else value)
        arrays[name] = SavedArray(shape, str(value.dtype), partial(_same, value))
    if not arrays:
        raise BadPoints(f"the {type(source).__name__} holds no layer")
    return _Listed(arrays, _STATED)


def _unread(value: Any) -> Any:
    """Check the type of an array outside memory, and wrap it if it is read block by block."""
    if not is_stored(value):
        return value
    check_container(value)
    check_dtype(np.empty(0, value.dtype))
    if DaskKind().accepts(value) or len(value.shape) < 2:
        return value
    if H5Kind().accepts(value):
        return H5Blocks(value)
    return ZarrBlocks(value) if len(value.shape) == 2 else FlatBlocks(value)


def _same(value: Any) -> Any:
    return value


_KEEP_ORDER = (".npz", ".pt", ".pth")


def _in_file(path: Path) -> _Listed:
    if path.name.endswith(".index.json"):
        return _in_index(path)
    arrays = list_arrays(path)
    if list(arrays) == [""]:
        arrays = {_stem(path): arrays[""]}
    if path.suffix.lower() in _KEEP_ORDER:
        return _Listed(arrays, _STATED)
    return _Listed(_sorted(arrays), _NATURAL)


def _sorted(arrays: Mapping[str, SavedArray]) -> dict[str, SavedArray]:
    key = partial(natural_key, decimals=_are_decimals(arrays))
    return {name: arrays[name] for name in sorted(arrays, key=key)}


def _stem(path: Path) -> str:
    file_format = format_of(path)
    suffixes = () if file_format is None else file_format.suffixes
    ends = [suffix for suffix in suffixes if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(ends, key=len))] if ends else path.name


_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_PORTION = re.compile(
    r"(chunk|part|rank|batch|split|shard|worker|process|gpu)[-_.]?\d+", re.IGNORECASE
)
_PART = re.compile(r"(\d+)-(\d+)$")


_LEVELS = 2


def _in_folder(folder: Path) -> _Listed:
    indices = sorted(folder.glob("*.index.json"))
    if len(indices) == 1:
        indexed = _in_index(indices[0])
        shards = {folder / file for file in _weight_map(indices[0]).values()}
        files = [path for path in _files(folder) if path not in shards and path != indices[0]]
        others = [*indexed.left_out, *(path.relative_to(folder).as_posix() for path in files)]
        return _Listed(indexed.arrays, indexed.order, others)
    paths: list[Path] = []
    left_out: list[str] = []
    for path in _files(folder):
        relative = path.relative_to(folder)
        # notes such as file_names.txt are no layers
        if format_of(path) is None or ".txt" in path.suffixes:
            left_out.append(relative.as_posix())
        elif len(relative.parts) > _LEVELS:
            raise BadSource(
                f"{path} lies too deep: the files of layers, or folders with one such file each, "
                f"are read; give the folder above them instead of {folder}"
            )
        else:
            paths.append(path)
    if not paths:
        refuse_zarr(folder)
        suffixes = ", ".join(each.suffixes[0] for each in FORMATS)
        raise BadSource(
            f"{folder} is not a store of dimscope, and holds no file of arrays ({suffixes})"
            + _said_left_out(left_out)
        )
    listed_in = {path: list_arrays(path) for path in paths}
    _refuse_parts({path: next(iter(arrays.values())) for path, arrays in listed_in.items()})
    by_key = any(_SHARD.search(_stem(path)) for path in paths) or any(
        len(arrays) > 1 for arrays in listed_in.values()
    )
    if by_key:
        places: dict[str, Path] = {}
        arrays: dict[str, SavedArray] = {}
        for path, inside in listed_in.items():
            for key, array in inside.items():
                name = key or _stem(path)
                if name in places:
                    raise BadSource(
                        f"layer {name} is in {places[name]} and in {path}; save each layer whole, "
                        "in one file"
                    )
                places[name], arrays[name] = path, array
        return _Listed(_sorted(arrays), _NATURAL, left_out)
    stems = {_stem(path) for path in paths}
    in_folders = len(paths) > 1 and len(stems) == 1 and all(p.parent != folder for p in paths)
    arrays = {}
    for path, inside in listed_in.items():
        relative = path.relative_to(folder)
        name = relative.parts[0] if in_folders else (relative.parent / _stem(path)).as_posix()
        if name in arrays:
            raise BadSource(f"{folder} holds two files for layer {name}; remove one of them")
        arrays[name] = next(iter(inside.values()))
    return _Listed(_sorted(arrays), _NATURAL, left_out)


def _files(folder: Path) -> list[Path]:
    """List the files in a folder and its folders, without hidden ones."""
    # the first pattern follows links to folders, the second cannot run in circles
    paths = {path for pattern in ("*/*", "**/*") for path in folder.glob(pattern)}
    return sorted(
        path
        for path in paths
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _refuse_parts(paths: Mapping[Path, SavedArray]) -> None:
    """Refuse files that hold rows of one layer, such as features_0-100 and features_100-200."""
    numbered: dict[tuple[Path, str], str] = {}
    for path in paths:
        stem = _stem(path)
        plain = path.parent, _PORTION.sub(r"\1", stem)
        if _PORTION.search(stem) and not _SHARD.search(stem):
            if plain in numbered:
                raise BadSource(
                    f"the files {numbered[plain]} and {stem} in {path.parent} seem to hold the "
                    "rows of one layer in parts; join them with numpy.concatenate, and save one "
                    "file"
                )
            numbered[plain] = stem
    ranges: dict[tuple[Path, str], list[tuple[int, int]]] = {}
    for path, array in paths.items():
        stem = _stem(path)
        match = _PART.search(stem)
        if match is not None:
            start, stop = map(int, match.groups())
            if array.shape[:1] not in ((stop - start,), (stop - start + 1,)):
                continue  # such as conv1-2, the second layer of the first block
            ranges.setdefault((path.parent, stem[: match.start()]), []).append((start, stop))
    for (place, stem), pairs in ranges.items():
        pairs.sort()
        chained = all(b[0] - a[1] in (0, 1) for a, b in pairwise(pairs))
        if len(pairs) > 1 and chained:
            raise BadSource(
                f"the files {stem}* in {place} hold the rows {pairs[0][0]} to {pairs[-1][1]} of "
                "one layer in parts; join them with numpy.concatenate, and save one file"
            )


def _weight_map(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in content["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSource(
            f"{path} is not an index with a weight_map of layer -> file: {error!r}"
        ) from None


def _in_index(path: Path) -> _Listed:
    inside: dict[str, dict[str, SavedArray]] = {}
    arrays = {}
    for name, file in _weight_map(path).items():
        if Path(file).name != file:
            raise BadSource(f"{path} names {file!r}, which is not a file in the same folder")
        if file not in inside:
            inside[file] = list_arrays(path.parent / file)
        if name not in inside[file]:
            raise BadSource(f"{path} names layer {name} in {file}, which does not hold it")
        arrays[name] = inside[file][name]
    others = [
        f"{name} {array}"
        for held in inside.values()
        for name, array in held.items()
        if name not in arrays
    ]
    return _Listed(arrays, "in the order of the index", others)
