"""Help: show the options of a command in groups, and examples that run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand

__all__ = [
    "DATA",
    "ESTIMATOR",
    "LAYERS",
    "NETWORK",
    "OUTPUT",
    "RUN",
    "SEARCH",
    "Command",
    "examples_of",
    "words",
]


DATA, NETWORK, LAYERS, ESTIMATOR = "Data", "Network", "Layers", "Estimator"

SEARCH, OUTPUT, RUN = "Search", "Output", "Run"

_ORDER = ("Arguments", DATA, NETWORK, LAYERS, ESTIMATOR, SEARCH, OUTPUT, RUN, "Options")

_HEADING = "\n\nExamples\n--------\n"


class Command(TyperCommand):
    """A command whose docstring ends with examples, and whose options are grouped by their panels.

    Typer's own panels need boxes drawn by rich, which would also frame and wrap errors.
    """

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the docstring without its examples."""
        whole = self.help
        self.help = (whole or "").partition(_HEADING)[0]
        try:
            super().format_help_text(ctx, formatter)
        finally:
            self.help = whole

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options, one section for each group."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in _ORDER}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            panel = getattr(parameter, "rich_help_panel", None) or (
                "Arguments" if parameter.param_type_name == "argument" else "Options"
            )
            sections.setdefault(panel, []).append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are, one a line, ready to be copied."""
        super().format_epilog(ctx, formatter)
        lines = examples_of(self.help)
        if lines:
            with formatter.section("Examples"):
                for line in lines:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def examples_of(docstring: str | None) -> list[str]:
    r"""Return the command lines in the section "Examples" of a docstring.

    Examples
    --------
    >>> examples_of("Do it.\n\nExamples\n--------\n$ dimscope demo\n")
    ['dimscope demo']
    """
    text = inspect.cleandoc(docstring or "").partition(_HEADING)[2]
    lines = (line.strip() for line in text.splitlines())
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def words(*choices: str) -> Callable[[str], list[str]]:
    """Return a function for the shell that completes the beginning of these words.

    Examples
    --------
    >>> words("exact", "sampled", "sketched")("s")
    ['sampled', 'sketched']
    """

    def complete(incomplete: str) -> list[str]:
        return [word for word in choices if word.startswith(incomplete)]

    return complete
