"""The page on diagnosis: its tables are those of the kept profiles, and they hold its claims."""

import pytest

from benchmarks.diagnosis import FIXED_ON, HELD_OUT, PAGE, counts, kept, outcomes, tables


@pytest.fixture(scope="module")
def held_out():
    return kept(HELD_OUT)


@pytest.mark.slow
def test_page_shows_the_scores_of_the_networks_that_were_held_out(held_out):
    assert tables(held_out) in PAGE.read_text(encoding="utf-8")


def test_networks_that_were_held_out_are_others_than_those_of_the_rules(held_out):
    assert not set(FIXED_ON) & set(HELD_OUT)
    assert len(held_out) == 48
    assert len({known.facts["kind"] for known in held_out}) == 4
    assert len(kept(FIXED_ON)) == 48


@pytest.mark.slow
@pytest.mark.parametrize("accuracies", [False, True])
def test_nine_of_ten_verdicts_are_right(held_out, accuracies):
    n = counts(outcomes(held_out, accuracies=accuracies))
    assert n["right"] + n["wrong"] > 150
    assert n["right"] >= 0.9 * (n["right"] + n["wrong"])
    if accuracies:
        assert n["cannot tell"] <= 0.2 * (n["right"] + n["wrong"] + n["cannot tell"])
