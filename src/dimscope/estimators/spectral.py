"""Estimators of the linear dimension: one method from a spectrum to a number.

Examples
--------
>>> from dataclasses import dataclass
>>> from dimscope.manifolds import embed, gaussian
>>> @dataclass(frozen=True)
... class Rank(SpectralEstimator):
...     def evaluate(self, spectrum):
...         return (spectrum.eigenvalues > 1e-9 * spectrum.eigenvalues[0]).sum()
>>> float(Rank()(embed(gaussian(100, 3), 20)))
3.0
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimscope.estimates import Estimate
from dimscope.estimators.base import Estimator
from dimscope.estimators.inputs import Inputs
from dimscope.provenance import Provenance, versions

if TYPE_CHECKING:
    from dimscope.spectra import Spectrum

__all__ = ["SpectralEstimator"]


@dataclass(frozen=True)
class SpectralEstimator(Estimator):
    """Base of the estimators that need the spectrum of the covariance."""

    normalized: bool = False

    @abstractmethod
    def evaluate(self, spectrum: Spectrum) -> float:
        """The dimension; every subclass writes this one method.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        float
        """

    def measure(self, inputs: Inputs) -> Estimate:
        """Measure the dimension from shared inputs."""
        return self.from_spectrum(inputs.spectrum(self.normalized))

    def from_spectrum(self, spectrum: Spectrum) -> Estimate:
        """Measure the dimension from a spectrum; it has no standard error.

        Parameters
        ----------
        spectrum : Spectrum

        Returns
        -------
        Estimate
        """
        return Estimate(
            float(self.evaluate(spectrum)),
            n_points=spectrum.n_points,
            n_used=spectrum.n_points,
            provenance=Provenance(
                "estimate", {"estimator": repr(self)}, versions(), (spectrum.provenance,)
            ),
        )
