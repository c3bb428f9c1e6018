"""A core install: hide from an interpreter every package that ``pip install dimscope`` omits.

``python -c "import hidden; hidden.hide(); ..."`` runs code as after an install without extras.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
OURS = {"dimscope", "dimscope_experiments"}


def normal(name: str) -> str:
    """Return the name of a distribution as the package index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> dict[str, Any]:
    """Read the table ``project`` of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return project


def core_distributions() -> set[str]:
    """Return the core dependencies, and all that they depend on."""
    waiting, core = list(requirements()["dependencies"]), set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = normal(requirement.name)
        if name in core or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        core.add(name)
        waiting += importlib.metadata.requires(name) or []
    return core


def omitted_packages() -> set[str]:
    """Return the names, in imports, of installed packages that are not in a core install."""
    core = core_distributions()
    return {
        package
        for package, distributions in importlib.metadata.packages_distributions().items()
        if package not in OURS and not core & set(map(normal, distributions))
    }


class Hiding:
    """A finder of modules that does not find the hidden packages."""

    def __init__(self, finder: Any, hidden: set[str]) -> None:
        self._finder, self._hidden = finder, hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find a module, unless it belongs to a hidden package."""
        if name.partition(".")[0] in self._hidden:
            return None
        return self._finder.find_spec(name, path, target)


def hide() -> None:
    """Hide all packages that are not in a core install, those already imported excepted."""
    hidden = omitted_packages() - {name.partition(".")[0] for name in sys.modules}
    sys.meta_path[:] = [Hiding(finder, hidden) for finder in sys.meta_path]
