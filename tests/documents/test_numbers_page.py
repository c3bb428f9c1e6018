"""The page on the numbers names every number of an estimate, and stays short."""

from dataclasses import fields
from pathlib import Path

import dimscope as ds

PAGE = (Path(__file__).parents[2] / "docs" / "numbers.md").read_text(encoding="utf-8")
# Counts and texts, which need no explanation beyond their docstrings.
PLAIN = {
    "n_points", "n_used", "n_queries", "resamples", "degrees_of_freedom", "reason", "rows",
    "traceback", "classes", "classes_failed", "provenance", "influence",
}  # fmt: skip


def test_page_explains_every_number_of_an_estimate():
    names = {field.name for field in fields(ds.Estimate)} - PLAIN
    missing = sorted(name for name in names | {"interval"} if f"| `{name}` |" not in PAGE)
    assert not missing


def test_page_explains_the_other_numbers():
    for words in ("PC-ID", "participation ratio", "effective rank", "scale verdict", "`difference"):
        assert words in PAGE


def test_page_is_short():
    assert len(PAGE.split()) < 1500
