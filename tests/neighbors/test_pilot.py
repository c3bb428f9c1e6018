"""The pilot chooses sketches where they pay, and its choice can be repeated."""

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.manifolds import embed, gaussian
from dimscope.neighbors.pilot import chosen_widths
from dimscope.neighbors.tiles import Tiles

RNG = np.random.default_rng(0)


def choice(points, k=2, rows=None, failure=1e-9, seed=0):
    return chosen_widths(Tiles(as_points(points)), k, rows, failure, seed)


def relu_map(n, d, width):
    return np.maximum(embed(gaussian(n, d), width), 0).astype(np.float32)


def test_sketches_are_chosen_for_points_of_low_dimension():
    widths = choice(relu_map(4000, 5, 3000))
    assert widths is not None
    assert 0 < sum(widths) < 400


@pytest.mark.parametrize(
    "points",
    [
        RNG.standard_normal((5000, 600)).astype(np.float32),  # noise
        relu_map(400, 5, 4000),  # few points
        relu_map(5000, 5, 40),  # few features
    ],
    ids=["noise", "few points", "few features"],
)
def test_no_sketches_are_chosen_where_they_do_not_pay(points):
    assert choice(points) is None


def test_choice_is_repeatable_and_does_not_depend_on_units_or_origin():
    points = relu_map(4000, 8, 2000)
    widths = choice(points)
    assert widths == choice(points) == choice(points * 1024) == choice(points.astype(np.float64))


def test_more_neighbors_or_dimensions_need_wider_sketches():
    few, many = choice(relu_map(4000, 4, 3000)), choice(relu_map(4000, 12, 3000))
    assert sum(many) > sum(few)


def test_rows_of_a_sample_are_worth_narrower_sketches():
    points = relu_map(6000, 10, 1500)
    every, some = choice(points), choice(points, rows=np.arange(1000))
    assert some is None or sum(some) <= sum(every)


def one_outlier():
    """All rows but 500 have squares that are 0 in float32; the sample does not contain 500."""
    points = relu_map(2500, 5, 2000)
    points[np.arange(2500) != 500] *= np.float32(1e-25)
    return points


def nearly_empty():
    """The origin, and points whose few values differ widely."""
    is_filled = RNG.random((2500, 2000)) < 0.003
    scales = 10 ** RNG.uniform(-30, 0, (2500, 1))
    return (RNG.standard_normal((2500, 2000)) * is_filled * scales).astype(np.float32)


@pytest.mark.parametrize("cloud", [one_outlier, nearly_empty])
def test_pilot_reads_points_whose_squares_underflow(cloud):
    points = cloud()
    assert choice(points) == choice(points)
