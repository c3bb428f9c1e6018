"""The table of architectures is what dimscope finds."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "architectures.py"))
ROWS = {line.split(" | ")[0].removeprefix("| "): line for line in SCRIPT["kept"]().splitlines()[2:]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_row_of_the_table_is_current(name):
    architecture = SCRIPT["zoo"]()[name]
    made = SCRIPT["table"]([SCRIPT["row"](architecture)]).splitlines()[-1]
    assert made == ROWS[name], "run: python docs/architectures.py"


@pytest.mark.slow
def test_table_has_every_architecture():
    assert [*ROWS] == [*SCRIPT["zoo"]()]
    assert len(ROWS) >= 60
