"""Pictures: run the Python blocks of a page, and keep the pictures that they save."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
SAVED = re.compile(r"savefig\(\"([^\"/]+)\"")


def pictures_of(page: str) -> set[str]:
    """Return the names of the pictures that the blocks of a page save and the page shows."""
    return set(IMAGE.findall(page)) & set(SAVED.findall(page))


def drawn(page: str) -> dict[str, bytes]:
    """Run the Python blocks of a page in an empty folder; return the pictures that it shows."""
    names = pictures_of(page)
    if not names:
        return {}
    variables: dict[str, object] = {"__name__": "__main__"}
    with empty_folder(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        for example in doctest.DocTestParser().get_examples(page):
            exec(compile(example.source, "<page>", "single"), variables)
        return {name: Path(name).read_bytes() for name in names}


@contextlib.contextmanager
def empty_folder() -> Iterator[None]:
    """Work in a temporary folder."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
