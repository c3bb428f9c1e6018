"""The page of the paper is what the kept records say, and they were made with the settings."""

import json
from pathlib import Path

import pytest

from dimscope_experiments.ansuini2019 import FIGURES, Study
from dimscope_experiments.ansuini2019.page import write_page

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "paper"


def record(figure):
    return json.loads((RESULTS / figure / "record.json").read_text(encoding="utf-8"))


# Their networks are trained for an hour; docs/changes-in-numbers.md lists them as not made again.
EARLIER = {"fig3", "fig4"}


@pytest.mark.parametrize("figure", FIGURES)
def test_a_record_has_the_settings_of_the_small_scale(figure, tmp_path):
    is_done = Study("small", RESULTS, tmp_path).is_done(figure)
    assert is_done == (figure not in EARLIER), "run `dimscope reproduce` again"
    assert record(figure)["scale"] == "small"


def test_every_claim_of_the_list_has_a_verdict():
    numbers = {claim["number"] for figure in FIGURES for claim in record(figure)["claims"]}
    assert numbers == set(range(1, 21))


def test_the_page_is_that_of_the_records(tmp_path):
    (tmp_path / "paper").symlink_to(RESULTS)
    written = write_page(tmp_path / "paper").read_text(encoding="utf-8")
    assert written == (DOCS / "paper.md").read_text(encoding="utf-8")
