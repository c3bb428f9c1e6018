"""``python -m benchmarks [--peers PYTHON] [--only SECTION]``: writes docs/performance.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import (
    authors,
    correction,
    coverage,
    embedding,
    engine,
    intervals,
    layers,
    memory,
    nulls,
    profiles,
    representations,
    reuse,
    scales,
    shapes,
    sizes,
    statements,
    verdicts,
)
from benchmarks.timing import fill, machine

_PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    """Run the sections and put each table between its markers on the page."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--peers", default="python3", help="Python that has DADApy")
    sections = {
        "engine": lambda: engine.run(arguments.peers),
        "layers": layers.run,
        "profiles": profiles.run,
        "reuse": reuse.run,
        "memory": memory.run,
        "authors": authors.run,
        "embedding": embedding.run,
        "coverage": coverage.run,
        "intervals": intervals.run,
        "representations": representations.run,
        "nulls": nulls.run,
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
        fill(_PAGE, name, f"{sections[name]()}\n\n_{machine()}._")


if __name__ == "__main__":
    main()
