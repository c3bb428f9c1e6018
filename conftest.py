"""Test settings shared by the doctests and the tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from dimscope.extras import EXTRAS

ROOT = Path(__file__).parent
REQUIRE_ALL = os.environ.get("DIMSCOPE_REQUIRE_ALL") == "1"
# In an install without extras, a test that imports one is skipped: `make test-core`.
CORE_ONLY = os.environ.get("DIMSCOPE_CORE_ONLY") == "1"

# Slow by what they use: fixtures that start processes, doctests whose library compiles first.
SLOW_FIXTURES = {"run", "killed"}
# Lightning warns of its own use of torch, and advises on the workers of a loader.
USES_LIGHTNING = {"docs/monitoring.md", "tests/monitoring/test_lightning.py"}
SLOW_DOCTESTS = {"src/dimscope/neighbors/approximate.py", "src/dimscope/estimators/skdim.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make check` leaves out because of what they use."""
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        uses_slow_fixture = SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))
        if uses_slow_fixture or path in SLOW_DOCTESTS or path.endswith(".md"):
            item.add_marker(pytest.mark.slow)
        if path in USES_LIGHTNING:
            for category in ("UserWarning:lightning", "FutureWarning", "DeprecationWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))
        if path.startswith("tests/peers/"):
            item.add_marker(pytest.mark.peers)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _pages_run_in_an_empty_folder(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the blocks of a page write files."""
    if request.path.suffix == ".md":
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


def _needs_an_extra(error: BaseException | None) -> bool:
    package = (getattr(error, "name", None) or "").partition(".")[0]
    return CORE_ONLY and isinstance(error, ImportError) and package in EXTRAS


def _skip(report: Any, error: BaseException) -> None:
    report.outcome = "skipped"
    report.longrepr = (__file__, 0, f"Skipped: {error}")


def _refuse_skip(report: Any) -> None:
    if REQUIRE_ALL and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Where everything is required (DIMSCOPE_REQUIRE_ALL=1) a skip is a failure."""
    report = yield
    if call.excinfo is not None and _needs_an_extra(call.excinfo.value):
        _skip(report, call.excinfo.value)
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Treat a whole file that is skipped, or that imports an extra, in the same way."""
    report = yield
    failure = report.call.excinfo
    if failure is not None and _needs_an_extra(failure.value.__cause__):
        _skip(report, failure.value.__cause__)
    _refuse_skip(report)
    return report
