"""ScaleCurve: the dimension against scale, and whether it has one value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.estimates import LOWER_BOUND_ABOVE
from dimscope.provenance import Provenance

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Plateau", "ScaleCurve", "ScalePoint"]

_NARROWEST = 4  # a plateau spans at least this factor in points or ranks


@dataclass(frozen=True)
class ScalePoint:
    """The dimension at one scale.

    Parameters
    ----------
    n_points : int
        Points of each block.
    n_blocks : int
        Blocks over which the dimension is averaged.
    ranks : tuple of int
        The two neighbours whose distances are compared.
    distance : float
        Mean distance to the further of them.
    dimension : float
        Mean over the blocks.
    std : float
        Standard deviation over the blocks; NaN for one.
    std_error : float
        Of the dimension.
    """

    n_points: int
    n_blocks: int
    ranks: tuple[int, int]
    distance: float
    dimension: float
    std: float
    std_error: float


@dataclass(frozen=True)
class Plateau:
    """A range of scales over which the dimension stays the same.

    Parameters
    ----------
    first, last : ScalePoint
        Its ends, smallest scale first.
    dimension : float
        Mean of the dimensions in it, weighted by their errors.
    spread : float
        Largest less smallest dimension, over the dimension.
    """

    first: ScalePoint
    last: ScalePoint
    dimension: float
    spread: float


@dataclass(frozen=True)
class ScaleCurve:
    """The dimension against scale, smallest scale first.

    Parameters
    ----------
    points : tuple of ScalePoint

    Examples
    --------
    >>> from dimscope import scale_curve
    >>> from dimscope.manifolds import cube
    >>> curve = scale_curve(cube(2000, 2), blocks=[1, 2, 4, 8])
    >>> [one.n_points for one in curve.points]
    [2000, 1000, 500, 250]
    >>> abs(curve.plateau().dimension - 2) < 0.1
    True
    """

    points: tuple[ScalePoint, ...]
    provenance: Provenance = field(default_factory=lambda: Provenance("scale curve"), repr=False)

    def plateau(self, tolerance: float = 0.1) -> Plateau | None:
        """The widest range of scales over which the dimension stays the same, if any.

        Parameters
        ----------
        tolerance : float
            How much the dimension may vary within the range, relative to its mean.

        Returns
        -------
        Plateau or None
            None if no range of a factor 4 in points or ranks has a spread within the
            tolerance, or if the errors are too large to tell.

        Notes
        -----
        Within the range every standard error is at most the tolerance times the mean, and
        the dimensions differ by at most that, or by no more than 2 errors of their difference.
        """
        best: tuple[float, float, Plateau] | None = None
        for i, first in enumerate(self.points):
            for j in range(i + 1, len(self.points)):
                last, some = self.points[j], self.points[i : j + 1]
                width = _width(first, last)
                if width < math.log(_NARROWEST) - 1e-9:
                    continue
                mean, spread = _same(some, tolerance)
                if math.isfinite(spread) and (best is None or (width, -spread) > best[:2]):
                    best = width, -spread, Plateau(first, last, mean, spread)
        return best[2] if best else None

    @property
    def verdict(self) -> str:
        """In a sentence, whether the dimension is well defined and where."""
        flat = self.plateau()
        if flat is None:
            low, high = (f(one.dimension for one in self.points) for f in (min, max))
            return (
                f"The dimension depends on the scale: it runs from {low:.3g} to {high:.3g} and "
                f"stays within 10 % over no range of a factor {_NARROWEST}."
            )
        by_rank = flat.first.n_points == flat.last.n_points
        ends = (
            f"neighbours {flat.first.ranks[1]} to {flat.last.ranks[1]}"
            if by_rank
            else f"{flat.first.n_points} to {flat.last.n_points} points"
        )
        bound = "at least " if flat.dimension > LOWER_BOUND_ABOVE else ""
        return (
            f"The dimension is {bound}{flat.dimension:.3g} from {ends} "
            f"(it varies by {flat.spread:.0%} there)."
        )

    def to_frame(self) -> pd.DataFrame:
        """A tidy table, one row a scale."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "n_points": one.n_points,
                    "n_blocks": one.n_blocks,
                    "rank_near": one.ranks[0],
                    "rank_far": one.ranks[1],
                    "distance": one.distance,
                    "dimension": one.dimension,
                    "std": one.std,
                    "std_error": one.std_error,
                }
                for one in self.points
            ]
        )

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw it; see :func:`dimscope.plotting.plot_scale`."""
        from dimscope.plotting import plot_scale

        return plot_scale(self, ax, **style)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        rows = self.to_frame().to_dict("records")
        flat = self.plateau()
        return {
            "schema_version": 1,
            "scales": [{str(k): None if v != v else v for k, v in row.items()} for row in rows],
            "plateau": flat and {"dimension": flat.dimension, "spread": flat.spread},
            "verdict": self.verdict,
            "provenance": self.provenance.to_dict(),
        }


def _width(first: ScalePoint, last: ScalePoint) -> float:
    """Logarithm of the factor in points or in ranks between two scales."""
    return max(
        abs(math.log(first.n_points / last.n_points)), abs(math.log(last.ranks[1] / first.ranks[1]))
    )


def _same(some: tuple[ScalePoint, ...], tolerance: float) -> tuple[float, float]:
    """Weighted mean and relative spread; an infinite spread if the dimensions differ."""
    dimension = np.array([one.dimension for one in some])
    error = np.array([one.std_error for one in some])
    weight = 1 / error**2
    mean = float(weight @ dimension / weight.sum())
    low, high = dimension.argmin(), dimension.argmax()
    difference = float(dimension[high] - dimension[low])
    allowed = max(tolerance * mean, 2 * math.hypot(error[low], error[high]))
    if not (error <= tolerance * mean).all() or difference > allowed:
        return mean, math.inf
    return mean, difference / mean
