"""Activations that others have saved: the layers in order, or a sentence on how to say it."""

import json

import h5py
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import dimscope as ds
from dimscope.manifolds import sphere

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


class ByDLPack:
    """An array that offers its values by DLPack only."""

    def __init__(self, tensor):
        self.tensor, self.shape, self.dtype = tensor, tensor.shape, tensor.dtype

    def __len__(self):
        return len(self.tensor)

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


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


def chunks(path):
    path.mkdir()
    for number in range(2):
        np.save(path / f"rank0_chunk{number}_features.npy", A[:30])


def twice(path):
    shards(path)
    safetensors.numpy.save_file({"layer1": A}, path / "g.safetensors")


def damaged_index(path):
    shards(path)
    (path / "f.index.json").write_text('{"weight_map": {"layer1": "../f.safetensors"}}')


def two_formats(path):
    path.mkdir()
    np.save(path / "layer1.npy", A)
    torch.save(torch.from_numpy(A), path / "layer1.pt")


REFUSED = {
    "rows": (short, {}, "layer1 has 60 rows and layer2 has 50"),
    "parts": (parts, {}, "rows 0 to 60 of one layer in parts"),
    "chunks": (chunks, {}, "seem to hold the rows of one layer in parts"),
    "twice": (twice, {}, "layer layer1 is in .* and in"),
    "index": (damaged_index, {}, "not a file in the same folder"),
    "two formats": (two_formats, {}, "two files for layer layer1"),
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
        (A, {}, "the source is a ndarray, not a set of layers"),
        ((HIDDEN,), {"readout": "last", "mask": MASK[:9]}, "mask has shape"),
        ((HIDDEN[:, 1:],), {"readout": "last", "mask": MASK}, "the mask has 7 tokens"),
        ({"a": A, "s": np.array([["x"]] * 60)}, {}, "layer s: .*not numbers"),
    ],
)
def test_open_activations_refuses_arrays_in_memory(source, options, message):
    with pytest.raises(ds.BadPoints, match=message):
        ds.open_activations(source, **options)


def test_open_activations_opens_a_store(tmp_path):
    place = tmp_path / "store.zarr"
    net = torch.nn.Linear(3, 2)
    ds.capture(net, torch.randn(20, 3), out=place)
    assert list(ds.open_activations(place)) == list(ds.open_store(place))
    with pytest.raises(ds.BadSource, match="in which layers is stated already"):
        ds.open_activations(place, layers=["output"])
    with pytest.raises(TypeError, match="already been captured"):
        ds.profile({"a": A}, torch.randn(20, 3))
