"""Neighbors or spectrum -> Estimate: one estimator a file."""

from dimscope.estimators.base import Estimator, Fit, NeighborEstimator
from dimscope.estimators.gride import Gride
from dimscope.estimators.i3d import I3D
from dimscope.estimators.mle import MLE, local_dimension
from dimscope.estimators.pca import PCA, ParticipationRatio
from dimscope.estimators.points import PointsEstimator, SkDim
from dimscope.estimators.resampled import Resampled
from dimscope.estimators.spectral import SpectralEstimator
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
