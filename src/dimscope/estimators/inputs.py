"""Inputs: what estimators are fitted to, each made once and shared by several."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dimscope.arrays.points import Points, as_points
from dimscope.errors import BadPoints, DegeneratePoints, SampleRefused, TiedPoints
from dimscope.estimators.spectra import Spectrum, spectrum
from dimscope.neighbors.duplicates import distinct_rows
from dimscope.neighbors.engines import Engine, Sampled
from dimscope.neighbors.neighbors import Neighbors
from dimscope.neighbors.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


__all__ = ["Inputs"]


class Needs(Protocol):
    """What an estimator needs of its input, which several estimators share."""

    @property
    def ranks(self) -> int:
        """Number of neighbours of each point; 0 for none."""

    @property
    def wished(self) -> int:
        """Number of neighbours that serve better, where there are as many."""

    def relative_error(self, neighbors: Neighbors) -> float:
        """Standard error over the dimension."""


class Inputs:
    """Points, and what is made of them when an estimator asks.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    engine : Engine, optional
        How to search; exact by default.
    estimators : sequence of Estimator
        Those that will ask: they say how many neighbours they need, and when a sample is enough.
    progress : callable, optional
        Called with the fraction of the search that is done.

    Examples
    --------
    >>> inputs = Inputs([[0.0], [1.0], [3.0]])
    >>> inputs.neighbors is inputs.neighbors
    True
    """

    def __init__(
        self,
        points: Any,
        engine: Engine | None = None,
        estimators: Sequence[Needs] = (),
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.points = points
        self._engine = engine
        self._estimators = estimators
        self._progress = progress
        self._spectra: dict[bool, Spectrum] = {}

    @cached_property
    def neighbors(self) -> Neighbors:
        """Neighbours of every point, from one search."""
        if isinstance(self.points, Neighbors):
            return self.points
        ranks = max((one.ranks for one in self._estimators), default=2)
        wished = max((one.wished for one in self._estimators), default=2)
        search = Search(
            self.points, wished, self._engine, at_most=wished > ranks, progress=self._progress
        )
        if isinstance(search.engine, Sampled):
            return self._grown(search, search.engine)
        return search.every()

    def _grown(self, search: Search, engine: Sampled) -> Neighbors:
        """Neighbours of as many points as it takes."""
        n = engine.first
        while True:
            found = search.sample(n)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TiedPoints)  # said once, of the last sample
                    errors = [one.relative_error(found) for one in self._estimators]
            except DegeneratePoints as refused:  # perhaps of this sample only
                if found.queries is None or isinstance(refused, SampleRefused):
                    raise
                n = 4 * len(found.queries)
                continue
            # an estimator without an error asks for no sample
            error = max((one for one in errors if not math.isnan(one)), default=0.0)
            if not error > engine.rtol:
                return found
            if found.queries is None:
                more = f"all points, rtol {engine.rtol:g} not reached"
                return replace(found, guarantee=f"{found.guarantee}, {more}")
            # errors fall with the root of the sample; a little more than that needs
            n = math.ceil(1.05 * len(found.queries) * (error / engine.rtol) ** 2)

    @cached_property
    def every(self) -> Points:
        """The points themselves, repeats included.

        Raises
        ------
        BadPoints
            If only neighbours were given.
        """
        self._refuse_neighbors("this estimator")
        return as_points(self.points)

    @cached_property
    def distinct(self) -> tuple[NDArray[np.float64], int]:
        """The points that differ, in float64, and how many there were."""
        checked = self.every
        rows = distinct_rows(checked)
        return checked.block(rows, dtype=np.dtype(np.float64)), checked.n_points

    def _refuse_neighbors(self, who: str) -> None:
        if isinstance(self.points, Neighbors):
            raise BadPoints(
                f"{who} needs the points themselves, but Neighbors were given, which hold "
                "distances only"
            )

    def spectrum(self, normalized: bool) -> Spectrum:
        """The spectrum of the covariance, or of the correlation matrix.

        Raises
        ------
        BadPoints
            If only neighbours were given.
        """
        self._refuse_neighbors("a spectrum")
        if normalized not in self._spectra:
            self._spectra[normalized] = spectrum(self.points, normalized=normalized)
        return self._spectra[normalized]
