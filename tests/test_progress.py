"""The bar: silent for what is short, with the time left for what is long."""

import pytest

import dimscope as ds
from dimscope import progress
from dimscope.manifolds import cube
from dimscope.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_bar_shows_nothing_before_two_seconds(clock, capsys):
    with ProgressBar() as bar:
        for now in (0.0, 1.0, 1.9):
            clock.now = now
            bar("searching", now / 2, 1)
    assert capsys.readouterr() == ("", "")


def test_bar_is_a_progress_of_the_verbs(clock, capsys):
    activations = ds.Activations({"a": cube(300, 2), "b": cube(300, 2)})
    with ProgressBar() as bar:
        clock.now = 20.0
        ds.profile(activations, progress=bar)
    assert "done" in capsys.readouterr().err


def test_bar_prints_lines_with_the_time_left_without_a_terminal(clock, capsys):
    with ProgressBar() as bar:
        bar("searching", 0, 100)
        clock.now = 20.0
        bar("searching", 40, 100)
        clock.now = 21.0
        bar("searching", 42, 100)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.split("\n") == ["searching: 40% done, 30 s left", ""]


def test_bar_counts_the_time_left_from_where_a_step_began(clock, capsys):
    with ProgressBar() as bar:
        clock.now = 20.0
        bar("capturing", 50, 100)
        clock.now = 40.0
        bar("capturing", 60, 100)
    assert capsys.readouterr().err.split("\n") == [
        "capturing: 50% done",
        "capturing: 60% done, 80 s left",
        "",
    ]


def test_bar_prints_the_amount_done_for_an_unknown_total(clock, capsys):
    with ProgressBar() as bar:
        bar("running", 0)
        clock.now = 12.0
        bar("running", 64)
    assert "running: 64 done" in capsys.readouterr().err
