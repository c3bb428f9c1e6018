"""Frozen values: equality, hash, and the plain values that files hold."""

import copy
import importlib
import inspect
import json
import math
import pkgutil
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Literal

import numpy as np
import pytest

import dimscope as ds
from dimscope import Estimate, Layer, Profile, Provenance
from dimscope.analysis.scale import Plateau, ScalePoint
from dimscope.estimators.uncertainty import Influence
from dimscope.profiles.comparison import Comparison, Correlation
from dimscope.profiles.diagnosis.findings import Number
from dimscope.profiles.differences import LayerDifference
from dimscope.values import by_value, from_plain, null_is, to_plain

NAN = math.nan


def provenance(**parameters):
    return Provenance("search", {"shape": [3, 4], **parameters}, {"numpy": "2"}, (Provenance("a"),))


def scale_point(dimension=2.0):
    return ScalePoint(100, 1, (1, 2), 0.5, dimension, NAN, 0.1)


def neighbors(last=3.0):
    return ds.Neighbors(
        [[1.0, 2.0], [1.0, 3.0], [2.0, last]],
        [[1, 2], [0, 2], [0, 1]],
        provenance=provenance(),
        search_again=lambda *_: None,
    )


def profile(name="net"):
    layers = (Layer("input", "input"), Layer("fc", "last_hidden", 3, 1.0, 10))
    estimates = {
        "input": Estimate(NAN, reason="all points are the same", n_points=9),
        "fc": Estimate(3.0, 0.1, n_points=9, corrected=ds.Corrected(3.1, (2.0, 4.0))),
    }
    two = {"twonn": estimates, "pca": {layer: Estimate(4.0) for layer in estimates}}
    spread = {estimator: {"input": NAN, "fc": 0.2} for estimator in two}
    classes = {label: Profile(layers, two, name) for label in ("cat", "dog")}
    two = {
        key: {layer: replace(mean, classes_are="random") for layer, mean in means.items()}
        for key, means in two.items()
    }
    return Profile(layers, two, name, classes, spread, provenance())


def activations(entry=0.0):
    points = {"input": np.full((4, 2), entry), "output": np.arange(8.0).reshape(4, 2)}
    return ds.Activations(points, labels=np.arange(4) % 2, class_names=("a", "b"), name="net")


# For each class: how to make a value, and the fields to change.
VALUES = {
    Estimate: (
        lambda: Estimate(NAN, NAN, resamples=(1.0, NAN), reason="none", provenance=provenance()),
        {"dimension": 1.0, "resamples": (1.0, 2.0), "degrees_of_freedom": 3.0},
    ),
    ds.Preprocessing: (
        lambda: ds.Preprocessing("the magnitude", abs),
        {"text": "as it is", "transform": round, "source": "default"},
    ),
    ds.Corrected: (lambda: ds.Corrected(1.0, (NAN, 2.0)), {"interval": (NAN, 3.0)}),
    ds.Fit: (
        lambda: ds.Fit(2.0, np.array([1.0, NAN])),
        {"scores": np.array([1.0, 2.0]), "reach": 1},
    ),
    Influence: (
        lambda: Influence(np.ones(3), np.array([[0], [1]]), np.arange(3)),
        {"scores": np.full(3, NAN), "rows": np.array([0, 1, 5])},
    ),
    Provenance: (
        lambda: provenance(weight=NAN),
        {"parameters": {"shape": [3, 5], "weight": NAN}, "inputs": (), "versions": {}},
    ),
    Layer: (lambda: Layer("fc", "hidden", 2, 0.5, 10), {"role": "output", "depth": 3}),
    ds.Activations: (
        activations,
        {"points": activations(1.0).points, "labels": np.zeros(4, int), "name": "other"},
    ),
    Profile: (
        profile,
        {"name": "other", "spread": {}, "classes": {}, "estimates": {"twonn": {}}},
    ),
    ds.Spectrum: (
        lambda: ds.Spectrum(np.array([3.0, 1.0]), 10, 2),
        {"eigenvalues": np.array([3.0, 2.0]), "normalized": True},
    ),
    ds.Gap: (lambda: ds.Gap(2, math.inf, NAN), {"ratio": 3.0}),
    ds.ScaleCurve: (
        lambda: ds.ScaleCurve((scale_point(), scale_point(3.0))),
        {"points": (scale_point(), scale_point(4.0))},
    ),
    ScalePoint: (scale_point, {"ranks": (2, 4), "std": 1.0}),
    Plateau: (
        lambda: Plateau(scale_point(), scale_point(), 2.0, NAN),
        {"last": scale_point(3.0), "spread": 0.0},
    ),
    ds.Difference: (lambda: ds.Difference(1.0, NAN, NAN), {"std_error": 0.1}),
    ds.CurvatureTest: (
        lambda: ds.CurvatureTest(4.0, (8.0, NAN)),
        {"surrogates": (8.0, 9.0), "dimension": 5.0},
    ),
    ds.Peak: (
        lambda: ds.Peak("a", ("a", "b"), 8.0, NAN, (7.0, NAN), {"a": 0.6, "b": 0.4}),
        {"layers": ("a",), "probabilities": {"a": 1.0}, "height": 9.0},
    ),
    ds.ShapeTest: (lambda: ds.ShapeTest("flat", NAN, 0.5), {"p_value": 0.4, "claim": "grows"}),
    ds.Trend: (
        lambda: ds.Trend(*[ds.ShapeTest("flat", 1.0, NAN)] * 4, 0.1, 0.5),
        {"flat": ds.ShapeTest("flat", 2.0, NAN), "tolerance": 0.2},
    ),
    ds.Finding: (
        lambda: ds.Finding("hubs", "found", "a", numbers={"share": Number(0.5)}),
        {"numbers": {"share": Number(0.5, 0.1)}, "layers": ("a",), "verdict": "cannot tell"},
    ),
    ds.Diagnosis: (
        lambda: ds.Diagnosis((ds.Finding("hubs", "found", "a"),), "net"),
        {"findings": (), "errors": "joint"},
    ),
    ds.Differences: (
        lambda: ds.Differences((LayerDifference("b", "a", 1.0, NAN, NAN, NAN, (NAN, 2.0)),)),
        {"level": 0.9, "differences": ()},
    ),
    Correlation: (lambda: Correlation(NAN, 4, NAN), {"r": 0.5}),
    Comparison: (
        lambda: Comparison(
            ("a",), (1.0,), (NAN,), (0.5,), Correlation(NAN, 1, NAN), Correlation(NAN, 1, NAN)
        ),
        {"std_errors": (0.1,), "pearson": Correlation(0.1, 1, NAN)},
    ),
    ds.Neighbors: (
        neighbors,
        {"distances": neighbors(4.0).distances, "guarantee": ds.Guarantee.exact(), "n_points": 7},
    ),
    ds.SearchResult: (
        lambda: ds.SearchResult(np.ones((3, 2)), np.ones((3, 2), int), ds.Guarantee(), {"a": [1]}),
        {"details": {"a": [2]}, "indices": np.zeros((3, 2), int)},
    ),
    ds.Guarantee: (ds.Guarantee.exact, {"failure": 1e-6}),
    ds.Plan: (
        lambda: ds.Plan("passes", 8, None, 100, NAN, (("a",), ("b",))),
        {"groups": (), "seconds": 1.0},
    ),
    ds.Exact: (ds.Exact, {}),
    ds.Sketched: (ds.Sketched, {"seed": 1}),
    ds.Sampled: (ds.Sampled, {"rtol": 0.1}),
    ds.Approximate: (
        lambda: ds.Approximate(parameters={"n_neighbors": 9}),
        {"parameters": {}, "method": "faiss-ivf"},
    ),
    ds.TwoNN: (ds.TwoNN, {"discard": 0.2}),
    ds.MLE: (ds.MLE, {"k": 7}),
    ds.Gride: (ds.Gride, {"n2": 9}),
    ds.PCA: (ds.PCA, {"variance": 0.5}),
    ds.EffectiveRank: (ds.EffectiveRank, {"normalized": True}),
    ds.ParticipationRatio: (ds.ParticipationRatio, {"normalized": True}),
    ds.I3D: (lambda: ds.I3D(8, 2), {"near": 1}),
    ds.Resampled: (ds.Resampled, {"n": 3, "estimator": ds.Gride(2, 4)}),
    ds.SkDim: (lambda: ds.SkDim("lPCA", {"ver": "FO"}), {"parameters": {}, "method": "MOM"}),
}
CHANGES = [(cls, name) for cls, (_, changes) in VALUES.items() for name in changes]


@pytest.mark.parametrize("cls", VALUES)
def test_copies_are_equal_with_equal_hashes(cls):
    make, _ = VALUES[cls]
    first, second = make(), make()
    assert type(first) is cls
    assert first == second
    assert first == copy.copy(first)
    assert hash(first) == hash(second)
    assert len({first, second}) == 1
    assert first != "something else"


@pytest.mark.parametrize(("cls", "name"), CHANGES)
def test_one_changed_field_makes_values_unequal(cls, name):
    make, changes = VALUES[cls]
    changed = replace(make(), **{name: changes[name]})
    assert changed != make()
    assert changed == replace(make(), **{name: copy.deepcopy(changes[name])})


@by_value
@dataclass(frozen=True, eq=False)
class Pair:
    first: object
    second: object = field(default=None, compare=False)


@by_value
@dataclass(frozen=True, eq=False)
class Chosen:
    _compared = ("first", "total")
    first: int
    second: int

    @property
    def total(self):
        return self.first + self.second


class Lazy:
    shape = (3, 2)

    def __eq__(self, other):
        raise AssertionError("read from disk")

    __hash__ = None


def entries():
    return {
        "large": np.arange(1e6),
        "empty": np.empty((0, 3)),
        "words": np.array(["a", "b"]),
        "objects": np.array([None, "b"], dtype=object),
        "nan": np.float32(NAN),
        "nested": {"a": [1, (NAN, {"b": np.array([1.0, NAN])})], "c": {1, 2}},
        "zero": 0.0,
    }


@pytest.mark.parametrize("name", entries())
def test_equality_and_hash_reach_into_nested_entries(name):
    first, second = Pair(entries()[name]), Pair(entries()[name])
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros(3), [0.0, 0.0, 0.0]),
        (np.array([1.0, NAN]), np.array([NAN, 1.0])),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": np.zeros(2)}, {"b": np.zeros(2)}),
        ([1, NAN], [1, NAN, NAN]),
        ([1, 2], (1, 2)),
        (NAN, None),
    ],
)
def test_different_entries_are_unequal(first, second):
    assert Pair(first) != Pair(second)
    assert Pair(second) != Pair(first)


def test_negative_zero_equals_zero_with_equal_hash():
    assert hash(Pair(np.array([0.0]))) == hash(Pair(np.array([-0.0])))
    assert Pair(np.array([0.0])) == Pair(np.array([-0.0]))


def test_order_of_mapping_keys_does_not_matter():
    first, second = Pair({"a": 1, "b": NAN}), Pair({"b": NAN, "a": 1})
    assert first == second
    assert hash(first) == hash(second)


def test_fields_with_compare_false_are_ignored():
    assert Pair(1, 2) == Pair(1, 3)
    assert hash(Pair(1, 2)) == hash(Pair(1, 3))
    first, second = neighbors(), neighbors()
    assert first.search_again is not second.search_again
    assert first == second


def test_class_attribute_replaces_the_compared_fields():
    assert Chosen(1, 2) == Chosen(1, 2)
    assert Chosen(1, 2) != Chosen(1, 3)
    assert Chosen(1, 2) != Chosen(2, 1)


def test_array_likes_are_equal_to_themselves_only_and_never_read():
    lazy = Lazy()
    assert Pair(lazy) == Pair(lazy)
    assert Pair(lazy) != Pair(Lazy())
    assert hash(Pair(lazy)) == hash(Pair(lazy))


def test_hash_of_a_large_array_reads_few_entries():
    class Counted(np.ndarray):
        reads = 0

        def item(self, *place):
            Counted.reads += 1
            return super().item(*place)

    hash(Pair(np.arange(10_000).view(Counted)))
    assert 1 <= Counted.reads <= 8


def test_values_of_different_classes_are_unequal():
    assert Pair(1) != Chosen(1, 1)
    assert ds.TwoNN() != ds.Gride()


def test_profile_and_activations_stay_mappings():
    for mapping, key in ((profile(), "fc"), (activations(), "input")):
        assert key in mapping
        assert dict(mapping).keys() == set(mapping)
        assert mapping != dict(mapping)
        assert mapping.get("nowhere") is None


def test_profiles_with_another_first_estimator_are_unequal():
    first = profile()
    second = replace(first, estimates=dict(reversed(first.estimates.items())))
    assert second.estimates == first.estimates
    assert second != first


def test_stored_activations_compare_without_reading_points(tmp_path):
    pytest.importorskip("zarr")
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.zarr"
    ds.capture(torch.nn.Linear(3, 2), torch.ones(5, 3), out=path)
    first, second = ds.open_store(path), ds.open_store(path)
    for chunk in (path / "layers").rglob("c/*"):
        if chunk.is_file():
            chunk.unlink()
    assert first == second
    assert hash(first) == hash(second)
    assert replace(first, path="elsewhere") != second
    assert replace(first, labels=np.zeros(5, int)) != second
    assert ds.Activations(dict.fromkeys(first, np.ones((5, 2))), first.layers) != first


# -- every frozen dataclass of the package ---------------------------------------------------


def frozen_dataclasses():
    for module in pkgutil.walk_packages(ds.__path__, "dimscope."):
        if not module.name.endswith("__main__"):
            try:
                members = vars(importlib.import_module(module.name)).values()
            except ImportError:  # an extra that is not installed
                continue
            for cls in members:
                if (
                    inspect.isclass(cls)
                    and cls.__module__ == module.name
                    and is_dataclass(cls)
                    and cls.__dataclass_params__.frozen
                ):
                    yield cls


def test_every_public_frozen_value_has_an_example_here():
    public = {cls for cls in frozen_dataclasses() if getattr(ds, cls.__name__, None) is cls}
    bases = {
        ds.Engine, ds.Estimator, ds.NeighborEstimator, ds.SpectralEstimator, ds.PointsEstimator,
        ds.StoredActivations,
    }  # fmt: skip
    assert public - bases <= set(VALUES)
    assert len(public) > 20


def test_every_frozen_dataclass_with_arrays_or_mappings_can_be_compared_and_hashed():
    generated = [
        cls for cls in frozen_dataclasses() if cls.__dataclass_params__.eq and "__eq__" in vars(cls)
    ]
    kinds = ("NDArray", "np.ndarray", "Mapping", "dict", "list", "set")
    wrong = [
        (cls.__name__, entry.name)
        for cls in generated
        for entry in fields(cls)
        if entry.compare and entry.hash is not False and str(entry.type).startswith(kinds)
    ]
    assert len(generated) > 10
    assert not wrong


# -- plain values ----------------------------------------------------------------------------


@by_value
@dataclass(frozen=True, eq=False)
class Written:
    number: float
    count: int = 0
    kind: Literal["a", "b"] = "a"
    freedom: float = field(default=math.inf, metadata=null_is(math.inf))
    names: tuple[str, ...] = ()
    best: Layer | None = None


@pytest.mark.parametrize(
    "original",
    [
        provenance(),
        VALUES[Estimate][0](),
        Estimate(3.0, 0.1, degrees_of_freedom=2.0, resample_std=0.2, n_queries=7, resamples=(NAN,)),
        Estimate(3.0, corrected=ds.Corrected(3.0, (1.0, 4.0)), is_lower_bound=True),
        profile(),
        replace(profile(), classes={}, spread={}),
    ],
)
def test_from_dict_gives_back_what_to_dict_took(original):
    plain = original.to_dict()
    text = json.dumps(plain, allow_nan=False)
    assert type(original).from_dict(plain) == original
    again = type(original).from_dict(json.loads(text))
    assert again == original
    assert json.dumps(again.to_dict(), allow_nan=False) == text


@pytest.mark.parametrize("original", [Layer("fc"), ds.Corrected(1.0, (NAN, 2.0))])
def test_from_plain_gives_back_what_to_plain_took(original):
    assert from_plain(type(original), json.loads(json.dumps(to_plain(original)))) == original


def test_numbers_that_are_not_finite_are_written_as_none():
    plain = to_plain(Written(NAN, freedom=math.inf, names=("a",), best=Layer("fc")))
    assert plain["number"] is plain["freedom"] is None
    assert plain["names"] == ["a"]
    assert list(plain) == ["number", "count", "kind", "freedom", "names", "best"]
    assert to_plain([{"a": -math.inf, "b": (1, NAN)}]) == [{"a": None, "b": [1, None]}]


def test_none_is_read_as_nan_or_as_the_number_of_the_field():
    read = from_plain(Written, {"number": None, "freedom": None})
    assert math.isnan(read.number)
    assert read.freedom == math.inf


def test_unknown_keys_are_ignored_and_missing_ones_take_their_default():
    assert from_plain(Written, {"number": 1.0, "newer": [1]}) == Written(1.0)
    assert Estimate.from_dict({"dimension": 2.0, "newer": 1}).n_points == 0


def test_influence_is_not_written():
    estimate = ds.TwoNN()(np.random.default_rng(0).random((50, 2)))
    plain = estimate.to_dict()
    assert estimate.influence is not None
    assert "influence" not in plain
    assert Estimate.from_dict(plain | {"influence": {}}).influence is None
    assert list(plain)[-3:] == ["interval", "estimator", "provenance"]


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"number": "three"},
        {"number": True},
        {"number": 1.0, "count": True},
        {"number": 1.0, "count": 1.5},
        {"number": 1.0, "kind": "c"},
        {"number": 1.0, "names": [1]},
        {"number": 1.0, "names": 3},
        {"number": 1.0, "best": {"name": "fc", "role": "middle"}},
        [],
        None,
    ],
)
def test_damaged_plain_values_are_refused(damaged):
    with pytest.raises((KeyError, TypeError, AttributeError, ValueError)):
        from_plain(Written, damaged)
