import threading

import numpy as np
import pandas as pd
import pytest

from dimscope import TwoNN
from dimscope.arrays import as_points, threads
from dimscope.arrays.numpy_points import NumpyPoints
from dimscope.arrays.threads import parallel
from dimscope.errors import BadPoints, DegeneratePoints


@pytest.mark.parametrize(
    ("dtype", "held"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int8", "float64"),
        ("uint16", "float64"),
        ("int64", "float64"),
        ("bool", "float64"),
        (">f4", "float64"),
        (">f8", "float64"),
    ],
)
def test_points_are_held_in_the_smallest_float_that_keeps_every_value(dtype, held):
    values = np.array([[0, 1], [1, 1], [1, 0], [0, 0]]).astype(dtype)
    points = as_points(values)
    assert points.dtype == held
    assert points.block(slice(None)).dtype == held
    np.testing.assert_array_equal(points.block(slice(None)), values.astype("float64"))


def test_float32_near_the_end_of_its_range_is_held_in_float64():
    points = as_points(np.array([[3e38], [-3e38], [0]], dtype="float32"))
    assert points.dtype == np.float64


def test_nothing_is_copied():
    values = np.ones((4, 3))
    assert as_points(values).array is values
    assert np.shares_memory(as_points(values).block(slice(1, 3)), values)


def test_checked_points_are_not_checked_again():
    points = as_points(np.eye(3))
    assert as_points(points) is points


@pytest.mark.parametrize("max_abs", [5e-324, 1e-310, 1e-39, 1e-20, 0.3, 1.0, 7.0, 1e30, 1e300])
def test_scale_is_a_power_of_two_that_brings_the_largest_value_near_one(max_abs):
    scale = NumpyPoints(np.zeros((3, 1)), max_abs).scale
    assert np.frexp(scale)[0] == 0.5
    assert np.isfinite(scale)
    if max_abs > 1e-300:
        assert 0.5 <= max_abs * scale <= 1


def test_scale_of_float32_is_itself_a_float32():
    scale = NumpyPoints(np.zeros((3, 1), "float32"), 1e-44).scale
    assert np.isfinite(np.float32(scale))


def test_selection_of_a_selection():
    values = np.arange(20.0).reshape(10, 2)
    some = as_points(values).select(np.array([8, 6, 4, 2])).select(np.array([3, 0]))
    assert some.n_points == 2
    np.testing.assert_array_equal(some.block(slice(None)), values[[2, 8]])
    np.testing.assert_array_equal(some.block(np.array([1]), slice(1, 2)), [[17.0]])


@pytest.mark.parametrize("shape", [(50, 3), (7, 3000), (4000, 700)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(shape, bad):
    values = np.zeros(shape, dtype="float32")
    values[shape[0] // 2, 2] = bad
    values[shape[0] - 1, 0] = bad
    with pytest.raises(BadPoints, match=f"row {shape[0] // 2}, column 2 is {bad}"):
        as_points(values)


def test_largest_value_is_found_wherever_it_is():
    values = np.zeros((3000, 900), dtype="float32")
    for place in ((0, 0), (1500, 450), (2999, 899)):
        values[:] = 0
        values[place] = -7
        assert as_points(values).max_abs == 7
        assert as_points(values.T).max_abs == 7


@pytest.mark.parametrize(("value", "fine"), [(2**53 - 1, True), (2**53, False), (2**53 + 1, False)])
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_are_taken_as_far_as_float64_holds_them(value, fine, dtype):
    values = np.array([[0], [1], [value]], dtype=dtype)
    if fine:
        assert as_points(values).max_abs == value
    else:
        with pytest.raises(BadPoints, match="subtract an offset"):
            as_points(values)


def test_distances_beyond_float64_are_refused():
    with pytest.raises(BadPoints, match="divide the points"):
        as_points([[1e308, 0], [-1e308, 0], [0, 0]])


def test_fewer_than_three_rows():
    with pytest.raises(DegeneratePoints, match="2 points"):
        as_points(np.eye(2))


@pytest.fixture
def four_workers(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 4)


def test_parallel_runs_items_at_once_and_keeps_their_order(four_workers):
    together, finished = threading.Barrier(4, timeout=60), [threading.Event() for _ in range(4)]

    def square(i):
        together.wait()  # breaks unless four threads come
        assert i == 3 or finished[i + 1].wait(60)  # the last item is done first
        finished[i].set()
        return i * i

    assert parallel(square, list(range(4))) == [0, 1, 4, 9]


def test_parallel_within_a_thread_stays_on_it(four_workers):
    def inner_threads(_):
        return set(parallel(lambda _: threading.get_ident(), [0] * 20)) == {threading.get_ident()}

    assert parallel(inner_threads, [0] * 8) == [True] * 8


def test_parallel_raises_the_error_of_an_item(four_workers):
    with pytest.raises(ZeroDivisionError):
        parallel(lambda x: 1 / x, [1, 0])


def test_as_points_refuses_whole_numbers_that_would_be_rounded():
    big = 2**60 + (np.random.default_rng(0).random((30, 2)) * 500).astype(np.int64)
    mixed = pd.DataFrame({"a": big[:, 0], "b": big[:, 1], "c": np.linspace(0, 1, 30)})
    with pytest.raises(BadPoints, match=r"beyond 2\^53"):
        TwoNN()(mixed)
    with pytest.raises(BadPoints, match=r"beyond 2\^53"):
        TwoNN()([[int(a), 0.5 * i] for i, (a, _) in enumerate(big)])
    rows = [[2.0**60, float(i) ** 2] for i in range(30)]
    assert TwoNN()(rows).dimension > 0
