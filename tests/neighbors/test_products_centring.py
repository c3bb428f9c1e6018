"""Centring: far points are moved, near ones are used where they lie."""

import numpy as np
import pytest

from dimscope.arrays import as_points
from dimscope.neighbors.products import Centred

POINTS = np.random.default_rng(0).standard_normal((50, 300)).astype(np.float32)
WIDE = np.empty((50, 300), np.float32)


def centred(array, unit=1.0):
    return Centred(as_points(array), unit)


def test_points_around_the_origin_are_not_copied():
    block = centred(POINTS).block(slice(5, 20), slice(10, 200), WIDE)
    assert np.shares_memory(block, POINTS)
    np.testing.assert_array_equal(block, POINTS[5:20, 10:200])


def test_relu_is_near_enough():
    assert centred(np.maximum(POINTS, 0)).centre is None


def test_far_points_are_centred():
    block = centred(POINTS + 100).block(slice(0, 50), slice(0, 300), WIDE)
    assert np.abs(block.mean()) < 0.1
    expected = POINTS - POINTS[0]
    np.testing.assert_allclose(block - block[0], expected, atol=1e-4)


def test_a_few_far_points_do_not_drag_the_centre():
    points = POINTS + 100
    points[::10] += 1e6
    assert np.abs(centred(points).centre - 100).max() < 3


@pytest.mark.parametrize(
    ("array", "unit"),
    [
        (np.asfortranarray(POINTS), 1.0),
        (POINTS[::-1], 1.0),
        (POINTS[:, ::2], 1.0),
        (np.broadcast_to(POINTS[:1], (50, 300)), 1.0),
        (POINTS.astype(">f4"), 1.0),
        (POINTS.astype(np.float64), 1.0),
        (np.frombuffer(b"x" + POINTS.tobytes(), np.float32, offset=1).reshape(50, 300), 1.0),
        (POINTS, 0.5),
    ],
    ids=["fortran", "reversed", "strided", "broadcast", "swapped", "float64", "unaligned", "unit"],
)
def test_what_blas_cannot_read_is_copied(array, unit):
    points = centred(array, unit)
    block = points.block(slice(0, 50), slice(0, array.shape[1]), WIDE)
    assert np.shares_memory(block, WIDE)
    np.testing.assert_allclose(
        block, (array.astype(np.float64) - points.centre) * unit, rtol=1e-5, atol=1e-5
    )


def test_subsets_are_copied():
    rows = np.arange(0, 50, 3)
    points = Centred(as_points(POINTS).select(rows), 1.0)
    assert points.centre is not None
