"""The table of architectures is what dimscope finds."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "architectures.py"))
ROWS = SCRIPT["kept_rows"]()


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_row_of_the_table_is_current(name):
    architecture = SCRIPT["zoo"]()[name]
    made = SCRIPT["table"]([SCRIPT["row"](architecture)]).splitlines()[-1]
    assert made == ROWS[name], "run: python docs/architectures.py"


@pytest.mark.slow
def test_table_has_every_architecture():
    assert [*ROWS] == [*SCRIPT["zoo"]()]
    assert SCRIPT["kept"]() == SCRIPT["table"]([]) + "".join(f"{row}\n" for row in ROWS.values())
    assert len(ROWS) >= 60


@pytest.mark.slow
def test_check_names_the_rows_that_are_not_current(capsys, monkeypatch):
    check = SCRIPT["check"]
    assert check(["LoRA"]) == 0
    stale = {**ROWS, "LoRA": ROWS["LoRA"].replace("| 25 |", "| 26 |")}
    monkeypatch.setitem(check.__globals__, "kept_rows", lambda: stale)
    assert check(["compiled", "LoRA"]) == 1
    assert "not current: LoRA" in capsys.readouterr().out
    assert check(["no such network"]) == 2
    assert "no architecture is called no such network; they are" in capsys.readouterr().out
