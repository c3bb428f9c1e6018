"""Notebooks: run them, and show them with their outputs as pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbconvert
import nbformat

from docs.building.pictures import empty_folder


def rendered(path: Path) -> tuple[str, dict[str, bytes]]:
    """Run a notebook in an empty folder; return its page and the pictures of that page."""
    notebook = nbformat.read(path, as_version=4)
    with empty_folder():
        nbclient.NotebookClient(notebook, timeout=600).execute()
    resources: dict[str, Any] = {"unique_key": path.stem}
    page, resources = nbconvert.MarkdownExporter().from_notebook_node(notebook, resources)
    return page, resources["outputs"]
