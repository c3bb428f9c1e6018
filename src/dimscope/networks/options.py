"""Options of a capture, shared by ``capture``, ``plan``, ``profile`` and the command line.

To add an option, change only this file: add a field to :class:`CaptureOptions`, with its
documentation and its check, and a key with its type to :class:`CaptureKeywords`. The public
functions take their options from there. This file does not load torch, because measuring
activations does not need it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import index
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar, get_args

from dimscope.activations.activations import Layer
from dimscope.activations.readouts import VectorReadout
from dimscope.arrays.memory import as_bytes
from dimscope.errors import BadPoints, BadSource

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "CaptureKeywords",
    "CaptureOptions",
    "Layers",
    "ProfileKeywords",
    "Readout",
    "ReadoutName",
    "takes_capture_options",
]

Layers = str | Sequence[str] | Callable[[Layer], bool]
"""Which layers to capture: a keyword such as "all", names, patterns, or a function of a Layer."""

ReadoutName = Literal[VectorReadout, "tokens"]
Readout = Callable[["Tensor"], "Tensor"] | Callable[["Tensor", "Tensor | None"], "Tensor"]
Forward = Callable[["nn.Module", Any], Any]


@dataclass(frozen=True)
class CaptureOptions:
    """How to capture a network.

    Parameters
    ----------
    layers : str, sequence of str, or callable
        ``"checkpoints"`` (the input, pooling layers, linear layers after their activation, blocks
        or stages, and the output), ``"all"``, ``"last_hidden"``, names, patterns such as
        ``"layer*"``, or a function of a :class:`~dimscope.Layer` that returns True or False. A
        linear layer that is selected by name is captured as the module returns it, before any
        activation; as a checkpoint, it is captured after the activation that follows it.
    readout : {"flatten", "mean", "max", "first", "last", "tokens"} or callable
        How a tensor becomes points. ``"flatten"`` takes every unit; ``"mean"`` and ``"max"`` take
        the mean or the maximum over the positions of a feature map or the tokens of a sequence;
        ``"first"`` and ``"last"`` take the first or last token of a sequence; with ``"tokens"``,
        every token of every stimulus is a point, and labels and ids are repeated. A tensor to which
        the readout does not apply (such as a plain vector, or for ``"first"`` a feature map) is
        flattened. Padding is never part of a point: where the data have a mask, the tokens are
        those that it marks as real. Without a mask, the axes are interpreted by their number: three
        axes are (points, tokens, channels), and more are (points, channels, positions...). For
        other layouts, such as the (points, channels, positions) of a one-dimensional convolution,
        give a callable that takes a tensor whose first axis is that of the stimuli, and returns one
        of shape (n_points, n_features): ``lambda t: t.mean(dim=2)``. A callable with two parameters
        takes the mask too, of shape (n_points, n_tokens), or None.
    forward : callable, optional
        ``forward(model, inputs) -> output``, for networks that are not called as
        ``model(inputs)`` (or ``model(**inputs)`` for a dict).
    n_points, per_class : int, optional
        How many stimuli to use, in total or from each class. They are drawn at random, with the
        seed, from data that can be indexed; of data that can only be iterated, the first ones are
        used.
    seed : int
        Seed for drawing stimuli, and for the network if it uses random numbers.
    batch_size : int
        Number of stimuli in a batch, for data that are not already in batches.
    mask : str, array, or tensor, optional
        Which positions are real, for data with padding: the name of a field of the batches, or an
        array with one row for each stimulus, with True (or 1) where a position is real. It is
        given to the network if ``forward`` takes a padding mask that the data do not hold. Masks
        that the network gets from the data, such as ``attention_mask``, need no option.
    ids : str or array, optional
        A whole number or a word for each stimulus, which says which stimulus it is: the name of a
        field of the batches, or one value for each row of the data. They become the ``ids`` of the
        activations.
    batch_axis : int or Mapping of str to int
        The axis that counts the stimuli, for data that are time first (``batch_axis=1``), or the
        axis of each input by its name (0 for others). One-dimensional labels and padding masks of
        shape (n_points, n_positions) keep axis 0.
    name : str, optional
        Name of the network; the name of its class by default.
    memory : int or str, optional
        How many bytes the captured layers may take in memory, as a number or a text such as
        ``"4GB"``; half of the free memory by default. If the layers take more, they are written to
        a store on disk: ``out``, or a temporary one (in ``TMPDIR``) that is deleted together with
        the activations.
    out : path or URL, optional
        Write the layers to this store, batch by batch, whether they fit in memory or not. Repeat
        the call to resume an interrupted capture (even one ended by ``kill -9``) after its last
        complete batch; batches already written are not run through the network again. If the store
        already holds the complete capture, it is returned as it is. In a process group
        (``torch.distributed``), each rank writes its share of the batches to it.

    Raises
    ------
    BadSource
        If ``layers`` or ``readout`` is not one of the values listed above.
    BadPoints
        If a number is less than 1, ``n_points`` and ``per_class`` are both given, or ``batch_axis``
        is not an axis.
    ValueError
        If ``memory`` is not a number of bytes or a text such as ``"4GB"``.

    Examples
    --------
    >>> CaptureOptions(["fc1", "fc2"], memory="4GB").memory
    4000000000
    """

    layers: Layers = "checkpoints"
    readout: ReadoutName | Readout = "flatten"
    forward: Forward | None = None
    n_points: int | None = None
    per_class: int | None = None
    seed: int = 0
    batch_size: int = 32
    mask: str | Any = None
    ids: str | Any = None
    batch_axis: int | Mapping[str, int] = 0
    name: str | None = None
    memory: int | str | None = None
    out: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        self._set("layers", _check_layers(self.layers))
        if not callable(self.readout) and self.readout not in get_args(ReadoutName):
            names = ", ".join(map(repr, get_args(ReadoutName)))
            raise BadSource(
                f"readout {self.readout!r} is unknown; use {names} or a function of a tensor"
            )
        for option in ("n_points", "per_class"):
            value = getattr(self, option)
            if value is not None and (isinstance(value, bool) or value < 1):
                raise BadPoints(f"{option} is {value!r}; use a number of at least 1")
        if self.n_points is not None and self.per_class is not None:
            raise BadPoints("n_points and per_class exclude each other; give only one of them")
        if self.batch_size < 1:
            raise BadPoints(f"batch_size is {self.batch_size}; use a number of at least 1")
        for option in ("n_points", "per_class", "seed", "batch_size"):
            value = getattr(self, option)
            if value is not None:
                self._set(option, index(value))  # JSON does not hold the integers of NumPy
        self._set("batch_axis", _check_axis(self.batch_axis))
        if self.memory is not None:
            self._set("memory", as_bytes(self.memory))

    def _set(self, option: str, value: Any) -> None:
        object.__setattr__(self, option, value)


def _check_axis(batch_axis: Any) -> Any:
    """Return ``batch_axis`` with plain integers.

    Raises
    ------
    BadPoints
        If it is neither an axis, counted from 0, nor a mapping of names to axes.
    """
    axes = batch_axis if isinstance(batch_axis, Mapping) else {"": batch_axis}
    for axis in axes.values():
        if isinstance(axis, bool) or not hasattr(axis, "__index__") or axis < 0:
            raise BadPoints(
                f"batch_axis is {batch_axis!r}; give the axis that counts the stimuli, from 0, or "
                "a dict of axes by the names of the inputs"
            )
    plain = {str(name): index(axis) for name, axis in axes.items()}
    return plain if isinstance(batch_axis, Mapping) else plain[""]


def _check_layers(layers: Any) -> Any:
    """Return ``layers``, a sequence as a tuple.

    Raises
    ------
    BadSource
        If it is neither text, nor a sequence of texts, nor a function; or if it is empty.
    """
    if callable(layers) or isinstance(layers, str):
        return layers
    names = tuple(layers) if isinstance(layers, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise BadSource(
            f"layers is {layers!r}; use 'checkpoints', 'all', 'last_hidden', names, "
            "patterns such as 'layer*', or a function of a Layer"
        )
    if not names:
        raise BadSource("layers is empty; name at least one layer, or use 'checkpoints'")
    return names


class CaptureKeywords(TypedDict, total=False):
    """Keywords of the functions that take ``layers`` by position: all options except ``layers``."""

    readout: ReadoutName | Readout
    forward: Forward | None
    n_points: int | None
    per_class: int | None
    seed: int
    batch_size: int
    mask: str | Any
    ids: str | Any
    batch_axis: int | Mapping[str, int]
    name: str | None
    memory: int | str | None
    out: str | os.PathLike[str] | None


class ProfileKeywords(CaptureKeywords, total=False):
    """Keywords of the functions that take all options by name."""

    layers: Layers


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def takes_capture_options(
    verb: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Decorate a function whose ``**options`` are the options of a capture.

    Its signature and documentation then list every option, and an unknown keyword raises a
    TypeError that suggests the closest names.

    Examples
    --------
    >>> @takes_capture_options
    ... def count(model, **options):
    ...     return len(options)
    >>> count("net", seed=1, batch_size=8)
    2
    >>> count("net", bach_size=8)
    Traceback (most recent call last):
    TypeError: count has no parameter 'bach_size'; did you mean batch_size or batch_axis
    """
    signature = inspect.signature(verb)
    parameters = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    added = {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=field.type,
        )
        for field in fields(CaptureOptions)
        if field.name not in parameters
    }
    parameters |= added

    @functools.wraps(verb)
    def checked(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        for keyword in keywords:
            if keyword not in parameters:
                raise TypeError(f"{verb.__name__} has no parameter {_hint(keyword, parameters)}")
        return verb(*arguments, **keywords)

    checked.__signature__ = signature.replace(parameters=[*parameters.values()])  # type: ignore[attr-defined]
    checked.__doc__ = _with_parameters(verb.__doc__ or "")
    return checked


def _hint(keyword: str, parameters: Iterable[str]) -> str:
    if keyword in ("labels", "targets", "y"):
        return (
            f"{keyword!r}; labels go with the data: batches=(inputs, labels), or "
            "open_activations(source, labels=...)"
        )
    near = difflib.get_close_matches(keyword, [*parameters], cutoff=0.4)
    return f"{keyword!r}" + (f"; did you mean {' or '.join(near)}" if near else "")


def _with_parameters(doc: str) -> str:
    """Replace the entry ``**options`` in a docstring by the entries for CaptureOptions."""
    listed = re.search(
        r"Parameters\n-+\n(.*?)\n\nRaises", inspect.cleandoc(CaptureOptions.__doc__ or ""), re.S
    )
    if listed is None:  # docstrings were stripped, python -OO
        return doc
    return re.sub(
        r"^\*\*options\n(?:    .*\n)*",
        lambda _: f"{listed[1]}\n",
        inspect.cleandoc(doc),
        flags=re.M,
    )
