"""SkDim: the estimators of scikit-dimension, applied to the distinct points.

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
from dimscope.extras import needed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SkDim"]


@dataclass(frozen=True)
class SkDim(PointsEstimator):
    """Apply an estimator of scikit-dimension, given its class name.

    Parameters
    ----------
    method : str
        ``"DANCo"``, ``"ESS"``, ``"FisherS"``, ``"lPCA"``, ``"MADA"``, ``"MOM"``, ``"TLE"``, ...
    parameters : dict
        Keyword parameters of that estimator.

    Notes
    -----
    The value is returned unchanged; see the documentation of scikit-dimension for its meaning and
    accuracy. There is no standard error.

    References
    ----------
    J. Bac et al., "Scikit-dimension: a Python package for intrinsic dimension estimation",
    Entropy 23, 1368 (2021).
    """

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Name in tables: the method in lower case."""
        return self.method.lower()

    def evaluate(self, points: NDArray[np.float64]) -> float:
        """Fit the estimator of scikit-dimension.

        Raises
        ------
        BadSource
            If scikit-dimension is not installed, or has no such estimator.
        """
        with needed("SkDim"):
            import skdim
        estimator_class = getattr(skdim.id, self.method, None)
        if estimator_class is None:
            methods = ", ".join(sorted(name for name in dir(skdim.id) if name[0] != "_"))
            raise BadSource(
                f"scikit-dimension has no estimator {self.method!r}; use one of {methods}"
            )
        return float(estimator_class(**self.parameters).fit(points).dimension_)
