"""The joint law of the estimates of several layers, which see the same stimuli.

Estimates of two layers from the same stimuli are correlated, so what holds for several layers at
once (an interval for all, the layer of highest dimension) depends on all covariances. The law is
normal on a log scale, like the intervals of single estimates. For means over few units (classes, or
networks) it is Student's t: the covariances are then as uncertain as a Wishart matrix.

Quantiles come from draws with a fixed seed: the same profile gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dimscope.analysis.pairing import check_paired
from dimscope.errors import BadPoints
from dimscope.estimators.covariances import joint_covariance
from dimscope.estimators.uncertainty import quantile
from dimscope.values import by_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dimscope.estimators.estimates import Estimate

    Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]

__all__ = ["ROUNDING", "JointLaw", "joint_law", "simultaneous_intervals", "tail"]


ROUNDING = 1e-6  # Dimensions that differ by a smaller fraction are equal to rounding.

_DRAWS = 40_000
_AT_ONCE = 2_000_000  # numbers in one block of draws
_FEWEST_POINTS, _FEWEST_UNITS = 10, 3
_FEWEST_DEGREES = 3  # With fewer, correlations say nothing: Bonferroni and Sidak take their place.


@by_value
@dataclass(frozen=True, eq=False)
class JointLaw:
    """The joint law of the estimates of several layers.

    Parameters
    ----------
    layers : tuple of str
        The layers that were measured, in the order of the profile.
    dimensions : array of shape (L,)
    covariance : array of shape (L, L)
        Covariances of the dimensions.
    degrees_of_freedom : float
        Of the standard errors, for Student's t.
    of_units : bool
        Whether the dimensions are means over a few classes or networks, whose covariances have a
        Wishart law; otherwise, all errors are taken to be too large or too small by one factor.

    Examples
    --------
    >>> law = JointLaw(("a", "b"), np.array([4.0, 5.0]), 0.01 * np.eye(2))
    >>> t = law.studentised(np.array([1]), np.array([0]))
    >>> round(float(t[0]), 1)  # log(5 / 4) / sqrt(0.025^2 + 0.02^2)
    7.0
    >>> law.p_values([(np.array([1]), np.array([0]))])[0] < 1e-6
    True
    """

    layers: tuple[str, ...]
    dimensions: NDArray[np.float64]
    covariance: NDArray[np.float64]
    degrees_of_freedom: float = math.inf
    of_units: bool = True

    @cached_property
    def logs(self) -> NDArray[np.float64]:
        """Logarithms of the dimensions."""
        return np.log(self.dimensions)

    @cached_property
    def log_covariance(self) -> NDArray[np.float64]:
        """Covariances of the logarithms, to first order."""
        scaled: NDArray[np.float64] = self.covariance / np.outer(self.dimensions, self.dimensions)
        return scaled

    @cached_property
    def log_errors(self) -> NDArray[np.float64]:
        """Standard errors of the logarithms."""
        return np.sqrt(np.diag(self.log_covariance))

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """Standard errors of the dimensions."""
        return np.sqrt(np.diag(self.covariance))

    def differ(self, above: NDArray[np.intp], below: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell which pairs of layers differ by more than rounding."""
        a, b = self.dimensions[above], self.dimensions[below]
        apart: NDArray[np.bool_] = np.abs(a - b) > ROUNDING * np.maximum(a, b)
        return apart

    def studentised(self, above: NDArray[np.intp], below: NDArray[np.intp]) -> NDArray[np.float64]:
        """Divide log d[above] - log d[below] by its standard error; 0 where equal to rounding."""
        error = self.log_errors_of_differences(above, below)
        change = self.logs[above] - self.logs[below]
        return np.where(self.differ(above, below), change / np.maximum(error, _TINY), 0.0)

    def draws(self) -> NDArray[np.float64]:
        """Draw errors of the logarithms, shape (L, draws): normal or multivariate t, symmetric."""
        draws = self.normal_draws
        if math.isfinite(self.degrees_of_freedom):
            rng = np.random.default_rng(1)
            chi = rng.chisquare(self.degrees_of_freedom, _DRAWS // 2)
            draws = draws * np.sqrt(self.degrees_of_freedom / np.concatenate([chi, chi]))
        return draws

    @cached_property
    def normal_draws(self) -> NDArray[np.float64]:
        """Errors of the logarithms from the normal law, shape (L, draws), symmetric."""
        half = np.random.default_rng(0).standard_normal((self._root.shape[1], _DRAWS // 2))
        draws = self._root @ half
        return np.concatenate([draws, -draws], axis=1)

    @cached_property
    def _root(self) -> NDArray[np.float64]:
        """A matrix A with A A' = the covariance of the logarithms."""
        return _root_of(self.log_covariance)

    @property
    def _n_draws(self) -> int:
        """Number of draws of studentised differences; those of covariances take longer."""
        return _DRAWS if math.isinf(self.degrees_of_freedom) else _DRAWS // 4

    @cached_property
    def _independent_draws(self) -> NDArray[np.float64]:
        rng = np.random.default_rng(3)
        draws: NDArray[np.float64] = self._root @ rng.standard_normal(
            (self._root.shape[1], self._n_draws)
        )
        return draws

    def _blocks(self, width: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Draw errors of the logarithms and the covariances that would be estimated with them.

        Yields
        ------
        errors : array of shape (L, block)
        covariances : array of shape (block or 1, L, L)
        """
        rng = np.random.default_rng(2)
        normal = self._independent_draws
        step = max(1, _AT_ONCE // max(width, len(self.layers) ** 2))
        for start in range(0, self._n_draws, step):
            block = normal[:, start : start + step]
            covariances = self.log_covariance[None]
            df, n = self.degrees_of_freedom, block.shape[1]
            if math.isfinite(df) and self.of_units:
                covariances = _wishart(rng, self._root, df, n)
            elif math.isfinite(df):
                factors = np.asarray(rng.chisquare(df, n) / df)
                covariances = self.log_covariance * factors[:, None, None]
            yield block, covariances

    def p_values(self, comparisons: Sequence[Pairs], *, two_sided: bool = False) -> list[float]:
        """Compute the p-value of the largest studentised difference of each comparison.

        Parameters
        ----------
        comparisons : sequence of (above, below)
            Positions of the layers of several differences, log d[above] - log d[below], of which
            the largest is tested.
        two_sided : bool
            Test the largest absolute difference.

        Returns
        -------
        list of float
            The probability of so large a difference in draws without true differences; never more
            than the sum of the separate probabilities (Bonferroni), which is exact far out in the
            tail.
        """
        comparisons = [
            (above[apart], below[apart])
            for above, below in comparisons
            for apart in [self.differ(above, below)]
        ]
        largest = [
            float(np.max(np.abs(t) if two_sided else t, initial=0.0))
            for t in (self.studentised(above, below) for above, below in comparisons)
        ]
        df = self.degrees_of_freedom
        p_values = [
            min(1.0, (1 + two_sided) * len(above) * tail(t, df)) if t > 0 else 1.0
            for t, (above, _) in zip(largest, comparisons, strict=True)
        ]
        # far out in the tail, draws say no more than Bonferroni
        drawn = [
            number
            for number, p in enumerate(p_values)
            if df >= _FEWEST_DEGREES and largest[number] > 0 and p * self._n_draws > 1
        ]
        if not drawn:
            return p_values
        counts = np.zeros(len(comparisons), dtype=int)
        for errors, covariances in self._blocks(max(len(above) for above, _ in comparisons)):
            for number in drawn:
                t = _divided(errors, covariances, *comparisons[number])
                t = np.abs(t) if two_sided else t
                counts[number] += (t >= largest[number]).any(axis=0).sum()
        for number in drawn:
            share = (int(counts[number]) + 1) / (self._n_draws + 1)
            p_values[number] = min(p_values[number], share)
        return p_values

    def errors_of_differences(
        self, above: NDArray[np.intp], below: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Compute the standard errors of d[above] - d[below]."""
        return np.sqrt(_variance(self.covariance, above, below))

    def log_errors_of_differences(
        self, above: NDArray[np.intp], below: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Compute the standard errors of log d[above] - log d[below]."""
        return np.sqrt(_variance(self.log_covariance, above, below))

    def critical(self, p: float, above: NDArray[np.intp], below: NDArray[np.intp] | None) -> float:
        """Compute the quantile at p of the largest of several errors (max-t).

        The errors are those of d[above] - d[below], or of single layers if ``below`` is None, each
        divided by its standard error. The quantile is never more than Sidak's, and never less than
        that of one error.
        """
        if below is not None:
            apart = self.differ(above, below)
            above, below = above[apart], below[apart]
        df, n = self.degrees_of_freedom, max(1, len(above))
        single, sidak = quantile((1 + p) / 2, df), quantile((1 + p ** (1 / n)) / 2, df)
        if df < _FEWEST_DEGREES:
            return sidak
        scale = self.dimensions
        largest = []
        for errors, covariances in self._blocks(len(above)):
            drawn = _divided(
                errors * scale[:, None], covariances * np.outer(scale, scale), above, below
            )
            largest.append(np.abs(drawn).max(axis=0, initial=0.0))
        return min(max(float(np.quantile(np.concatenate(largest), p)), single), sidak)


_TINY = 1e-150


def joint_law(estimates: Mapping[str, Estimate]) -> JointLaw:
    """Compute the joint law of the layers that were measured.

    Parameters
    ----------
    estimates : Mapping of layer name -> Estimate
        Estimates of layers of one network, from the same stimuli.

    Returns
    -------
    JointLaw

    Raises
    ------
    BadPoints
        If no layer was measured, a layer has no standard error or no influences, the layers were
        not measured on the same stimuli, or there are fewer than 10 points or 3 classes.
    """
    measured = {
        name: estimate for name, estimate in estimates.items() if not math.isnan(estimate.dimension)
    }
    if not measured:
        raise BadPoints("the profile has no shape: no layer could be measured")
    for name, estimate in measured.items():
        _check(name, estimate, needs_influence=len(measured) > 1)
    first_name, first = next(iter(measured.items()))
    for name, estimate in list(measured.items())[1:]:
        if not estimate.classes and _units(first) != _units(estimate):
            raise BadPoints(
                f"layers {first_name!r} and {name!r} are means over different networks: it was "
                "not measured in all of them; leave these networks, or this layer, out"
            )
        try:
            check_paired(first, estimate)
        except BadPoints as error:
            raise BadPoints(f"layers {first_name!r} and {name!r}: {error}") from None
    errors = np.array([estimate.std_error for estimate in measured.values()])
    correlation = np.eye(len(measured))
    if len(measured) > 1:
        influences = [estimate.influence for estimate in measured.values()]
        joint = joint_covariance([influence for influence in influences if influence is not None])
        scale = np.sqrt(np.diag(joint))
        correlation = joint / np.outer(scale, scale)
    return JointLaw(
        tuple(measured),
        np.array([estimate.dimension for estimate in measured.values()]),
        correlation * np.outer(errors, errors),
        _shared_freedom(measured.values()),
        any(_is_mean(estimate) for estimate in measured.values()),
    )


def _is_mean(estimate: Estimate) -> bool:
    """Tell whether an estimate is a mean over classes or networks, each one unit of its error."""
    influence = estimate.influence
    by_point = influence is not None and (
        influence.effects is not None or influence.groups is not None
    )
    return math.isfinite(estimate.degrees_of_freedom) and not by_point


def _shared_freedom(estimates: Iterable[Estimate]) -> float:
    """Return the degrees of freedom for all layers: the least of means, or the harmonic mean."""
    estimates = list(estimates)
    if any(_is_mean(estimate) for estimate in estimates):
        return min(estimate.degrees_of_freedom for estimate in estimates)
    inverses = [1 / estimate.degrees_of_freedom for estimate in estimates]
    total = math.fsum(inverses)
    return len(estimates) / total if total > 0 else math.inf


def _units(mean: Estimate) -> set[int]:
    """Return which units a mean covers; empty for an estimate from points."""
    if not _is_mean(mean) or mean.influence is None:
        return set()
    return set(mean.influence.rows.tolist())


def simultaneous_intervals(
    estimates: Mapping[str, Estimate], p: float
) -> dict[str, tuple[float, float]]:
    """Compute intervals that hold at once; see :meth:`dimscope.Profile.simultaneous`."""
    try:
        law = joint_law(estimates)
    except BadPoints:  # no joint errors
        return {
            name: estimate.interval_at(p ** (1 / len(estimates)))
            for name, estimate in estimates.items()
        }
    widths = law.critical(p, np.arange(len(law.layers)), None) * law.log_errors
    return {
        name: (float(dimension / np.exp(width)), float(dimension * np.exp(width)))
        for name, dimension, width in zip(law.layers, law.dimensions, widths, strict=True)
    }


def _check(name: str, estimate: Estimate, *, needs_influence: bool) -> None:
    if needs_influence and not estimate.std_error > 0:
        raise BadPoints(
            f"layer {name!r} has a dimension but no standard error, so it cannot be compared with "
            "others; use an estimator with standard errors"
        )
    if not needs_influence:
        return
    if estimate.influence is None:
        raise BadPoints(
            f"layer {name!r} holds no influences of points, which the joint errors of several "
            "layers need; save the profile with profile.save(path, influences=True), or measure "
            "it again"
        )
    n = len(estimate.influence.scores)
    if not _is_mean(estimate):
        if n < _FEWEST_POINTS:
            raise BadPoints(
                f"layer {name!r} was measured on {n} points; the joint errors of several layers "
                f"need at least {_FEWEST_POINTS}"
            )
    elif n < _FEWEST_UNITS:
        raise BadPoints(
            f"layer {name!r} is a mean over {n} {'classes' if estimate.classes else 'networks'}; "
            f"the joint errors of several layers need at least {_FEWEST_UNITS}"
        )


def tail(t: float, degrees_of_freedom: float) -> float:
    """Compute the probability that a normal or Student variable exceeds t.

    Examples
    --------
    >>> round(tail(1.96, math.inf), 3), round(tail(2.776, 4), 3)
    (0.025, 0.025)
    """
    if math.isinf(degrees_of_freedom):
        return math.erfc(t / math.sqrt(2)) / 2
    from scipy.special import stdtr

    return float(stdtr(degrees_of_freedom, -t))


def _divided(
    errors: NDArray[np.float64],
    covariances: NDArray[np.float64],
    above: NDArray[np.intp],
    below: NDArray[np.intp] | None,
) -> NDArray[np.float64]:
    """Divide drawn differences, or single layers, by their drawn standard errors."""
    values = errors[above] if below is None else errors[above] - errors[below]
    variance = _variance(covariances, above, below).T
    divided: NDArray[np.float64] = values / np.sqrt(np.maximum(variance, _TINY**2))
    return divided


def _variance(
    covariance: NDArray[np.float64], above: NDArray[np.intp], below: NDArray[np.intp] | None
) -> NDArray[np.float64]:
    """Return the variances of differences, or of single layers, from (..., L, L) covariances."""
    variance: NDArray[np.float64] = covariance[..., above, above]
    if below is not None:
        variance = variance + covariance[..., below, below] - 2 * covariance[..., above, below]
    return np.maximum(variance, 0.0)


def _root_of(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A of shape (L, rank) with A A' = covariance."""
    scale = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    kept = values > 1e-12 * values[-1]
    root: NDArray[np.float64] = scale[:, None] * vectors[:, kept] * np.sqrt(values[kept])
    return root


def _wishart(
    rng: np.random.Generator, root: NDArray[np.float64], degrees_of_freedom: float, n: int
) -> NDArray[np.float64]:
    """Draw n covariance matrices around root @ root.T, each estimated with these degrees."""
    rank = root.shape[1]
    # Bartlett's decomposition needs as many degrees of freedom as ranks
    free = np.maximum(degrees_of_freedom - np.arange(rank), 1e-3)
    lower = np.tril(rng.standard_normal((n, rank, rank)), -1)
    lower[:, np.arange(rank), np.arange(rank)] = np.sqrt(rng.chisquare(free, (n, rank)))
    factor = root @ lower
    drawn: NDArray[np.float64] = factor @ factor.transpose(0, 2, 1) / degrees_of_freedom
    return drawn
