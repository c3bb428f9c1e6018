"""Pairs of estimates from the same rows are accepted, all others are refused with the reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import dimscope as ds
from dimscope.manifolds import cube, embed, swiss_roll

N = 600


def images(seed, n=N):
    """Points of ten classes: clusters in 64 dimensions, each with a shape of its own."""
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(0).standard_normal((10, 4, 64))
    centres = 3 * np.random.default_rng(1).standard_normal((10, 64))
    labels = rng.integers(0, 10, n)
    return (
        centres[labels] + np.einsum("nk,nkd->nd", rng.standard_normal((n, 4)), shapes[labels])
    ).astype(np.float32), labels


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return [
        nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 50), nn.Tanh(), nn.Linear(50, 9)
        )
        for width in (120, 200)
    ]


def in_turn(points, labels):
    """The points class by class in turn: 0, 1, ..., 9, 0, 1, ..."""
    n = np.bincount(labels).min()
    return points[np.stack([np.flatnonzero(labels == c)[:n] for c in range(10)]).T.ravel()]


X, LABELS = images(0)
OTHER, OTHER_LABELS = images(1)
IN_ORDER = np.argsort(LABELS, kind="stable")
RNG = np.random.default_rng(2)
WARP = RNG.standard_normal((64, 30)).astype(np.float32) / 8


def hidden(points):
    """Another representation of the same points."""
    return np.tanh(points @ WARP)


def with_rows(points, other, rows):
    mixed = points.copy()
    mixed[rows] = other[rows]
    return mixed


def sorted_by_class(points, labels):
    return points[np.argsort(labels, kind="stable")]


# name -> two arrays of as many rows, of which row i is not the same stimulus in both
UNPAIRED = {
    "other data": (X, OTHER),
    "other data, other layer": (X, hidden(OTHER)),
    "other clean data": (cube(N, 4), cube(N, 4, seed=1)),
    "other dimension": (swiss_roll(N, 2), cube(N, 5)),
    "shuffled": (X, X[RNG.permutation(N)]),
    "shuffled, other layer": (X, hidden(X[RNG.permutation(N)])),
    "reversed": (X, X[::-1]),
    "reversed, other layer": (X, hidden(X[::-1])),
    "sorted by class": (X, X[IN_ORDER]),
    "sorted by class, other layer": (X, hidden(X[IN_ORDER])),
    "other data, both sorted by class": (
        sorted_by_class(X, LABELS), sorted_by_class(OTHER, OTHER_LABELS)
    ),
    "other layer of other data, both sorted by class": (
        sorted_by_class(X, LABELS), hidden(sorted_by_class(OTHER, OTHER_LABELS))
    ),
    "other data, both class by class in turn": (
        in_turn(X, LABELS)[:400], in_turn(OTHER, OTHER_LABELS)[:400]
    ),
    "moved by one row": (X, np.roll(X, 1, axis=0)),
    "moved by one row, other layer": (X, hidden(np.roll(X, 1, axis=0))),
    "without the first row and without the last": (X[1:], hidden(X[:-1])),
    "two halves": (X[: N // 2], X[N // 2 :]),
    "two subsets": (X[np.sort(RNG.choice(N, 400, False))], X[np.sort(RNG.choice(N, 400, False))]),
    "two subsets, other layer": (
        X[np.sort(RNG.choice(N, 400, False))], hidden(X[np.sort(RNG.choice(N, 400, False))])
    ),
    "resampled": (X, X[np.sort(RNG.integers(0, N, N))]),
    "resampled, other layer": (X, hidden(X[np.sort(RNG.integers(0, N, N))])),
    "resampled without order": (X, hidden(X[RNG.integers(0, N, N)])),
    "a twentieth replaced": (X, with_rows(X, OTHER, np.arange(0, N, 20))),
    "half replaced": (X, with_rows(X, OTHER, np.arange(0, N, 2))),
    "the last quarter replaced": (X, with_rows(X, OTHER, np.arange(3 * N // 4, N))),
    "the last quarter replaced, other layer": (
        X, hidden(with_rows(X, OTHER, np.arange(3 * N // 4, N)))
    ),
    "two rows exchanged": (X, X[np.r_[1, 0, 2:N]]),
}  # fmt: skip

PAIRED = {
    "another layer": (X, hidden(X)),
    "some of the columns": (X, X[:, :40]),
    "float16": (X, X.astype(np.float16)),
    "float64": (X, X.astype(np.float64)),
    "scaled": (X, (X - X.mean(0)) / X.std(0)),
    "rectified": (hidden(X), np.maximum(hidden(X), 0)),
    "clipped": (X, np.clip(X, -9, 9)),
    "with noise": (X, X + 0.1 * RNG.standard_normal(X.shape)),
    "sorted by class": (sorted_by_class(X, LABELS), hidden(sorted_by_class(X, LABELS))),
    "class by class in turn": (in_turn(X, LABELS), hidden(in_turn(X, LABELS))),
    "few points": (X[:120], hidden(X[:120])),
    "a cube and its shadow": (cube(400, 4), embed(cube(400, 4), 9) ** 3),
}


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
@pytest.mark.parametrize("name", UNPAIRED)
def test_difference_refuses_rows_that_are_not_paired(name):
    first, second = UNPAIRED[name]
    with pytest.raises(ds.BadPoints, match=r"not paired|do not look paired"):
        ds.difference(ds.estimate(first), ds.estimate(second))
    with pytest.raises(ds.BadPoints, match=r"not paired|do not look paired"):
        ds.difference(ds.estimate(second), ds.estimate(first))


@pytest.mark.parametrize("name", PAIRED)
def test_difference_accepts_rows_that_are_paired(name):
    first, second = map(ds.estimate, PAIRED[name])
    assert float(ds.difference(first, second)) == first.dimension - second.dimension
    assert float(ds.difference(second, first)) == second.dimension - first.dimension


def test_difference_accepts_two_estimators_and_two_engines_on_the_same_rows():
    twonn, mle = ds.estimate(X, [ds.TwoNN(), ds.MLE(5)]).values()
    assert twonn.rows == mle.rows
    assert float(ds.difference(twonn, mle)) == twonn.dimension - mle.dimension
    assert float(ds.difference(twonn, ds.estimate(X, engine=ds.Sketched()))) == 0


def test_difference_of_two_networks_needs_the_same_images(networks):
    profiles = [ds.profile(network, X) for network in networks]
    assert profiles[0]["output"].rows == profiles[1]["2"].rows
    change = ds.difference(profiles[0]["output"], profiles[1]["2"])
    assert change.std_error > 0
    for wrong in (OTHER, X[::-1].copy(), X[IN_ORDER]):
        other = ds.profile(networks[1], wrong)
        assert other["input"].rows != profiles[0]["input"].rows
        with pytest.raises(ds.BadPoints, match=r"not paired|do not look paired"):
            ds.difference(profiles[0]["output"], other["2"])


def test_batch_size_does_not_change_the_rows(networks):
    small, large = (ds.profile(networks[0], X, batch_size=size) for size in (7, 600))
    assert small["output"].rows == large["output"].rows != ""


def test_stored_activations_have_the_rows_of_those_in_memory(networks, tmp_path):
    pytest.importorskip("zarr")
    stored = ds.capture(networks[0], X, out=str(tmp_path / "x.zarr"))
    assert ds.profile(stored)["2"].rows == ds.profile(networks[0], X)["2"].rows


@pytest.mark.parametrize("ids", [np.arange(N), np.array([f"image {i}" for i in range(N)])])
def test_ids_state_which_rows_are_paired(ids):
    independent = cube(N, 3)
    a, b, c = (
        ds.profile(ds.Activations({"a": points}, ids=names))["a"]
        for points, names in ((X, ids), (independent, ids), (independent, ids[::-1]))
    )
    assert a.rows == b.rows != c.rows
    assert ds.difference(a, b).std_error > 0
    with pytest.raises(ds.BadPoints, match=r"ids differ in 600 rows, first in row 0"):
        ds.difference(a, c)


@pytest.mark.parametrize("ids", [np.arange(N - 1), np.ones(N), np.ones((N, 1), int)])
def test_activations_refuse_ids_that_do_not_name_rows(ids):
    with pytest.raises(ds.BadPoints, match="ids"):
        ds.Activations({"a": X}, ids=ids)


def test_difference_refuses_a_class_mean_against_all_points():
    activations = ds.Activations({"a": X, "b": hidden(X)}, labels=LABELS)
    means, pooled = ds.profile(activations, by_class=True), ds.profile(activations)
    with pytest.raises(ds.BadPoints, match="the first estimate is a mean over classes"):
        ds.difference(means["a"], pooled["b"])
    with pytest.raises(ds.BadPoints, match="the second estimate is a mean over classes"):
        ds.difference(pooled["b"], means["a"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.where(LABELS == 3, 4, LABELS), "only one of them includes 3"),
        (np.roll(LABELS, 1), "not known to come from the same rows"),
    ],
)
def test_difference_refuses_means_over_other_classes(labels, message):
    first, second = (
        ds.profile(ds.Activations({"a": X, "b": hidden(X)}, labels=these), by_class=True)
        for these in (LABELS, labels)
    )
    assert ds.difference(first["a"], first["b"]).std_error > 0
    with pytest.raises(ds.BadPoints, match=message):
        ds.difference(first["a"], second["b"])


def test_difference_refuses_means_of_which_one_lacks_a_class():
    broken = hidden(X)
    broken[LABELS == 3] = 1
    profile = ds.profile(ds.Activations({"a": X, "b": broken}, labels=LABELS), by_class=True)
    with pytest.raises(ds.BadPoints, match="only one of them includes 3"):
        ds.difference(profile["a"], profile["b"])


def test_difference_refuses_a_class_against_another():
    profile = ds.profile(ds.Activations({"a": X}, labels=np.arange(N) % 2), by_class=True)
    first, second = profile.classes.values()
    with pytest.raises(ds.BadPoints, match="do not look paired"):
        ds.difference(first["a"], second["a"])


# -- saved profiles ---------------------------------------------------------------------


@pytest.mark.parametrize("by_class", [False, True])
def test_difference_of_loaded_profiles_equals_the_one_in_memory(by_class, tmp_path):
    activations = ds.Activations({"a": X, "b": hidden(X)}, labels=LABELS)
    estimators = [ds.TwoNN(), ds.MLE(5), ds.Gride(2, 4)]
    profile = ds.profile(activations, None, estimators, by_class=by_class)
    profile.save(tmp_path / "p.json", influences=True)
    loaded = ds.Profile.load(tmp_path / "p.json")
    assert loaded == profile
    for name in profile.estimators:
        change = ds.difference(profile.of(name)["a"], profile.of(name)["b"])
        assert ds.difference(loaded.of(name)["a"], loaded.of(name)["b"]) == change
        assert ds.difference(loaded.of(name)["a"], profile.of(name)["b"]) == change
    profile.save(tmp_path / "short.json")
    short = ds.Profile.load(tmp_path / "short.json")
    assert short["a"].rows == profile["a"].rows
    with pytest.raises(ds.BadPoints, match="influences=True"):
        ds.difference(short["a"], short["b"])


@pytest.mark.parametrize("damage", ["!", "AAAA", None, 5])
@pytest.mark.parametrize("name", ["scores", "pairs", "rows", "identities"])
def test_load_refuses_damaged_influences(name, damage, tmp_path):
    profile = ds.profile(ds.Activations({"a": X}))
    data = profile.to_dict(influences=True)
    data["layers"][0]["twonn"]["influence"][name] = damage
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ds.BadSource, match="damaged"):
        ds.Profile.load(tmp_path / "p.json")


def test_load_refuses_influences_that_point_outside(tmp_path):
    estimate = ds.estimate(X)
    for change in (
        {"pairs": estimate.influence.pairs + N},
        {"rows": estimate.influence.rows + N},
        {"rows": estimate.influence.rows * 0},
        {"rows": estimate.influence.rows[1:]},
    ):
        wrong = replace(estimate, influence=replace(estimate.influence, **change))
        profile = ds.Profile((ds.Layer("a"),), {"twonn": {"a": wrong}})
        profile.save(tmp_path / "p.json", influences=True)
        with pytest.raises(ds.BadSource, match="do not fit together"):
            ds.Profile.load(tmp_path / "p.json")
