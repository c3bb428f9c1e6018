"""Frozen values: equality, hashing, and conversion to and from JSON-compatible data.

Every value passed from one step to the next is a frozen dataclass that may hold arrays, mappings
and NaN. The decorator :func:`by_value` makes such values comparable and hashable; :func:`to_plain`
and :func:`from_plain` convert them to JSON-compatible data and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import numpy as np

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["NOT_WRITTEN", "by_value", "from_plain", "null_is", "to_plain"]


_T = TypeVar("_T")


_SAMPLED = 8  # entries of an array that enter its hash


# -- equality and hash --------------------------------------------------------------------


def by_value(cls: type[_T]) -> type[_T]:
    """Make a frozen dataclass that holds arrays, mappings or NaN comparable and hashable.

    Two values are equal if they have the same class and equal fields. NaN equals NaN. Arrays are
    equal if dtype, shape and entries are; array-likes other than NumPy arrays are equal only to
    themselves, so that a comparison never reads a store. Fields with ``compare=False`` are ignored.
    If the class has an attribute ``_compared``, a tuple of attribute names, those attributes are
    compared instead of the fields.

    Parameters
    ----------
    cls : class
        Class decorated with ``@dataclass(frozen=True, eq=False)``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @by_value
    ... @dataclass(frozen=True, eq=False)
    ... class Cloud:
    ...     points: np.ndarray
    ...     dimension: float
    >>> a, b = (Cloud(np.arange(3), math.nan) for _ in range(2))
    >>> a == b, hash(a) == hash(b), a == Cloud(np.arange(4), math.nan)
    (True, True, False)
    """
    cls.__eq__ = _equal_values  # type: ignore[method-assign]
    cls.__hash__ = _hash_value  # type: ignore[method-assign]
    return cls


def _equal_values(self: Any, other: Any) -> Any:
    if self.__class__ is not other.__class__:
        return NotImplemented
    names = _names(self.__class__)
    return all(_equal(getattr(self, name), getattr(other, name)) for name in names)


def _hash_value(self: Any) -> int:
    names = _names(self.__class__)
    return hash((self.__class__, *(_key(getattr(self, name)) for name in names)))


@cache
def _names(cls: Any) -> tuple[str, ...]:
    names: tuple[str, ...] | None = getattr(cls, "_compared", None)
    return tuple(field.name for field in fields(cls) if field.compare) if names is None else names


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if _is_array(a) or _is_array(b):
        return False
    if is_dataclass(a) or is_dataclass(b):
        return bool(a == b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(item, b[key]) for key, item in a.items())
    if isinstance(a, tuple | list) and isinstance(b, type(a)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b) or bool(a != a and b != b)


def _key(item: Any) -> Any:
    """Convert to a hashable key; equal values give equal keys."""
    if isinstance(item, np.ndarray):
        places = np.linspace(0, item.size - 1, min(item.size, _SAMPLED)).astype(np.intp)
        return item.shape, item.dtype, tuple(_key(item.item(place)) for place in places)
    if _is_array(item):
        return type(item), tuple(item.shape)
    if is_dataclass(item):
        return item
    if isinstance(item, Mapping):
        return frozenset((key, _key(entry)) for key, entry in item.items())
    if isinstance(item, tuple | list):
        return tuple(map(_key, item))
    if isinstance(item, set):
        return frozenset(item)
    return None if item != item else item  # hash(nan) depends on where it lies in memory


def _is_array(item: Any) -> bool:
    return hasattr(item, "shape") and not isinstance(item, np.generic)


# -- plain values -------------------------------------------------------------------------


NOT_WRITTEN = {"written": False}
"""Metadata of a field that stays out of files."""


def null_is(number: float) -> dict[str, float]:
    """Return field metadata that makes :func:`from_plain` read null as ``number``, not as NaN.

    Examples
    --------
    >>> null_is(math.inf)
    {'null': inf}
    """
    return {"null": number}


def to_plain(item: Any) -> Any:
    """Convert to JSON-compatible data: dictionaries, lists, strings and finite numbers.

    NaN and infinity become None. Fields with the metadata :data:`NOT_WRITTEN` are left out.

    Examples
    --------
    >>> to_plain({"interval": (1.0, math.nan)})
    {'interval': [1.0, None]}
    """
    return _converter().unstructure(item)


def from_plain(cls: type[_T], data: Any) -> _T:
    """Create a value of the given type from the output of :func:`to_plain`.

    Unknown keys are ignored, and missing fields take their default. Where a number is expected,
    None becomes NaN, or the number given by :func:`null_is`.

    Raises
    ------
    KeyError, TypeError, AttributeError, ValueError
        If the data do not match the type.

    Examples
    --------
    >>> from_plain(tuple[float, ...], [1, None])
    (1, nan)
    """
    return _converter().structure(data, cls)


@cache
def _converter() -> Converter:
    from cattrs import Converter, override
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

    converter = Converter(detailed_validation=False, unstruct_collection_overrides={tuple: list})

    def write(cls: Any) -> Any:
        left_out: dict[str, Any] = {
            field.name: override(omit=True)
            for field in fields(cls)
            if not field.metadata.get("written", True)
        }
        return make_dict_unstructure_fn(cls, converter, **left_out)

    def read(cls: Any) -> Any:
        overrides: dict[str, Any] = {}
        for field in fields(cls):
            if not field.metadata.get("written", True):
                overrides[field.name] = override(omit=True)
            elif "null" in field.metadata:
                overrides[field.name] = override(struct_hook=_number_or(field.metadata["null"]))
        return make_dict_structure_fn(cls, converter, **overrides)

    converter.register_unstructure_hook_factory(_is_dataclass, write)
    converter.register_structure_hook_factory(_is_dataclass, read)
    converter.register_unstructure_hook(float, _finite)
    converter.register_structure_hook(float, _number_or(math.nan))
    # cattrs would convert, for example any list to a word; a damaged file must not pass
    for kind, accepted in ((int, Integral), (bool, bool | np.bool_), (str, str)):
        converter.register_structure_hook(kind, _only(accepted))
    converter.register_structure_hook_func(_is_literal, _option)
    return converter


def _is_dataclass(cls: Any) -> bool:
    return isinstance(cls, type) and is_dataclass(cls)


def _is_literal(cls: Any) -> bool:
    origin: Any = get_origin(cls)
    return origin is Literal


def _finite(number: Any) -> Any:
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _number_or(null: float) -> Any:
    check = _only(Real)
    return lambda number, cls: null if number is None else check(number, cls)


def _only(accepted: Any) -> Any:
    def check(item: Any, cls: Any) -> Any:
        # to Python, True is also a number
        if not isinstance(item, accepted) or (isinstance(item, bool) and cls is not bool):
            raise TypeError(f"{item!r} is not of type {cls.__name__}")
        return item

    return check


def _option(item: Any, options: Any) -> Any:
    if item not in get_args(options):
        raise ValueError(f"{item!r} is not one of {', '.join(get_args(options))}")
    return item
