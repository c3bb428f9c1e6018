"""Saved: open activations that other programs have saved, or hold in memory.

Every array of a file, a folder of files, a mapping or a tuple is a layer. Arrays stay where they
are: files are mapped, or read block by block, when a layer is measured.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimscope.activations.activations import Activations, Layer
from dimscope.activations.store import is_store, open_store
from dimscope.arrays.block_points import Blocks
from dimscope.arrays.files import checked_array, naming
from dimscope.arrays.formats import FORMATS, SavedArray, format_of, list_arrays
from dimscope.arrays.numpy_points import as_numpy
from dimscope.arrays.tables import as_frame, is_frame
from dimscope.arrays.tensor_points import is_tensor, tensor_values
from dimscope.arrays.threads import spans
from dimscope.errors import BadPoints, BadSource, check_word
from dimscope.files import near
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SavedReadout", "natural_key", "open_activations"]

SavedReadout = Literal["flatten", "mean", "max", "first", "last"]


def open_activations(
    source: Any,
    *,
    layers: str | Sequence[str] | None = None,
    readout: SavedReadout | None = None,
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
        and safetensors files are sorted, with numbers in order of size.
    readout : {"flatten", "mean", "max", "first", "last"}, optional
        How to make one point of each stimulus from an array with more than two axes, as for
        :func:`dimscope.capture`. Needed for arrays with three axes, which may hold tokens; by
        default, arrays with four or more axes are flattened.
    mask : array-like of shape (n_points, n_tokens), optional
        Non-zero at real tokens, zero at padding. It applies to arrays whose second axis is that of
        the tokens. Without a mask, every position counts as a token.
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
        If a file cannot be read, or a layer does not exist.
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
        check_word("readout", readout, SavedReadout)
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
        arrays, order = _in_folder(path) if path.is_dir() else _in_file(path)
        place, title = str(path), path.name
    else:
        arrays, order = _in_memory(source)
        place = title = ""
    chosen = _chosen(arrays, layers, place or "the activations")
    left_out = [] if layers or not place else [key for key in chosen if _is_no_layer(arrays[key])]
    chosen = [key for key in chosen if key not in left_out]
    if not chosen:
        raise BadSource(f"{place} holds no array of numbers with two or more axes")
    _check_rows({key: arrays[key].shape for key in chosen})
    n_points = arrays[chosen[0]].shape[0]
    tokens = None if mask is None else _checked_mask(mask, n_points)
    points = {}
    for key in chosen:
        with naming(f"layer {key}"):
            points[key] = _points_of(arrays[key], readout, tokens)
    how_many = "1 layer" if len(chosen) == 1 else f"{len(chosen)} layers"
    said = f"{how_many}, {'as named' if layers else order}: {_shortened(chosen)}"
    if left_out:
        said += f"; left out: {', '.join(f'{key} {arrays[key]}' for key in left_out)}"
    if readout not in (None, "flatten") and tokens is None:
        said += "; no mask was given, so every position counts as a token"
    last = max(1, len(chosen) - 1)
    return Activations(
        points,
        tuple(
            Layer(key, "hidden", number, number / last, int(points[key].shape[1]))
            for number, key in enumerate(chosen)
        ),
        None if labels is None else np.asarray(labels),
        name=title if name is None else name,
        provenance=Provenance("activations", {"source": place, "opened": said}, versions()),
    )


def _is_no_layer(saved: SavedArray) -> bool:
    return len(saved.shape) < 2 or not saved.is_numeric


def natural_key(name: str) -> tuple[Any, ...]:
    """Return a key that sorts names with numbers in order of size; input first, output last.

    Examples
    --------
    >>> sorted(["layer10", "output", "layer2", "input"], key=natural_key)
    ['input', 'layer2', 'layer10', 'output']
    """
    rank = {"input": -1, "output": 1}.get(name, 0)
    parts = re.split(r"(\d+)", name)
    return rank, tuple((int(p), "") if p.isdigit() else (-1, p.lower()) for p in parts), name


_NATURAL = "names in natural order"
_STATED = "in the order of the source"


def _shortened(names: Sequence[str]) -> str:
    if len(names) <= 8:
        return ", ".join(names)
    return f"{', '.join(names[:4])}, ..., {', '.join(names[-2:])}"


def _chosen(
    arrays: Mapping[str, SavedArray], layers: str | Sequence[str] | None, place: str
) -> list[str]:
    if layers is None:
        return list(arrays)
    chosen: list[str] = []
    for pattern in [layers] if isinstance(layers, str) else layers:
        names = [name for name in arrays if name == pattern or fnmatchcase(name, pattern)]
        if not names:
            raise BadSource(
                f"there is no layer {pattern!r} in {place}; the layers are "
                f"{_shortened(list(arrays))}.{near(pattern, arrays)}"
            )
        chosen += [name for name in names if name not in chosen]
    return chosen


def _check_rows(shapes: Mapping[str, tuple[int, ...]]) -> None:
    first, *others = shapes
    for name in (first, *others):
        if len(shapes[name]) < 2:
            raise BadPoints(
                f"layer {name} has shape {shapes[name]}; a layer has one row for each stimulus: "
                "use reshape(-1, 1) if it has one feature, or leave it out"
            )
        if shapes[name][0] != shapes[first][0]:
            raise BadPoints(
                f"layers must have one row for each stimulus, but {first} has {shapes[first][0]} "
                f"rows and {name} has {shapes[name][0]}; save the same stimuli, or name the "
                "layers that belong together: layers=[...]"
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


# -- points of one layer -----------------------------------------------------------------------

_READ_BYTES = 1 << 26


def _points_of(
    saved: SavedArray, readout: SavedReadout | None, mask: NDArray[np.bool_] | None
) -> Any:
    """Return the points of a layer: a view where possible, otherwise a new and smaller array."""
    shape = saved.shape
    if readout is None and len(shape) == 3:
        raise BadPoints(
            f"its shape is {shape}, whose second axis may be that of tokens; give "
            "readout='mean', 'max', 'first' or 'last', with mask= if there is padding, or "
            "readout='flatten'"
        )
    array = saved.read()
    if not is_tensor(array):
        array = checked_array(array)
    if readout in (None, "flatten") or len(shape) == 2:
        if mask is not None and len(shape) > 2 and not mask.all():
            raise BadPoints(
                "its rows contain padding, which 'flatten' would include; use readout 'mean', "
                "'max', 'first' or 'last'"
            )
        flat = len(shape) == 2 or isinstance(array, Blocks)
        return array if flat else array.reshape(shape[0], -1)
    if mask is not None and shape[1] != mask.shape[1]:
        raise BadPoints(
            f"its shape is {shape}, but the mask has {mask.shape[1]} tokens; name the layers with "
            "an axis of tokens: layers=[...]"
        )
    width = int(np.prod(shape[1:], dtype=np.int64)) * 8
    parts = []
    for rows in spans(shape[0], max(1, _READ_BYTES // width)):
        part = tensor_values(array[rows]) if is_tensor(array) else np.asarray(array[rows])
        part = part.reshape(-1, *shape[1:])
        tokens = None if mask is None else mask[rows]
        parts.append(_READOUTS[readout](part, tokens).reshape(len(part), -1))
    return np.concatenate(parts)


def _wide(part: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask.reshape(*mask.shape, *(1,) * (part.ndim - 2))


def _mean(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    wide = np.result_type(part.dtype, np.float32)
    if mask is None:
        axes = 1 if part.ndim == 3 else tuple(range(2, part.ndim))
        return np.asarray(part.mean(axis=axes, dtype=wide))
    total = np.where(_wide(part, mask), part, 0).sum(axis=1, dtype=wide)
    return np.asarray(total / mask.sum(axis=1).reshape(-1, *(1,) * (part.ndim - 2)).astype(wide))


def _max(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    if mask is None:
        return np.asarray(part.max(axis=1 if part.ndim == 3 else tuple(range(2, part.ndim))))
    wide = np.result_type(part.dtype, np.float32)
    return np.asarray(np.where(_wide(part, mask), part.astype(wide), -np.inf).max(axis=1))


def _first(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    if mask is None:
        return part[:, 0] if part.ndim == 3 else part
    return np.asarray(part[np.arange(len(part)), mask.argmax(axis=1)])


def _last(part: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    if mask is None:
        return part[:, -1] if part.ndim == 3 else part
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return np.asarray(part[np.arange(len(part)), last])


# the same as those of a capture, for NumPy
_READOUTS: dict[str, Callable[[NDArray[Any], NDArray[np.bool_] | None], NDArray[Any]]] = {
    "mean": _mean,
    "max": _max,
    "first": _first,
    "last": _last,
}


# -- sources -----------------------------------------------------------------------------------


def _in_memory(source: Any) -> tuple[dict[str, SavedArray], str]:
    arrays = {}
    for name, leaf in _leaves(source, ""):
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
        shape = tuple(int(n) for n in value.shape)
        value = value.detach() if is_tensor(value) else value
        arrays[name] = SavedArray(shape, str(value.dtype), partial(_same, value))
    if not arrays:
        raise BadPoints(f"the {type(source).__name__} holds no layer")
    return arrays, _STATED


def _same(value: Any) -> Any:
    return value


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the arrays in nested mappings, lists and tuples."""
    if hasattr(value, "shape"):
        yield name, value
        return
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        items: Iterable[Any] = [(key, value[key]) for key in value.keys()]  # noqa: SIM118
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, part in items:
        yield from _leaves(part, f"{name}/{key}" if name else str(key))


_KEEP_ORDER = (".npz", ".pt", ".pth")


def _in_file(path: Path) -> tuple[dict[str, SavedArray], str]:
    if path.name.endswith(".index.json"):
        return _in_index(path)
    arrays = list_arrays(path)
    if list(arrays) == [""]:
        arrays = {_stem(path): arrays[""]}
    if path.suffix.lower() in _KEEP_ORDER:
        return arrays, _STATED
    return _sorted(arrays), _NATURAL


def _sorted(arrays: Mapping[str, SavedArray]) -> dict[str, SavedArray]:
    return {name: arrays[name] for name in sorted(arrays, key=natural_key)}


def _stem(path: Path) -> str:
    file_format = format_of(path)
    suffixes = () if file_format is None else file_format.suffixes
    ends = [suffix for suffix in suffixes if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(ends, key=len))] if ends else path.name


_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_PORTION = re.compile(r"(chunk|part|rank|batch|split)[-_]?\d+", re.IGNORECASE)
_PART = re.compile(r"(\d+)-(\d+)$")


def _in_folder(folder: Path) -> tuple[dict[str, SavedArray], str]:
    indices = sorted(folder.glob("*.index.json"))
    if len(indices) == 1:
        return _in_index(indices[0])
    paths = sorted(
        path
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        # notes such as file_names.txt are no layers
        if path.is_file() and format_of(path) is not None and ".txt" not in path.suffixes
    )
    if not paths:
        suffixes = ", ".join(each.suffixes[0] for each in FORMATS)
        raise BadSource(
            f"{folder} is not a store of dimscope, and holds no file of arrays ({suffixes})"
        )
    _refuse_parts(paths)
    listed = {path: list_arrays(path) for path in paths}
    by_key = any(_SHARD.search(_stem(path)) for path in paths) or any(
        len(arrays) > 1 for arrays in listed.values()
    )
    if by_key:
        files: dict[str, Path] = {}
        arrays: dict[str, SavedArray] = {}
        for path, inside in listed.items():
            for key, array in inside.items():
                name = key or _stem(path)
                if name in files:
                    raise BadSource(
                        f"layer {name} is in {files[name]} and in {path}; save each layer whole, "
                        "in one file"
                    )
                files[name], arrays[name] = path, array
        return _sorted(arrays), _NATURAL
    stems = {_stem(path) for path in paths}
    in_folders = len(paths) > 1 and len(stems) == 1 and all(p.parent != folder for p in paths)
    arrays = {}
    for path, inside in listed.items():
        relative = path.relative_to(folder)
        name = relative.parts[0] if in_folders else (relative.parent / _stem(path)).as_posix()
        if name in arrays:
            raise BadSource(f"{folder} holds two files for layer {name}; remove one of them")
        arrays[name] = next(iter(inside.values()))
    return _sorted(arrays), _NATURAL


def _refuse_parts(paths: Sequence[Path]) -> None:
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
    for path in paths:
        stem = _stem(path)
        match = _PART.search(stem)
        if match is not None:
            start, stop = map(int, match.groups())
            ranges.setdefault((path.parent, stem[: match.start()]), []).append((start, stop))
    for (place, stem), pairs in ranges.items():
        pairs.sort()
        chained = all(b[0] - a[1] in (0, 1) for a, b in pairwise(pairs))
        if len(pairs) > 1 and chained:
            raise BadSource(
                f"the files {stem}* in {place} hold the rows {pairs[0][0]} to {pairs[-1][1]} of "
                "one layer in parts; join them with numpy.concatenate, and save one file"
            )


def _in_index(path: Path) -> tuple[dict[str, SavedArray], str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        places = {str(key): str(value) for key, value in content["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSource(
            f"{path} is not an index with a weight_map of layer -> file: {error!r}"
        ) from None
    listed: dict[str, dict[str, SavedArray]] = {}
    arrays = {}
    for name, file in places.items():
        if Path(file).name != file:
            raise BadSource(f"{path} names {file!r}, which is not a file in the same folder")
        if file not in listed:
            listed[file] = list_arrays(path.parent / file)
        if name not in listed[file]:
            raise BadSource(f"{path} names layer {name} in {file}, which does not hold it")
        arrays[name] = listed[file][name]
    return arrays, "in the order of the index"
