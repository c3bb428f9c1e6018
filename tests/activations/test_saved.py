"""Activations that others have saved: the layers in order, or a sentence on how to say it."""

import json
import re
from contextlib import nullcontext

import dask.array
import h5py
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import zarr

import dimscope as ds
from dimscope.errors import CaptureWarning
from dimscope.manifolds import sphere
from reference import ByDLPack

A, B, C = sphere(60, 2, seed=1), sphere(60, 3, seed=2).astype(np.float32), sphere(60, 4, seed=3)
LAYERS = {"layer1": A, "layer2": B, "layer10": C}
HIDDEN = torch.randn(60, 7, 5, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(7) < torch.randint(1, 8, (60, 1), generator=torch.Generator().manual_seed(1))


def folder_of(save, suffix):
    def write(path):
        path.mkdir()
        for name, points in LAYERS.items():
            save(path / f"{name}{suffix}", points)

    return write


def thingsvision(path):
    for name, points in LAYERS.items():
        (path / name).mkdir(parents=True)
        np.save(path / name / "features.npy", points)
        (path / name / "file_names.txt").write_text("a.jpg\nb.jpg\n")


def one_h5(path):
    with h5py.File(path, "w") as file:
        for name, points in LAYERS.items():
            file.create_dataset(name, data=points, chunks=(16, points.shape[1]))
        file["labels"] = np.arange(60)


def h5_in_groups(path):
    with h5py.File(path, "w") as file:
        for name, points in LAYERS.items():
            file[f"model/{name}"] = points


def shards(path):
    path.mkdir()
    safetensors.numpy.save_file({"layer1": A, "layer10": C}, path / "f-00001-of-00002.safetensors")
    safetensors.numpy.save_file({"layer2": B}, path / "f-00002-of-00002.safetensors")


def indexed(path):
    shards(path)
    files = {"layer2": 2, "layer1": 1, "layer10": 1}
    places = {name: f"f-0000{n}-of-00002.safetensors" for name, n in files.items()}
    (path / "f.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def with_labels(path):
    folder_of(np.save, ".npy")(path)
    np.save(path / "labels.npy", np.arange(60))
    (path / "._layer1.npy").write_bytes(b"of another system")


NATURAL = ["layer1", "layer2", "layer10"]
BACKWARDS = {name: LAYERS[name] for name in reversed(LAYERS)}

OPENED = {
    "npy": ("acts", folder_of(np.save, ".npy"), NATURAL),
    "npy and labels": ("acts", with_labels, NATURAL),
    "torch": (
        "acts", folder_of(lambda p, x: torch.save(torch.from_numpy(x), p), ".pt"), NATURAL,
    ),
    "safetensors": (
        "acts",
        folder_of(lambda p, x: safetensors.numpy.save_file({"x": x}, p), ".safetensors"),
        NATURAL,
    ),
    "thingsvision": ("acts", thingsvision, NATURAL),
    "hdf5": ("acts.h5", one_h5, NATURAL),
    "hdf5 in groups": ("acts.h5", h5_in_groups, [f"model/{name}" for name in NATURAL]),
    "npz": ("acts.npz", lambda p: np.savez(p, **BACKWARDS), list(BACKWARDS)),
    "one safetensors": (
        "acts.safetensors", lambda p: safetensors.numpy.save_file(LAYERS, p), NATURAL,
    ),
    "shards": ("acts", shards, NATURAL),
    "shards and index": ("acts", indexed, ["layer2", "layer1", "layer10"]),
    "torch dict": (
        "acts.pt",
        lambda p: torch.save({k: torch.from_numpy(v) for k, v in BACKWARDS.items()}, p),
        list(BACKWARDS),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OPENED)
def test_open_activations_opens_each_layer_in_order(tmp_path, case):
    name, write, order = OPENED[case]
    write(tmp_path / name)
    activations = ds.open_activations(tmp_path / name)
    assert list(activations) == order
    for layer in order:
        expected = LAYERS[layer.rpartition("/")[2]]
        np.testing.assert_array_equal(np.asarray(activations[layer]), expected)
    said = activations.provenance.parameters["opened"]
    assert ", ".join(order) in said
    assert ("left out: labels (60,) int64" in said) == (case in ("npy and labels", "hdf5"))
    assert [layer.relative_depth for layer in activations.layers] == [0, 0.5, 1]
    assert activations.name == name


@pytest.mark.parametrize("case", ["npy", "hdf5", "shards and index", "npz"])
def test_profile_of_saved_activations_equals_that_of_the_arrays(tmp_path, case):
    name, write, order = OPENED[case]
    write(tmp_path / name)
    expected = ds.profile(ds.Activations({layer: LAYERS[layer] for layer in order}))
    profile = ds.profile(tmp_path / name)
    assert {layer: float(profile[layer]) for layer in profile} == {
        layer: float(expected[layer]) for layer in order
    }
    part = ds.profile(str(tmp_path / name), layers=["layer10", "layer[12]"])
    assert list(part) == ["layer10", *[layer for layer in order if layer != "layer10"]]


def test_open_activations_maps_files_and_does_not_read_hdf5(tmp_path):
    folder_of(np.save, ".npy")(tmp_path / "acts")
    one_h5(tmp_path / "acts.h5")
    for layer in ds.open_activations(tmp_path / "acts").values():
        assert isinstance(layer, np.memmap)
    layers = ds.open_activations(tmp_path / "acts.h5").values()
    assert {type(layer).__name__ for layer in layers} == {"H5Blocks"}


class Cache:
    """A mapping in all but name, as the ActivationCache of TransformerLens is."""

    def __init__(self, content):
        self.content = content

    def keys(self):
        return self.content.keys()

    def __getitem__(self, key):
        return self.content[key]


def test_open_activations_takes_mappings_and_tuples():
    tensors = {name: torch.from_numpy(points) for name, points in LAYERS.items()}
    expected = ds.profile(ds.Activations(LAYERS))
    for source in (
        LAYERS,
        tensors,
        Cache(tensors),
        {name: ByDLPack(tensor) for name, tensor in tensors.items()},
    ):
        profile = ds.profile(source)
        assert list(profile) == list(LAYERS)
        assert [float(e) for e in profile.values()] == [float(e) for e in expected.values()]
    assert list(ds.open_activations(tuple(tensors.values()))) == ["0", "1", "2"]
    assert list(ds.open_activations({"hidden": [A, C]})) == ["hidden/0", "hidden/1"]


@pytest.mark.parametrize("readout", ["mean", "max", "first", "last", "flatten"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_readouts_equal_those_of_a_capture(readout, mask, tmp_path):
    from dimscope.networks.capturing.readouts import READOUTS

    if readout == "flatten" and mask is not None:
        with pytest.raises(ds.BadPoints, match="contain padding"):
            ds.open_activations((HIDDEN,), readout="flatten", mask=mask)
        return
    expected = READOUTS[readout](HIDDEN, mask).reshape(60, -1).numpy()
    np.save(tmp_path / "hidden.npy", HIDDEN.numpy())
    with h5py.File(tmp_path / "hidden.h5", "w") as file:
        file["hidden"] = HIDDEN.numpy()
    for source in ((HIDDEN,), tmp_path / "hidden.npy", tmp_path / "hidden.h5"):
        activations = ds.open_activations(source, readout=readout, mask=mask)
        np.testing.assert_allclose(
            np.asarray(next(iter(activations.values()))), expected, rtol=1e-5, atol=1e-7
        )
        said = activations.provenance.parameters["opened"]
        assert ("no mask" in said) == (mask is None and readout != "flatten")


def test_features_of_convolutions_are_flattened_as_by_a_capture(tmp_path):
    images = np.random.default_rng(0).standard_normal((60, 3, 4, 4))
    np.save(tmp_path / "conv.npy", images)
    with h5py.File(tmp_path / "conv.h5", "w") as file:
        file["conv"] = images
    for source in ({"conv": images}, tmp_path / "conv.npy", tmp_path / "conv.h5"):
        points = np.asarray(ds.open_activations(source)["conv"])
        np.testing.assert_array_equal(points, images.reshape(60, -1))
    mean = ds.open_activations({"conv": images}, readout="mean")["conv"]
    np.testing.assert_allclose(mean, images.mean((2, 3)))


def short(path):
    folder_of(np.save, ".npy")(path)
    np.save(path / "layer2.npy", B[:50])


def parts(path):
    path.mkdir()
    for start in (0, 20, 40):
        np.save(path / f"features_{start}-{start + 20}.npy", A[start : start + 20])


def one_a_stimulus(path):
    path.mkdir()
    for number in range(5):
        np.save(path / f"image{number}.npy", A[number : number + 1])


def chunks(path):
    path.mkdir()
    for number in range(2):
        np.save(path / f"rank0_chunk{number}_features.npy", A[:30])


def parts_of_dask(path):
    path.mkdir()
    for number in range(2):
        pd.DataFrame(A).to_parquet(path / f"part.{number}.parquet")


def twice(path):
    shards(path)
    safetensors.numpy.save_file({"layer1": A}, path / "g.safetensors")


def damaged_index(path):
    shards(path)
    (path / "f.index.json").write_text('{"weight_map": {"layer1": "../f.safetensors"}}')


def too_deep(path):
    folder_of(np.save, ".npy")(path)
    (path / "a" / "b").mkdir(parents=True)
    np.save(path / "a" / "b" / "layer4.npy", A)


def no_array(path):
    path.mkdir()
    for name in ("a.mat", "b.pkl", "notes.txt"):
        (path / name).write_text("x")


def transposed(path):
    folder_of(np.save, ".npy")(path)
    np.save(path / "layer2.npy", B.T)


def transposed_first(path):
    folder_of(np.save, ".npy")(path)
    np.save(path / "layer1.npy", A.T)


def weights(path):
    path.mkdir()
    torch.save({"a.weight": torch.zeros(60, 3), "b.weight": torch.ones(60, 3)}, path / "w.pt")


def two_formats(path):
    path.mkdir()
    np.save(path / "layer1.npy", A)
    torch.save(torch.from_numpy(A), path / "layer1.pt")


REFUSED = {
    "rows": (short, {}, "layer1 has 60 rows and layer2 has 50"),
    "parts": (parts, {}, "rows 0 to 60 of one layer in parts"),
    "stimuli": (one_a_stimulus, {}, "each of 5 layers has 1 rows; if each array is a stimulus"),
    "chunks": (chunks, {}, "seem to hold the rows of one layer in parts"),
    "parts of dask": (parts_of_dask, {}, "the files part.0 and part.1 in .* rows of one layer in"),
    "twice": (twice, {}, "layer layer1 is in .* and in"),
    "index": (damaged_index, {}, "not a file in the same folder"),
    "two formats": (two_formats, {}, "two files for layer layer1"),
    "deep": (too_deep, {}, "b/layer4.npy lies too deep"),
    "no array": (no_array, {}, "no file of arrays.*; left out: a.mat, b.pkl, notes.txt"),
    "transposed": (transposed, {}, r"layer2 has 4 \(is layer2 transposed\?\)"),
    "transposed first": (transposed_first, {}, r"60 \(is layer1 transposed\?\)"),
    "weights": (weights, {}, "the weights of a network, not its activations: a.weight"),
    "zarr 2": (
        lambda p: zarr.open(p, mode="w", shape=A.shape, zarr_format=2),
        {},
        "folder of Zarr, .* open it with zarr.open",
    ),
    "zarr 3": (
        lambda p: zarr.open(p, mode="w", shape=A.shape, zarr_format=3),
        {},
        "not a dimscope store; .* open it with zarr.open and give its arrays",
    ),
    "nothing": (lambda p: p.mkdir(), {}, "holds no file of arrays"),
    "missing": (lambda p: None, {}, "there is no file"),
    "name": (folder_of(np.save, ".npy"), {"layers": ["layer3"]}, "no layer 'layer3'.*Did you"),
    "readout": (folder_of(np.save, ".npy"), {"readout": "cls"}, "use one of 'flatten', 'mean'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_open_activations_refuses_in_one_sentence(tmp_path, case):
    write, options, message = REFUSED[case]
    write(tmp_path / "acts")
    with pytest.raises(ValueError, match=message) as refused:
        ds.open_activations(tmp_path / "acts", **options)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ((HIDDEN, HIDDEN), {}, "layer 0: its shape is .* may be that of tokens; give readout="),
        ({"a": A, "b": B[:9]}, {}, "a has 60 rows and b has 9"),
        ({"a": A, "y": np.arange(60)}, {}, r"layer y has shape \(60,\)"),
        ({"a": A, "cache": object()}, {}, "cache is a object, not an array"),
        ({}, {}, "holds no layer"),
        (
            {"conv": np.zeros((60, 7, 4, 4)), "tokens": HIDDEN, "fc": A},
            {"readout": "mean", "mask": MASK},
            r"layer conv has shape .* mask of tokens .* layers=\['tokens', 'fc'\]",
        ),
        ({"conv": np.zeros((60, 7, 4, 4))}, {"readout": "mean", "mask": MASK}, "leave the mask"),
        ({"d": dask.array.from_array(A)[dask.array.from_array(A)[:, 0] > 0]}, {}, "unknown number"),
        (A, {}, "the source is a ndarray, not a set of layers"),
        ((HIDDEN,), {"readout": "last", "mask": MASK[:9]}, "mask has shape"),
        ((HIDDEN[:, 1:],), {"readout": "last", "mask": MASK}, "the mask has 7 tokens"),
        ({"a": A, "s": np.array([["x"]] * 60)}, {}, "layer s: .*not numbers"),
    ],
)
def test_open_activations_refuses_arrays_in_memory(source, options, message):
    with pytest.raises(ds.BadPoints, match=message):
        ds.open_activations(source, **options)


@pytest.mark.parametrize(
    "source",
    [
        {"a/b": A, "a": {"b": A}},
        {1: A, "1": B},
    ],
)
def test_open_activations_refuses_layers_of_equal_names(source):
    with pytest.raises(ds.BadSource, match="two arrays with the name"):
        ds.open_activations(source)


def test_open_activations_warns_of_an_order_that_names_do_not_state(tmp_path):
    layers = dict.fromkeys(("conv1", "layer1", "layer2", "avgpool", "fc"), A)
    (tmp_path / "acts").mkdir()
    for name, points in layers.items():
        np.save(tmp_path / "acts" / f"{name}.npy", points)
    guessed = "guessed from their names: avgpool, conv1, fc, layer1, layer2; name them in order"
    with pytest.warns(CaptureWarning, match=guessed):
        ds.open_activations(tmp_path / "acts")
    with pytest.warns(CaptureWarning, match="guessed"):
        ds.open_activations(tmp_path / "acts", layers="*")
    named = ds.open_activations(tmp_path / "acts", layers=["conv1", "layer*", "avgpool", "fc"])
    assert list(named) == list(layers)
    assert list(ds.open_activations(layers)) == list(layers)
    np.savez(tmp_path / "acts.npz", **layers)
    assert list(ds.open_activations(tmp_path / "acts.npz")) == list(layers)


def test_open_activations_gives_input_and_output_their_roles(tmp_path):
    folder_of(np.save, ".npy")(tmp_path / "acts")
    np.save(tmp_path / "acts" / "input.npy", A)
    np.save(tmp_path / "acts" / "output.npy", A)
    layers = ds.open_activations(tmp_path / "acts").layers
    assert [layer.role for layer in layers] == ["input", "hidden", "hidden", "hidden", "output"]


def test_open_activations_names_each_file_that_is_not_opened(tmp_path):
    folder = tmp_path / "acts"
    folder_of(np.save, ".npy")(folder)
    (folder / "more" / "deep").mkdir(parents=True)
    for name in ("a.mat", "b.pkl", "numbers.txt", "more/deep/notes.md"):
        (folder / name).write_text("1 2\n3 4\n")
    np.savetxt(folder / "labels.csv", np.arange(60), header="label", comments="", fmt="%d")
    activations = ds.open_activations(folder)
    assert list(activations) == NATURAL
    said = activations.provenance.parameters["opened"]
    assert said.endswith(
        "left out: labels (60, 1) table, a.mat, b.pkl, more/deep/notes.md, numbers.txt"
    )
    assert list(ds.open_activations(folder, layers=["layer1", "labels"])) == ["layer1", "labels"]


def test_open_activations_names_what_an_index_does_not(tmp_path):
    indexed(tmp_path / "acts")
    np.save(tmp_path / "acts" / "layer3.npy", A)
    file = tmp_path / "acts" / "f-00002-of-00002.safetensors"
    safetensors.numpy.save_file({"layer2": B, "layer4": B}, file)
    said = ds.open_activations(tmp_path / "acts").provenance.parameters["opened"]
    assert said.endswith("left out: layer4 (60, 4) float32, layer3.npy")


def test_open_activations_leaves_out_links_and_refuses_sparse_layers(tmp_path):
    one_h5(tmp_path / "acts.h5")
    with h5py.File(tmp_path / "acts.h5", "a") as file:
        file["last"] = h5py.SoftLink("/layer10")
        del file["labels"]
    activations = ds.open_activations(tmp_path / "acts.h5")
    assert list(activations) == NATURAL
    said = activations.provenance.parameters["opened"]
    assert said.endswith("left out: last () link, not followed")
    one_h5(tmp_path / "more.h5")
    with h5py.File(tmp_path / "more.h5", "a") as file:
        for name in ("data", "indices", "indptr"):
            file[f"layer3/{name}"] = np.arange(61)
    with pytest.raises(ds.BadSource, match=r"layer3 of .* is a sparse matrix; give its"):
        ds.open_activations(tmp_path / "more.h5")


def test_open_activations_takes_numbers_joined_by_a_dash_as_names(tmp_path):
    names = ["conv1-1", "conv1-2", "conv2-1"]
    for name in names:
        np.save(tmp_path / f"{name}.npy", A)
    assert list(ds.open_activations(tmp_path)) == names


@pytest.mark.parametrize(
    ("names", "is_guessed"),
    [
        (["ep_0.5", "ep_1.25", "ep_1.5", "ep_10.0"], True),
        (["0.5", "1.25", "1.5", "10.0"], True),
        (["loss_-1.5", "loss_-1.25", "loss_-0.75"], False),
        (["blocks.1.5", "blocks.1.25"], True),
        (["ep_0.5", "ep_1.5", "ep_10.0"], False),
        ([f"blocks.{i}.{j}" for i in range(2) for j in range(12)], False),
        ([f"{i}.{j}" for i in range(2) for j in range(12)], False),
        (["v1.2.3", "v1.2.12"], False),
        (["layer_-12", "layer_-3", "layer_-1"], False),
        (["-3", "-2", "-1"], False),
        (["conv-1", "conv-2", "conv-12"], False),
        (["layer_-1", "layer_0", "layer_2"], True),
    ],
)
def test_open_activations_orders_by_decimals_and_signs_or_warns(tmp_path, names, is_guessed):
    for name in reversed(names):
        np.save(tmp_path / f"{name}.npy", A)
    guessed = rf"guessed from their names: {re.escape(', '.join(names[:4]))}"
    with pytest.warns(CaptureWarning, match=guessed) if is_guessed else nullcontext():
        activations = ds.open_activations(tmp_path)
    assert list(activations) == names


def test_open_activations_reads_no_stored_array_before_it_is_measured(tmp_path):
    tasks = []

    def counted(block):
        tasks.append(block.shape)
        return block

    lazy = dask.array.from_array(A, chunks=20).map_blocks(counted, meta=np.empty((0, 0)))
    images = np.random.default_rng(0).standard_normal((60, 2, 3, 4))
    stored = zarr.create_array(store={}, data=A)
    np.save(tmp_path / "a.npy", np.asfortranarray(images))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = images
        source = {
            "dask": lazy,
            "dask images": dask.array.from_array(images),
            "zarr": stored,
            "zarr images": zarr.create_array(store={}, data=images),
            "hdf5": file["x"],
            "fortran": np.load(tmp_path / "a.npy", mmap_mode="r"),
        }
        activations = ds.open_activations(source)
        assert not tasks
        types = [type(points).__name__ for points in activations.values()]
        assert types == ["Array", "Array", "ZarrBlocks", "FlatBlocks", "H5Blocks", "FlatBlocks"]
        profile = ds.profile(activations)
        flat = images.reshape(60, -1)
        expected = [float(ds.estimate(x)) for x in (A, flat, A, flat, flat, flat)]
        assert [float(estimate) for estimate in profile.values()] == pytest.approx(expected)


@pytest.mark.parametrize("source", [A, torch.from_numpy(A)])
def test_profile_says_how_to_measure_one_array(source):
    with pytest.raises(ds.BadPoints, match=r"use dimscope.estimate\(points\), or give a dict"):
        ds.profile(source)


def test_open_activations_opens_a_store(tmp_path):
    place = tmp_path / "store.zarr"
    net = torch.nn.Linear(3, 2)
    ds.capture(net, torch.randn(20, 3), out=place)
    assert list(ds.open_activations(place)) == list(ds.open_store(place))
    with pytest.raises(ds.BadSource, match="in which layers is stated already"):
        ds.open_activations(place, layers=["output"])
    with pytest.raises(TypeError, match="already been captured"):
        ds.profile({"a": A}, torch.randn(20, 3))
    with pytest.raises(TypeError, match="give the ids of their rows as exclude= or groups="):
        ds.profile({"a": A}, ids=range(len(A)))


def test_lists_of_arrays_may_be_batches(tmp_path):
    batches = [torch.from_numpy(part) for part in np.split(A, 3)]
    torch.save({"fc": batches}, tmp_path / "a.pt")
    with pytest.warns(CaptureWarning, match=r"fc/1, \.\.\.; if these are batches .* torch.cat"):
        assert list(ds.open_activations(tmp_path / "a.pt")) == ["fc/0", "fc/1", "fc/2"]
    ds.open_activations({"hidden_states": batches})  # a warning would be an error


def test_mean_that_one_token_decides_is_said(tmp_path):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((60, 9, 4))
    sink = states.copy()
    sink[:, 0] *= 100
    layers = {"layer1": states, "layer2": sink}
    with pytest.warns(CaptureWarning, match=r"1 of 2 layers \(layer2\), the first token is long"):
        ds.open_activations(layers, readout="mean")
    ds.open_activations(layers, readout="last")  # a warning would be an error
    mask = np.arange(9) > 0  # what the warning advises
    ds.open_activations(layers, readout="mean", mask=np.tile(mask, (60, 1)))
