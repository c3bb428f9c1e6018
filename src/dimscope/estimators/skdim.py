"""Estimators of scikit-dimension, called on our points.

Examples
--------
>>> from dimscope.manifolds import cube, embed
>>> points = embed(cube(300, 2), 10)
>>> round(float(SkDim("FisherS")(points)))
2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dimscope.errors import BadSource
from dimscope.estimators.base import PointsEstimator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SkDim"]


@dataclass(frozen=True)
class SkDim(PointsEstimator):
    """An estimator of scikit-dimension, by its name there.

    Parameters
    ----------
    method : str
        ``"DANCo"``, ``"ESS"``, ``"FisherS"``, ``"lPCA"``, ``"MADA"``, ``"MOM"``, ``"TLE"``, ...
    parameters : dict
        Of that estimator.

    Notes
    -----
    Values are passed through as they come: what they mean, and how far they can be trusted, is
    in the documentation of scikit-dimension. There is no standard error.

    References
    ----------
    J. Bac et al., "Scikit-dimension: a Python package for intrinsic dimension estimation",
    Entropy 23, 1368 (2021).
    """

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The method in lower case."""
        return self.method.lower()

    def evaluate(self, points: NDArray[np.float64]) -> float:
        """Fit the peer.

        Raises
        ------
        BadSource
            If scikit-dimension is not installed, or has no such estimator.
        """
        try:
            import skdim
        except ImportError as error:
            raise BadSource(
                "scikit-dimension is not installed; run pip install scikit-dimension"
            ) from error
        kind = getattr(skdim.id, self.method, None)
        if kind is None:
            offered = ", ".join(sorted(one for one in dir(skdim.id) if one[0] != "_"))
            raise BadSource(f"scikit-dimension has no {self.method!r}; it has {offered}")
        return float(kind(**self.parameters).fit(points).dimension_)
