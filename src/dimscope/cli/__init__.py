"""The command line: one command, one public call."""

from dimscope.cli.main import app, main

__all__ = ["app", "main"]
