"""Files: read points from a file, or from standard input, whatever the format.

:func:`read_points` chooses the array; :mod:`~dimscope.arrays.formats` knows the formats.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays.block_points import Blocks
from dimscope.arrays.checks import check_shape
from dimscope.arrays.formats.base import NOT_WHOLE, SavedArray
from dimscope.arrays.formats.numpy_files import TOO_LONG
from dimscope.arrays.formats.registry import FORMATS, list_arrays
from dimscope.arrays.formats.text import read_within_budget, table_in
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.arrays.numpy_points import as_numpy
from dimscope.errors import BadPoints, BadSource, DegeneratePoints
from dimscope.files import near

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "STANDARD_INPUT", "are_weights", "choose", "naming", "open_points", "read_points",
    "read_stimuli",
]  # fmt: skip

STANDARD_INPUT = "-"


def read_points(path: str | os.PathLike[str], *, key: str | None = None) -> Any:
    r"""Read points from a file of any format that holds arrays.

    The format follows from the end of the name: ``.npy``, ``.npz``, ``.h5`` or ``.hdf5``, ``.csv``,
    ``.tsv`` or ``.txt`` (also with ``.gz``, ``.bz2`` or ``.xz``), ``.parquet``, ``.safetensors``,
    ``.pt`` or ``.pth`` (tensors only). No pickle is ever loaded.

    Parameters
    ----------
    path : path, or "-"
        ``"-"`` is standard input, which holds a ``.npy`` file or a table in text.
    key : str, optional
        Name of the array, in a file that holds several. By default, the only one of shape
        (n_points, n_features).

    Returns
    -------
    array of shape (n_points, n_features)
        A memory map for ``.npy`` and ``.safetensors``; an array that is read block by block, with
        ``shape`` and ``dtype``, for HDF5 and for bfloat16; otherwise in memory.

    Raises
    ------
    BadSource
        If the file is missing, damaged or not of its format, if there are several arrays and no
        ``key``, or if the package for the format is not installed.
    BadPoints, DegeneratePoints
        If the array does not hold at least three points of real numbers. Values that are not finite
        are found when the points are measured.
    OverBudget
        If the array can only be read whole and does not fit into half of the free memory.

    Warns
    -----
    GuessedReading
        If a table in text can be read in another way.

    Examples
    --------
    >>> import tempfile, dimscope as ds
    >>> path = f"{tempfile.mkdtemp()}/points.csv"
    >>> with open(path, "w") as file:
    ...     _ = file.write("x,y\n0,1\n2,3\n4,9\n")
    >>> ds.read_points(path).tolist()
    [[0, 1], [2, 3], [4, 9]]
    """
    return open_points(path, key)[0]


def open_points(path: str | os.PathLike[str], key: str | None = None) -> tuple[Any, str]:
    """Read points from a file, and say how it was read where the file leaves a choice.

    Parameters
    ----------
    path, key
        As for :func:`read_points`.

    Returns
    -------
    array : array of shape (n_points, n_features)
    said : str
        Such as "commas between columns; no header". Empty if there was no choice.
    """
    if not isinstance(path, str | os.PathLike):
        raise BadSource(f"{path!r} is a {type(path).__name__}; give the path of a file")
    place = os.fspath(path)
    is_input = place == STANDARD_INPUT
    if "://" in place:
        raise BadSource(f"{place} is a URL; download the file, and give its path")
    arrays = _arrays_in_input() if is_input else list_arrays(Path(place))
    name = "standard input" if is_input else place
    chosen, said = choose(arrays, name, key)
    with naming(name):
        array = checked_array(arrays[chosen].read())
        check_shape(arrays[chosen].shape)
    return array, said


def read_stimuli(path: Path) -> NDArray[Any]:
    """Read the stimuli of a network from a file: the only array with two or more axes.

    Parameters
    ----------
    path : Path

    Returns
    -------
    array of shape (n_points, ...)
        A memory map where the format allows it, otherwise in memory.

    Raises
    ------
    BadSource, BadPoints, OverBudget
        As for :func:`read_points`.
    """
    arrays = list_arrays(path)
    saved = arrays[choose(arrays, str(path), None, images=True)[0]]
    with naming(str(path)):
        array = checked_array(saved.read())
        if isinstance(array, Blocks):
            check_budget(array.nbytes, budget_from(None), f"reading {path}", NOT_WHOLE)
            array = np.asarray(array).reshape(saved.shape)
    return np.asanyarray(array)


def checked_array(array: Any) -> Any:
    """Check the type of an array that was read, without reading it.

    Examples
    --------
    >>> checked_array(np.eye(2)).shape
    (2, 2)
    """
    if not isinstance(array, Blocks):
        as_numpy(array)
    return array


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the name of a file before the message of an error on its points.

    Examples
    --------
    >>> with naming("a.npy"):
    ...     raise BadPoints("points are empty")
    Traceback (most recent call last):
    dimscope.errors.BadPoints: a.npy: points are empty
    """
    try:
        yield
    except (BadPoints, DegeneratePoints) as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def choose(
    arrays: Mapping[str, SavedArray], path: str, key: str | None, *, images: bool = False
) -> tuple[str, str]:
    """Return the name of the array to read, and what to say of the choice.

    Parameters
    ----------
    arrays : Mapping of str to SavedArray
    path : str
        Name of the file, for messages.
    key : str or None
    images : bool
        Whether an array with more than two axes can be meant too; there is then no key.

    Raises
    ------
    BadSource
        If there is no such array, or if several could be meant.

    Examples
    --------
    >>> a = SavedArray((9, 3), "float64", lambda: np.zeros((9, 3)))
    >>> y = SavedArray((9,), "int64", lambda: np.zeros(9))
    >>> choose({"x": a, "y": y}, "a.npz", None)
    ('x', 'array x; not read: y (9,) int64')
    >>> choose({"x": a, "z": a}, "a.npz", None)
    Traceback (most recent call last):
    dimscope.errors.BadSource: a.npz holds several arrays: x (9, 3) float64, z (9, 3) float64; \
name one of them with key= (--key)
    """
    if key is not None:
        key = key if key in arrays else key.strip("/")
        if key in arrays and key:
            return key, arrays[key].said
        if list(arrays) == [""]:
            raise BadSource(f"{path} holds one array, without a name; omit key (--key)")
        raise BadSource(
            f"there is no array {key!r} in {path}, which holds {_listed(arrays)}."
            f"{near(key, arrays)}"
        )
    if are_weights(arrays):
        raise BadSource(
            f"{path} holds the weights of a network, not points: {_listed(arrays)}; if one of them "
            "is meant, name it with key= (--key)"
        )
    if len(arrays) == 1:
        name = next(iter(arrays))
        return name, arrays[name].said
    candidates = [
        name
        for name, array in arrays.items()
        if array.is_numeric and (len(array.shape) == 2 or (images and len(array.shape) > 2))
    ]
    if not candidates:
        advice = "save one of this shape" if images else "name the array with key= (--key)"
        shapes = {array.shape for array in arrays.values()}
        if len(arrays) > _FEW and len(shapes) == 1 and len(*shapes) == 1:
            advice = "if each of them is a point, stack them with torch.stack or numpy.stack"
        raise BadSource(
            f"{path} holds no array of numbers of shape (n_points, n_features), but "
            f"{_listed(arrays)}; {advice}"
        )
    if len(candidates) > 1:
        advice = "save one of them alone" if images else "name one of them with key= (--key)"
        raise BadSource(f"{path} holds several arrays: {_listed(arrays)}; {advice}")
    name = candidates[0]
    others = {other: array for other, array in arrays.items() if other != name}
    return name, f"array {name}; not read: {_listed(others)}"


def are_weights(names: Iterable[str]) -> bool:
    """Tell whether the names of arrays are those of the weights of a network.

    Examples
    --------
    >>> are_weights(["conv1.weight", "conv1.bias"]), are_weights(["conv1", "weighted"])
    (True, False)
    >>> are_weights(["lstm.weight_ih_l0"]), are_weights(["dense/kernel:0"])
    (True, True)
    """
    return any(_WEIGHTS.search(name) for name in names)


# of torch, of its recurrent layers and optimizers, and of Keras
_WEIGHTS = re.compile(
    r"(^|[./])(((weight|bias)(_[ih]h_l\d+(_reverse)?)?|exp_avg(_sq)?|momentum_buffer"
    r"|(kernel|recurrent_kernel|gamma|beta|embeddings|bias):\d+)|vars/\d+)$"
)


_SHOWN = 12
_FEW = 2  # arrays with one axis, such as labels and ids


def _listed(arrays: Mapping[str, SavedArray]) -> str:
    names = [f"{name or 'one array'} {array}" for name, array in list(arrays.items())[:_SHOWN]]
    if len(arrays) > _SHOWN:
        names.append(f"and {len(arrays) - _SHOWN} more")
    return ", ".join(names)


def _arrays_in_input() -> dict[str, SavedArray]:
    data = read_within_budget(sys.stdin.buffer, "standard input")
    if not data:
        raise BadSource("standard input is empty; pipe a .npy file or a table in text into it")
    if not data.startswith(b"\x93NUMPY"):
        other = next((kind for kind in FORMATS if kind.magic and data.startswith(kind.magic)), None)
        if other is not None or data.startswith(b"\x1f\x8b"):
            what = "compressed" if other is None else other.name
            raise BadSource(
                f"standard input is {what}; pipe a .npy file or a table in text, or give the name "
                "of the file"
            )
        return table_in(io.BytesIO(data), "standard input")
    stream = io.BytesIO(data)
    try:
        array = np.load(stream, allow_pickle=False)
    except Exception as error:  # a damaged header can raise almost anything
        if "bject" in str(error):
            raise BadSource("standard input holds Python objects, which are never read") from None
        raise BadSource("standard input is truncated: its size does not match its header") from None
    if stream.read(1):
        raise BadSource(f"standard input {TOO_LONG}")
    is_numeric = array.dtype.kind in "biuf"
    return {"": SavedArray(array.shape, str(array.dtype), lambda: array, is_numeric)}
