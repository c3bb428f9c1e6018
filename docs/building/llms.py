"""Texts for language models: a list of all pages, and all pages in one file."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
# Pages of many tables, which are listed but not copied.
ONLY_LISTED = "performance/"


def texts(config: Any, files: Any) -> dict[str, str]:
    """Return ``llms.txt`` and ``llms-full.txt`` from the pages of the navigation."""
    lines = [f"# {config.site_name}", f"> {config.site_description}"]
    whole = list(lines)
    for section, pages in _sections(config.nav):
        lines.append(f"## {section}")
        entries = []
        for path in pages:
            text = files.get_file_from_path(path).content_string
            title = text.lstrip().splitlines()[0].lstrip("# ")
            address = files.get_file_from_path(path).dest_uri
            entries.append(f"- [{title}]({address})")
            if not path.startswith(ONLY_LISTED):
                whole.append(DIRECTIVE.sub(_documentation, text).strip())
        lines.append("\n".join(entries))
    return {"llms.txt": "\n\n".join(lines) + "\n", "llms-full.txt": "\n\n".join(whole) + "\n"}


def _sections(nav: Any) -> Iterator[tuple[str, list[str]]]:
    for item in nav:
        for title, content in item.items():
            yield title, list(_paths(content))


def _paths(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav:
            yield from _paths(item if isinstance(item, str | list) else list(item.values()))


def _documentation(match: re.Match[str]) -> str:
    """Return the signature and the docstring of a name, as text."""
    module, _, name = match[1].rpartition(".")
    value = getattr(importlib.import_module(module), name)
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        signature = ""
    return f"## {match[1]}{signature}\n\n{inspect.getdoc(value) or ''}"
