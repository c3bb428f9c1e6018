"""Results as plain values that JSON holds, and whether two of them agree."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds

RELATIVE = 1e-12
ABSOLUTE = 1e-12


def plain(value: Any) -> Any:
    """Lists, dictionaries, strings and numbers of Python; NaN is null, versions lose their numbers.

    Whole numbers stay whole and other numbers stay floats, so that a change of type is seen.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        return number if math.isfinite(number) else repr(number)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, ds.Estimate):
        return estimate(value)
    if isinstance(value, ds.Profile):
        return profile(value)
    if isinstance(value, ds.Provenance):
        return plain(value.to_dict())
    if isinstance(value, Mapping):
        return {
            str(key): sorted(one) if key == "versions" else plain(one) for key, one in value.items()
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple | list | set | range):
        return [plain(one) for one in value]
    raise TypeError(f"{type(value).__name__} is not a plain value")


def estimate(found: ds.Estimate, provenance: bool = True) -> dict[str, Any]:
    """Every public field of an estimate, and what is computed from them."""
    fields = {
        "dimension": plain(found.dimension),
        "std_error": plain(found.std_error),
        "interval": plain(found.interval),
        "interval_at_0.8": plain(found.interval_at(0.8)),
        "n_points": found.n_points,
        "n_used": found.n_used,
        "n_queries": found.n_queries,
        "n_duplicates": found.n_duplicates,
        "tie_fraction": plain(found.tie_fraction),
        "is_lower_bound": found.is_lower_bound,
        "goodness_of_fit": plain(found.goodness_of_fit),
        "corrected": plain(found.corrected),
        "resample_std": plain(found.resample_std),
        "resamples": plain(found.resamples),
        "degrees_of_freedom": plain(found.degrees_of_freedom),
        "reason": found.reason,
        "text": str(found),
    }
    return {**fields, "provenance": plain(found.provenance)} if provenance else fields


def short(found: ds.Estimate) -> dict[str, Any]:
    """The few fields of an estimate that tell one from another."""
    return {
        "dimension": plain(found.dimension),
        "std_error": plain(found.std_error),
        "n_used": found.n_used,
        "goodness_of_fit": plain(found.goodness_of_fit),
    }


def _without_version(provenance: dict[str, Any]) -> dict[str, Any]:
    """Leave out the version of the numbers: the values were recorded before it was written."""
    provenance["parameters"].pop("numbers", None)
    return provenance


def profile(found: ds.Profile) -> dict[str, Any]:
    """Everything in a profile."""
    result: dict[str, Any] = {
        "name": found.name,
        "text": repr(found),
        "estimators": list(found.estimators),
        "layers": plain(found.layers),
        "estimates": {
            name: {layer: estimate(one, provenance=False) for layer, one in found.of(name).items()}
            for name in found.estimators
        },
        "provenance": _without_version(plain(found.provenance)),
    }
    if found.classes:
        result["spread"] = plain(found.spread)
        result["classes"] = {label: profile(one) for label, one in found.classes.items()}
    return result


def frame(table: Any) -> dict[str, Any]:
    """The columns and rows of a table, but for columns that were added later."""
    if "reason" in table:
        table = table.drop(columns=["reason", "distance", "hubness"])
    if "n_blocks" in table:
        table = table.drop(columns="goodness_of_fit")
    table = table.drop(columns=["classes_are"], errors="ignore")
    rows = table.to_dict("records")
    return {"columns": list(table.columns), "rows": [plain(list(row.values())) for row in rows]}


def activations(found: ds.Activations, values: bool = True) -> dict[str, Any]:
    """The layers of activations; with ``values`` also a digest of their points."""
    result: dict[str, Any] = {
        "kind": type(found).__name__,
        "name": found.name,
        "n_points": found.n_points,
        "nbytes": found.nbytes,
        "layers": [
            [one.name, one.role, one.depth, one.relative_depth, one.n_features]
            for one in found.layers
        ],
        "failures": dict(found.failures),
        "labels": plain(found.labels),
        "class_names": plain(found.class_names),
    }
    if values:
        result["points"] = {name: points(found[name]) for name in found}
    return result


def points(array: Any) -> dict[str, Any]:
    """An array of points whose values are exact, by its type, shape, sum and digest."""
    array = np.asarray(array)
    whole = np.ascontiguousarray(array.astype(np.float64))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sum": float(whole.sum()),
        "first": plain(whole[0, :4]),
        "sha256": hashlib.sha256(whole.tobytes()).hexdigest(),
    }


def stored_files(store: str) -> dict[str, Any]:
    """Every file of a store, with the digest of those that hold points."""

    found: dict[str, Any] = {}
    for path in sorted(Path(store).rglob("*")):
        if path.is_file():
            name = path.relative_to(store).as_posix()
            points_of = name.startswith("layers/") and "/c/" in name
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if points_of else ""
    return found


@contextmanager
def noted(notes: list[list[str]]) -> Iterator[None]:
    """Collect the warnings of a block, as their kind and their text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    notes.extend([one.category.__name__, str(one.message)] for one in caught)


def with_warnings(function: Callable[[], Any]) -> dict[str, Any]:
    """What a function returns, and the warnings that it gave."""
    notes: list[list[str]] = []
    with noted(notes):
        value = function()
    return {"value": plain(value), "warnings": notes}


def refusal(function: Callable[[], Any]) -> dict[str, str]:
    """The kind and the sentence of the error that a function ends in."""
    try:
        value = function()
    except Exception as error:
        # what torch said is left out: it has other words in every version
        says = re.sub(r"RuntimeError: .*", "RuntimeError", str(error), flags=re.DOTALL)
        return {"error": type(error).__name__, "says": says}
    raise AssertionError(f"nothing was refused, the result is {value!r}")


def done_of(step: tuple[Any, ...]) -> float:
    """The part that is done, of what a progress is called with: alone, or (step, done, total)."""
    return float(step[0] if len(step) == 1 else step[1] / step[2])


def is_sentence(text: str) -> bool:
    """Whether a text is a sentence, whose words may be edited, and not a name or a value."""
    return len(text.split()) >= 4


def numbers_in(text: str) -> list[str]:
    """The numbers in a sentence, which stay when its words are edited."""
    return re.findall(r"\d+(?:\.\d+)?", text)


def differences(found: Any, wanted: Any, tolerance: float = RELATIVE, place: str = "") -> list[str]:
    """Where two plain values differ; empty if they agree.

    Floats agree to a relative ``tolerance``, or an absolute one near zero. The words of sentences
    may differ, not the numbers in them. Dictionaries may have gained entries. All else is the same.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        if missing := sorted(set(wanted) - set(found)):
            return [f"{place}: lacks {missing}"]
        pairs = [(f"{place}/{key}", found[key], wanted[key]) for key in wanted]
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(found) != len(wanted):
            return [f"{place}: has {len(found)} values, not {len(wanted)}"]
        pairs = [
            (f"{place}[{i}]", a, b) for i, (a, b) in enumerate(zip(found, wanted, strict=True))
        ]
    elif type(found) is float and type(wanted) is float:
        close = math.isclose(found, wanted, rel_tol=tolerance, abs_tol=max(tolerance, ABSOLUTE))
        return [] if close else [f"{place}: is {found!r}, not {wanted!r}"]
    elif isinstance(found, str) and isinstance(wanted, str) and is_sentence(wanted):
        # an error may give other advice
        same = bool(found) and (place.endswith("/says") or numbers_in(found) == numbers_in(wanted))
        return [] if same else [f"{place}: says {found!r}, not {wanted!r}"]
    else:
        same = type(found) is type(wanted) and found == wanted
        return [] if same else [f"{place}: is {found!r}, not {wanted!r}"]
    return [
        line for where, one, other in pairs for line in differences(one, other, tolerance, where)
    ]
