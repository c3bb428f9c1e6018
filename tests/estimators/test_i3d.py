import math
import re

import numpy as np
import pytest
from scipy.special import comb

import dimscope as ds
from dimscope import I3D
from dimscope.arrays import as_points
from dimscope.estimators.i3d import _Blocked, fit_lattice, log_share


def lattice(n, d, side=40, seed=0):
    return np.random.default_rng(seed).integers(0, side, (n, d))


@pytest.mark.parametrize("d", [1, 2, 3, 7, 50])
@pytest.mark.parametrize(("near", "far"), [(0, 1), (1, 2), (3, 9), (20, 31)])
def test_log_share_equals_the_count_of_lattice_sites(d, near, far):
    # sites within t of the origin: choose which k coordinates are not zero, their signs and sizes
    near_sites, far_sites = (
        sum(2**k * comb(d, k, exact=True) * comb(t, k, exact=True) for k in range(d + 1))
        for t in (near, far)
    )
    value, slope = log_share(near, far, d)
    assert value == pytest.approx(math.log(near_sites / far_sites), rel=1e-12)
    step = 1e-5
    numeric = (log_share(near, far, d + step)[0] - log_share(near, far, d - step)[0]) / (2 * step)
    assert slope == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_i3d_measures_a_known_lattice(d):
    estimate = I3D(far=8, near=4)(lattice(2000, d, side=200 if d < 3 else 30))
    assert float(estimate) == pytest.approx(d, rel=0.1)


def test_i3d_measures_a_sheet_in_many_features():
    sheet = lattice(1500, 2, side=60)
    wide = np.concatenate([sheet, sheet[:, ::-1], np.full((1500, 30), 7)], axis=1)
    # every step is taken twice
    assert float(I3D(far=16, near=8)(wide)) == pytest.approx(2, rel=0.2)
    assert float(ds.estimate(wide, I3D())) < 4


@pytest.mark.filterwarnings("ignore::dimscope.errors.NarrowRange")
def test_i3d_hamming_on_tokens_equals_cityblock_on_switches():
    # each of ten independent switches flips estimate token
    switches = np.random.default_rng(0).integers(0, 2, (1000, 10))
    named = np.where(switches, 17, 4) + 100 * np.arange(10)
    same = I3D(far=4, near=2, metric="hamming")(named)
    assert same.dimension == I3D(far=4, near=2)(switches).dimension


def test_i3d_chooses_radii_by_the_mean_number_of_neighbours():
    estimate = I3D()(lattice(1000, 3))
    near, far = (estimate.provenance.parameters[name] for name in ("near", "far"))
    distances = np.abs(lattice(1000, 3)[:, None] - lattice(1000, 3)).sum(axis=2)
    assert (distances <= far).sum(axis=1).mean() - 1 >= 9
    assert (distances < far).sum(axis=1).mean() - 1 < 11
    shares = [(distances <= r).sum(axis=1).mean() - 1 for r in range(far)]
    assert np.argmin(np.abs(np.log(np.array(shares) / 2))) == near


@pytest.mark.filterwarnings("ignore::dimscope.errors.NarrowRange")
def test_i3d_chooses_radii_in_many_dimensions():
    estimate = I3D()(lattice(500, 12, side=4))
    assert estimate.provenance.parameters["near"] > estimate.provenance.parameters["far"] / 2
    assert 5 < float(estimate) < 15


@pytest.mark.parametrize("d", [1, 3])
def test_i3d_std_error_equals_the_spread(d):
    estimates = [
        I3D(far=6, near=3)(lattice(300, d, 60 if d == 1 else 12, seed)) for seed in range(300)
    ]
    spread = np.std([float(estimate) for estimate in estimates], ddof=1)
    assert np.mean([estimate.std_error for estimate in estimates]) == pytest.approx(
        spread, rel=0.15
    )


def test_i3d_keeps_repeated_rows():
    counts = np.random.default_rng(0).poisson(1.0, (500, 3))
    estimate = I3D(far=2, near=1)(counts)
    assert (estimate.n_points, estimate.n_duplicates) == (500, 0)
    assert float(estimate) != I3D(far=2, near=1)(np.unique(counts, axis=0)).dimension


@pytest.mark.parametrize(
    ("points", "estimator", "says"),
    [
        ([[0.5], [1], [2]], I3D(), "row 0, column 0 is 0.5, which is not a whole number"),
        ([[0], [9], [99]], I3D(far=4, near=2), "no two points are within 2"),
        ([[0], [1], [99]], I3D(far=4, near=2), "within 4 of each other are also within 2"),
        ([[0], [1]], I3D(), "give at least 3"),
        (np.arange(100)[:, None] * 10**5, I3D(), "neighbours are 600000 steps"),
    ],
)
def test_i3d_refuses_bad_points(points, estimator, says):
    with pytest.raises(ds.DimscopeError, match=says):
        estimator(points)


@pytest.mark.filterwarnings("ignore::dimscope.errors.NarrowRange")
@pytest.mark.parametrize("metric", ["cityblock", "hamming"])
def test_i3d_suggests_radii_that_work(metric):
    counts = np.random.default_rng(0).poisson(200, (300, 30))
    with pytest.raises(ds.DegeneratePoints, match="or give no radii") as refused:
        I3D(far=2, metric=metric)(counts)
    radii = re.search(r"far=(\d+), near=(\d+)", str(refused.value)).groups()
    estimate = I3D(*map(int, radii), metric=metric)(counts)
    assert estimate.dimension == I3D(metric=metric)(counts).dimension
    assert repr(metric) in str(refused.value) or metric == "cityblock"


def test_i3d_suggests_no_radii_if_all_points_are_equally_far_apart():
    with pytest.raises(ds.DegeneratePoints, match="differ too little or too much"):
        I3D(far=4, near=1)(np.eye(20, dtype=int))


def test_i3d_refuses_neighbors():
    neighbors = ds.nearest_neighbors(lattice(50, 20).astype(float))
    with pytest.raises(ds.BadPoints, match="needs the points themselves"):
        I3D()(neighbors)


@pytest.mark.parametrize(
    "wrong", [{"near": 2}, {"far": 2, "near": 2}, {"far": 2, "near": -1}, {"metric": "cosine"}]
)
def test_i3d_refuses_bad_parameters(wrong):
    with pytest.raises(ValueError, match=r"near|metric"):
        I3D(**wrong)


def test_tied_points_warning_suggests_i3d():
    with pytest.warns(ds.TiedPoints, match="use I3D for counts whose range is large"):
        ds.TwoNN()(lattice(500, 20, side=3).astype(float))


def test_i3d_needs_whole_radii():
    with pytest.raises(TypeError, match="integer"):
        I3D(far=2.5, near=1)


def trials(seed, n_stimuli=60, n_trials=4, n_neurons=30):
    """Poisson counts of stimuli in two dimensions, and the stimulus of each trial."""
    rng = np.random.default_rng(seed)
    preferred = np.random.default_rng(99).random((n_neurons, 2))
    apart = ((rng.random((n_stimuli, 1, 2)) - preferred) ** 2).sum(axis=2)
    counts = rng.poisson(15 * np.exp(-apart / 0.1) + 0.5, (n_trials, n_stimuli, n_neurons))
    return counts.reshape(-1, n_neurons), np.tile(np.arange(n_stimuli), n_trials)


@pytest.mark.filterwarnings("ignore::dimscope.errors.NarrowRange")
@pytest.mark.parametrize("options", [["groups"], ["exclude", "groups"]])
def test_i3d_std_error_over_groups_equals_the_spread(options):
    estimates = []
    for seed in range(200):
        counts, stimulus = trials(seed)
        given = dict.fromkeys(options, stimulus)
        estimates.append(ds.estimate(counts, I3D(far=90, near=70), **given))
    dimensions = np.array([float(estimate) for estimate in estimates])
    errors = np.mean([estimate.std_error for estimate in estimates])
    assert errors == pytest.approx(dimensions.std(ddof=1), rel=0.15)
    bounds = np.array([estimate.interval for estimate in estimates]).T
    inside = (bounds[0] < dimensions.mean()) & (dimensions.mean() < bounds[1])
    assert 0.91 <= inside.mean() <= 0.99
    assert {estimate.n_groups for estimate in estimates} == {60}


def test_i3d_of_groups_of_one_equals_that_of_points():
    counts = lattice(300, 2)
    n, k = I3D()._counts(_Blocked(as_points(counts), 1 << 30, "cityblock", None), (3, 6))
    tables = I3D()._counts_of_groups(
        _Blocked(as_points(counts), 1 << 30, "cityblock", None), (3, 6), np.arange(300)
    )
    assert [table.sum(axis=1).tolist() for table in tables] == [n.tolist(), k.tolist()]
    assert fit_lattice(*tables, 3, 6) == pytest.approx(fit_lattice(n, k, 3, 6), rel=1e-9)
    alone = ds.estimate(counts, I3D(far=6, near=3), groups=np.arange(300))
    assert (alone.std_error, alone.n_groups) == (I3D(far=6, near=3)(counts).std_error, None)


@pytest.mark.parametrize("memory", [6000, "4GB"])  # block by block, and at once
def test_i3d_counts_no_point_of_the_same_id(memory):
    counts, ids = lattice(400, 2), np.arange(400) % 150
    estimate = ds.estimate(counts, I3D(far=6, near=3), exclude=ids, memory=memory)
    distances = np.abs(counts[:, None] - counts).sum(axis=2).astype(float)
    distances[ids[:, None] == ids] = np.inf
    n, k = ((distances <= radius).sum(axis=1) for radius in (3, 6))
    assert float(estimate) == fit_lattice(n, k, 3, 6)[0]
    assert estimate.n_used == int((k > 0).sum())
    assert "without neighbours of the same id (150 ids)" in estimate.methods()


def test_i3d_over_few_groups_has_no_error():
    estimate = ds.estimate(lattice(300, 2), I3D(far=6, near=3), groups=np.arange(300) % 9)
    assert math.isnan(estimate.std_error)
    assert "9 groups are too few" in estimate.reason


def test_i3d_refuses_ids_that_bar_all():
    with pytest.raises(ds.DegeneratePoints, match="the same id in exclude"):
        ds.estimate(lattice(300, 2), I3D(), exclude=np.zeros(300))


def test_i3d_warns_of_a_range_below_the_radius():
    counts = np.random.default_rng(0).poisson(9, (300, 60))
    with pytest.warns(ds.NarrowRange, match=r"vary by \d+ or less, which is below .* of \d+: I3D"):
        I3D()(counts)
    I3D()(lattice(500, 2))  # a warning would be an error
