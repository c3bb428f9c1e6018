"""Reference: one page for each folder of public names, and one for the command line."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "src" / "dimscope" / "__init__.pyi"
# Folders in the order of the way of the data, with the sentence above their names.
TITLES = {
    "networks": ("Networks", "Run a network once over its data, and measure or keep its layers."),
    "profiles": ("Profiles", "Estimates of all layers, and what follows from them."),
    "estimators": ("Estimators", "Turn points, neighbours or a spectrum into an estimate."),
    "neighbors": ("Neighbours", "Find the nearest neighbours, with a stated guarantee."),
    "analysis": ("Analysis", "Functions of one cloud of points or two."),
    "activations": ("Activations", "Captured layers, in memory or on disk."),
    "arrays": ("Arrays", "Where points enter."),
    "monitoring": ("Monitoring", "Measure a network while it is trained."),
    "reports": ("Reports", "Write profiles as one HTML page."),
    "errors": ("Errors and warnings", "What dimscope raises and warns of."),
    "progress": ("Progress", "Show how long a measurement will take."),
    "provenance": ("Provenance", "How a value was made."),
    "plotting": ("Plotting", "Draw results on Matplotlib axes."),
    "manifolds": ("Manifolds", "Sample points of known dimension."),
    "sklearn": ("scikit-learn", "Measure in a scikit-learn pipeline."),
}
# Public modules whose names are not in the package itself.
MODULES = ("monitoring", "arrays", "plotting", "manifolds", "sklearn")


def public_names() -> dict[str, str]:
    """Return the public names of the package: name -> module that defines it."""
    names = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.name] = f"dimscope.{node.module}"
    return names


def names_of_module(name: str) -> list[str]:
    """Return the public names of a public module, without those of the package."""
    module = importlib.import_module(f"dimscope.{name}")
    return [public for public in module.__all__ if public not in public_names()]


def _directive(module: str, name: str) -> str:
    return f"::: {module}.{name}\n"


def pages() -> dict[str, tuple[str, str]]:
    """Return the reference pages: file -> (title, text)."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name, module in public_names().items():
        by_folder[module.split(".")[1]].append(_directive("dimscope", name))
    for folder in MODULES:
        names = names_of_module(folder)
        by_folder[folder] += [_directive(f"dimscope.{folder}", name) for name in names]
    order = [*TITLES, *sorted(set(by_folder) - set(TITLES))]
    result = {}
    for folder in order:
        title, sentence = TITLES.get(folder, (folder.capitalize(), _first_line(folder)))
        if by_folder[folder]:
            text = "\n\n".join([f"# {title}", sentence, *by_folder[folder]])
            result[f"reference/{folder}.md"] = (title, text)
    result["reference/command-line.md"] = ("Command line", command_page())
    return result


def _first_line(module: str) -> str:
    documentation = inspect.getdoc(importlib.import_module(f"dimscope.{module}")) or ""
    return documentation.splitlines()[0]


def commands() -> dict[str, Any]:
    """Return the commands of the program, by name."""
    import typer.main

    from dimscope.cli.main import app

    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_page() -> str:
    """Return the page of the command line: every command with its arguments and options."""
    parts = [
        "# Command line",
        "Each command is one public call. Results go to standard output, errors to standard "
        "error in one sentence; the exit code is 2 for a wrong call and 1 for data that cannot be "
        "measured.",
    ]
    for name, command in commands().items():
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["dimscope", name, *command.collect_usage_pieces(context)])
        rows = [_row(*record) for record in help_records(command)]
        parts += [f"## dimscope {name}", inspect.cleandoc(command.help)]
        parts.append(f"```text\n{usage}\n```")
        parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def help_records(command: Any) -> list[tuple[str, str]]:
    """Return what ``--help`` prints of each argument and option of a command."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    return [record for record in records if record]


def _row(names: str, meaning: str) -> str:
    names, meaning = (" ".join(cell.split()).replace("|", "\\|") for cell in (names, meaning))
    return f"| `{names}` | {meaning} |"
