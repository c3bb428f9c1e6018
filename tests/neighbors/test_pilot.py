"""The pilot chooses codes and sketches where they pay, and its choice can be repeated."""

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.manifolds import embed, gaussian
from dimscope.neighbors import kernels, pilot
from dimscope.neighbors.codes import Codes
from dimscope.neighbors.pilot import chosen_screen
from dimscope.neighbors.sketches import Widths
from dimscope.neighbors.tiles import Tiles

RNG = np.random.default_rng(0)


@pytest.fixture
def without_codes(monkeypatch):
    monkeypatch.setattr(kernels, "level", 0)


def choice(points, k=2, rows=None, failure=1e-9, seed=0):
    return chosen_screen(Tiles(as_points(points)), k, rows, failure, seed)


def relu_map(n, d, width):
    return np.maximum(embed(gaussian(n, d), width), 0).astype(np.float32)


@pytest.mark.usefixtures("without_codes")
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
@pytest.mark.usefixtures("without_codes")
def test_no_sketches_are_chosen_where_they_do_not_pay(points):
    assert choice(points) is None


@pytest.mark.usefixtures("without_codes")
def test_choice_is_repeatable_and_does_not_depend_on_units_or_origin():
    points = relu_map(4000, 8, 2000)
    widths = choice(points)
    assert widths == choice(points) == choice(points * 1024) == choice(points.astype(np.float64))


@pytest.mark.usefixtures("without_codes")
def test_more_neighbors_or_dimensions_need_wider_sketches():
    few, many = choice(relu_map(4000, 4, 3000)), choice(relu_map(4000, 12, 3000))
    assert sum(many) > sum(few)


@pytest.mark.usefixtures("without_codes")
def test_rows_of_a_sample_are_worth_narrower_sketches():
    points = relu_map(6000, 10, 1500)
    every, some = choice(points), choice(points, rows=np.arange(1000))
    assert some is None or sum(some) <= sum(every)


@pytest.mark.parametrize("failure", [None, 1e-9])
def test_codes_are_chosen_for_points_of_many_dimensions(failure):
    assert isinstance(choice(relu_map(4000, 40, 1500), failure=failure), Codes)


def test_sketches_are_not_tried_where_codes_take_little_time(monkeypatch):
    tried, choose = [], pilot._chosen_widths

    def spy(exact, *others):
        tried.append(exact.n_points)
        return choose(exact, *others)

    monkeypatch.setattr(pilot, "_chosen_widths", spy)
    assert isinstance(choice(relu_map(3000, 40, 600)), Codes)
    assert isinstance(choice(relu_map(6000, 3, 4000)), Widths)
    assert tried == [6000]


def test_exact_search_takes_no_sketches():
    points = relu_map(6000, 3, 4000)
    assert isinstance(choice(points, failure=None), Codes)
    assert not isinstance(choice(points), Codes)


def far_apart():
    """Clusters that are small beside their distance, and so beside what codes lose."""
    centres = 10 * RNG.standard_normal((30, 600))
    return (centres[np.arange(6000) % 30] + RNG.standard_normal((6000, 600))).astype(np.float32)


def test_codes_are_chosen_where_products_cannot_tell_neighbors():
    """Tight clusters: no float32 product tells which point of a cluster is nearer."""
    centres = 10 * RNG.standard_normal((100, 1000))
    points = centres[np.arange(3000) % 100] + 0.02 * RNG.standard_normal((3000, 1000))
    assert isinstance(choice(points.astype(np.float32), failure=None), Codes)


@pytest.mark.parametrize("cloud", [far_apart, lambda: relu_map(300, 5, 4000)], ids=["far", "few"])
def test_no_codes_are_chosen_where_they_do_not_pay(cloud):
    assert choice(cloud(), failure=None) is None


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
    first, second = choice(points), choice(points)
    assert first == second or (isinstance(first, Codes) and isinstance(second, Codes))


def clusters(n, width):
    middles = RNG.standard_normal((20, width))[RNG.integers(0, 20, n)]
    return (middles + 1e-3 * RNG.standard_normal((n, width))).astype(np.float32)


NOISE = RNG.standard_normal((2048, 4000)).astype(np.float32)


@pytest.mark.skipif(not kernels.levels, reason="needs compiled kernels")
@pytest.mark.parametrize(
    ("points", "k"),
    [
        (NOISE, 2),
        (np.asfortranarray(NOISE), 2),
        (NOISE.astype(np.float16), 2),
        (NOISE[:1500] * np.exp(RNG.standard_normal((1500, 1))).astype(np.float32), 2),
        (clusters(2048, 4000), 50),
        (NOISE[:100, :50], 2),
    ],
    ids=["noise", "columns", "half", "norms", "many neighbours", "few points"],
)
def test_no_codes_for_few_points_that_they_do_not_tell_apart(points, k):
    assert choice(points, k, failure=None) is None


@pytest.mark.skipif(not kernels.levels, reason="needs compiled kernels")
def test_codes_for_few_points_of_a_layer():
    points = relu_map(500, 20, 50_000)
    assert isinstance(choice(points, failure=None), Codes)
