"""Against the authors' procedure: a forward pass a layer, all distances for every resample."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
from scipy.spatial.distance import pdist, squareform

import dimscope as ds
from benchmarks.layers import distances
from benchmarks.profiles import batches, forward, network
from benchmarks.timing import interleaved, table

_N, _KEEP, _SLICE, _ROUNDS = 500, 0.9, 4096, 3
_AT_LEAST = {5: 15, 50: 85}  # ratio, by the number of resamples
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
    estimators = {n: ds.Resampled(ds.TwoNN(fit="regression"), n=n, keep=_KEEP) for n in _AT_LEAST}
    profiles: dict[int, ds.Profile] = {}

    def measure(n: int) -> None:
        profiles[n] = ds.profile(net, images, estimators[n], batch_size=32)

    tasks = {str(n): partial(measure, n) for n in _AT_LEAST}
    seconds = interleaved({"forward": lambda: forward(net, images), **tasks}, _ROUNDS)
    one_forward = seconds["forward"]
    # pdist in float64 costs the same for every feature: time a slice of each layer
    one_pdist = sum(_pdist_seconds(activations[name], round(_KEEP * _N)) for name in activations)
    exact = {name: distances(activations[name], activations[name]) for name in _COMPARED}
    rows = []
    for n, least in _AT_LEAST.items():
        theirs = len(activations) * one_forward + n * one_pdist
        ours = seconds[str(n)]
        worst = _disagreement(exact, profiles[n], estimators[n])
        rows.append(
            [n, f"{theirs:.0f}", f"{ours:.1f}", f"{theirs / ours:.0f}", least, f"{worst:.1e}"]
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
    seconds = interleaved({"pdist": lambda: pdist(some)}, _ROUNDS)["pdist"]
    return seconds * points.shape[1] / width


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
