"""Counts of bytes and operations, against those that were recorded: ``python -m benchmarks.check``.

The verbs run on small inputs, in one thread, and three things are counted, none of which depends on
how busy the machine is. The compiled kernels are used only by rows that say so (``meter.level``),
with the instructions that all processors of these days have.

- *allocated*: bytes at the peak, of NumPy, of Python and of pages outside the heap; *torch*: bytes
  of all tensors that operations of torch make.
- *read*: bytes read from points in memory or mapped; *read from a store*: bytes of its files.
- *pairs*: measured by direct differences; *open_rows*: points searched again by products.
- *multiply-adds*: of the products of the search (``add_product``, ``add_gram``, ``row_bounds``),
  of ``numpy.matmul``, and of a network. The operator ``@`` cannot be counted. *multiply-adds of
  bytes*: of the products of codes.
- *resident*: bytes by which a process grows, with the pages of a memory map; on Linux only. It
  depends on the file system, which may map 4 kB or 2 MB around a row that is read.
- *values traced*: nodes of the graph of a network; one pass of the first batch needs them.

The counts in ``counts.json`` are claims. One that is exceeded by more than the slack there is lost,
and the exit code is 1. ``--record`` writes new ones. To claim more, add a function to the rows
below and record it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mmap
import pkgutil
import sys
import tempfile
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import dimscope as ds
from benchmarks.resident import peak_of_new_process
from benchmarks.timing import relu_map, table
from dimscope.activations.chunks import ChunkFiles
from dimscope.arrays.checks import largest_absolute
from dimscope.arrays.memory import _PRIVATE, own_pages
from dimscope.arrays.numpy_points import NumpyPoints
from dimscope.arrays.threads import alone
from dimscope.neighbors import kernels, searchers
from dimscope.neighbors.codes import Codes
from dimscope.neighbors.kernels import Coded
from dimscope.neighbors.products import add_gram, add_product
from dimscope.neighbors.tiles import Tiles
from dimscope.networks import tracing
from dimscope.networks.tracing import Node

COUNTS = Path(__file__).with_name("counts.json")
SLACK = 1.15
# the system decides how much it maps around a row, and BLAS how large its buffers are: 20 % apart
# on two machines, where a copy of the map or pages that stay add as much again
MORE_SLACK = {"resident": 1.5}
Counts = dict[str, int]
ROWS: dict[str, Callable[[Meter], object]] = {}


class Meter:
    """Count what is allocated, read and multiplied within ``with meter:``."""

    def __init__(self) -> None:
        _load()
        self.counts: Counter[str] = Counter()
        self.level = 0  # of the compiled kernels
        self._pages = self._peak = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(alone())
            stack.enter_context(mock.patch.object(kernels, "level", self.level))
            self._count_products(stack)
            self._count_reads(stack)
            self._count_nodes(stack)
            stack.enter_context(_replaced(own_pages, self._own_pages))
            stack.enter_context(self._network())
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
            self._start = tracemalloc.get_traced_memory()[0]
            self._stack = stack.pop_all()

    def __exit__(self, *error: Any) -> None:
        self._note()
        self.counts["allocated"] += self._peak - self._start
        self._stack.__exit__(*error)

    def _count_products(self, stack: ExitStack) -> None:
        def after(function: Callable[..., Any], count: Callable[..., int]) -> Callable[..., Any]:
            def counted(*arguments: Any, **keywords: Any) -> Any:
                result = function(*arguments, **keywords)
                self.counts["multiply-adds"] += count(result, *arguments)
                return result

            return counted

        product = after(add_product, lambda _, total, left, *more: total.size * left.shape[1])
        gram = after(add_gram, lambda _, total, left: total.size * left.shape[1] // 2)
        bounds = after(
            Tiles.row_bounds, lambda result, tiles, *_: result.size * tiles.points.n_features
        )
        matmul = after(np.matmul, lambda result, left, *_: result.size * left.shape[-1])
        multiply = kernels._multiply

        def coded(a: Coded, b: Coded, *more: Any, **keywords: Any) -> int:
            size = len(a.scale) * len(b.scale) * a.codes.shape[1] * 4
            self.counts["multiply-adds of bytes"] += size // (2 if a is b else 1)
            return multiply(a, b, *more, **keywords)

        stack.enter_context(mock.patch.object(kernels, "_multiply", coded))
        stack.enter_context(_replaced(add_product, product))
        stack.enter_context(_replaced(add_gram, gram))
        stack.enter_context(mock.patch.object(Tiles, "row_bounds", bounds))
        stack.enter_context(mock.patch.object(np, "matmul", matmul))

    def _count_reads(self, stack: ExitStack) -> None:
        def counted(read: Callable[..., Any], what: str) -> Callable[..., Any]:
            def reading(array: Any, rows: Any, columns: Any) -> Any:
                values = read(array, rows, columns)
                self.counts[what] += values.nbytes
                return values

            return reading

        def largest(array: Any) -> float:
            if isinstance(array, np.ndarray):  # others are read by their own methods
                self.counts["read"] += array.nbytes
            return largest_absolute(array)

        for kind, what in ((NumpyPoints, "read"), (ChunkFiles, "read from a store")):
            stack.enter_context(mock.patch.object(kind, "read", counted(kind.read, what)))
        stack.enter_context(_replaced(largest_absolute, largest))

    def _count_nodes(self, stack: ExitStack) -> None:
        def counted(*arguments: Any, **keywords: Any) -> Node:
            self.counts["values traced"] += 1
            return Node(*arguments, **keywords)

        stack.enter_context(mock.patch.object(tracing, "Node", counted))

    @contextmanager
    def _network(self) -> Iterator[None]:
        with _Allocations(self.counts), FlopCounterMode(display=False) as flops:
            yield
        self.counts["multiply-adds"] += flops.get_total_flops() // 2

    # -- pages outside the heap, which tracemalloc does not see ----------------------------

    def _own_pages(self, n_bytes: int) -> mmap.mmap:
        pages = _Pages(-1, n_bytes, **_PRIVATE)
        pages.meter, pages.size = self, [n_bytes]
        self.add(n_bytes)
        weakref.finalize(pages, lambda size: self.add(-size[0]), pages.size)
        return pages

    def add(self, n_bytes: int) -> None:
        """Count pages that were added, or returned."""
        self._note()
        self._pages += n_bytes

    def _note(self) -> None:
        if tracemalloc.is_tracing():
            self._peak = max(self._peak, self._pages + tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()


@cache
def _load() -> None:
    """Load all modules and call what is called later, so that neither is counted."""
    for module in pkgutil.walk_packages(ds.__path__, "dimscope."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder:
        points = relu_map(50, 20)
        ds.estimate(points, [ds.TwoNN(), ds.Gride(2, 4), ds.MLE(k=10)])
        ds.scale_curve(points)
        ds.capture(small_network(), images(50), out=f"{folder}/store.zarr")
        ds.profile(f"{folder}/store.zarr")


class _Allocations(TorchDispatchMode):
    """Count the bytes of the tensors that operations of torch return in memory of their own."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        given = {t.untyped_storage().data_ptr() for t in _tensors((arguments, keywords))}
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in given:
                self._counts["torch"] += storage.nbytes()
        return result


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


class _Pages(mmap.mmap):
    """Pages whose size is counted, also when it changes."""

    meter: Meter
    size: list[int]

    def resize(self, n_bytes: int) -> None:
        super().resize(n_bytes)
        self.meter.add(n_bytes - self.size[0])
        self.size[0] = n_bytes


@contextmanager
def _replaced(function: Callable[..., Any], other: Callable[..., Any]) -> Iterator[None]:
    """Replace a function in all modules of dimscope that hold it."""
    places = [
        (module, name)
        for key, module in list(sys.modules.items())
        if key.split(".")[0] == "dimscope"
        for name, value in list(vars(module).items())
        if value is function
    ]
    for module, name in places:
        setattr(module, name, other)
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, function)


# -- the rows -------------------------------------------------------------------------------


def row(name: str) -> Callable[[Callable[[Meter], object]], Callable[[Meter], object]]:
    """Add a row: a function that does its work within ``with meter:``."""

    def add(function: Callable[[Meter], object]) -> Callable[[Meter], object]:
        ROWS[name] = function
        return function

    return add


def small_network() -> torch.nn.Module:
    """A ResNet with one block a stage; random weights."""
    block = torchvision.models.resnet.BasicBlock
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=10).eval()


def images(n: int) -> torch.Tensor:
    """Random images of 32 x 32."""
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def first_layer() -> np.ndarray:
    """Values of a convolution, with random weights, of real images: handwritten digits."""
    from sklearn.datasets import load_digits

    digits = torch.from_numpy(load_digits().images).float()[:, None] / 16
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        layer = torch.nn.Sequential(torch.nn.Conv2d(1, 64, 3, padding=1), torch.nn.ReLU())
        return layer(digits).flatten(1).numpy()


def _codes_in_any_case() -> AbstractContextManager[object]:
    def codes(exact: Tiles, *_: Any) -> Codes:
        return Codes(exact.points, exact.unit)

    return mock.patch.object(searchers, "chosen_screen", codes)


def _effort(estimate: ds.Estimate) -> Counts:
    """Return how many pairs were measured, and how many points were searched again."""
    step = estimate.provenance
    while step.step != "nearest_neighbors":
        step = step.inputs[0]
    return {name: step.parameters[name] for name in ("pairs", "open_rows")}


def write_map(file: str) -> None:
    """Write 200 MB of points."""
    points = np.lib.format.open_memmap(file, "w+", np.float32, (65_000, 768))
    points[:] = relu_map(*points.shape)


@row("estimate, in memory")
def _(meter: Meter) -> None:
    points = relu_map(3000, 500)
    with meter:
        ds.estimate(points)


@row("estimate, three estimators")
def _(meter: Meter) -> None:
    points = relu_map(3000, 500)
    with meter:
        ds.estimate(points, [ds.TwoNN(), ds.Gride(2, 4), ds.MLE(k=10)])


@row("estimate, memory map")
def _(meter: Meter) -> None:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/points.npy", relu_map(2000, 10_000))
        with meter:
            ds.estimate(np.load(f"{folder}/points.npy", mmap_mode="r"))


@row("estimate, memory map, Sampled")
def _(meter: Meter) -> None:
    if sys.platform != "linux":
        return
    with tempfile.TemporaryDirectory() as folder:
        write_map(f"{folder}/points.npy")
        meter.counts["resident"] = peak_of_new_process(f"{folder}/points.npy")


@row("estimate, Sampled")
def _(meter: Meter) -> None:
    points = relu_map(20_000, 100)
    with meter:
        ds.estimate(points, engine=ds.Sampled(0.05))


@row("estimate, sketches")
def _(meter: Meter) -> None:
    points = relu_map(3000, 2000)
    with meter:
        estimate = ds.estimate(points)
    meter.counts.update(_effort(estimate))


@row("estimate, sketches of a layer")
def _(meter: Meter) -> None:
    points = first_layer()
    with meter:
        estimate = ds.estimate(points)
    meter.counts.update(_effort(estimate))


@row("estimate, codes of a layer")
def _(meter: Meter) -> None:
    points = first_layer()
    meter.level = 1
    with meter, _codes_in_any_case():
        estimate = ds.estimate(points, engine=ds.Exact())
    meter.counts.update(_effort(estimate))


@row("estimate, codes of many points")
def _(meter: Meter) -> None:
    points = relu_map(3000, 500)
    meter.level = 1
    with meter, _codes_in_any_case():
        estimate = ds.estimate(points, engine=ds.Exact())
    meter.counts.update(_effort(estimate))


@row("estimate, codes, memory map, Sampled")
def _(meter: Meter) -> None:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/points.npy", relu_map(20_000, 800))
        meter.level = 1
        with meter, _codes_in_any_case():
            points = np.load(f"{folder}/points.npy", mmap_mode="r")
            estimate = ds.estimate(points, engine=ds.Sampled(0.05))
    meter.counts.update(_effort(estimate))


@row("estimate, noise")
def _(meter: Meter) -> None:
    points = np.random.default_rng(0).standard_normal((5000, 300), dtype=np.float32)
    with meter:
        estimate = ds.estimate(points)
    meter.counts.update(_effort(estimate))


@row("scale_curve")
def _(meter: Meter) -> None:
    points = relu_map(3000, 200)
    with meter:
        ds.scale_curve(points)


@row("capture")
def _(meter: Meter) -> None:
    network, data = small_network(), images(128)
    with meter:
        ds.capture(network, data)


@row("capture to a store")
def _(meter: Meter) -> None:
    network, data = small_network(), images(128)
    with tempfile.TemporaryDirectory() as folder, meter:
        ds.capture(network, data, out=f"{folder}/store.zarr")


@row("profile of a store")
def _(meter: Meter) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ds.capture(small_network(), images(300), out=f"{folder}/store.zarr")
        with meter:
            ds.profile(f"{folder}/store.zarr")


@row("profile of a store, within 4 MB")
def _(meter: Meter) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ds.capture(small_network(), images(300), out=f"{folder}/store.zarr")
        with meter:
            ds.profile(f"{folder}/store.zarr", memory="4 MB")


# -- measured against recorded ----------------------------------------------------------------


def measure(names: Iterator[str] | list[str] | None = None) -> dict[str, Counts]:
    """Return the counts of some rows, or of all."""
    measured = {}
    for name in names or ROWS:
        meter = Meter()
        ROWS[name](meter)
        measured[name] = {what: int(n) for what, n in sorted(meter.counts.items()) if n}
    return measured


def lost(measured: dict[str, Counts], recorded: dict[str, Counts], slack: float) -> list[str]:
    """Return a sentence for each claim that is lost."""
    sentences = []
    for name, counts in measured.items():
        if name not in recorded:
            sentences.append(
                f"{name}: nothing is recorded; run python -m benchmarks.check --record"
            )
            continue
        for what, n in counts.items():
            claim = recorded[name].get(what, 0)
            most = MORE_SLACK.get(what, slack)
            if n > most * claim:
                sentences.append(
                    f"{name}: {what} is {n:,}, more than {most} times the recorded {claim:,}"
                )
    return sentences


def main(arguments: list[str] | None = None) -> int:
    """Measure all rows, print them, and return 1 if a claim is lost."""
    parser = argparse.ArgumentParser(prog="benchmarks.check", description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the counts as new claims")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row")
    options = parser.parse_args(arguments)
    about = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else {}
    recorded, slack = about.get("rows", {}), about.get("slack", SLACK)
    measured = measure(options.only)
    rows = []
    for name, counts in measured.items():
        for what, n in counts.items():
            claim = recorded.get(name, {}).get(what, 0)
            rows.append([name, what, f"{n:,}", f"{claim:,}", f"{n / claim:.2f}" if claim else "–"])
    print(table(["row", "count", "measured", "recorded", "ratio"], rows))
    if options.record:
        kept = {name: counts for name, counts in recorded.items() if name in ROWS}
        text = json.dumps({"slack": slack, "rows": kept | measured}, indent=2)
        COUNTS.write_text(text + "\n", encoding="utf-8")
        return 0
    sentences = lost(measured, recorded, slack)
    for sentence in sentences:
        print(f"lost: {sentence}", file=sys.stderr)
    return 1 if sentences else 0


if __name__ == "__main__":
    raise SystemExit(main())
