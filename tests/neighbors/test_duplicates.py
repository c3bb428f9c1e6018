import numpy as np
import pytest

from dimscope.arrays import Points, as_points
from dimscope.neighbors.duplicates import distinct_rows


def by_value(values):
    seen, first = set(), []
    for row, value in enumerate(np.asarray(values, dtype=float) + 0.0):
        if value.tobytes() not in seen:
            seen.add(value.tobytes())
            first.append(row)
    return first


@pytest.mark.parametrize("width", [1, 2, 16, 64, 65, 200, 1000])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64"])
def test_first_occurrences_are_kept(width, dtype):
    rng = np.random.default_rng(width)
    values = (rng.standard_normal((100, width)) * 20).astype(dtype)
    values = values[rng.integers(0, 100, 300)]
    assert distinct_rows(as_points(values)).tolist() == by_value(values)


@pytest.mark.parametrize("column", [0, 63, 64, 150, 299])
def test_rows_that_differ_in_one_value_are_distinct(column):
    values = np.ones((3, 300))
    values[1, column] = np.nextafter(1, 2)
    values[2, column] = 2
    assert len(distinct_rows(as_points(values))) == 3


def test_rows_with_the_same_values_in_another_order_are_distinct():
    values = np.stack([np.roll(np.arange(100.0), i) for i in range(100)])
    assert len(distinct_rows(as_points(values))) == 100


def test_minus_zero_equals_zero():
    values = np.array([[0.0, 1.0], [-0.0, 1.0], [-0.0, -0.0]])
    assert distinct_rows(as_points(values)).tolist() == [0, 2]


def test_small_integers_in_float64():
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(40.0)), -1).reshape(-1, 2)
    assert len(distinct_rows(as_points(grid))) == 1600


def test_equal_sums_are_compared_by_value(monkeypatch):
    monkeypatch.setattr(
        Points,
        "row_hashes",
        lambda points, rows=None, columns=None: np.zeros(points.n_points, np.uint64),
    )
    values = np.array([[1, 2], [3, 4], [1, 2], [5, 6], [3, 4]])
    assert distinct_rows(as_points(values)).tolist() == [0, 1, 3]


def test_selection_gives_positions_within_itself():
    points = as_points([[9, 9], [1, 2], [1, 2], [3, 4]]).select(np.array([1, 2, 3]))
    assert distinct_rows(points).tolist() == [0, 2]
