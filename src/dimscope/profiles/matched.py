"""Profiles at one relative distance: every layer is measured at the same scale.

Where a layer moves neighbours apart, relative to its extent, the measured dimension follows. Taking
points away moves neighbours apart as well, so all layers can be brought to the relative distance of
the layer whose neighbours are farthest. A rise and fall of the dimension along the network that is
left at equal distances is not an effect of the scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.activations.activations import Activations
from dimscope.activations.saved import open_activations
from dimscope.arrays import as_points
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.errors import BadPoints, DegeneratePoints, TiedPoints, reason_of, silent
from dimscope.estimators.base import NeighborEstimator
from dimscope.estimators.covariances import joined
from dimscope.estimators.estimates import LOWER_BOUND_ABOVE, Estimate, fingerprint
from dimscope.estimators.two_nn import TwoNN
from dimscope.estimators.uncertainty import Influence
from dimscope.neighbors.search import nearest_neighbors
from dimscope.profiles.layerwise import identify
from dimscope.profiles.profile import Profile
from dimscope.provenance import NUMBERS, Provenance, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.arrays.points import Points
    from dimscope.arrays.threads import Progress
    from dimscope.neighbors.engines import Engine
    from dimscope.neighbors.neighbors import Neighbors

__all__ = ["profile_at_scale"]

_RANKS = 64  # Neighbours to search for; the points that need more are searched again.
_SMALLEST = 50  # Least number of points in a block: below, an estimate says little.
_PAIRS = 4000  # Pairs of points for the extent of a layer; its error is then below 1 %.
_TOLERANCE = 0.005  # Relative deviation from the distance at which the search for a size ends.
_TRIES = 8
_VALUES = 1 << 22  # Values in a block of pairs.


def profile_at_scale(
    activations: Any,
    estimator: NeighborEstimator | None = None,
    *,
    distance: float | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    name: str | None = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure the dimension of every layer at the same relative distance between neighbours.

    Parameters
    ----------
    activations : Activations, or what open_activations takes
        Activations, or the path of a store, a folder or a file of layers, or arrays by layer
        (:func:`dimscope.open_activations`).
    estimator : NeighborEstimator, optional
        :class:`~dimscope.TwoNN` by default.
    distance : float, optional
        The relative distance: the median distance to the nearest neighbour divided by the median
        distance between two points of the layer. By default the largest of all layers, the
        only one that no layer exceeds.
    seed : int
        Seed for the choice of the points and of the pairs.
    engine : Engine, optional
        How to search for neighbours; exact by default.
    name : str, optional
        Name of the profile; by default the name of the activations and the distance.
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)``, called in this thread.

    Returns
    -------
    Profile
        ``resamples`` of each estimate holds the dimension of each block, and ``distance`` is the
        median r1 in the blocks, in the units of the layer. The number of blocks, the number of
        points in each, and the relative distances with all points and in the blocks are in the
        ``provenance.parameters``. A layer that does not reach the distance, because it would
        need more points than there are, or fewer than 50, has dimension NaN and a ``reason``.

    Raises
    ------
    TypeError, ValueError
        If the estimator does not use neighbours, or the distance is not positive.

    Notes
    -----
    A layer has units of its own, and a network may scale it by any constant, so absolute distances
    of different layers cannot be matched. The unit here is the extent of the layer itself, the
    median distance between two of its points (4000 random pairs). Unlike the root of the total
    variance, it does not follow a few points of large norm.

    The points of a layer are split at random into disjoint blocks of n points, as in
    :func:`dimscope.scale_curve`, with the number n at which the median r1 in the blocks is the
    wanted one, to about 1 %. All blocks share one search. The dimension is the mean over the
    blocks. Its standard error comes from the influence of each point on its block, so
    :func:`dimscope.difference` compares two layers; ``resample_std`` is the standard deviation over
    the blocks.

    At equal distances, layers are measured from different numbers of points. This removes
    differences of scale, not the underestimation in high dimensions. In a uniform ball of dimension
    d, the relative distance is about n^(-1/d): layers of unlike dimension meet only where that of
    the lower dimension has few points left, or not at all. The reason of a layer that does not
    reach the distance holds its dimension in blocks of 50 points, the farthest scale that it has.

    References
    ----------
    S. Schulte and D. Ruegamer, AISTATS (2026): a Lipschitz layer cannot raise the dimension, and
    measured profiles follow the distances and spectra of the layers.

    Examples
    --------
    >>> import dimscope as ds
    >>> from dimscope.manifolds import cube, embed
    >>> layers = {"square": embed(cube(4000, 2), 9), "solid": 5 * embed(cube(4000, 3), 9)}
    >>> profile = profile_at_scale(ds.Activations(layers))
    >>> [round(float(estimate)) for estimate in profile.values()]
    [2, 3]
    >>> sizes = [e.provenance.parameters["points in a block"] for e in profile.values()]
    >>> sizes[0] < sizes[1] == 4000
    True
    """
    estimator = TwoNN() if estimator is None else estimator
    if not isinstance(estimator, NeighborEstimator):
        raise TypeError(
            f"estimator is {estimator!r}; give one that uses neighbours, such as TwoNN(), Gride() "
            "or MLE()"
        )
    if distance is not None and not distance > 0:
        raise ValueError(f"distance is {distance}; a relative distance is positive")
    if not isinstance(activations, Activations):
        activations = open_activations(activations)
    budget = budget_from(memory)
    held: dict[str, _Searched] = {}
    estimates: dict[str, Estimate] = {}
    names = [layer.name for layer in activations.layers]
    if distance is None:
        n_bytes = 16 * _RANKS * activations.n_points * len(names)
        check_budget(n_bytes, budget, "the neighbours of all layers")

    def attempt(layer: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Warning:
            raise
        except Exception as error:
            estimates[layer] = Estimate(
                math.nan, n_points=activations.n_points, reason=reason_of(error)
            )

    def search(layer: str) -> None:
        if layer in activations.failures:
            raise BadPoints(activations.failures[layer])
        points = as_points(activations.points[layer], memory=budget)
        neighbors = nearest_neighbors(
            points, max(_RANKS, estimator.ranks), engine, at_most=True, memory=budget
        )
        neighbors.refuse_sample("profile_at_scale")
        searched = _Searched(neighbors, _extent(points, neighbors, seed), seed)
        if distance is None:
            held[layer] = searched
        else:
            estimates[layer] = searched.measured(estimator, distance)

    def measure(layer: str, wanted: float) -> None:
        estimates[layer] = held[layer].measured(estimator, wanted)

    for number, layer in enumerate(names):
        if progress is not None:
            progress(f"searching {layer}", number, len(names))
        attempt(layer, partial(search, layer))
    wanted = distance
    if wanted is None:
        wanted = max(
            (searched.relative(searched.n) for searched in held.values()), default=math.nan
        )
    for number, layer in enumerate(held):
        if progress is not None:
            progress(f"measuring {layer}", number, len(held))
        attempt(layer, partial(measure, layer, wanted))
    title = f"{activations.name} at relative distance {wanted:.3g}".strip()
    identify(activations, None, {estimator.name: estimates})
    return Profile(
        activations.layers,
        {estimator.name: {layer: estimates[layer] for layer in names}},
        title if name is None else name,
        provenance=Provenance(
            "profile at one distance",
            {
                "estimators": {estimator.name: repr(estimator)},
                "distance": wanted,
                "seed": seed,
                "numbers": NUMBERS,
            },
            versions(),
            (activations.provenance,),
        ),
        companions=("distance",),
    )


@dataclass(frozen=True)
class _Searched:
    """The neighbours of a layer, split into blocks of any size."""

    neighbors: Neighbors
    extent: float
    seed: int

    @property
    def n(self) -> int:
        return self.neighbors.n_distinct

    def blocks(self, size: int, k: int) -> list[Neighbors]:
        """Split the points at random into as many disjoint blocks of this size as there are."""
        if size == self.n:
            return [self.neighbors]
        order = np.random.default_rng(self.seed).permutation(self.n)
        count = self.n // size
        return self.neighbors.split(np.split(order[: count * size], count), k)

    def relative(self, size: int) -> float:
        """Return the median r1 in blocks of this size, relative to the extent of the layer."""
        return _median_r1(self.blocks(size, 2)) / self.extent

    def measured(self, estimator: NeighborEstimator, wanted: float) -> Estimate:
        """Measure the mean dimension of blocks at the wanted relative distance."""
        smallest = max(_SMALLEST, estimator.ranks + 1)
        if self.n < smallest:
            raise DegeneratePoints(f"{self.n} distinct points are too few for blocks of {smallest}")
        size = self._size(wanted, smallest)
        estimate = self.at(size, estimator)
        reached = estimate.distance / self.extent
        if reached < wanted * (1 - _TOLERANCE) and size == smallest:
            raise DegeneratePoints(
                f"the median r1 is {self.relative(self.n):.3g} of the extent of the layer with all "
                f"{self.n} points and {reached:.3g} in blocks of {size}, which measure {estimate}; "
                f"{wanted:.3g} is out of reach"
            )
        return estimate

    def at(self, size: int, estimator: NeighborEstimator) -> Estimate:
        """Measure the mean dimension of blocks of this size."""
        blocks = self.blocks(size, estimator.ranks)
        parts = []
        for number, block in enumerate(blocks):
            with silent(TiedPoints) if number else nullcontext():  # ties are said once
                parts.append(estimator.from_neighbors(block, test_fit=False))
        dimensions = tuple(part.dimension for part in parts)
        mean = float(np.mean(dimensions))
        influence = _joined(parts, self.neighbors.fingerprints)
        std_error = influence.std_error if influence else math.nan
        distance = _median_r1(blocks)
        return Estimate(
            mean,
            std_error if std_error > 0 else math.nan,
            n_points=self.neighbors.n_points,
            n_used=sum(part.n_used for part in parts),
            n_duplicates=self.neighbors.n_duplicates,
            tie_fraction=float(np.mean([part.tie_fraction for part in parts])),
            is_lower_bound=mean > LOWER_BOUND_ABOVE,
            resample_std=float(np.std(dimensions, ddof=1)) if len(parts) > 1 else None,
            resamples=dimensions if len(parts) > 1 else (),
            distance=distance,
            hubness=float(np.mean([part.hubness for part in parts])),
            provenance=Provenance(
                "estimate at a distance",
                {
                    "estimator": repr(estimator),
                    "guarantee": str(blocks[0].guarantee),
                    "blocks": len(blocks),
                    "points in a block": size,
                    "extent": self.extent,
                    "relative distance": distance / self.extent,
                    "relative distance of all points": self.relative(self.n),
                },
                versions(),
                (self.neighbors.provenance,),
            ),
            influence=influence,
            rows=fingerprint(self.neighbors.fingerprints),
        )

    def _size(self, wanted: float, smallest: int) -> int:
        """Find the size of blocks at which the relative distance is the wanted one.

        The logarithm of r1 falls almost linearly with that of the size, so the secant through the
        ends of a bracket finds the size in a few tries.
        """
        low, high = smallest, self.n
        near = self.relative(high)
        if near >= wanted * (1 - _TOLERANCE):
            if near > wanted * (1 + _TOLERANCE):
                raise DegeneratePoints(
                    f"the median r1 of all {self.n} points is {near:.3g} of the extent of the "
                    f"layer, more than {wanted:.3g}: more points would be needed"
                )
            return high
        far = self.relative(low)
        if far < wanted * (1 - _TOLERANCE):
            return low
        best = (abs(math.log(far / wanted)), low)
        for _ in range(_TRIES):
            share = math.log(wanted / near) / math.log(far / near)
            size = round(math.exp(math.log(high) + share * math.log(low / high)))
            size = min(max(size, low), high)
            reached = self.relative(size)
            best = min(best, (abs(math.log(reached / wanted)), size))
            if best[0] < _TOLERANCE or size in (low, high):
                break
            if reached > wanted:
                low, far = size, reached
            else:
                high, near = size, reached
        return best[1]


def _median_r1(blocks: list[Neighbors]) -> float:
    return float(np.median(np.concatenate([block.distances[:, 0] for block in blocks])))


def _extent(points: Points, neighbors: Neighbors, seed: int) -> float:
    """Return the median distance between two distinct points, over random pairs."""
    rng = np.random.default_rng(seed)
    rows = neighbors.rows
    assert rows is not None  # Neighbors fills in its rows when created
    first = rng.integers(0, len(rows), _PAIRS)
    second = (first + rng.integers(1, len(rows), _PAIRS)) % len(rows)
    distances = np.empty(_PAIRS)
    step = max(1, _VALUES // points.n_features)
    for start in range(0, _PAIRS, step):
        here = slice(start, start + step)
        a, b = (
            points.block(rows[places[here]], dtype=np.dtype(np.float64))
            for places in (first, second)
        )
        distances[here] = np.linalg.norm(a - b, axis=1)
    return float(np.median(distances))


def _joined(parts: list[Estimate], identities: NDArray[np.uint64] | None) -> Influence | None:
    """Return the influence of each point on the mean over blocks of equal size."""
    if any(part.influence is None for part in parts):
        return None
    influences = [part.influence for part in parts if part.influence is not None]
    return replace(joined(influences), identities=identities)
