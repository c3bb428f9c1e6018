"""The architectures of the field, small and at random weights, each with its data.

``ZOO`` holds them by name. An :class:`Architecture` says how its network is built, what data a user
would hand over, how the network is called by hand, and where the stimuli lie in the tensors of its
modules. The latter follows from how the network is built, not from the sizes of its tensors: the
rows of every tensor lie along its first axis, unless ``axes`` says otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

__all__ = ["FOLDED", "ZOO", "Architecture", "add", "batches_of", "cut", "fixed", "user_dict"]

FOLDED = "folded"
"""Several consecutive rows for each stimulus: windows, tokens or frames as one long axis."""

Axis = int | str | None
"""Where the stimuli lie in a tensor: along an axis, folded into the first, or nowhere."""


@dataclass(frozen=True)
class Architecture:
    """A network at random weights, its data, and where the stimuli lie in its tensors.

    ``axes`` holds pairs of a pattern and an Axis; the first pattern that matches the name of a
    module, with the path of the tensor in its output (``lstm[1][0]``), decides. ``batch_axis`` is
    that of the data themselves. ``whole`` draws data at full size, where ``data`` are smaller.
    ``rounds`` maps a module that only rounds another layer to the name of that layer.
    """

    name: str
    make: Callable[[], nn.Module]
    data: Callable[[int], Any]
    form: str
    call: Callable[[nn.Module, Any], Any] | None = None
    handed: Callable[[Any, int], Any] | None = None
    axes: tuple[tuple[str, Axis], ...] = ()
    batch_axis: int = 0
    n: int = 33
    options: Mapping[str, Any] = field(default_factory=dict)
    depends_on_batch: bool = False
    whole: Callable[[int], Any] | None = None
    rounds: Mapping[str, str] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Return the network in eval mode, with the same weights at every call."""
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            return self.make().eval()

    def stimuli(self) -> Any:
        """Return all stimuli, as the plain call takes them."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return self.data(self.n)

    def plain(self, network: nn.Module, batch: Any) -> Any:
        """Call the network as its author would."""
        if self.call is not None:
            return self.call(network, batch)
        if isinstance(batch, dict):
            return network(**batch)
        return network(*batch) if isinstance(batch, tuple) else network(batch)

    def as_user(self, stimuli: Any, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """Return the data and the keywords that a user would give to ``ds.capture``."""
        options = {"batch_size": batch_size, **self.options}
        if self.batch_axis:
            options["batch_axis"] = self.batch_axis
        if self.handed is not None:
            return self.handed(stimuli, batch_size), options
        return stimuli, options


def cut(data: Any, rows: Any, axis: int = 0) -> Any:
    """Return some of the stimuli of tensors, dicts, tuples of tensors, or lists."""
    if isinstance(data, Tensor):
        return data.index_select(axis, torch.as_tensor(rows))
    if isinstance(data, dict):
        return {key: cut(value, rows, axis) for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(cut(value, rows, axis) for value in data)
    return [data[int(i)] for i in rows]


def batches_of(data: Any, n: int, batch_size: int, axis: int = 0) -> list[Any]:
    """Cut all stimuli into batches by hand."""
    every = torch.arange(n)
    return [cut(data, every[i : i + batch_size], axis) for i in range(0, n, batch_size)]


def user_dict(stimuli: Any, batch_size: int) -> Any:
    """Hand over a dict of tensors as a list of batches."""
    n = len(next(iter(stimuli.values())))
    return batches_of(stimuli, n, batch_size)


def user_dataset(stimuli: Any, batch_size: int) -> Any:
    """Hand over several inputs as a TensorDataset."""
    return TensorDataset(*stimuli)


def fixed(value: Any) -> Callable[[int], Any]:
    """Return a function of the number of stimuli that draws tensors of the given shapes.

    A tuple of integers is the shape of one stimulus; a pair (shape, high) is for token ids from 3
    to ``high``; dicts and lists of these give dicts and tuples of tensors.
    """

    def draw(n: int, value: Any = value) -> Any:
        if isinstance(value, dict):
            return {key: draw(n, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return tuple(draw(n, inner) for inner in value)
        if value and isinstance(value[0], tuple):
            return torch.randint(3, value[1], (n, *value[0]))
        return torch.randn(n, *value)

    return draw


ZOO: dict[str, Architecture] = {}


def add(name: str, make: Callable[[], nn.Module], shape: Any, **fields: Any) -> None:
    """Add an architecture to the zoo; ``shape`` is as in :func:`fixed`, or a function of n."""
    data = shape if callable(shape) else fixed(shape)
    if "form" not in fields:
        fields["form"] = _form(shape, fields.get("handed"))
    ZOO[name] = Architecture(name, make, data, **fields)


def _form(shape: Any, handed: Any) -> str:
    """Describe the data in words, for the table in the docs."""
    if isinstance(shape, dict):
        return "dict: " + ", ".join(f"{key} {_size(value)}" for key, value in shape.items())
    if isinstance(shape, list):
        kind = "TensorDataset" if handed is user_dataset else "tuple"
        return f"{kind}: " + ", ".join(map(_size, shape))
    return f"tensor {_size(shape)}"


def _size(shape: Any) -> str:
    inner = shape[0] if shape and isinstance(shape[0], tuple) else shape
    return f"({', '.join(['n', *map(str, inner)])})"


for _part in ("vision", "language", "others", "wrapped"):  # they fill the zoo
    import_module(f"networks.architectures.{_part}")
