import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl
from scipy.linalg import cython_blas

import dimscope
from dimscope.arrays import as_points
from dimscope.neighbors import products
from dimscope.neighbors.products import add_gram, add_product, mirror, one_thread_each
from dimscope.neighbors.search import nearest_neighbors
from dimscope.neighbors.tiles import Tiles


@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (3, 5, 2), (70, 33, 129), (5, 1, 7)])
def test_product_is_added_in_place(n, m, k):
    rng = np.random.default_rng(0)
    # integers: every order of summation gives the same
    left = rng.integers(-9, 9, (n, k)).astype("float32")
    right = rng.integers(-9, 9, (m, k)).astype("float32")
    total = rng.integers(-9, 9, (n, m)).astype("float32")
    expected = total + left @ right.T
    with one_thread_each():
        add_product(total, left, right)
    np.testing.assert_array_equal(total, expected)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (130, 40), (300, 3)])
def test_gram_is_added_on_and_below_the_diagonal_then_mirrored(n, k):
    rng = np.random.default_rng(0)
    left = rng.integers(-9, 9, (n, k)).astype("float32")
    total = np.zeros((n, n), "float32")
    add_gram(total, left)
    np.testing.assert_array_equal(total, np.tril(left @ left.T))
    add_gram(total, left)
    mirror(total)
    np.testing.assert_array_equal(total, 2 * left @ left.T)


def test_rows_may_lie_apart():
    buffer = np.arange(40, dtype="float32").reshape(4, 10)
    left, right = buffer[:, :3], buffer[:2, 2:5]
    total = np.zeros((4, 2), "float32")
    add_product(total, left, right)
    np.testing.assert_array_equal(total, left @ right.T)


def layouts(values):
    """Arrays of equal values that BLAS would misread, or could not read."""
    wide = np.zeros((values.shape[0], 2 * values.shape[1]), "float32")
    wide[:, ::2] = values
    buffer = np.zeros(values.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view("float32").reshape(values.shape)
    unaligned[:] = values
    return {
        "float64": values.astype(float),
        "big endian": values.astype(">f4"),
        "columns": np.asfortranarray(values),
        "apart": wide[:, ::2],
        "backwards": values[::-1].copy()[::-1],
        "unaligned": unaligned,
    }


@pytest.mark.parametrize("layout", layouts(np.zeros((2, 2), "float32")))
def test_other_layouts_give_the_same_numbers(layout):
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-9, 9, (n, 4)).astype("float32") for n in (5, 3))
    total, square = np.ones((5, 3), "float32"), np.zeros((5, 5), "float32")
    for one, other in ((layouts(left)[layout], right), (left, layouts(right)[layout])):
        total[:] = 1
        add_product(total, one, other, -2)
        np.testing.assert_array_equal(total, 1 - 2 * left @ right.T)
    add_gram(square, layouts(left)[layout])
    np.testing.assert_array_equal(square, np.tril(left @ left.T))
    total = layouts(np.ones((5, 3), "float32"))[layout]
    add_product(total, left, right)
    np.testing.assert_array_equal(total, 1 + left @ right.T)


def test_repeated_row_gives_the_same_numbers():
    left = np.broadcast_to(np.arange(3, dtype="float32"), (4, 3))  # no distance between rows
    total = np.zeros((4, 4), "float32")
    add_product(total, left, left)
    np.testing.assert_array_equal(total, left @ left.T)


def test_shapes_that_do_not_fit_are_refused():
    a, b = np.zeros((4, 3), "float32"), np.zeros((2, 3), "float32")
    for total in (np.zeros((4, 3), "float32"), np.zeros((2, 4), "float32")):
        with pytest.raises(ValueError, match="cannot be added"):
            add_product(total, a, b)
    with pytest.raises(ValueError, match="cannot be added"):
        add_product(np.zeros((4, 2), "float32"), a, b[:, :2])
    with pytest.raises(ValueError, match="cannot be added"):
        add_gram(np.zeros((1, 4), "float32"), a)
    total = np.zeros((4, 2), "float32")
    total.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        add_product(total, a, b)


def test_checks_hold_without_assertions():
    code = (
        "import numpy as np; from dimscope.neighbors.products import add_gram\n"
        "total = np.zeros((2, 2), np.float32); add_gram(total, np.eye(2)); print(total.tolist())\n"
        "try: add_gram(np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32))\n"
        "except ValueError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code],
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(dimscope.__file__))},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n") == ["[[1.0, 0.0], [0.0, 1.0]]", "refused", ""]


@pytest.fixture
def offered(monkeypatch):
    """Let SciPy offer functions of another signature; returns the names of those called."""
    called, kept = [], []
    new = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    )(("PyCapsule_New", ctypes.pythonapi))  # fmt: skip

    def offer(change):
        for name, signature in products._SIGNATURES.items():
            stars = [ctypes.c_void_p] * signature.count("*")
            function = ctypes.CFUNCTYPE(None, *stars)(lambda *_, name=name: called.append(name))
            text = ctypes.create_string_buffer(change(signature).encode())
            pointer = ctypes.cast(function, ctypes.c_void_p)
            kept.extend([function, text])
            capsule = new(pointer, ctypes.cast(text, ctypes.c_char_p), None)
            monkeypatch.setitem(cython_blas.__pyx_capi__, name, capsule)
        products._routine.cache_clear()
        return called

    yield offer
    monkeypatch.undo()
    products._routine.cache_clear()


def multiplied():
    left, total = np.arange(6, dtype="float32").reshape(2, 3), np.zeros((2, 2), "float32")
    add_product(total, left, left)
    add_gram(total, left)
    return total.tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: signature.replace("int *", "long *"),
        lambda signature: signature.replace("int *", "blas_int *", 1),
        lambda signature: signature.replace("float *", "double *"),
        lambda signature: signature.replace("void (", "void (int *, "),
        lambda signature: signature.replace("*)", "*) nogil"),
    ],
)
def test_functions_of_another_signature_are_not_called(offered, change):
    expected = multiplied()
    assert offered(change) == []
    assert multiplied() == expected == [[10.0, 14.0], [28.0, 100.0]]
    assert offered(change) == []


def test_functions_of_the_expected_signature_are_called(offered):
    called = offered(lambda signature: signature)
    assert multiplied() == [[0.0, 0.0], [0.0, 0.0]]
    assert called == ["sgemm", "ssyrk"]


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_search_without_the_functions_finds_the_same_neighbors(offered, far):
    points = np.random.default_rng(0).standard_normal((500, 40)).astype("float32") + far
    expected = nearest_neighbors(points, 3)
    called = offered(lambda signature: signature.replace("int", "long"))
    neighbors = nearest_neighbors(points, 3)
    assert called == []
    np.testing.assert_array_equal(neighbors.indices, expected.indices)
    np.testing.assert_array_equal(neighbors.distances, expected.distances)
    bounds, _ = Tiles(as_points(points)).candidates(6)
    wide = points.astype(float)
    squares = ((wide[:, None] - wide) ** 2).sum(2)
    np.fill_diagonal(squares, np.inf)
    assert (bounds <= np.sort(squares, axis=1)[:, :6]).all()


def blas_threads():
    # the libraries that are called here; faiss, if it was loaded, brings another
    return [
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
        and ("numpy" in library["filepath"] or "scipy" in library["filepath"])
    ]


def test_one_thread_each_restores_the_number_of_threads():
    with one_thread_each():  # loads the libraries
        pass
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        assert set(before) == {2}
        with one_thread_each():
            assert set(blas_threads()) == {1}
            with one_thread_each():
                pass
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
