"""Names from a user's own Python file: a function that makes a network, an estimator."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from dimscope.errors import BadSource

__all__ = ["load_name", "near"]


def load_name(path: Path, name: str) -> Any:
    """Run a Python file and return what it calls ``name``.

    Parameters
    ----------
    path : Path
    name : str

    Raises
    ------
    BadSource
        If there is no such file, it cannot be run, or it has no such name.
    """
    if not path.is_file():
        raise BadSource(f"{path} does not exist; give path/file.py:name")
    module = _run(path)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise BadSource(f"{path} has no {name!r}.{near(name, known)}")
    return getattr(module, name)


def _run(path: Path) -> ModuleType:
    name = f"_dimscope_source_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise BadSource(f"{path} is not a Python file; give path/file.py:name")
    module = importlib.util.module_from_spec(found)
    # the file may import its neighbours, as it may where Python runs it
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadSource(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def near(word: str, known: Iterable[str]) -> str:
    """Ask whether one of the known words was meant, if one is close.

    Examples
    --------
    >>> near("resnet81", ["resnet18", "vgg16"])
    " Did you mean 'resnet18'?"
    """
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
