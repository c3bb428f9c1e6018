"""What to cite for a value: dimscope, the methods that made it, and the data it names.

The references are in ``citations.toml``, each once, by its BibTeX key. What a value cites is read
from its provenance, so that a saved profile cites the same as the one that was measured.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from dimscope.errors import check_word
from dimscope.provenance import Provenance, versions

__all__ = ["Style", "cite", "keys_for_estimator"]


Style = Literal["bibtex", "text"]

_NOT_FIELDS = ("kind", "estimators", "steps", "data")


@cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    source = files("dimscope").joinpath("citations.toml")
    entries: dict[str, dict[str, Any]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return entries


def keys_for_estimator(name: str) -> tuple[str, ...]:
    """Return the keys to cite for an estimator; the paper that introduced it comes first.

    Parameters
    ----------
    name : str
        Name of its class.

    Examples
    --------
    >>> keys_for_estimator("MLE"), keys_for_estimator("MyEstimator")
    (('levina2004', 'mackay2005'), ())
    """
    return tuple(key for key, entry in _entries().items() if name in entry.get("estimators", ()))


def cite(value: Any, style: Style = "bibtex") -> str:
    """Say what to cite for a value: dimscope, its estimators and the data that it names.

    Parameters
    ----------
    value : Profile, Estimate, another value with a provenance, or an estimator
    style : {"bibtex", "text"}
        ``"text"`` gives one reference a line.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If ``style`` is unknown.
    TypeError
        If the value has no provenance, and is no estimator.

    Notes
    -----
    Dimscope and the paper whose method it implements are always cited. A data set is cited if a
    folder or a file in the provenance has its name, such as ``mnist``.

    Examples
    --------
    >>> from dimscope import Gride
    >>> print(cite(Gride(2, 4), style="text").splitlines()[-1])
    Denti, F. and Doimo, D. and Laio, A. and Mira, A. The generalized ratios intrinsic dimension \
estimator. Scientific Reports, 12, 20005, 2022. https://doi.org/10.1038/s41598-022-20991-1
    """
    check_word("style", style, Style)
    provenance = getattr(value, "provenance", None)
    if isinstance(provenance, Provenance):
        steps = list(_steps(provenance))
    elif keys_for_estimator(type(value).__name__) or hasattr(value, "evaluate"):
        steps = [Provenance("estimate", {"estimator": repr(value)}, versions())]
    else:
        raise TypeError(
            f"{type(value).__name__} has no provenance; give an estimate, a profile or an estimator"
        )
    version = next((s.versions["dimscope"] for s in steps if "dimscope" in s.versions), "")
    entries = {key: dict(_entries()[key]) for key in _keys(steps)}
    if version:
        entries["dimscope"]["version"] = version
    write = _bibtex if style == "bibtex" else _text
    return "\n".join(write(key, entry) for key, entry in entries.items())


def _steps(provenance: Provenance) -> Iterator[Provenance]:
    yield provenance
    for source in provenance.inputs:
        yield from _steps(source)


def _keys(steps: Iterable[Provenance]) -> list[str]:
    """Return the keys for the steps of a provenance, in the order of the references."""
    steps = list(steps)
    names_of_steps = {step.step for step in steps}
    texts = [text for step in steps for text in _texts(step.parameters)]
    classes = {word for text in texts for word in re.findall(r"\w+(?=\()", text)}
    # a folder or a file of that name: fashion-mnist is other data
    words = {part.lower().partition(".")[0] for text in texts for part in re.split(r"[\\/]", text)}
    return [
        key
        for key, entry in _entries().items()
        if key in ("dimscope", "ansuini2019")
        or classes & set(entry.get("estimators", ()))
        or names_of_steps & set(entry.get("steps", ()))
        or words & set(entry.get("data", ()))
    ]


def _texts(value: Any) -> Iterator[str]:
    """Find all texts within mappings and sequences."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _bibtex(key: str, entry: Mapping[str, str]) -> str:
    fields = [
        f"  {name} = {{{value}}}," for name, value in entry.items() if name not in _NOT_FIELDS
    ]
    return "\n".join([f"@{entry['kind']}{{{key},", *fields, "}", ""])


def _text(_key: str, entry: Mapping[str, str]) -> str:
    where = next(
        (entry[n] for n in ("journal", "booktitle", "howpublished", "institution") if n in entry),
        f"version {entry['version']}" if "version" in entry else None,
    )
    details = [where, entry.get("volume"), entry.get("pages", "").replace("--", "-")]
    link = f"https://doi.org/{entry['doi']}" if "doi" in entry else entry.get("url")
    parts = [
        re.sub(r"[{}]", "", f"{entry['author'].rstrip('.')}."),
        f"{entry['title']}.",
        ", ".join(filter(None, [*details, entry.get("year")])) + ".",
        link,
    ]
    return " ".join(part for part in parts if part and part != ".")
