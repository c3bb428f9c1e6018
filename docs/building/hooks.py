"""Hooks: add the generated pages and pictures to the site when MkDocs builds it."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.structure.files import File, Files

from docs.building import reference

ROLE = re.compile(r":(?:class|func|mod|attr|meth):<code>(~?)([^<]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated files, and list them in the navigation."""
    pages = reference.pages()
    for path, (_, text) in pages.items():
        files.append(File.generated(config, path, content=text))
    decisions = sorted(
        file.src_uri
        for file in files.documentation_pages()
        if file.src_uri.startswith("decisions/")
    )
    listed = {
        "reference/": [{title: path} for path, (title, _) in pages.items()],
        "decisions/": decisions,
    }
    config.nav = _filled(config.nav, listed)
    return files


def _filled(nav: Any, listed: dict[str, Any]) -> Any:
    """Replace the names of generated folders in the navigation by their pages."""
    if isinstance(nav, list):
        return [_filled(item, listed) for item in nav]
    if isinstance(nav, dict):
        return {title: _filled(item, listed) for title, item in nav.items()}
    return listed.get(nav, nav)


def on_page_content(html: str, **_: Any) -> str:
    """Turn the roles of docstrings (``:class:`` and the like) into links."""
    return ROLE.sub(_link, html)


def _link(match: re.Match[str]) -> str:
    short, target = match.groups()
    shown = target.rpartition(".")[2] if short else target
    return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'
