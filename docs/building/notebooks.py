"""Notebooks: run them, and show them with their outputs as pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbconvert
import nbformat

from docs.building.pictures import empty_folder

CELL = re.compile(r"^\S*ipykernel_\d+\S+\.py:", re.MULTILINE)  # the file that a warning names


def rendered(path: Path) -> tuple[str, dict[str, bytes]]:
    """Run a notebook in an empty folder; return its page and the pictures of that page."""
    notebook = nbformat.read(path, as_version=4)
    with empty_folder():
        nbclient.NotebookClient(notebook, timeout=600).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                output.text = CELL.sub("cell:", output.text)
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = _block(output.data["text/html"])
    resources: dict[str, Any] = {"unique_key": path.stem}
    page, resources = nbconvert.MarkdownExporter().from_notebook_node(notebook, resources)
    return page, resources["outputs"]


def _block(html: str) -> str:
    """Make one block of HTML, which Markdown leaves alone: at an empty line it would end."""
    lines = [line for line in html.splitlines() if line.strip()]
    return "\n".join(['<div class="shown">', *lines, "</div>"])
