"""Frozen values: equality, hash, and plain values for JSON.

What passes between two steps is a frozen dataclass that may hold arrays, mappings and NaN. The
methods that :func:`dataclasses.dataclass` writes cannot compare or hash those, so every such class
is decorated with :func:`by_value`, above ``@dataclass(frozen=True)``::

    @by_value
    @dataclass(frozen=True)
    class Neighbors: ...

A subclass that is a dataclass is decorated again. ``field(compare=False)`` leaves a field out: a
callback, say, or arrays on disk that would have to be read. A class whose equality depends on more
than its fields defines ``_content``, a method that returns everything to compare, in a tuple.

:func:`to_plain` and :func:`from_plain` convert a value to what JSON holds, and back. A field may
say how it is written, in its ``metadata``: ``{"file": False}`` leaves it out, ``{"null": inf}``
names the number that ``null`` stands for (NaN without it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_origin

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from cattrs import Converter

__all__ = ["by_value", "compared_fields", "from_plain", "to_plain"]


_T = TypeVar("_T")


# -- equality and hash ---------------------------------------------------------------


def by_value(cls: type[_T]) -> type[_T]:
    """Compare and hash the instances of a frozen dataclass by what they hold.

    Parameters
    ----------
    cls : type
        A frozen dataclass.

    Returns
    -------
    type
        The same class, with ``__eq__`` and ``__hash__``.

    Notes
    -----
    Instances of different classes are not equal. Arrays are equal if their dtypes, shapes and
    elements are; NaN equals NaN; the order of a mapping and the type of a sequence (list or tuple)
    do not matter. The hash reads three elements of an array, so that it is cheap.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @by_value
    ... @dataclass(frozen=True)
    ... class Cloud:
    ...     points: np.ndarray
    ...     scale: float
    >>> Cloud(np.ones(3), float("nan")) == Cloud(np.ones(3), float("nan"))
    True
    >>> len({Cloud(np.ones(3), 1.0), Cloud(np.ones(3), 1.0), Cloud(np.zeros(3), 1.0)})
    2
    """
    cls.__eq__ = _equal_values  # type: ignore[method-assign]
    cls.__hash__ = _hash_value  # type: ignore[method-assign]
    return cls


def compared_fields(value: Any) -> tuple[Any, ...]:
    """Collect the fields that decide whether two instances of a dataclass are equal."""
    return tuple(getattr(value, field.name) for field in fields(value) if field.compare)


def _content(value: Any) -> tuple[Any, ...]:
    content: tuple[Any, ...] = (
        value._content() if hasattr(value, "_content") else compared_fields(value)
    )
    return content


def _equal_values(self: Any, other: object) -> Any:
    if self is other:
        return True
    if type(self) is not type(other):
        return NotImplemented
    return _equal(_content(self), _content(other))


def _hash_value(self: Any) -> int:
    return hash((type(self).__qualname__, _digest(_content(self))))


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return _equal_arrays(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if _is_plain_mapping(a) and _is_plain_mapping(b):
        return a.keys() == b.keys() and all(_equal(item, b[key]) for key, item in a.items())
    return bool(a == b) or (_is_nan(a) and _is_nan(b))


def _equal_arrays(a: Any, b: Any) -> bool:
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return False
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM")


def _is_plain_mapping(value: Any) -> bool:
    """Tell a mapping from a frozen value that is also a mapping, which compares itself."""
    return isinstance(value, Mapping) and not is_dataclass(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | complex | np.generic) and bool(value != value)


def _digest(value: Any) -> int:
    """Hash of anything, the same for all that :func:`_equal` holds to be equal."""
    if isinstance(value, np.ndarray):
        places = sorted({0, value.size // 2, value.size - 1}) if value.size else []
        samples = [value.flat[place] for place in places]
        return hash((value.dtype.kind, value.shape, _digest(samples)))
    if isinstance(value, list | tuple):
        return hash(tuple(map(_digest, value)))
    if _is_plain_mapping(value):
        return hash(frozenset((key, _digest(item)) for key, item in value.items()))
    if _is_nan(value):
        return hash("nan")
    try:
        return hash(value)
    except TypeError:
        return hash(type(value).__qualname__)


# -- plain values ----------------------------------------------------------------------


def to_plain(value: Any) -> Any:
    """Convert a value to dictionaries, lists and numbers, ready for JSON.

    Parameters
    ----------
    value : dataclass, mapping, sequence or number
        Without arrays, or with ``metadata={"file": False}`` on the fields that hold them.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Numbers that are not finite become None.

    Examples
    --------
    >>> to_plain({"interval": (1.5, float("nan"))})
    {'interval': [1.5, None]}
    """
    return _converter().unstructure(value)


def from_plain(cls: type[_T], data: Any) -> _T:
    """Make an instance of a dataclass from what :func:`to_plain` gave.

    Parameters
    ----------
    cls : type
        A dataclass.
    data : Mapping
        Keys that the class does not have are ignored; those that are missing take the default of
        their field.

    Returns
    -------
    cls

    Raises
    ------
    KeyError, TypeError, ValueError
        If a field without a default is missing, or a value has the wrong type.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Bar:
    ...     height: float
    ...     label: str = ""
    >>> from_plain(Bar, {"height": None, "colour": "red"})
    Bar(height=nan, label='')
    """
    return _converter().structure(data, cls)


@cache
def _converter() -> Converter:
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

    converter = Converter(
        detailed_validation=False, unstruct_collection_overrides={tuple: list, Mapping: dict}
    )

    def for_writing(cls: Any) -> Callable[[Any], Any]:
        omitted: dict[str, Any] = {name: override(omit=True) for name in _unwritten(cls)}
        return make_dict_unstructure_fn(cls, converter, **omitted)

    def for_reading(cls: Any) -> Callable[[Any, Any], Any]:
        overrides: dict[str, Any] = {name: override(omit=True) for name in _unwritten(cls)}
        for field in fields(cls):
            if "null" in field.metadata:
                overrides[field.name] = override(struct_hook=_number_or(field.metadata["null"]))
        return make_dict_structure_fn(
            cls, converter, _cattrs_detailed_validation=False, **overrides
        )

    converter.register_unstructure_hook_factory(is_dataclass, for_writing)
    converter.register_structure_hook_factory(is_dataclass, for_reading)
    converter.register_unstructure_hook(float, _finite_or_none)
    converter.register_structure_hook(float, _number_or(math.nan))
    for kind in (int, str, bool):
        converter.register_structure_hook(kind, _only)
    # the class checks its own words
    converter.register_structure_hook_func(_is_literal, _only_text)
    return converter


def _unwritten(cls: Any) -> list[str]:
    return [field.name for field in fields(cls) if not field.metadata.get("file", True)]


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number_or(null: float) -> Callable[[Any, Any], float]:
    def number(value: Any, _: Any) -> float:
        if value is None:
            return null
        if isinstance(value, bool) or not isinstance(value, float | int):
            raise TypeError(f"{value!r} is not a number")
        return value

    return number


def _only(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _only_text(value: Any, _: Any) -> Any:
    return _only(value, str)
