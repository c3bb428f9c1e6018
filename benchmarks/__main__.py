"""``python -m benchmarks [--peers PYTHON] [--only SECTION]``: fills docs/performance/."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    authors,
    correction,
    coverage,
    device,
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

PAGES = Path(__file__).parent.parent / "docs" / "performance"

SECTIONS: dict[str, Callable[..., str | None]] = {
    "engine": engine.run,
    "layers": layers.run,
    "device": device.run,
    "profiles": profiles.run,
    "peaks": profiles.peaks,
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


def page_of(name: str) -> Path:
    """Return the page that has the markers of a section."""
    for page in sorted(PAGES.glob("*.md")):
        if f"<!-- {name} -->" in page.read_text(encoding="utf-8"):
            return page
    raise SystemExit(f"no page in {PAGES} has the marker <!-- {name} -->")


def main() -> None:
    """Run the sections and put each table between its markers, on its page."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--peers", default="python3", help="Python that has DADApy")
    parser.add_argument("--only", choices=SECTIONS, action="append")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    for name in arguments.only or SECTIONS:
        page, run = page_of(name), SECTIONS[name]
        text = run(arguments.peers) if run is engine.run else run()
        if text is not None:  # not measured here: the page keeps the table of another machine
            fill(page, name, f"{text}\n\n_{machine()}._")


if __name__ == "__main__":
    main()
