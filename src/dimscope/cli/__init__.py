"""The command line: every command makes one call to the public API.

In: arguments and files. Out: files, a table or one JSON object on standard output, and errors as
one sentence each on standard error.

Begin reading at ``main.py``, which registers the commands and turns errors into exit codes.
``array_commands`` holds ``estimate`` and ``scale``; ``network_commands`` holds ``profile`` and
``capture``; ``profile_commands`` holds ``compare``, ``diagnose``, ``report`` and ``cite``;
``experiment_commands`` holds ``demo`` and ``reproduce``. ``options`` defines the options that
commands share, ``arguments`` converts their values, and ``tables`` prints the results.
"""

from dimscope.cli.main import app, main

__all__ = ["app", "main"]
