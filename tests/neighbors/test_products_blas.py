import numpy as np
import pytest
import threadpoolctl

from dimscope.neighbors.products import add_gram, add_product, mirror, one_thread_each


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


def test_other_layouts_are_refused():
    total = np.zeros((2, 2), "float32")
    with pytest.raises(AssertionError):
        add_gram(total, np.zeros((2, 2)))
    with pytest.raises(AssertionError, match="contiguous"):
        add_gram(total, np.zeros((3, 2), "float32").T)


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
