"""Cases of what points may be, and of engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import dimscope as ds
from dimscope import manifolds
from recorded import networks
from recorded.casebook import case, empty_folder, uneven
from recorded.estimator_cases import Spread
from recorded.plain import (
    done_of,
    estimate,
    plain,
    points,
    refusal,
    short,
    with_warnings,
)


@case()
def points_of_every_number_type() -> Any:
    whole = np.random.default_rng(16).integers(-500, 500, (300, 3))
    found: dict[str, Any] = {}
    for dtype in ("float16", "float32", "float64", "int16", "int32", "int64"):
        found[dtype] = with_warnings(lambda dtype=dtype: short(ds.TwoNN()(whole.astype(dtype))))
    small = np.random.default_rng(17).integers(0, 256, (300, 24))
    for dtype in ("uint8", "float16", "float32", "int64"):
        found[f"wide {dtype}"] = with_warnings(
            lambda dtype=dtype: short(ds.TwoNN()(small.astype(dtype)))
        )
    bits = small > 127
    # which of tied neighbours are found, and with them the error, depends on the processor
    mle = ds.MLE(10)(bits)
    found["bool"] = [mle.dimension, mle.n_used, mle.tie_fraction]
    found["no error"] = short(ds.MLE(3, "dimension")(small))
    return found


@case()
def points_that_are_no_plain_array() -> Any:
    import pandas as pd

    cloud = uneven(200, 20, seed=18)
    rounded = torch.from_numpy(uneven(200, 20, seed=19)).to(torch.bfloat16)
    several: dict[str, Any] = {
        "array": cloud,
        "lists": cloud.tolist(),
        "tensor": torch.from_numpy(cloud),
        "tensor with a gradient": torch.from_numpy(cloud).requires_grad_(),
        "tensor of columns": torch.from_numpy(cloud.T.copy()).T,
        "columns": np.asfortranarray(cloud),
        "reversed": cloud[::-1, ::-1],
        "every second": np.repeat(cloud, 2, axis=0)[::2],
        "frame": pd.DataFrame(cloud),
        "big endian": cloud.astype(">f8"),
        "bfloat16": rounded,
    }
    return {name: with_warnings(lambda one=one: ds.estimate(one)) for name, one in several.items()}


@case()
def points_far_from_the_origin() -> Any:
    narrow, wide = manifolds.cube(300, 3, seed=20), uneven(300, 40, seed=21)
    found: dict[str, Any] = {}
    for offset in (0.0, 1e3, 1e6):
        for name, cloud in (("narrow", narrow), ("wide", wide)):
            shifted = cloud + offset
            found[f"{name} {offset:g}"] = [
                short(ds.estimate(shifted)),
                short(ds.PCA()(shifted)),
                plain(ds.nearest_neighbors(shifted).distances[:3]),
            ]
    found["single"] = short(ds.estimate((np.round(wide * 64) / 64 + 4096).astype(np.float32)))
    found["tiny"] = short(ds.estimate(wide * 1e-150))
    found["huge"] = short(ds.estimate(wide * 1e150))
    found["too huge"] = refusal(lambda: ds.estimate(wide / np.abs(wide).max() * 1e308))
    return found


@case()
def duplicates_are_collapsed_and_counted() -> Any:
    cloud = uneven(200, 20, seed=22)
    repeated = np.concatenate([cloud, cloud[::5], cloud[:7]])
    neighbors = ds.nearest_neighbors(repeated, 4)
    signed = np.array([[0.0, 1], [-0.0, 1], [2, 3], [4, 9], [8, 1], [5, 5]])
    return {
        "estimate": estimate(ds.estimate(repeated)),
        "linear": short(ds.PCA()(repeated)),
        "points": estimate(Spread()(repeated)),
        "rows": plain(neighbors.rows[-12:]),
        "sizes": [neighbors.n_points, neighbors.n_distinct, neighbors.n_duplicates, neighbors.k],
        "indices": plain(neighbors.indices[:4]),
        "signed zeros": plain(ds.nearest_neighbors(signed).rows),
        "all the same": refusal(lambda: ds.estimate(np.ones((50, 3)))),
        "two distinct": refusal(lambda: ds.estimate(np.repeat([[0.0, 1], [2, 3]], 5, axis=0))),
    }


@case()
def ties_are_counted_and_warned_of() -> Any:
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), -1).reshape(-1, 2)
    rounded = np.round(manifolds.cube(400, 4, seed=23) * 12) / 12
    return {
        "rounded": with_warnings(lambda: ds.estimate(rounded)),
        "rounded gride": with_warnings(lambda: ds.Gride(2, 8)(rounded)),
        "rounded mle": with_warnings(lambda: ds.MLE(6)(rounded)),
        "grid": refusal(lambda: ds.estimate(grid)),
    }


@case()
def a_memory_map_of_points() -> Any:
    cloud = uneven(300, 30, seed=24)
    with empty_folder():
        np.save("points.npy", cloud)
        mapped = np.load("points.npy", mmap_mode="r")
        found = estimate(ds.estimate(mapped))
        same = found == estimate(ds.estimate(cloud))
        del mapped
    return {"estimate": found, "same as in memory": same}


@case("dask")
def a_dask_array_of_points() -> Any:
    import dask
    import dask.array as da

    cloud = uneven(300, 30, seed=25)
    cloud = np.concatenate([cloud, cloud[:9]])
    array = da.from_array(cloud, chunks=(70, 16))
    with dask.config.set(scheduler="threads"):
        neighbors = ds.nearest_neighbors(array, 3)
        found = {
            "several": {
                name: estimate(one)
                for name, one in ds.estimate(array, [ds.TwoNN(), ds.Gride(2, 4)]).items()
            },
            "neighbours": [repr(neighbors), neighbors.n_duplicates, plain(neighbors.indices[:5])],
            "distances": plain(neighbors.distances[:5]),
        }
    return found


@case("zarr")
def a_layer_of_a_store_as_points() -> Any:
    with empty_folder():
        stored = ds.capture(networks.mlp(), networks.mlp_inputs(200), out="layers.zarr")
        assert isinstance(stored, ds.StoredActivations)
        layer = stored.stored("0")
        return {
            "layer": [list(layer.shape), layer.dtype.name, layer.nbytes],
            "part": plain(layer[3:5, :4]),
            "estimate": with_warnings(lambda: ds.estimate(layer)),
            "linear": short(ds.ParticipationRatio()(layer)),
            "neighbours": plain(ds.nearest_neighbors(layer, 3).distances[:3]),
        }


@case()
def neighbours_that_are_given() -> Any:
    cloud = manifolds.sphere(200, 2, seed=26)
    distance = np.abs(cloud[:, None] - cloud[None]).max(axis=2)
    order = np.argsort(distance, axis=1, kind="stable")[:, 1:9]
    given = ds.Neighbors(np.take_along_axis(distance, order, axis=1), order)
    two = [[1.0, 2.0]] * 3
    refused = [
        lambda: ds.Neighbors(two, [[1, 2], [0, 2], [0, 2]]),
        lambda: ds.Neighbors([[2.0, 1.0]] * 3, [[1, 2], [0, 2], [0, 1]]),
        lambda: ds.Neighbors([[0.0, 1.0]] * 3, [[1, 2], [0, 2], [0, 1]]),
        lambda: ds.Neighbors(two, [[1, 1], [0, 2], [0, 1]]),
        lambda: ds.Neighbors(two, [[1, 7], [0, 2], [0, 1]]),
        lambda: ds.Neighbors(two[:2], [[1, 0], [0, 1]]),
        lambda: ds.Neighbors([[1.0]] * 3, [[1], [0], [0]]),
        lambda: ds.MLE(10)(given),
        lambda: ds.PCA()(given),
    ]
    return {
        "text": repr(given),
        "several": {
            name: estimate(one)
            for name, one in ds.estimate(given, [ds.TwoNN(), ds.MLE(8), ds.Gride(2, 4)]).items()
        },
        "of few": float(ds.TwoNN(discard=0)(ds.Neighbors([[1, 2]] * 3, [[1, 2], [0, 2], [0, 1]]))),
        "refused": [refusal(one) for one in refused],
    }


@case()
def points_that_cannot_be_measured() -> Any:
    cloud = manifolds.cube(20, 3, seed=27)
    missing, endless = cloud.copy(), cloud.copy()
    missing[7, 2], endless[3, 0] = np.nan, -np.inf
    refused = {
        "missing": missing,
        "endless": endless,
        "flat list": [1.0, 2.0, 3.0],
        "number": 3.0,
        "three axes": np.zeros((4, 2, 2)),
        "ragged": [[1, 2], [3], [4, 5]],
        "words": np.array([["a", "b"]] * 4),
        "complex": cloud + 1j,
        "objects": np.array([[1, None], [2, 3], [4, 5]], dtype=object),
        "empty": np.empty((0, 3)),
        "no features": np.empty((5, 0)),
        "two points": cloud[:2],
        "masked": np.ma.masked_array(cloud, mask=cloud > 2),
        "long integers": np.array([[2**60, 1], [3, 4], [5, 9], [7, 7]]),
        "nothing": None,
        "on a line twice": np.array([[0.0], [0.0], [1.0], [1.0]]),
    }
    found = {name: refusal(lambda one=one: ds.estimate(one)) for name, one in refused.items()}
    found["too many neighbours"] = refusal(lambda: ds.nearest_neighbors(cloud, 20))
    found["one neighbour"] = refusal(lambda: ds.nearest_neighbors(cloud, 1))
    return found


@case()
def nearest_neighbours_with_distances_and_rows() -> Any:
    found: dict[str, Any] = {}
    for name, cloud in (("narrow", manifolds.torus(200, 2, seed=28)), ("wide", uneven(200, 50))):
        one = ds.nearest_neighbors(cloud, 6)
        found[name] = {
            "text": repr(one),
            "distances": plain(one.distances[::40]),
            "indices": plain(one.indices[::40]),
            "every index": points(one.indices),
            "rows": [int(one.rows[0]), int(one.rows[-1])],
            "queries": one.n_queries,
            "mean": float(one.distances.mean()),
            "provenance": plain(one.provenance),
        }
    found["line"] = plain(ds.nearest_neighbors([[0.0], [1.0], [3.0], [3.0]]).distances)
    found["at most"] = ds.nearest_neighbors([[0.0], [1.0], [3.0]], 9, at_most=True).k
    told: list[float] = []
    ds.nearest_neighbors(uneven(200, 50), progress=lambda *step: told.append(done_of(step)))
    found["progress"] = [told == sorted(told), told[-1]]
    return found


@case()
def exact_and_sketched_engines_agree() -> Any:
    found: dict[str, Any] = {}
    for name, cloud in (("few features", uneven(300, 8)), ("many features", uneven(300, 300))):
        exact = ds.nearest_neighbors(cloud, 3, ds.Exact())
        sketched = ds.nearest_neighbors(cloud, 3, ds.Sketched(failure=1e-9, seed=2))
        found[name] = {
            "texts": [repr(exact), repr(sketched)],
            "same indices": bool(np.array_equal(exact.indices, sketched.indices)),
            "distances": [plain(exact.distances[:3]), plain(sketched.distances[:3])],
            "estimates": [
                estimate(ds.TwoNN()(cloud, ds.Exact())),
                estimate(ds.TwoNN()(cloud, ds.Sketched(1e-9, 2))),
            ],
        }
    return found


@case()
def the_sampled_engine_and_its_error() -> Any:
    cloud = uneven(3000, 20, seed=29)
    neighbors = ds.nearest_neighbors(cloud, 2, ds.Sampled(rtol=0.1, seed=1))
    several = ds.estimate(cloud, [ds.TwoNN(), ds.Gride(1, 3)], ds.Sampled(rtol=0.06))
    return {
        "text": repr(neighbors),
        "sizes": [neighbors.n_points, neighbors.n_distinct, neighbors.n_queries],
        "queries": plain(neighbors.queries[:10]),
        "first": ds.Sampled(0.03).first,
        "estimates": {name: estimate(one) for name, one in several.items()},
        "other seed": estimate(ds.TwoNN()(cloud, ds.Sampled(0.08, seed=5))),
        "all points": estimate(ds.TwoNN()(cloud[:200], ds.Sampled(0.01))),
        "refused": [
            refusal(lambda: ds.local_dimension(neighbors, 3)),
            refusal(lambda: neighbors.within([0, 1, 2])),
            refusal(lambda: ds.TwoNN(fit="triplets")(neighbors)),
        ],
    }


@case("faiss")
def an_approximate_engine_that_looks_everywhere() -> Any:
    cloud = uneven(400, 24, seed=30)
    engine = ds.Approximate("faiss-ivf", seed=3, sample=50, parameters={"nlist": 1, "nprobe": 1})
    found = ds.nearest_neighbors(cloud, 3, engine)
    exact = ds.nearest_neighbors(cloud, 3)
    return {
        "text": repr(found),
        "same indices": bool(np.array_equal(found.indices, exact.indices)),
        "distances": plain(found.distances[:4]),
        "estimate": estimate(ds.TwoNN()(cloud, engine)),
        "within": repr(found.within(range(0, 400, 2))),
    }


@case()
def neighbours_within_some_of_the_points() -> Any:
    cloud = uneven(300, 20, seed=31)
    found = ds.nearest_neighbors(cloud, 8)
    some = found.within(np.arange(0, 300, 3), 3)
    few = found.within(np.arange(5, 300, 29))
    groups = found.split([np.arange(0, 100), np.arange(100, 300)], 4)
    again = some.within(np.arange(50))
    rows = np.arange(0, 300, 3)
    return {
        "texts": [repr(one) for one in (some, few, *groups, again)],
        "distances": [plain(one.distances[:3]) for one in (some, few, *groups, again)],
        "indices": [plain(one.indices[:3]) for one in (some, few, *groups, again)],
        "rows": [plain(one.rows[:4]) for one in (some, few, *groups, again)],
        "same as a search": bool(
            np.array_equal(some.indices, ds.nearest_neighbors(cloud[rows], 3).indices)
        ),
        "dimensions": [float(ds.TwoNN()(one)) for one in (some, few, *groups, again)],
        "refused": [
            refusal(lambda: found.within([0, 0, 1, 2])),
            refusal(lambda: found.within([0, 1, 300])),
            refusal(lambda: found.within(np.ones(300, bool))),
        ],
    }
