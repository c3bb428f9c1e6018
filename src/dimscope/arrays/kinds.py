"""The kinds of array, and :func:`as_points`, which checks and wraps every array."""

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

    A subclass defines :meth:`accepts` and :meth:`open`; :func:`register` makes it available.

    Examples
    --------
    An array whose rows are computed when they are read:

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
            An array that this kind accepts.
        memory : int, optional
            Memory limit in bytes, for kinds whose values are stored outside memory.

        Raises
        ------
        BadPoints, DegeneratePoints
            If the array does not hold at least three points with finite coordinates.
        """

    def take(self, array: Any, rows: NDArray[np.intp]) -> Any:
        """Select rows of an array; the result is again an array of a registered kind.

        Parameters
        ----------
        array : object
        rows : array of int
        """
        return array[rows]

    def home(self, array: Any) -> Home:
        """Return where the array is searched; see ``home`` of :class:`~dimscope.arrays.Points`."""
        return "memory"


_kinds: list[ArrayKind] = []


def register(kind: ArrayKind) -> None:
    """Let every function that takes points accept another kind of array.

    Parameters
    ----------
    kind : ArrayKind
        Tried before all kinds registered earlier. It replaces a registered kind of the same class.

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
    """Remove a registered kind of array.

    Parameters
    ----------
    kind : type
        Class of the registered kind.

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
        NumPy array, memory map, torch tensor, dask array, layer of a store, nested lists, or an
        array of a kind added by :func:`register`. The dtype may be any integer, boolean or real
        floating dtype.
    rows : array of int, optional
        Use only these rows; the other rows are not checked.
    memory : int, optional
        Memory limit in bytes, for an array whose values are stored outside memory.

    Returns
    -------
    Points

    Raises
    ------
    BadPoints
        If the array is not two-dimensional, not numeric, empty or ragged, or contains NaN or
        infinity (the message names the row and column of the first such value).
    DegeneratePoints
        If there are fewer than three points.

    Examples
    --------
    >>> as_points([[0, 1], [2, 3], [4, -5]]).max_abs
    5.0
    >>> as_points([1.0, 2.0])
    Traceback (most recent call last):
    dimscope.errors.BadPoints: points must have shape (n_points, n_features), but have shape \
(2,); for n points on a line use points.reshape(-1, 1)
    """
    if isinstance(array, Points):
        return array if rows is None else array.select(rows)
    kind = _kind_of(array)
    if rows is not None:
        return as_points(kind.take(array, rows), memory=memory)
    return kind.open(array, memory)


def home_of(array: Any) -> Home:
    """Return where an array will be searched, without checking it.

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
