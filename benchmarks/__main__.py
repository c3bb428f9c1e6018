"""``python -m benchmarks [--peers PYTHON] [--only SECTION]``: writes docs/performance.md."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from benchmarks import (
    authors,
    correction,
    coverage,
    embedding,
    engine,
    intervals,
    memory,
    profiles,
    representations,
    reuse,
    scales,
    shapes,
    sizes,
    statements,
    verdicts,
)
from benchmarks.timing import machine

_PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    """Run the sections and put each table between its markers on the page."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--peers", default="python3", help="Python that has DADApy")
    sections = {
        "engine": lambda: engine.run(arguments.peers),
        "profiles": profiles.run,
        "reuse": reuse.run,
        "memory": memory.run,
        "authors": authors.run,
        "embedding": embedding.run,
        "coverage": coverage.run,
        "intervals": intervals.run,
        "representations": representations.run,
        "correction": correction.run,
        "statements": statements.run,
        "scales": scales.run,
        "verdicts": verdicts.run,
        "sizes": sizes.run,
        "shapes": shapes.run,
    }
    parser.add_argument("--only", choices=sections, action="append")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    for name in arguments.only or sections:
        text = f"{sections[name]()}\n\n_{machine()}._"
        page = _PAGE.read_text(encoding="utf-8")
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        page, found = re.subn(
            f"{start}.*?{end}",
            lambda _, t=text, a=start, b=end: f"{a}\n\n{t}\n\n{b}",
            page,
            flags=re.DOTALL,
        )
        if not found:
            raise SystemExit(f"{_PAGE} has no markers {start} and {end}")
        beside = _PAGE.with_suffix(".part")
        beside.write_text(page, encoding="utf-8")
        beside.replace(_PAGE)


if __name__ == "__main__":
    main()
