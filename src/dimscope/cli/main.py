"""Main: register the commands, and turn each error into one sentence and an exit code.

The exit code is 2 for a wrong call (a wrong option, a missing file, an unknown model, an optional
package that is not installed) and 1 for data that cannot be measured. Only results go to
standard output.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer

from dimscope.cli.array_commands import estimate, scale
from dimscope.cli.experiment_commands import demo, reproduce
from dimscope.cli.help import Command
from dimscope.cli.network_commands import capture, profile
from dimscope.cli.profile_commands import cite, compare, diagnose, report
from dimscope.errors import DimscopeError
from dimscope.extras import MissingExtra, needed

__all__ = ["app", "main"]


app = typer.Typer(
    help="How many dimensions does a neural network really use, layer by layer?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(requested: bool) -> None:
    if requested:
        from dimscope import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """Measure how many dimensions a neural network really uses, layer by layer."""


for _command in (
    estimate,
    scale,
    profile,
    capture,
    compare,
    diagnose,
    report,
    cite,
    demo,
    reproduce,
):
    app.command(cls=Command)(_command)


def _warn(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point of the ``dimscope`` program."""
    warnings.showwarning = _warn
    try:
        with needed("this command"):
            app(arguments)
    except (ValueError, TypeError, OSError) as error:
        # the input is wrong; DIMSCOPE_TRACEBACK=1 shows where it was noticed
        if os.environ.get("DIMSCOPE_TRACEBACK"):
            raise
        kind = "" if isinstance(error, DimscopeError) else f"{type(error).__name__}: "
        print(f"dimscope: {kind}{error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, MissingExtra) else 1) from None
