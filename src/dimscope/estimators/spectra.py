"""Spectra: the distribution of the variance over directions.

The spectrum of the covariance gives the linear dimension (PC-ID, the participation ratio).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dimscope.arrays import Points, as_points
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.arrays.points import within_budget
from dimscope.arrays.threads import spans
from dimscope.errors import ALL_EQUAL, BadPoints, DegeneratePoints
from dimscope.provenance import Provenance, versions
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Gap", "Spectrum", "spectrum"]

_VALUES = 1 << 22  # Values in a block, in float64.
_LEAST = 1e-145  # The squares of larger numbers stay well within the range of float64.
_ROUNDING = 1e-14  # A standard deviation below this fraction of the values is rounding.


@by_value
@dataclass(frozen=True, eq=False)
class Gap:
    """The widest gap in a spectrum, with its p-value.

    Parameters
    ----------
    after : int
        Number of eigenvalues before the gap.
    ratio : float
        Ratio of the last eigenvalue before the gap to the first one after it; infinite if the
        latter is zero.
    p_value : float
        p-value; small if a smooth spectrum is unlikely to have such a gap.
    """

    after: int
    ratio: float
    p_value: float


@by_value
@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a covariance matrix.

    Parameters
    ----------
    eigenvalues : array of shape (min(n_points - 1, n_features),)
        In descending order, at least 0.
    n_points, n_features : int
    normalized : bool
        Whether every feature was divided by its standard deviation.

    Examples
    --------
    >>> rectangle = spectrum([[0.0, 0], [2, 0], [0, 1], [2, 1]])
    >>> rectangle.eigenvalues.round(6).tolist(), rectangle.components(0.9)
    ([1.333333, 0.333333], 2)
    """

    eigenvalues: NDArray[np.float64]
    n_points: int
    n_features: int
    normalized: bool = False
    provenance: Provenance = field(default_factory=lambda: Provenance("spectrum"), repr=False)

    def components(self, variance: float) -> int:
        """Count the leading components needed to hold a fraction of the variance.

        Parameters
        ----------
        variance : float
            The fraction, 0 < variance < 1.

        Examples
        --------
        >>> Spectrum(np.array([3.0, 1.0]), 10, 2).components(0.75)
        1
        """
        if not 0 < variance < 1:
            raise ValueError(f"variance is {variance}; it must be between 0 and 1")
        share = np.cumsum(self.eigenvalues) / self.eigenvalues.sum()
        # A share that falls short of the fraction only by rounding counts as reaching it.
        return int(np.searchsorted(share, variance * (1 - 1e-12)) + 1)

    @property
    def participation_ratio(self) -> float:
        """Participation ratio, (sum lambda)^2 / sum lambda^2: the effective number of eigenvalues.

        Examples
        --------
        >>> Spectrum(np.array([1.0, 1.0, 1.0]), 10, 3).participation_ratio
        3.0
        """
        share = self.eigenvalues / self.eigenvalues.sum()
        return float(1 / (share @ share))

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the eigenvalues, as shares of the variance.

        Examples
        --------
        >>> Spectrum(np.array([2.0, 1.0, 1.0, 0.0]), 10, 4).effective_rank  # 2^(3/2)
        2.82842712474619
        """
        share = self.eigenvalues[self.eigenvalues > 0] / self.eigenvalues.sum()
        return float(np.exp(-(share @ np.log(share))))

    def gap(self) -> Gap:
        """Find the widest gap among the leading half of the eigenvalues, and test it.

        Returns
        -------
        Gap

        Raises
        ------
        DegeneratePoints
            If there are fewer than 3 eigenvalues.

        Notes
        -----
        For the largest values of a power law, the terms k ln(lambda_k / lambda_(k+1)) are
        independent and exponential (Renyi 1953). Let g be the largest of m such terms divided by
        their sum. Fisher's test checks whether g is too large: p = min(1, m (1 - g)^(m-1)), which
        is exact for g > 1/2 and otherwise an upper bound. Eigenvalues repel each other, so a smooth
        spectrum is more evenly spaced than this model, and false positives are rarer than p
        suggests. If the remaining eigenvalues are zero up to rounding, there is a gap before them
        with p = 0.

        The price is a low power for a gap after the first few eigenvalues, whose term has a small
        weight k. Above white noise in 40 features, from 500 points, a gap after the first
        eigenvalue is found from a ratio of about 10 on, after the second from 5, after the tenth
        from 3. With as many features as points, the noise itself spreads too much for a gap after
        the first three, and in a power law with exponent 1 a first eigenvalue that is 50 times too
        large is not found. A large p-value does not rule out a gap: look at the eigenvalues.

        References
        ----------
        A. Renyi, "On the theory of order statistics", Acta Mathematica Hungarica 4 (1953).
        R. A. Fisher, "Tests of significance in harmonic analysis", Proceedings of the Royal
        Society A 125 (1929).

        Examples
        --------
        >>> from dimscope.manifolds import cube, embed
        >>> noise = 0.01 * np.random.default_rng(0).standard_normal((500, 40))
        >>> spectrum(embed(cube(500, 3), 40) + noise).gap().after
        3
        >>> spectrum(noise).gap().p_value
        1.0
        """
        values = self.eigenvalues
        if len(values) < 3:
            raise DegeneratePoints(
                f"a gap needs at least 3 eigenvalues, but this spectrum has {len(values)}"
            )
        m = len(values) // 2
        rounding = max(self.n_points, self.n_features) * np.finfo(float).eps * values[0]
        rank = int((values > rounding).sum())
        if rank <= m:
            return Gap(rank, np.inf, 0.0)
        ratios = values[:m] / values[1 : m + 1]
        terms = np.arange(1, m + 1) * np.log(ratios)
        after = int(terms.argmax()) + 1
        share = terms[after - 1] / terms.sum() if terms.any() else 1 / m
        p_value = min(1.0, m * (1 - share) ** (m - 1))
        return Gap(after, float(ratios[after - 1]), float(p_value))


def spectrum(points: Any, *, normalized: bool = False, memory: int | str | None = None) -> Spectrum:
    """Compute the spectrum of the covariance of points.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features)
        Duplicate rows are kept.
    normalized : bool
        Divide every feature by its standard deviation first, which gives the spectrum of the
        correlation matrix, as in the paper; features that do not vary are left out.
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.

    Returns
    -------
    Spectrum

    Raises
    ------
    BadPoints, DegeneratePoints
        If the points are not an array of finite numbers, or do not vary.

    Notes
    -----
    Let X be the centred points divided by sqrt(n_points - 1). The smaller of X'X and XX' is
    computed in float64, block by block; no larger matrix is allocated.

    Examples
    --------
    >>> from dimscope.manifolds import embed, gaussian
    >>> wide = spectrum(embed(gaussian(1000, 3), 5000))
    >>> (wide.eigenvalues > 0.5).sum().item(), wide.eigenvalues.shape
    (3, (999,))
    """
    from scipy.linalg import eigh

    budget = budget_from(memory)
    checked = within_budget(as_points(points, memory=budget), budget)
    n, width = checked.n_points, checked.n_features
    check_budget(2 * 8 * min(n, width) ** 2, budget, "the spectrum")  # the matrix, and a copy
    if checked.scale < _LEAST:
        raise _out_of_range(checked.max_abs)
    shifted = _Shifted(checked)
    square = np.zeros((min(n, width),) * 2)
    if width <= n:
        mean, factor = _moments(shifted, normalized)
        for rows in spans(n, max(1, _VALUES // width)):
            block = (shifted.block(rows, slice(None)) - mean) * factor
            square += block.T @ block
    else:
        for columns in spans(width, max(1, _VALUES // n)):
            block = shifted.block(slice(None), columns)
            block = block - block.mean(axis=0)
            if normalized:
                spread = np.sqrt((block**2).sum(axis=0) / (n - 1))
                block *= _inverse(spread, shifted.sizes[columns])
            square += block @ block.T
    square /= n - 1
    values = eigh(square, eigvals_only=True, overwrite_a=True)[::-1]
    if normalized and not values[0] > 0:
        raise DegeneratePoints(
            f"no feature of the {n} points varies by more than rounding; leave normalized out"
        )
    if not normalized:
        values = values / shifted.unit**2
    provenance = Provenance(
        "spectrum", {"shape": [n, width], "normalized": normalized}, versions("scipy")
    )
    n_eigenvalues = min(n - 1, width)
    return Spectrum(np.maximum(values[:n_eigenvalues], 0), n, width, normalized, provenance)


class _Shifted:
    """Points shifted by the first point and scaled so that their squares stay in range.

    The shift makes a feature that does not vary exactly zero, however large its values are.

    Parameters
    ----------
    points : Points of shape (n_points, n_features)
    """

    def __init__(self, points: Points) -> None:
        self.points, self.unit = points, 1.0
        self._first = np.zeros((1, points.n_features))
        self.sizes = np.zeros(points.n_features)  # Largest absolute value of every feature.
        self._first = self.block(slice(0, 1), slice(None))
        largest = 0.0
        for rows in spans(points.n_points, max(1, _VALUES // points.n_features)):
            block = self.block(rows, slice(None))
            largest = max(largest, float(np.abs(block).max()))
            np.maximum(self.sizes, np.abs(block + self._first).max(axis=0), out=self.sizes)
        if not largest:
            raise DegeneratePoints(f"all {points.n_points} {ALL_EQUAL}: they have no variance")
        if not _LEAST < largest < 1 / _LEAST:
            raise _out_of_range(largest)
        self.unit = 2.0 ** -np.ceil(np.log2(largest))
        self.sizes *= self.unit

    def block(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Return shifted values; once the unit is set, they lie between -1 and 1."""
        values = self.points.block(rows, columns, np.dtype(np.float64))
        return np.asarray((values - self._first[:, columns]) * self.unit)


def _out_of_range(size: float) -> BadPoints:
    return BadPoints(
        f"the points differ by up to {size:.3g}: float64 does not hold variances of that size; "
        "multiply the points by a constant"
    )


def _moments(
    shifted: _Shifted, normalized: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
    """Return the mean and scale factor of every feature, in two passes for accuracy."""
    n, width = shifted.points.n_points, shifted.points.n_features
    row_spans = spans(n, max(1, _VALUES // width))
    mean = sum(shifted.block(rows, slice(None)).sum(axis=0) for rows in row_spans) / n
    if not normalized:
        return np.asarray(mean), 1.0
    squares = sum(
        ((shifted.block(rows, slice(None)) - mean) ** 2).sum(axis=0) for rows in row_spans
    )
    return np.asarray(mean), _inverse(np.sqrt(squares / (n - 1)), shifted.sizes)


def _inverse(spread: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / spread; 0 for features that vary only by rounding errors."""
    varies = spread > _ROUNDING * sizes
    return np.where(varies, 1 / np.where(varies, spread, 1), 0)
