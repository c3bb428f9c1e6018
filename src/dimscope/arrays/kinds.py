"""The kinds of array, and the one function through which every array enters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from dimscope.arrays.points import Home, Points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ArrayKind", "as_points", "home_of", "register", "unregister"]


class ArrayKind(ABC):
    """One kind of array: how to recognise it, check it and wrap it.

    A subclass writes :meth:`accepts` and :meth:`open`, and is made known by :func:`register`.

    Examples
    --------
    Rows that are computed when they are read:

    >>> import numpy as np
    >>> from dimscope.arrays import Blocks
    >>> class Squares:
    ...     shape = (100, 2)
    >>> class SquareBlocks(Blocks):
    ...     def read(self, rows, columns):
    ...         return (np.arange(100.0)[rows, None] ** [1, 2])[:, columns]
    >>> class SquaresKind(ArrayKind):
    ...     def accepts(self, array):
    ...         return isinstance(array, Squares)
    ...     def open(self, array, memory=None):
    ...         return as_points(SquareBlocks(array.shape, np.dtype(float)))
    >>> register(SquaresKind())
    >>> import dimscope as ds
    >>> ds.nearest_neighbors(Squares()).n_distinct
    100
    >>> unregister(SquaresKind)
    """

    @abstractmethod
    def accepts(self, array: Any) -> bool:
        """Tell whether an array is of this kind, without reading it.

        Parameters
        ----------
        array : object
        """

    @abstractmethod
    def open(self, array: Any, memory: int | None = None) -> Points:
        """Check an array and wrap it.

        Parameters
        ----------
        array : object
            One that this kind accepts.
        memory : int, optional
            Bytes that values of the array may take in memory, for kinds that lie elsewhere.

        Raises
        ------
        BadPoints, DegeneratePoints
            If the array does not hold at least three points of finite numbers.
        """

    def take(self, array: Any, rows: NDArray[np.intp]) -> Any:
        """Select some rows of an array, which stays of a registered kind.

        Parameters
        ----------
        array : object
        rows : array of int
        """
        return array[rows]

    def home(self, array: Any) -> Home:
        """Name the place where the array is searched; see :class:`~dimscope.arrays.Points`."""
        return "memory"


_kinds: list[ArrayKind] = []


def register(kind: ArrayKind) -> None:
    """Make a kind of array known to every function that takes points.

    Parameters
    ----------
    kind : ArrayKind
        Asked before all kinds registered earlier. A kind of the same class is replaced.

    Examples
    --------
    >>> register("numpy")
    Traceback (most recent call last):
    TypeError: kind is 'numpy'; register an instance of a subclass of ArrayKind
    """
    if not isinstance(kind, ArrayKind):
        raise TypeError(f"kind is {kind!r}; register an instance of a subclass of ArrayKind")
    _kinds[:] = [kind, *(other for other in _kinds if type(other) is not type(kind))]


def unregister(kind: type[ArrayKind]) -> None:
    """Forget a kind of array that was registered.

    Parameters
    ----------
    kind : type
        Its class.

    Examples
    --------
    >>> unregister(ArrayKind)
    Traceback (most recent call last):
    ValueError: ArrayKind is not registered
    """
    if not any(type(other) is kind for other in _kinds):
        raise ValueError(f"{kind.__name__} is not registered")
    _kinds[:] = [other for other in _kinds if type(other) is not kind]


def as_points(
    array: Any, *, rows: NDArray[np.intp] | None = None, memory: int | None = None
) -> Points:
    """Check an array of points and wrap it.

    Parameters
    ----------
    array : array-like of shape (n_points, n_features), or Points
        NumPy array, memory map, torch tensor, dask array, a layer of a store, nested lists, or
        an array of a kind added by :func:`register`; any integer, boolean or real floating dtype.
    rows : array of int, optional
        Take these rows only; the other rows are not checked.
    memory : int, optional
        Memory limit in bytes for the values of an array that is not in memory.

    Returns
    -------
    Points

    Raises
    ------
    BadPoints
        If the array is not two-dimensional, not numeric, empty or ragged, or holds a NaN or an
        infinite value (the message names the first row and column).
    DegeneratePoints
        If there are fewer than three points.

    Examples
    --------
    >>> as_points([[0, 1], [2, 3], [4, -5]]).max_abs
    5.0
    >>> as_points([1.0, 2.0])
    Traceback (most recent call last):
    dimscope.errors.BadPoints: points must have shape (n_points, n_features), but the shape is \
(2,); for n points on a line use points.reshape(-1, 1)
    """
    if isinstance(array, Points):
        return array if rows is None else array.select(rows)
    kind = _kind_of(array)
    return kind.open(array if rows is None else kind.take(array, rows), memory)


def home_of(array: Any) -> Home:
    """Name the place where an array is searched, before it is checked.

    Parameters
    ----------
    array : array-like, or Points

    Examples
    --------
    >>> home_of([[0.0], [1.0], [2.0]])
    'memory'
    """
    return array.home if isinstance(array, Points) else _kind_of(array).home(array)


def _kind_of(array: Any) -> ArrayKind:
    return next(kind for kind in _kinds if kind.accepts(array))
