"""Against the authors' procedure: a forward pass a layer, all distances for every resample."""

from __future__ import annotations

import time
import warnings

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform

import dimscope as ds
from benchmarks.profiles import batches, forward, network
from benchmarks.timing import table

_N, _KEEP, _SLICE = 500, 0.9, 4096
_COMPARED = ("maxpool", "avgpool", "output")  # layers whose dimensions are compared


def regression_id(points: np.ndarray) -> float:
    """TwoNN by regression as the authors do it: float64 distances of all pairs."""
    return _from_distances(squareform(pdist(points)))


def _from_distances(distances: np.ndarray) -> float:
    nearest = np.sort(distances, axis=1)[:, 1:3]
    mu = np.sort(nearest[:, 1] / nearest[:, 0])
    n = len(mu)
    kept = int(0.9 * n + 1e-9)
    x, y = np.log(mu[:kept]), -np.log(1 - np.arange(1, kept + 1) / n)
    return float(x @ y / (x @ x))


def run() -> str:
    """Measure at 5 and 50 resamples and return the table."""
    warnings.simplefilter("ignore", ds.TiedPoints)
    net, images = network("ResNet-18"), batches(_N)
    activations = ds.capture(net, images, batch_size=32)
    start = time.perf_counter()
    forward(net, images)
    one_forward = time.perf_counter() - start
    # pdist in float64 costs the same for every feature: time a slice of each layer
    one_pdist = sum(_pdist_seconds(activations[name], round(_KEEP * _N)) for name in activations)
    distances = {name: _distances(activations[name]) for name in _COMPARED}
    rows = []
    for n in (5, 50):
        estimator = ds.Resampled(ds.TwoNN(fit="regression"), n=n, keep=_KEEP)
        start = time.perf_counter()
        profile = ds.profile(net, images, estimator, batch_size=32)
        ours = time.perf_counter() - start
        theirs = len(activations) * one_forward + n * one_pdist
        rows.append(
            [
                n,
                f"{theirs:.0f}",
                f"{ours:.1f}",
                f"{theirs / ours:.0f}",
                15 if n == 5 else 85,
                f"{_disagreement(distances, profile, estimator):.1e}",
            ]
        )
        print(rows[-1], flush=True)
    note = (
        f"Their procedure from unit times: {one_forward:.1f} s a forward pass, "
        f"{one_pdist:.1f} s for the distances of all layers of one resample."
    )
    head = ["resamples", "their procedure (s)", "dimscope (s)", "ratio", "at least",
            "largest relative difference of a dimension"]  # fmt: skip
    return table(head, rows) + "\n\n" + note


def _pdist_seconds(points: np.ndarray, n: int) -> float:
    width = min(_SLICE, points.shape[1])
    some = points[:n, :width].astype(np.float64)
    start = time.perf_counter()
    pdist(some)
    return (time.perf_counter() - start) * points.shape[1] / width


def _distances(points: np.ndarray) -> np.ndarray:
    # direct differences in float64, without the product trick
    values = torch.from_numpy(points).double()
    return torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").numpy()


def _disagreement(
    distances: dict[str, np.ndarray], profile: ds.Profile, estimator: ds.Resampled
) -> float:
    """Compare every resample's dimension with all distances of the same rows."""
    worst = 0.0
    for name, all_pairs in distances.items():
        found = profile[name]
        assert not found.n_duplicates
        for rows, dimension in zip(estimator.subsets(len(all_pairs)), found.resamples, strict=True):
            theirs = _from_distances(all_pairs[np.ix_(rows, rows)])
            worst = max(worst, abs(dimension / theirs - 1))
    return worst
