"""Neighbors -> Estimate: one estimator a file."""

from dimscope.estimators.base import Fit, NeighborEstimator
from dimscope.estimators.resampled import Resampled
from dimscope.estimators.two_nn import TwoNN

__all__ = ["Fit", "NeighborEstimator", "Resampled", "TwoNN"]
