"""Budgets in words, and what they decide."""

import subprocess
import sys

import pytest

import dimscope as ds
from dimscope.arrays.memory import _left_by_groups, as_bytes, budget_from, free_memory, total_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1GB", 10**9), ("1 gb", 10**9), (" 2.5MB ", 2_500_000), ("1kB", 1000), ("3GiB", 3 << 30),
        ("512", 512), ("7b", 7), (4096, 4096), ("1TB", 10**12), (".5kb", 500), ("1e3 MB", 10**9),
    ],
)  # fmt: skip
def test_as_bytes_converts_sizes(text, size):
    assert as_bytes(text) == size == budget_from(text)


@pytest.mark.parametrize("text", ["", "GB", "4 XB", "-1GB", "0", 0, True, -5, "1GB2", "1.2.3GB"])
def test_as_bytes_refuses_wrong_sizes(text):
    with pytest.raises(ValueError, match="memory is"):
        as_bytes(text)


def test_budget_is_half_of_the_free_memory_by_default():
    assert budget_from(None) == pytest.approx(free_memory() / 2, rel=0.3)
    assert free_memory() > 1 << 20


def test_total_memory_exceeds_the_free_memory():
    assert free_memory() < total_memory()


def test_free_memory_respects_the_limit_of_a_container(tmp_path):
    for name, text in {
        "memory.max": "5000000", "memory.current": "3000000", "memory.stat": "inactive_file 1000000"
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    assert list(_left_by_groups(tmp_path)) == [3_000_000]
    (tmp_path / "memory.max").write_text("max")
    assert list(_left_by_groups(tmp_path)) == []


def test_plan_fits_when_bytes_equal_the_budget():
    assert ds.Plan.of(10, 100, 1000).how == "memory"
    assert ds.Plan.of(10, 100, 999).how == "store"
    assert ds.Plan.of(10, 100, 1000, out=True).how == "store"
    assert ds.Plan.of(10, None, 1).how == "memory"


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (
            ds.Plan.of(10, 100, 2000, seconds=0.123),
            "Plan(1.0 kB for 100 points, in memory (budget 2.0 kB); 1 pass, about 0.12 s)",
        ),
        (
            ds.Plan.of(10, 100, 2000, out=True),
            "Plan(1.0 kB for 100 points, on disk (budget 2.0 kB); 1 pass)",
        ),
        (
            ds.Plan.of(10, None, 2000),
            "Plan(10 bytes a point, in memory up to 2.0 kB, then on disk; 1 pass)",
        ),
    ],
)
def test_plan_repr_is_a_sentence(plan, text):
    assert repr(plan) == text


def test_plan_loads_no_torch():
    code = "import dimscope, sys; dimscope.Plan.of(1, 2, 3); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
