"""Neighbors or spectrum -> Estimate: one estimator a file."""

from dimscope.estimators.base import (
    Estimator,
    Fit,
    NeighborEstimator,
    PointsEstimator,
    SpectralEstimator,
)
from dimscope.estimators.gride import Gride
from dimscope.estimators.i3d import I3D
from dimscope.estimators.linear import PCA, ParticipationRatio
from dimscope.estimators.mle import MLE, local_dimension
from dimscope.estimators.resampled import Resampled
from dimscope.estimators.skdim import SkDim
from dimscope.estimators.two_nn import TwoNN

__all__ = [
    "I3D",
    "MLE",
    "PCA",
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
