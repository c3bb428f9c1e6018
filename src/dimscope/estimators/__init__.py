"""Estimators: from neighbours or a spectrum to an Estimate of the dimension.

In: :class:`~dimscope.Neighbors`, a :class:`~dimscope.estimators.spectra.Spectrum`, or points.
:class:`~dimscope.estimators.inputs.Inputs` computes neighbours and spectra once for all estimators
that need them. Out: :class:`~dimscope.Estimate`, the dimension with its standard error, interval
and diagnostics.

Each estimator is a frozen dataclass of parameters with one method, ``evaluate``. Its base class
turns the result into an Estimate, and :func:`dimscope.estimate` runs several estimators on the
result of one search.

Begin reading at :mod:`dimscope.estimators.base`, then :mod:`~dimscope.estimators.two_nn`;
:mod:`~dimscope.estimators.uncertainty` holds the standard errors, and
:mod:`~dimscope.estimators.covariances` those of differences.
"""

from dimscope.estimators.base import (
    Estimator,
    Fit,
    NeighborEstimator,
    PointsEstimator,
    SpectralEstimator,
)
from dimscope.estimators.gride import Gride
from dimscope.estimators.i3d import I3D
from dimscope.estimators.linear import PCA, EffectiveRank, ParticipationRatio
from dimscope.estimators.mle import MLE, local_dimension
from dimscope.estimators.resampled import Resampled
from dimscope.estimators.skdim import SkDim
from dimscope.estimators.two_nn import TwoNN

__all__ = [
    "I3D",
    "MLE",
    "PCA",
    "EffectiveRank",
    "Estimator",
    "Fit",
    "Gride",
    "NeighborEstimator",
    "ParticipationRatio",
    "PointsEstimator",
    "Resampled",
    "SkDim",
    "SpectralEstimator",
    "TwoNN",
    "local_dimension",
]
