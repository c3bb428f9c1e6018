"""A CUDA device: whole estimates against what torch offers, and a profile that stays there.

Without a CUDA device nothing is measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision

import dimscope as ds
from benchmarks.timing import interleaved, table

SHAPES = [
    (10_000, 3072, torch.float32),
    (10_000, 36_864, torch.float32),
    (10_000, 36_864, torch.float16),
    (10_000, 36_864, torch.bfloat16),
    (60_000, 3072, torch.float32),
    (100_000, 768, torch.float32),
]
N_IMAGES, BATCH = 2000, 100
CHECKED = 200  # rows that are compared with direct differences in float64
REPEATS = 5
_RANK = 1024  # of the spectrum
_BLOCK = 1 << 28  # values of a matrix of distances, or of differences in float64


def power_law(n: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return points with a spectrum that falls as k^-1.25, in random directions."""
    generator = torch.Generator(device).manual_seed(0)
    rank = min(_RANK, width)
    deviations = torch.arange(1, rank + 1, device=device, dtype=torch.float32) ** -0.625
    hidden = torch.randn(n, rank, generator=generator, device=device) * deviations
    return (hidden @ torch.randn(rank, width, generator=generator, device=device)).to(dtype)


def distances_by_torch(points: torch.Tensor) -> torch.Tensor:
    """Find r1 and r2 with ``torch.cdist`` and ``topk``, in blocks of rows that fit in memory."""
    points = points.float()
    blocks = points.split(max(1, _BLOCK // len(points)))
    return torch.cat([torch.cdist(block, points).topk(3, largest=False).values for block in blocks])


def product(points: torch.Tensor) -> None:
    """Multiply the points by themselves, in the same blocks, into one buffer."""
    blocks = points.split(max(1, _BLOCK // len(points)))
    out = torch.empty(len(blocks[0]), len(points), device=points.device)
    for block in blocks:
        torch.mm(block, points.T, out=out[: len(block)])


def worst_error(distances: np.ndarray, points: torch.Tensor) -> float:
    """Largest relative error of r1 and r2 of some rows against float64 differences."""
    rows = np.linspace(0, len(points) - 1, CHECKED).astype(int)
    worst = 0.0
    for row in rows:
        centre = points[row].double()
        blocks = points.split(max(1, _BLOCK // (4 * points.shape[1])))
        squares = torch.cat([(block - centre).square_().sum(dim=1) for block in blocks])
        squares[row] = torch.inf
        exact = squares.topk(2, largest=False).values.sqrt().cpu().numpy()
        worst = max(worst, float(np.abs(distances[row, :2] / exact - 1).max()))
    return worst


def synchronized(task: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Return a task that ends when the device has done its work."""

    def whole() -> None:
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def peak(task: Callable[[], Any], device: torch.device) -> float:
    """Return the most GB that a task takes on the device, beyond what was taken before."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    task()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e9


def measured(n: int, width: int, dtype: torch.dtype, device: torch.device) -> list[Any]:
    """One row: seconds and ratios, the memory taken, and the error."""
    points = power_law(n, width, dtype, device)
    single = points.float()
    tasks = {
        "estimate": lambda: ds.estimate(points),
        "cdist": lambda: distances_by_torch(points),
        "product": lambda: product(single),
    }
    for task in tasks.values():
        task()  # compiles and loads what it needs
    seconds = interleaved({k: synchronized(v, device) for k, v in tasks.items()}, REPEATS, 10.0)
    neighbors = ds.nearest_neighbors(points)
    how = neighbors.provenance.parameters
    return [
        f"{n} x {width}", str(dtype).removeprefix("torch."),
        *(f"{seconds[task]:.3f}" for task in tasks),
        f"{seconds['cdist'] / seconds['estimate']:.2f}",
        f"{seconds['estimate'] / seconds['product']:.2f}",
        f"{points.nbytes / 1e9:.2f}", f"{peak(tasks['estimate'], device):.2f}",
        f"{how['pairs'] / n:.1f}", how["open_rows"],
        f"{worst_error(neighbors.distances, points):.0e}",
    ]  # fmt: skip


def profiled(device: torch.device) -> list[Any]:
    """Measure a profile of ResNet-18 against its forward pass over the same images."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None).eval().to(device)
    generator = torch.Generator(device).manual_seed(0)
    coarse = torch.randn(N_IMAGES, 3, 16, 16, generator=generator, device=device)
    images = torch.nn.functional.interpolate(coarse, size=224, mode="bilinear")

    def forward() -> None:
        with torch.inference_mode():
            for batch in images.split(BATCH):
                net(batch)

    def profile() -> ds.Profile:
        return ds.profile(net, images, batch_size=BATCH)

    tasks: dict[str, Callable[[], Any]] = {"forward": forward, "profile": profile}
    layers = profile().layers
    forward()
    seconds = interleaved({k: synchronized(v, device) for k, v in tasks.items()}, REPEATS, 30.0)
    captured = sum(layer.n_features for layer in layers) * N_IMAGES * 4
    return [
        "ResNet-18", N_IMAGES, len(layers), f"{seconds['forward']:.2f}",
        f"{seconds['profile']:.2f}", f"{seconds['profile'] / seconds['forward']:.2f}",
        f"{captured / 1e9:.2f}", f"{peak(profile, device):.2f}",
    ]  # fmt: skip


def run() -> str | None:
    """Measure all and return the tables; None without a CUDA device."""
    if not torch.cuda.is_available():
        print("device: not measured, because torch sees no CUDA device here", flush=True)
        return None
    return tables(torch.device("cuda", torch.cuda.current_device()))


def tables(device: torch.device) -> str:
    """Measure everything on a device."""
    warnings.simplefilter("ignore", ds.TiedPoints)
    torch.set_float32_matmul_precision("highest")
    rows = []
    for n, width, dtype in SHAPES:
        rows.append(measured(n, width, dtype, device))
        print(*rows[-1], flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    of_profile = profiled(device)
    print(*of_profile, flush=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return "\n\n".join(
        [
            table(
                [
                    "N x D", "dtype", "estimate (s)", "cdist and topk (s)", "product (s)",
                    "cdist / estimate", "estimate / product", "points (GB)",
                    "taken beside them (GB)", "pairs measured a point", "open rows",
                    "largest relative error",
                ],
                rows,
            ),
            table(
                [
                    "network", "N", "layers", "forward (s)", "profile (s)", "profile / forward",
                    "captured (GB)", "taken on the device (GB)",
                ],
                [of_profile],
            ),
            f"_{name}, torch {torch.__version__}._",
        ]
    )  # fmt: skip
