"""Inputs: the neighbours and spectra that estimators need, computed once and shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from dimscope.arrays import Points, as_points
from dimscope.arrays.memory import budget_from, check_budget
from dimscope.arrays.points import within_budget
from dimscope.errors import BadPoints, DegeneratePoints, SampleRefused, check_word, silent
from dimscope.estimators.spectra import Spectrum, spectrum
from dimscope.estimators.ties import TIE_WARNINGS
from dimscope.neighbors import Engine, Neighbors, Sampled, Search, distinct_rows
from dimscope.neighbors.copies import Copies
from dimscope.neighbors.exclusion import group_numbers
from dimscope.neighbors.search import refuse_for_neighbors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from dimscope.arrays.threads import Progress

__all__ = ["Inputs", "Needs", "ProgressFailed", "check_copies", "check_engine"]

_T = TypeVar("_T")


class Needs(Protocol):
    """What an estimator needs from its inputs."""

    @property
    def ranks(self) -> int:
        """Number of neighbours that are needed per point; 0 for none."""

    @property
    def wished(self) -> int:
        """Number of neighbours to search for if there are enough points; at least :attr:`ranks`."""

    @property
    def uses_ids(self) -> bool:
        """Whether ``exclude`` and ``groups`` change the result."""

    def relative_error(self, neighbors: Neighbors) -> float:
        """Return the standard error divided by the dimension; NaN if there is no standard error."""


def check_engine(
    engine: Engine | None, estimators: Iterable[Needs], exclude: Any = None, groups: Any = None
) -> None:
    """Refuse an engine that is not an Engine, and options of a search that no estimator would use.

    Parameters
    ----------
    engine : Engine or None
    estimators : iterable of Estimator
    exclude : array-like, optional
        The ids whose rows are not each other's neighbours.
    groups : array-like, optional
        The ids whose rows are one unit of the standard errors.

    Raises
    ------
    TypeError
        If it is not an Engine.
    ValueError
        If no estimator uses neighbours, or none compares points, for the ids.

    Examples
    --------
    >>> from dimscope import PCA, Exact, TwoNN
    >>> check_engine(Exact(), [PCA(), TwoNN()])
    >>> check_engine(Exact(), [PCA()])
    Traceback (most recent call last):
    ValueError: engine=Exact() has no effect: PCA(normalized=False, variance=0.9) reads no \
neighbours; leave out the engine
    """
    if engine is not None and not isinstance(engine, Engine):
        raise TypeError(f"engine must be an Engine such as Exact(), not {engine!r}")
    estimators = list(estimators)
    searching = any(estimator.ranks for estimator in estimators)
    comparing = any(estimator.uses_ids for estimator in estimators)
    given = [
        (f"{engine=}", "the engine", engine is not None, searching),
        ("exclude", "exclude", exclude is not None, comparing),
        ("groups", "groups", groups is not None, comparing),
    ]
    useless = [(option, name) for option, name, is_given, is_used in given if is_given > is_used]
    if useless and estimators:
        (option, name), verb = useless[0], "reads" if len(estimators) == 1 else "read"
        raise ValueError(
            f"{option} has no effect: {', '.join(map(repr, estimators))} {verb} no "
            f"neighbours; leave out {name}"
        )


def check_copies(copies: Copies, estimators: Iterable[Needs]) -> None:
    """Refuse ``copies="collapse"`` if no estimator uses neighbours: the others read every row.

    Examples
    --------
    >>> from dimscope import PCA, TwoNN
    >>> check_copies("collapse", [PCA(), TwoNN()])
    >>> check_copies("collapse", [PCA()])
    Traceback (most recent call last):
    ValueError: copies='collapse' has no effect: PCA(normalized=False, variance=0.9) reads no \
neighbours; leave it out
    """
    check_word("copies", copies, Copies)
    estimators = list(estimators)
    if copies == "collapse" and estimators and not any(e.ranks for e in estimators):
        verb = "reads" if len(estimators) == 1 else "read"
        raise ValueError(
            f"copies='collapse' has no effect: {', '.join(map(repr, estimators))} {verb} no "
            "neighbours; leave it out"
        )


class ProgressFailed(BaseException):
    """Carry an error of the progress callback past the handlers that isolate estimators.

    It is not an ``Exception``, because an error in the callback belongs to the caller, who may
    raise one to stop the work; it is not a failure of an estimator. Past those handlers, the
    original error, :attr:`error`, is raised instead.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(error)


class Inputs:
    """Points, and the neighbours and spectra computed from them on demand.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    engine : Engine, optional
        How to search; exact by default.
    estimators : sequence of Estimator
        The estimators that will use these inputs. They determine how many neighbours are needed,
        and when a sample is large enough.
    progress : callable, optional
        ``progress(step, done, total)`` of the search.
    memory : int or str, optional
        Memory budget, such as ``"4GB"``; half of the free memory by default.
    exclude : array-like of shape (n_points,), optional
        Of :func:`dimscope.nearest_neighbors`.
    groups : array-like of shape (n_points,), optional
        An id for each row: rows of equal id are one independent unit.
    copies : {"keep", "collapse"}
        Of :func:`dimscope.nearest_neighbors`.

    Raises
    ------
    TypeError, ValueError
        If the engine, ``exclude`` or ``copies`` would have no effect.

    Examples
    --------
    >>> inputs = Inputs([[0.0], [1.0], [3.0]])
    >>> inputs.neighbors is inputs.neighbors
    True
    """

    def __init__(
        self,
        points: Any,
        engine: Engine | None = None,
        estimators: Sequence[Needs] = (),
        progress: Progress | None = None,
        memory: int | str | None = None,
        *,
        copies: Copies = "keep",
        exclude: Any = None,
        groups: Any = None,
    ) -> None:
        check_engine(engine, estimators, exclude, groups)
        check_copies(copies, estimators)
        if isinstance(points, Neighbors):
            refuse_for_neighbors(engine, exclude, memory)
            if copies == "collapse":
                raise ValueError(
                    "copies='collapse' has no effect: Neighbors are not searched again; make them "
                    "with nearest_neighbors(points, copies='collapse')"
                )
        self.memory = budget_from(memory)
        self.points = points
        self._engine, self._exclude, self._groups = engine, exclude, groups
        self._copies = copies
        self._estimators = estimators
        self._progress = None if progress is None else _carried(progress)
        self._results: dict[str, Any] = {}
        self._failures: dict[str, Exception] = {}

    def _once(self, name: str, make: Callable[[], _T]) -> _T:
        """Make an input, or raise the error that the first attempt to make it raised."""
        if name in self._failures:
            raise self._failures[name]
        if name not in self._results:
            try:
                self._results[name] = make()
            except Exception as error:
                self._failures[name] = error
                raise
        result: _T = self._results[name]
        return result

    @property
    def checked(self) -> Points:
        """The points, checked, wherever they are."""
        return self._once("checked", lambda: as_points(self.points, memory=self.memory))

    @property
    def neighbors(self) -> Neighbors:
        """Neighbours of every point, from one search."""
        return self._once("neighbors", self._search)

    def _search(self) -> Neighbors:
        if isinstance(self.points, Neighbors):
            return self._in_groups(self.points)
        ranks = max((estimator.ranks for estimator in self._estimators), default=2)
        wished = max((estimator.wished for estimator in self._estimators), default=2)
        # an estimator that needs more neighbours than there are must not fail the others
        at_most = wished > ranks or len(self._estimators) > 1
        search = Search(
            self.checked,
            wished,
            self._engine,
            at_most=at_most,
            exclude=self._exclude,
            copies=self._copies,
            memory=self.memory,
            progress=self._progress,
        )
        sampling = search.engine.sampling
        if sampling is None:
            return self._in_groups(search.all_points())
        return self._grown(search, sampling)

    def _in_groups(self, neighbors: Neighbors) -> Neighbors:
        return neighbors if self._groups is None else neighbors.in_groups(self._groups)

    def _grown(self, search: Search, engine: Sampled) -> Neighbors:
        """Enlarge the sample until the error of every estimate is small enough."""
        n = engine.first
        while True:
            neighbors = self._in_groups(search.sample(n))
            with silent(*TIE_WARNINGS):  # they are counted once, for the last sample
                errors = [_relative_error(estimator, neighbors) for estimator in self._estimators]
            # an estimator without an error asks for no sample
            largest = max((error for error in errors if not math.isnan(error)), default=0.0)
            if not largest > engine.rtol:
                return neighbors
            if neighbors.queries is None:
                if math.isinf(largest):
                    return neighbors
                note = f"all points, rtol {engine.rtol:g} not reached"
                return replace(neighbors, guarantee=replace(neighbors.guarantee, note=note))
            if math.isinf(largest):
                n = 4 * len(neighbors.queries)
                continue
            # errors fall with the root of the sample size; a little more than that needs
            n = math.ceil(1.05 * len(neighbors.queries) * (largest / engine.rtol) ** 2)

    @property
    def all_points(self) -> Points:
        """The points themselves, duplicates included; computed if they are a dask array.

        Raises
        ------
        BadPoints
            If Neighbors were given instead of points.
        """
        self._refuse_neighbors("this estimator")
        return self._once("points", lambda: within_budget(self.checked, self.memory))

    def ids(self, name: Literal["exclude", "groups"]) -> NDArray[np.intp] | None:
        """Return the number of the id of every point; None if no two points share one.

        Raises
        ------
        BadPoints
            If there is not one id for each point, or an id is missing.
        """
        given = self._exclude if name == "exclude" else self._groups
        if given is None:
            return None
        numbers = group_numbers(given, self.all_points.n_points, name)
        return numbers if numbers.max() + 1 < len(numbers) else None

    @property
    def distinct(self) -> tuple[NDArray[np.float64], int]:
        """The distinct points in float64, and the number of points including duplicates."""
        return self._once("distinct", self._find_distinct)

    def _find_distinct(self) -> tuple[NDArray[np.float64], int]:
        points = self.all_points
        rows = distinct_rows(points)
        n_bytes = 2 * 8 * len(rows) * points.n_features  # and a copy for the estimator
        check_budget(n_bytes, self.memory, "an estimator that reads all points in float64")
        return points.block(rows, dtype=np.dtype(np.float64)), points.n_points

    def _refuse_neighbors(self, what: str) -> None:
        if isinstance(self.points, Neighbors):
            raise BadPoints(
                f"{what} needs the points themselves, but Neighbors were given, which hold "
                "distances only"
            )

    def spectrum(self, normalized: bool) -> Spectrum:
        """Return the spectrum of the covariance, or of the correlation matrix.

        Raises
        ------
        BadPoints
            If Neighbors were given instead of points.
        """
        self._refuse_neighbors("a spectrum")
        name = "normalized spectrum" if normalized else "spectrum"
        return self._once(
            name, lambda: spectrum(self.checked, normalized=normalized, memory=self.memory)
        )


def _carried(progress: Progress) -> Progress:
    def report(step: str, done: float, total: float | None) -> None:
        try:
            progress(step, done, total)
        except Exception as error:
            raise ProgressFailed(error) from error

    return report


def _relative_error(estimator: Needs, neighbors: Neighbors) -> float:
    """Return the standard error over the dimension; infinite if more points may help.

    An estimator that fails for another reason asks for no sample: NaN. It fails again when it
    measures, with its reason, and the others are not disturbed.
    """
    try:
        return estimator.relative_error(neighbors)
    except SampleRefused:
        return math.nan
    except DegeneratePoints:  # perhaps of this sample only
        return math.inf
    except Warning:
        raise
    except Exception:
        return math.nan
