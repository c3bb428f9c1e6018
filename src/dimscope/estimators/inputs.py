"""Inputs: what estimators are fitted to, each made once and shared by several."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.errors import BadPoints
from dimscope.neighbors import Engine, Neighbors, distinct_rows, nearest_neighbors
from dimscope.points import Points, as_points
from dimscope.spectra import Spectrum, spectrum

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Inputs"]


class Inputs:
    """Points, and what is made of them when an estimator asks.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    engine : Engine, optional
        How to search; exact by default.
    ranks : int
        The most neighbours that any estimator will ask for.
    progress : callable, optional
        Called with the fraction of the search that is done.

    Examples
    --------
    >>> inputs = Inputs([[0.0], [1.0], [3.0]], ranks=2)
    >>> inputs.neighbors is inputs.neighbors
    True
    """

    def __init__(
        self,
        points: Any,
        engine: Engine | None = None,
        ranks: int = 2,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.points = points
        self._engine = engine
        self._ranks = ranks
        self._progress = progress
        self._spectra: dict[bool, Spectrum] = {}

    @cached_property
    def neighbors(self) -> Neighbors:
        """Neighbours of every point, from one search."""
        if isinstance(self.points, Neighbors):
            return self.points
        return nearest_neighbors(self.points, self._ranks, self._engine, progress=self._progress)

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
