"""Hooks: add the generated pages and pictures to the site when MkDocs builds it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs.building import estimator_pictures, formulas, llms, notebooks, pictures, reference

ROLE = re.compile(r":(?:class|func|mod|attr|meth):<code>(~?)([^<]+)</code>")


def on_config(config: Any) -> Any:
    """Show blocks of LaTeX as formulas."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": formulas.fence}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated files, and list them in the navigation."""
    docs = Path(config.docs_dir)
    generated: dict[str, str | bytes] = {}
    for file in files.documentation_pages():
        for name, picture in pictures.drawn(file.content_string).items():
            generated[str(Path(file.src_uri).with_name(name))] = picture
    for name, picture in estimator_pictures.pictures().items():
        generated[f"estimators/{name}"] = picture
    for path in sorted((docs / "notebooks").glob("*.ipynb")):
        page, shown = notebooks.rendered(path)
        generated[f"notebooks/{path.stem}.md"] = page
        generated |= {f"notebooks/{name}": picture for name, picture in shown.items()}
    references = reference.pages()
    generated |= {path: text for path, (_, text) in references.items()}
    for path, content in generated.items():
        files.append(File.generated(config, path, content=content))
    listed = {
        "reference/": [{title: path} for path, (title, _) in references.items()],
        "notebooks/": _in_folder(files, "notebooks"),
        "decisions/": _in_folder(files, "decisions"),
    }
    config.nav = _filled(config.nav, listed)
    for path, text in llms.texts(config, files).items():
        files.append(File.generated(config, path, content=text))
    return files


def _in_folder(files: Files, folder: str) -> list[str]:
    pages = (file.src_uri for file in files.documentation_pages())
    return sorted(page for page in pages if page.startswith(f"{folder}/"))


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
