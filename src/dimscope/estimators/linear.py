"""The linear dimension: components (PC-ID), the participation ratio and the effective rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimscope.estimators.base import SpectralEstimator

if TYPE_CHECKING:
    from dimscope.estimators.spectra import Spectrum

__all__ = ["PCA", "EffectiveRank", "ParticipationRatio"]


@dataclass(frozen=True)
class PCA(SpectralEstimator):
    """Count the principal components that explain a given fraction of the variance (PC-ID).

    Parameters
    ----------
    normalized : bool
        Divide every feature by its standard deviation first, as the paper does.
    variance : float
        Fraction of the variance to explain, 0 < variance < 1.

    Notes
    -----
    The result is the smallest k with sum_(i <= k) lambda_i >= variance * sum lambda; it is at most
    n_points - 1. For a curved manifold it counts the dimensions of the surrounding linear space,
    not those of the manifold itself. There is no standard error. The scripts of Ansuini et al.
    print a 0-based index, which is one less.

    References
    ----------
    A. Ansuini, A. Laio, J. H. Macke and D. Zoccolan, "Intrinsic dimension of data
    representations in deep neural networks", NeurIPS (2019).

    Examples
    --------
    >>> from dimscope.manifolds import cube, embed
    >>> float(PCA()(embed(cube(500, 3), 50)))
    3.0
    """

    variance: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.variance < 1:
            raise ValueError(f"variance is {self.variance}; it must be between 0 and 1")

    def evaluate(self, spectrum: Spectrum) -> float:
        """Count the components that explain the fraction ``variance`` of the variance."""
        return float(spectrum.components(self.variance))


@dataclass(frozen=True)
class ParticipationRatio(SpectralEstimator):
    """Compute the participation ratio of the spectrum, (sum lambda)^2 / sum lambda^2.

    Parameters
    ----------
    normalized : bool
        Divide every feature by its standard deviation first.

    Notes
    -----
    The ratio is k if k eigenvalues are equal and all others are zero. It is a linear dimension,
    like PC-ID, but needs no threshold. There is no standard error.

    It is biased downward unless the points are many times as many as the result: 1 / ratio grows by
    about 1 / n_points. White noise of D features gives n D / (n + D): 91 of 1000 features from 100
    points, 500 from 1000 points. If the points are independent, ratio / (1 - ratio / n_points)
    undoes most of the bias; where the ratio is close to n_points, it amplifies errors instead.

    References
    ----------
    P. Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement",
    bioRxiv 214262 (2017).

    Examples
    --------
    >>> from dimscope.manifolds import cube, embed
    >>> round(float(ParticipationRatio()(embed(cube(2000, 3), 50))), 1)
    3.0
    """

    def evaluate(self, spectrum: Spectrum) -> float:
        """Compute the participation ratio."""
        return spectrum.participation_ratio


@dataclass(frozen=True)
class EffectiveRank(SpectralEstimator):
    """Compute the effective rank: the exponential of the entropy of the spectrum.

    Parameters
    ----------
    normalized : bool
        Divide every feature by its standard deviation first.

    Notes
    -----
    With p_i = lambda_i / sum lambda, the eigenvalues of the covariance as shares of the variance,
    the result is exp(-sum p_i ln p_i), where -sum p_i ln p_i is the von Neumann entropy of the
    covariance divided by its trace. It is k if k eigenvalues are equal and all others are zero, and
    never less than the participation ratio, because the tail of small eigenvalues counts more.
    Roy and Vetterli define it for any matrix, by its singular values; here the matrix is the
    covariance. RankMe (Garrido et al. 2023) takes the singular values of the points instead, the
    roots of these eigenvalues, and is larger. There is no standard error; with n points the result
    is at most n - 1, and too low unless n is many times as large.

    References
    ----------
    O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality", European
    Signal Processing Conference (2007).

    Examples
    --------
    >>> from dimscope.manifolds import cube, embed
    >>> round(float(EffectiveRank()(embed(cube(2000, 3), 50))), 1)
    3.0
    >>> float(EffectiveRank()([[0.0, 0], [2, 0], [0, 2], [2, 2]]))  # two equal eigenvalues
    2.0
    """

    def evaluate(self, spectrum: Spectrum) -> float:
        """Compute the exponential of the entropy of the eigenvalues."""
        return spectrum.effective_rank
