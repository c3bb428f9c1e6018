"""Bad input: the right value, or an error that says what is wrong and where."""

import warnings

import numpy as np
import pytest

from dimscope import TwoNN, estimate, nearest_neighbors
from dimscope.errors import BadPoints, DegeneratePoints, RepeatedPoints, TiedPoints
from dimscope.manifolds import embed, sphere
from reference import worst_error

GOOD = embed(sphere(300, 3), 30)
NARROW = sphere(300, 3)
WHERE = pytest.mark.parametrize("good", [GOOD, NARROW], ids=["tiles", "tree"])


def spoiled(good, value):
    points = good.copy()
    points[123, 2] = value
    points[200, 0] = value
    return points


@WHERE
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_estimate_refuses_values_that_are_not_finite(good, value, dtype):
    with pytest.raises(BadPoints, match=f"row 123, column 2 is {value}"):
        estimate(spoiled(good, value).astype(dtype))


@WHERE
def test_estimate_refuses_points_that_are_all_the_same(good):
    with pytest.raises(DegeneratePoints, match="all 300 points are the same"):
        estimate(np.full_like(good, 7.5))
    with pytest.raises(DegeneratePoints, match="all 300 points are the same"):
        estimate(np.zeros_like(good))


@WHERE
@pytest.mark.parametrize(
    ("rows", "message"), [(0, "empty"), (1, "1 points are too few"), (2, "2 points are too few")]
)
def test_estimate_refuses_too_few_points(good, rows, message):
    with pytest.raises((BadPoints, DegeneratePoints), match=message):
        estimate(good[:rows])


@WHERE
def test_estimate_refuses_two_distinct_points(good):
    with pytest.raises(DegeneratePoints, match="only 2 of 100 points are distinct"):
        estimate(np.repeat(good[:2], 50, axis=0))


def test_estimate_refuses_points_without_features():
    with pytest.raises(BadPoints, match=r"empty: the shape is \(5, 0\)"):
        estimate(np.empty((5, 0)))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.float64(3), "single number"),
        (3, "single number"),
        (np.array(3.0), "single number"),
        ([], "shape"),
        (np.arange(10.0), r"points\.reshape\(-1, 1\)"),
        ([1.0, 2.0, 3.0, 5.0], r"points\.reshape\(-1, 1\)"),
        (np.zeros((5, 4, 3)), r"reshape\(len\(points\), -1\)"),
        (np.zeros((2, 5, 4, 3)), r"\(2, 5, 4, 3\)"),
    ],
)
def test_estimate_refuses_the_wrong_number_of_axes(points, message):
    with pytest.raises(BadPoints, match=message):
        estimate(points)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([["1", "2"], ["3", "4"], ["5", "7"]], "<U1 values, not numbers"),
        (np.array([[b"1"], [b"2"], [b"3"]]), "S1 values, not numbers"),
        ("points.npy", "read_points"),
        (np.array([["2020-01-01"], ["2020-01-02"]], "datetime64[D]"), "not numbers"),
        ([[1, 2], [3], [4, 5]], "row 0 has 2 values, row 1 has 1"),
        ([[1, 2], [3, 4], 5], "row 0 has 2 values, row 2 has 0"),
        ([[[1], [2, 3]], [[1], [2, 3]]], "of different lengths"),
        (np.array([[1, 2], [3, "x"], [4, 5]], dtype=object), "row 1 holds a str"),
        (np.array([[1, 2], [3, None], [4, 5]], dtype=object), "row 1 holds a NoneType"),
        ([[1, 2], [3, None], [4, 5]], "row 1 holds a NoneType"),
        (np.array([[1, 2], [3, 4]], dtype=object), r"astype\('float64'\)"),
        (None, "a NoneType, not an array"),
        ({"layer": GOOD}, "a dict, not an array"),
        ((row for row in GOOD), "a generator, not an array"),
        (object(), "a object, not an array"),
        (GOOD + 1j, "complex"),
        (GOOD.astype("longdouble"), "astype"),
        (np.zeros(5, dtype=[("x", "f8")]).reshape(5, 1), "structured_to_unstructured"),
        (np.ma.masked_less(GOOD, 0), "masked"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_estimate_refuses_what_is_not_an_array_of_numbers(points, message):
    with pytest.raises(BadPoints, match=message):
        estimate(points)


def test_estimate_refuses_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    for matrix in (sparse.csr_matrix(GOOD), sparse.coo_array(GOOD)):
        with pytest.raises(BadPoints, match=r"points\.toarray\(\)"):
            estimate(matrix)


def test_estimate_accepts_lists_and_frames():
    pandas = pytest.importorskip("pandas")
    expected = estimate(GOOD).dimension
    assert estimate(GOOD.tolist()).dimension == pytest.approx(expected, rel=1e-9)
    assert estimate(tuple(map(tuple, GOOD))).dimension == pytest.approx(expected, rel=1e-9)
    assert estimate(list(GOOD)).dimension == pytest.approx(expected, rel=1e-9)
    frame = pandas.DataFrame(GOOD)
    assert estimate(frame).dimension == pytest.approx(expected, rel=1e-9)
    frame[3] = "a"
    with pytest.raises(BadPoints, match="column 3 holds text, not numbers: row 0 holds 'a'"):
        estimate(frame)
    with pytest.raises(BadPoints, match="row 5, column 0 is nan"):
        estimate(pandas.DataFrame(GOOD).mask(pandas.Series(range(300)) == 5))


def test_estimate_accepts_or_refuses_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(GOOD)
    assert estimate(tensor).dimension == pytest.approx(estimate(GOOD).dimension, rel=1e-9)
    # the imaginary part of a conjugate is negated when it is read
    assert estimate(torch.complex(tensor, tensor).conj().imag).dimension == pytest.approx(
        estimate(-GOOD).dimension, rel=1e-9
    )
    for wrong, message in (
        (tensor.to_sparse(), r"to_dense\(\)"),
        (tensor + 1j, "complex"),
        ((tensor + 1j).conj(), "complex"),
        (tensor[0], "reshape"),
        (torch.empty(5, 3, device="meta"), "no readable values"),
        (tensor.to(torch.bfloat16).where(tensor < 9, 0).log(), "is nan|is inf|is -inf"),
    ):
        with pytest.raises(BadPoints, match=message):
            estimate(wrong)


def test_nearest_neighbors_of_huge_integers_are_exact_or_refused():
    low = np.random.default_rng(0).integers(-(10**6), 10**6, (300, 30))
    assert worst_error(nearest_neighbors(low + 2**52), low) < 1e-6
    for huge in (low + 2**60, (low + 2**60).astype("uint64"), np.abs(low).astype("uint64") + 2**63):
        with pytest.raises(BadPoints, match="subtract an offset first"):
            estimate(huge)
    assert worst_error(nearest_neighbors(low.astype(object).astype("int64")), low) < 1e-6


def test_estimate_refuses_huge_floats():
    with pytest.raises(BadPoints, match="divide the points by a constant"):
        estimate(GOOD * 1e308)


# -- duplicates --------------------------------------------------------------------------


def with_duplicates(good, n, seed=0):
    """Some rows again, all in random order."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([good, good[rng.integers(0, len(good), n)]])
    return points[rng.permutation(len(points))]


@WHERE
@pytest.mark.parametrize("fit", ["mle", "regression"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_duplicates_change_only_their_count(good, fit, dtype):
    good = good.astype(dtype)
    alone = TwoNN(fit=fit)(good)
    with pytest.warns(RepeatedPoints, match="30% of the rows .* no bias"):
        doubled = TwoNN(fit=fit)(with_duplicates(good, 128))  # 30 % of 428
    assert doubled.dimension == pytest.approx(alone.dimension, rel=1e-9)
    assert doubled.std_error == pytest.approx(alone.std_error, rel=0.3)  # other subsamples
    assert (alone.n_points, alone.n_duplicates) == (300, 0)
    assert (doubled.n_points, doubled.n_duplicates) == (428, 128)
    assert doubled.n_used == alone.n_used


@WHERE
def test_estimate_collapses_many_zero_rows(good):
    points = np.concatenate([good, np.zeros((300, good.shape[1]))])
    with pytest.warns(RepeatedPoints):
        estimated = estimate(points)
    assert estimated.n_points == 600
    assert estimated.n_duplicates == 299
    assert estimated.dimension == pytest.approx(estimate(points[:301]).dimension, rel=1e-9)


@WHERE
def test_estimate_collapses_duplicates_in_float16_and_torch(good):
    torch = pytest.importorskip("torch")
    half = np.unique(good.astype("float16"), axis=0)
    points = with_duplicates(half, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TiedPoints)
        warnings.simplefilter("ignore", RepeatedPoints)
        expected = estimate(half)
        for array in (points, torch.from_numpy(points)):
            assert estimate(array).dimension == pytest.approx(expected.dimension, rel=1e-9)
            assert estimate(array).n_duplicates == 100


# -- ties --------------------------------------------------------------------------------


def test_estimate_of_quantised_points_warns_with_the_fraction_of_ties():
    points = np.round(np.random.default_rng(0).standard_normal((1000, 3)) * 10).astype(int)
    neighbors = nearest_neighbors(points)
    fraction = np.mean(neighbors.distances[:, 0] == neighbors.distances[:, 1])
    with pytest.warns(TiedPoints, match=f"{fraction:.1%} of the points"):
        estimated = estimate(points, TwoNN(discard=0))
    assert estimated.tie_fraction == pytest.approx(fraction)
    assert estimated.n_duplicates == 1000 - len(np.unique(points, axis=0))
    ratio = np.log(neighbors.distances[:, 1] / neighbors.distances[:, 0])
    assert estimated.dimension == pytest.approx((len(ratio) - 1) / ratio.sum())


@pytest.mark.parametrize(
    "points",
    [
        np.stack(np.meshgrid(*[np.arange(8)] * 3), -1).reshape(-1, 3),
        np.eye(60),
        np.arange(50.0)[:, None] % 50,
    ],
    ids=["grid", "one-hot", "line"],
)
def test_estimate_refuses_grids(points):
    if points.shape[1] == 1:  # the ends of a line have r2 = 2 r1
        with pytest.warns(TiedPoints), pytest.raises(DegeneratePoints, match="discrete"):
            estimate(points)
        return
    with pytest.raises(DegeneratePoints, match="as on a grid"):
        estimate(points)
