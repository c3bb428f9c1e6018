"""From points to Estimates: run several estimators on the result of one search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, overload

from dimscope.errors import EstimatorsFailed, Interrupted
from dimscope.estimators.base import Estimator
from dimscope.estimators.estimates import Estimate
from dimscope.estimators.inputs import Inputs, ProgressFailed
from dimscope.estimators.two_nn import TwoNN
from dimscope.neighbors.copies import Copies
from dimscope.neighbors.engines import Engine

if TYPE_CHECKING:
    from dimscope.arrays.threads import Progress

__all__ = ["Estimators", "estimate", "measured_in_turn", "named_estimators"]


Estimators = Estimator | Iterable[Estimator] | Mapping[str, Estimator]


def named_estimators(estimators: Estimators | None) -> dict[str, Estimator]:
    """Name every estimator, numbering repeated names.

    Examples
    --------
    >>> list(named_estimators([TwoNN(), TwoNN(fit="regression")]))
    ['twonn', 'twonn_2']
    """
    if estimators is None:
        estimators = TwoNN()
    if isinstance(estimators, Estimator | type):
        estimators = [estimators]
    if isinstance(estimators, str) or not isinstance(estimators, Iterable):
        raise TypeError(f"{estimators!r} is not an estimator; give an instance such as TwoNN()")
    if hasattr(estimators, "shape"):
        raise TypeError(
            f"estimators is a {type(estimators).__name__}; labels go with the data, as "
            "(inputs, labels)"
        )
    values = list(estimators.values() if isinstance(estimators, Mapping) else estimators)
    for estimator in values:
        if not isinstance(estimator, Estimator):
            raise TypeError(f"{estimator!r} is not an estimator; give an instance such as TwoNN()")
    if not values:
        raise ValueError("give at least one estimator")
    if isinstance(estimators, Mapping):
        return dict(estimators)
    named: dict[str, Estimator] = {}
    for estimator in values:
        name, number = estimator.name, 1
        while name in named:
            number += 1
            name = f"{estimator.name}_{number}"
        named[name] = estimator
    return named


@overload
def estimate(
    points: Any,
    estimators: Estimator | None = None,
    engine: Engine | None = None,
    *,
    exclude: Any = None,
    groups: Any = None,
    copies: Copies = "keep",
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Estimate: ...


@overload
def estimate(
    points: Any,
    estimators: Iterable[Estimator] | Mapping[str, Estimator],
    engine: Engine | None = None,
    *,
    exclude: Any = None,
    groups: Any = None,
    copies: Copies = "keep",
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> dict[str, Estimate]: ...


def estimate(
    points: Any,
    estimators: Estimators | None = None,
    engine: Engine | None = None,
    *,
    exclude: Any = None,
    groups: Any = None,
    copies: Copies = "keep",
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Estimate | dict[str, Estimate]:
    """Measure the dimension of points with one or several estimators.

    Parameters
    ----------
    points : array-like of shape (n_points, n_features), or Neighbors
    estimators : estimator, list of estimators, or dict of name -> estimator
        :class:`TwoNN` by default.
    engine : Engine, optional
        How to search; exact by default.
    copies : {"keep", "collapse"}
        What to do with near copies: rows that differ from another by no more than the rounding of
        their values, such as one stimulus in batches of two shapes. ``"collapse"`` keeps the first
        of them only, for estimators that use neighbours; spectra count every row.
    exclude : array-like of shape (n_points,), optional
        An id for each row: rows of equal id are not each other's neighbours, as for the tokens of a
        sentence (:func:`dimscope.nearest_neighbors`).
    groups : array-like of shape (n_points,), optional
        An id for each row: the rows of equal id are one independent unit, and the standard error is
        that of drawing other units (see Notes).
    memory : int or str, optional
        Memory budget, such as ``"4GB"``, for everything but an array that is already in memory.
        Half of the free memory by default.
    progress : callable, optional
        ``progress(step, done, total)`` of the search, called in this thread.

    Returns
    -------
    Estimate, or dict of name -> Estimate for several

    Raises
    ------
    BadPoints, DegeneratePoints
        If the dimension cannot be measured; the message says why and where. If there is not one id
        for each row.
    EstimatorsFailed
        If some of several estimators fail; it holds the estimates of the others.
    Interrupted
        On Ctrl-C; it holds the estimates made until then.
    ValueError
        If ``engine`` or ``copies`` is given but no estimator uses neighbours.

    Notes
    -----
    Rows that come in groups, such as tokens of one text, frames of one film, augmentations of one
    image or blocks of a long recording, depend on each other. With ``groups`` the variance is the
    sum, over the groups, of the squared sum of the influences of their rows, times G / (G - 1), and
    of the products of influences of neighbours in different groups. Intervals use Student's
    distribution with G - 1 degrees of freedom. G is the number of groups if all have the same size
    n_g; otherwise, it is the number of equal groups that tell as much, N^2 / sum n_g^2. Fewer than
    10 groups give no standard error. The groups must be independent of each other, and drawn as a
    sample of all such groups.

    ``groups`` changes the error only, ``exclude`` the dimension only. Give both to measure the
    dimension of all the data: without ``exclude``, a cloud of augmentations measures how one image
    varies.

    Examples
    --------
    >>> from dimscope.manifolds import cube
    >>> both = estimate(cube(500, 2), {"mle": TwoNN(), "line": TwoNN(fit="regression")})
    >>> sorted(both)
    ['line', 'mle']
    >>> points = cube(500, 2)
    >>> twice = [*points, *(points * (1 + 2**-52))]  # each point and its copy
    >>> estimate(twice, copies="collapse").dimension == estimate(points).dimension
    True
    """
    named = named_estimators(estimators)
    inputs = Inputs(
        points,
        engine,
        list(named.values()),
        progress,
        memory,
        copies=copies,
        exclude=exclude,
        groups=groups,
    )
    estimates: dict[str, Estimate] = {}
    failures: dict[str, Exception] = {}
    try:
        for name, outcome in measured_in_turn(named, inputs):
            if isinstance(outcome, Estimate):
                estimates[name] = outcome
            else:
                failures[name] = outcome
    except ProgressFailed as failed:
        raise failed.error from None
    except KeyboardInterrupt as interrupt:
        raise Interrupted(estimates) from interrupt
    if failures:
        first = next(iter(failures.values()))
        if all(error is first for error in failures.values()) and not estimates:
            raise first  # of an input that all of them share, or of the only estimator
        raise EstimatorsFailed(estimates, failures) from first
    if estimators is None or isinstance(estimators, Estimator):
        return next(iter(estimates.values()))
    return estimates


def measured_in_turn(
    named: Mapping[str, Estimator], inputs: Inputs
) -> Iterator[tuple[str, Estimate | Exception]]:
    """Measure with one estimator after the other; one that fails does not stop the others.

    Parameters
    ----------
    named : Mapping of str to Estimator
    inputs : Inputs

    Yields
    ------
    (name, Estimate), or (name, Exception) for an estimator that fails
        A warning that the user's filters turn into an error is raised.

    Examples
    --------
    >>> from dimscope import PCA
    >>> named = {"twonn": TwoNN(), "pca": PCA()}
    >>> inputs = Inputs([[0.0, 0], [0, 1], [1, 0], [1, 1]], None, list(named.values()))
    >>> [(name, type(outcome).__name__) for name, outcome in measured_in_turn(named, inputs)]
    [('twonn', 'DegeneratePoints'), ('pca', 'Estimate')]
    """
    for name, estimator in named.items():
        try:
            estimate = estimator.measured(inputs)
        except Warning:
            raise
        except Exception as error:
            yield name, error
        else:
            yield name, estimate
