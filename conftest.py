"""Test settings shared by the doctests and the tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Where everything is required (DIMSCOPE_REQUIRE_ALL=1) a skip is a failure."""
    report = yield
    if report.skipped and os.environ.get("DIMSCOPE_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report
