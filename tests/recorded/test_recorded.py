"""Every result is the recorded one, to 1e-12, and files of an earlier version stay readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dimscope.neighbors import kernels
from recorded import kept
from recorded.cases import CASES
from recorded.plain import differences, plain
from recorded.record import names

VALUES = json.loads((Path(__file__).parent / "values.json").read_text(encoding="utf-8"))


# Words of the differences that a change of results makes on purpose, until the values are recorded
# again; the comment says why.
CHANGED: tuple[str, ...] = ()


def agree(found: Any, wanted: Any, tolerance: float = 1e-12) -> None:
    """Fail with the first of the differences, if there are any."""
    different = [
        difference
        for difference in differences(found, wanted, tolerance)
        if not any(words in difference for words in CHANGED)
    ]
    shown = "\n".join(different[:20])
    assert not different, f"{len(different)} values differ:\n{shown}"


def test_every_case_is_recorded_and_every_record_has_a_case():
    assert sorted(VALUES["cases"]) == sorted(CASES)
    assert {name: one["tolerance"] for name, one in VALUES["cases"].items()} == {
        name: one.tolerance for name, one in CASES.items()
    }


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")  # since said above 10 %
@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_what_was_recorded(name, monkeypatch):
    monkeypatch.setattr(kernels, "level", 0)  # how to search would depend on the processor
    for package in CASES[name].needs:
        pytest.importorskip(package)
    agree(plain(CASES[name].function()), VALUES["cases"][name]["value"], CASES[name].tolerance)


def test_every_public_name_keeps_its_parameters():
    now = names()
    assert set(VALUES["names"]) <= set(now)
    for name, parameters in VALUES["names"].items():
        # capture_options was the ** whose names are spelled out now
        assert set(parameters) - {"capture_options"} <= set(now[name]), name


def test_kept_profiles_load_to_the_recorded_values():
    agree(kept.loaded_profiles(), VALUES["files"]["profiles"])


def test_kept_profiles_are_written_as_they_were():
    agree(kept.profiles_written_again(), VALUES["files"]["profiles written again"])
    assert all(kept.profiles_written_again())


def test_kept_stores_open_to_the_recorded_values():
    pytest.importorskip("zarr")
    agree(kept.opened_stores(), VALUES["files"]["stores"])


def test_a_kept_capture_that_was_interrupted_goes_on_to_the_same_end():
    pytest.importorskip("zarr")
    found = kept.resumed_store()
    assert found["resumed"] == found["fresh"]
    assert found["files"] == found["fresh files"]
    assert found["progress"][0][0] > kept.STOPPED_AFTER
    agree(found, VALUES["files"]["resumed"])


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (1.0, 1.0 + 3e-12),
        (1, 1.0),
        (0.0, 2e-12),
        (None, 0.5),
        ("a", "b"),
        ([1.0, 2.0], [1.0]),
        ({"a": [True]}, {"a": [1]}),
        ({"a": 1}, {"b": 1}),
        ("there are 3 rows here", "there are 4 rows here"),
    ],
)
def test_differences_are_seen(found, wanted):
    assert differences(found, wanted)
    assert not differences(wanted, wanted)
