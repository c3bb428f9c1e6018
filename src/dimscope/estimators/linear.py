"""The linear dimension: principal components (PC-ID) and the participation ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimscope.estimators.base import SpectralEstimator

if TYPE_CHECKING:
    from dimscope.estimators.spectra import Spectrum

__all__ = ["PCA", "ParticipationRatio"]


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
