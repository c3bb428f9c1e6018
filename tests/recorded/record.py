"""Record the results of all cases, and of loading the kept files, in ``values.json``.

``python tests/recorded/record.py`` writes the values of the dimscope that is installed, or that
``PYTHONPATH`` names. Do so only for a change of results that is meant; ``--files`` makes the kept
files anew as well, which is for a change of their format.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VALUES = HERE / "values.json"


def text_of(values: Any) -> str:
    """JSON with sorted keys, in which a list of plain values is one line."""
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    lists = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")
    joined = lists.sub(lambda found: "[" + re.sub(r"\n\s+", " ", found[1]) + "]", text)
    assert json.loads(joined) == values
    return joined + "\n"


def names() -> dict[str, list[str]]:
    """The parameters of every public name."""
    import dimscope

    signatures = {}
    for name in sorted(dimscope.__all__):
        value = getattr(dimscope, name)
        if inspect.ismodule(value):
            continue
        if not (isinstance(value, type) and issubclass(value, Exception)):
            signatures[name] = [
                parameter.name
                for parameter in inspect.signature(value).parameters.values()
                if parameter.kind is not parameter.VAR_KEYWORD
            ]
        else:
            signatures[name] = []
    return signatures


def main() -> None:
    """Write the values."""
    sys.path.insert(0, str(HERE.parent))
    import dimscope
    from dimscope.neighbors import kernels
    from recorded import kept
    from recorded.cases import CASES
    from recorded.plain import plain

    kernels.level = 0  # how to search would depend on the processor
    if "--files" in sys.argv[1:]:
        kept.FILES.mkdir(exist_ok=True)
        kept.make(kept.FILES)
    values = {
        "names": names(),
        "version": dimscope.__version__,
        "how": "python tests/recorded/record.py",
        "cases": {
            name: {"tolerance": one.tolerance, "value": plain(one.function())}
            for name, one in CASES.items()
        },
        "files": {name: load() for name, load in kept.LOADS.items()},
    }
    VALUES.write_text(text_of(values), encoding="utf-8")
    print(f"{VALUES.name}: {len(CASES)} cases, from {Path(dimscope.__file__).parent}")


if __name__ == "__main__":
    main()
