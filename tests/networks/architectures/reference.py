"""What plain torch says about a network: the tensors of its modules, by hooks, batch by batch.

No tracer, no function mode, nothing of dimscope: :func:`reference` calls the network in eval mode
with ``register_forward_hook`` on every module, and puts the stimuli of each tensor first by what is
known about the architecture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from networks.architectures.zoo import FOLDED, Architecture, Axis, batches_of

__all__ = ["Reference", "named", "reference", "rows_denied", "same_units", "signature", "worst_row"]

Reference = dict[str, Tensor | None]
"""The rows of each tensor by name, or None if its rows are not stimuli."""


def reference(architecture: Architecture, network: nn.Module, data: Any, size: int) -> Reference:
    """Run the network by hand in batches of ``size`` and return the tensors of all its modules.

    A tensor has the name of its module, ``#2`` at its second call in a batch, and its path in the
    output: ``rnn``, ``rnn[1][0]``. The first floating-point tensor of an output with rows has no
    path. The network's own output is called ``output``, its first input ``input``.
    """
    parts: dict[str, list[Tensor | None]] = {}
    batches = batches_of(data, architecture.n, size, architecture.batch_axis)
    for number, batch in enumerate(batches):
        n_rows = min(size, architecture.n - number * size)
        calls: Counter[str] = Counter()
        seen: list[tuple[str, str, Any]] = []

        def hook(name: str, output: Any, calls=calls, seen=seen) -> None:
            calls[name] += 1
            suffix = f"#{calls[name]}" if calls[name] > 1 else ""
            seen.append((name, suffix, copied(output)))

        with hooked(network, hook), torch.no_grad():
            architecture.plain(network, batch)
        seen += [("input", "", input_of(batch))]
        for name, suffix, output in seen:
            for key, rows in rows_of(architecture, name, suffix, output, n_rows):
                parts.setdefault(key, []).append(rows)
    whole = {key: values for key, values in parts.items() if len(values) == len(batches)}
    return {
        key: None if any(v is None for v in values) else torch.cat(values)
        for key, values in whole.items()
    }


def rows_denied(architecture: Architecture, network: nn.Module, data: Any, size: int) -> list[str]:
    """Return the tensors that ``axes`` gives no rows, although every batch shows one a stimulus.

    A tensor of batch x batch is excepted.
    """
    denied: dict[str, list[bool]] = {}
    batches = batches_of(data, architecture.n, size, architecture.batch_axis)
    for number, batch in enumerate(batches):
        n_rows = min(size, architecture.n - number * size)

        def hook(name: str, output: Any, n_rows=n_rows) -> None:
            for path, tensor in named(output):
                if axis_of(architecture, f"{name}{path}") is None:
                    first, *others = [*tensor.shape, 0]
                    like_rows = first == n_rows and others[0] != n_rows
                    denied.setdefault(f"{name}{path}", []).append(like_rows)

        with hooked(network, hook), torch.no_grad():
            architecture.plain(network, batch)
    return [name for name, marks in denied.items() if len(marks) > 1 and all(marks)]


class hooked:  # noqa: N801
    """Call ``hook(name, output)`` after every call of a module, within the context."""

    def __init__(self, network: nn.Module, hook: Any) -> None:
        self.network, self.hook = network, hook

    def __enter__(self) -> None:
        self.handles = [
            module.register_forward_hook(self._hook(clean(name)))
            for name, module in self.network.named_modules()
        ]

    def _hook(self, name: str) -> Any:
        return lambda module, inputs, output: self.hook(name, output)

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()


def clean(name: str) -> str:
    """Return the name without the prefix of torch.compile; ``output`` for the network itself."""
    name = name.removeprefix("_orig_mod").removeprefix(".")
    return name or "output"


def input_of(batch: Any) -> Any:
    """Return the first floating-point tensor of a batch, as the output of a module is kept."""
    if isinstance(batch, list):
        batch = torch.stack(batch) if isinstance(batch[0], Tensor) else batch[0].x
    return [("", t) for _, t in named(batch) if t.is_floating_point()][:1]


def copied(output: Any) -> Any:
    """Copy the tensors of an output at once: later operations may overwrite them."""
    return [(path, t.detach().clone()) for path, t in named(output)]


def named(output: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an output with their paths."""
    if isinstance(output, Tensor):
        yield path, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from named(value, f"{path}[{key}]")
    elif isinstance(output, tuple | list):
        for i, value in enumerate(output):
            yield from named(value, f"{path}[{i}]")


def rows_of(
    architecture: Architecture, name: str, suffix: str, output: Any, n_rows: int
) -> Iterator[tuple[str, Tensor | None]]:
    """Yield the key and the rows of each tensor of an output."""
    tensors = [
        (path, plain(tensor), axis_of(architecture, f"{name}{path}"))
        for path, tensor in output
        if tensor.is_floating_point() or tensor.is_quantized
    ]
    main = next((i for i, (_, _, axis) in enumerate(tensors) if axis is not None), 0)
    for i, (path, tensor, axis) in enumerate(tensors):
        key = f"{name}{suffix}" + ("" if i == main else path)
        yield key, stimuli_first(tensor, axis, n_rows, key)


def plain(tensor: Tensor) -> Tensor:
    return tensor.dequantize() if tensor.is_quantized else tensor


def axis_of(architecture: Architecture, name: str) -> Axis:
    for pattern, axis in architecture.axes:
        if fnmatchcase(name, pattern):
            return axis
    return 0


def stimuli_first(tensor: Tensor, axis: Axis, n_rows: int, name: str) -> Tensor | None:
    """Return one flat row for each stimulus."""
    if axis is None:
        return None
    if axis == FOLDED:
        assert len(tensor) % n_rows == 0, f"{name}: {tuple(tensor.shape)}, {n_rows} stimuli"
        return tensor.reshape(n_rows, -1)
    assert tensor.shape[axis : axis + 1] == (n_rows,), (
        f"{name}: {tuple(tensor.shape)} has not {n_rows} stimuli along axis {axis}"
    )
    return tensor.movedim(axis, 0).reshape(n_rows, -1)


def worst_row(points: Any, expected: Tensor) -> float:
    """Return the largest distance of a row from its expected value, in units of the layer's norm.

    The norm is that of the root mean square row, so that one wrong row of many shows.
    """
    found, right = torch.as_tensor(points).double(), expected.double()
    if found.shape != right.shape:
        return float("inf")
    scale = right.square().sum(1).mean().sqrt()
    error = (found - right).square().sum(1).sqrt().max()
    return float(error) if scale == 0 else float(error / scale)


def signature(points: Any) -> Tensor:
    """Return three sums over the units of each row, which do not depend on the order of units."""
    rows = torch.as_tensor(points).double()
    rows = rows / max(float(rows.square().mean().sqrt()), 1e-30)
    return torch.stack([rows.sum(1), rows.square().sum(1), rows.pow(3).sum(1)], 1)


def same_units(one: Tensor, other: Tensor) -> bool:
    """Tell from their signatures whether two layers have the same units, in any order."""
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=1e-4, atol=1e-3))
