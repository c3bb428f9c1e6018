"""The page of changes in the numbers states what its script measures."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_rows_of_a_time_first_encoder_have_the_dimension_of_the_page():
    now, before = runpy.run_path(str(DOCS / "changes_in_numbers.py"))["rows"]()
    page = (DOCS / "changes-in-numbers.md").read_text(encoding="utf-8")
    stated = page.split(" for a time-first encoder")[0].rpartition("| ")[2].split(" instead of ")
    assert [now, before] == pytest.approx([float(value) for value in stated], rel=0.02)
    assert abs(now - 2) < 0.2  # the sequences vary with two parameters
