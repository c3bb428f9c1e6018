"""A scikit-learn estimator that wraps any dimscope estimator."""

from __future__ import annotations

from typing import Any

from dimscope.estimators.base import Estimator
from dimscope.estimators.two_nn import TwoNN
from dimscope.extras import needed

with needed(__name__):
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import validate_data

__all__ = ["IntrinsicDimension"]


class IntrinsicDimension(BaseEstimator):  # type: ignore[misc]
    """Measure the intrinsic dimension in a scikit-learn pipeline, as a fitted attribute.

    Parameters
    ----------
    estimator : Estimator, optional
        :class:`~dimscope.TwoNN` by default.

    Attributes
    ----------
    estimate_ : Estimate
        The dimension with its standard error, interval and diagnostics.
    dimension_ : float
    std_error_ : float
    n_features_in_ : int

    Examples
    --------
    >>> from dimscope.manifolds import torus
    >>> round(IntrinsicDimension().fit(torus(2000, 2)).dimension_, 1)
    2.0
    """

    def __init__(self, estimator: Estimator | None = None) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: None = None) -> IntrinsicDimension:
        """Measure the dimension of the points.

        Parameters
        ----------
        X : array-like of shape (n_points, n_features)
        y : ignored
            Accepted for compatibility with pipelines.

        Returns
        -------
        IntrinsicDimension
        """
        X = validate_data(self, X, ensure_min_samples=3)
        estimator = TwoNN() if self.estimator is None else self.estimator
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator is {estimator!r}; give an instance such as TwoNN()")
        self.estimate_ = estimator(X)
        self.dimension_ = self.estimate_.dimension
        self.std_error_ = self.estimate_.std_error
        return self
