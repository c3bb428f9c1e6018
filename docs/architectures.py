"""Measure the table of architectures: ``python docs/architectures.py``.

``--check`` writes nothing and exits with 1 if the table is not current; ``--check NAME ...`` looks
at the rows of these architectures alone. The networks are those of
``tests/networks/architectures``, at random weights.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import dimscope as ds
from dimscope.errors import DimscopeError

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "architectures.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
HEAD = (
    "architecture",
    "input",
    "checkpoints",
    "all layers",
    "refused",
    "depth",
    "last hidden layer",
)
N_STIMULI = 8


def zoo() -> dict[str, Any]:
    """Return the architectures by name."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    try:
        from networks.architectures.zoo import ZOO
    finally:
        sys.path.pop(0)
    return ZOO


def row(architecture: Any) -> tuple[str, ...]:
    """Capture an architecture and return its row of the table."""
    network = architecture.build()
    captured = _capture(architecture, network, "all")
    if isinstance(captured, str):
        return (architecture.name, architecture.form, f"refused: {captured}", "", "", "", "")
    wide = architecture
    if architecture.whole is not None:  # what a pooling does depends on the size of the images
        wide = replace(architecture, data=architecture.whole, n=4)
    checkpoints = _capture(wide, network, "checkpoints")
    last = [layer.name for layer in checkpoints.layers if layer.role == "last_hidden"]
    return (
        architecture.name,
        wide.form,
        str(len(checkpoints.layers)),
        str(len(captured.layers)),
        str(len(captured.failures)),
        str(max(layer.depth for layer in checkpoints.layers)),
        ", ".join(f"`{name}`" for name in last) or "none",
    )


def _capture(architecture: Any, network: Any, layers: str) -> Any:
    """Capture a few stimuli; return the activations, or why they are refused."""
    few = replace(architecture, n=min(architecture.n, N_STIMULI))
    data, options = few.as_user(few.stimuli(), few.n)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ds.capture(network, data, layers=layers, **options)
    except DimscopeError as error:
        return str(error)


def table(rows: list[tuple[str, ...]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [HEAD, ("---", "---", "--:", "--:", "--:", "--:", "---"), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def kept() -> str:
    """Return the table of the page as it is."""
    return PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]


def kept_rows() -> dict[str, str]:
    """Return the rows of the page as they are, by the name of the architecture."""
    return {line.split(" | ")[0].removeprefix("| "): line for line in kept().splitlines()[2:]}


def check(names: list[str]) -> int:
    """Compare rows with those of the page, or the whole table if there are no names."""
    architectures = zoo()
    unknown = [name for name in names if name not in architectures]
    if unknown:
        print(
            f"no architecture is called {', '.join(unknown)}; they are {', '.join(architectures)}"
        )
        return 2
    made = table([row(architectures[name]) for name in names or architectures])
    if not names:
        print("the table is current" if made == kept() else "run: python docs/architectures.py")
        return int(made != kept())
    current = kept_rows()
    lines = zip(names, made.splitlines()[2:], strict=True)
    stale = [name for name, line in lines if line != current.get(name)]
    outcome = f"not current: {', '.join(stale)}; run: python docs/architectures.py"
    print(outcome if stale else "the rows are current")
    return int(bool(stale))


def main(arguments: list[str]) -> int:
    """Write the table into the page, or check that it is current."""
    if arguments[:1] == ["--check"]:
        return check(arguments[1:])
    made = table([row(architecture) for architecture in zoo().values()])
    text = PAGE.read_text(encoding="utf-8")
    page = text.replace(BEGIN + kept() + END, BEGIN + made + END)
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
