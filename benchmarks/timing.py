"""Interleaved timing, the machine, and Markdown tables."""

from __future__ import annotations

import datetime
import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

_STABLE = 0.05  # difference between medians that counts as none

__all__ = ["embeddings", "fill", "interleaved", "load_faiss", "machine", "relu_map", "table"]


def interleaved(
    tasks: dict[str, Callable[[], Any]], repeats: int = 9, budget: float = 120.0
) -> dict[str, float]:
    """Median seconds of each task, the tasks taking turns; each round begins with another task.

    Rounds end when the medians of even and of odd rounds differ by less than 5 % for every task, or
    after ``repeats`` rounds. A task that has used up ``budget`` seconds sits out what remains.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    order = list(tasks.items())
    for _ in range(repeats):
        for name, task in order:
            if sum(times[name]) > budget:
                continue
            start = time.perf_counter()
            kept = task()
            times[name].append(time.perf_counter() - start)
            del kept
            gc.collect()
        if all(map(_is_stable, times.values())):
            break
        order = order[1:] + order[:1]  # some tasks leave the memory cold for the next one
    return {name: statistics.median(some) for name, some in times.items()}


def _is_stable(times: list[float]) -> bool:
    if len(times) < 4:
        return False
    even, odd = statistics.median(times[::2]), statistics.median(times[1::2])
    return abs(even - odd) < _STABLE * min(even, odd)


def load_faiss() -> Any:
    """faiss, its products by the kernels that NumPy has chosen.

    The OpenBLAS in the wheels of faiss is older than some processors, and takes slow kernels
    there, which says nothing about the two ways to search.
    """
    kernels = {
        one.get("architecture")
        for one in threadpoolctl.threadpool_info()
        if one["internal_api"] == "openblas" and "numpy" in one["filepath"]
    }
    if len(kernels) == 1:  # read when the library is loaded, so by the first import only
        os.environ.setdefault("OPENBLAS_CORETYPE", str(kernels.pop()))
    import faiss

    return faiss


def relu_map(n: int, d: int, rank: int = 10, seed: int = 0) -> np.ndarray:
    """ReLU of a random map of a Gaussian of ``rank`` dimensions; float32."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, rank), dtype=np.float32)
    points = hidden @ rng.standard_normal((rank, d), dtype=np.float32)
    return np.maximum(points, 0, out=points)


def embeddings(n: int, d: int = 768, out: np.ndarray | None = None) -> np.ndarray:
    """Points as embeddings are: 100 clusters, a spectrum that falls as k^-1.25; float32."""
    rng = np.random.default_rng(0)
    deviations = np.arange(1, d + 1, dtype=np.float32) ** np.float32(-0.625)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    mixing = deviations[:, None] * turn
    centres = rng.standard_normal((100, d), dtype=np.float32) @ mixing
    points = np.empty((n, d), np.float32) if out is None else out
    for start in range(0, n, 10_000):
        some = points[start : start + 10_000]
        some[:] = rng.standard_normal(some.shape, dtype=np.float32) @ mixing
        some += centres[rng.integers(0, len(centres), len(some))]
    return points


def machine() -> str:
    """One line: date, processor, load of the last minute, versions, BLAS kernels."""
    import scipy.linalg  # noqa: F401  (its BLAS counts too)

    kernels = {
        f"{one['internal_api']} {one['version']} ({one.get('architecture', '?')})"
        for one in threadpoolctl.threadpool_info()
        if one["user_api"] == "blas"
    }
    return (
        f"{datetime.date.today()}, {_processor()}, load {os.getloadavg()[0]:.1f}, "
        f"{threadpoolctl.threadpool_info()[0]['num_threads']} threads, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"BLAS: {', '.join(sorted(kernels))}"
    )


def _processor() -> str:
    """Name of the processor, and its widest vector instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    values = {key.strip(): value.strip() for key, value in pairs}
    flags = values.get("flags", "").split()
    widest = next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())
    return f"{values.get('model name', platform.machine())} ({widest})"


def table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(headings) + " |"]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def fill(page: Path, name: str, text: str) -> None:
    """Put a text between the markers of this name on a page, which is written whole."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    filled, found = re.subn(
        f"{start}.*?{end}",
        lambda _: f"{start}\n\n{text}\n\n{end}",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if not found:
        raise SystemExit(f"{page} has no markers {start} and {end}")
    beside = page.with_suffix(".part")
    beside.write_text(filled, encoding="utf-8")
    beside.replace(page)
