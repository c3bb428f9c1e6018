"""The command line: every command is one public call.

In: arguments and files. Out: a table or one JSON object on standard output, files, and errors in
one sentence on standard error.

Begin reading at ``main.py``, which registers the commands and turns errors into exit codes.
``array_commands`` holds ``estimate`` and ``scale``; ``network_commands`` ``profile``, ``capture``
and ``compare``; ``experiment_commands`` ``demo`` and ``reproduce``. ``arguments`` defines the
options that commands share, ``tables`` what they print, ``progress_bar`` what they show meanwhile.
"""

from dimscope.cli.main import app, main

__all__ = ["app", "main"]
