"""Everything that data can come as."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from dimscope.errors import BadPoints, BadSource
from dimscope.networks.capturing.capture import capture

X = torch.arange(40.0).reshape(20, 2)
Y = torch.arange(20) % 4


def run(data, **keywords):
    return capture(nn.Linear(2, 3), data, ["input", "output"], **keywords)


class Items:
    """Indexed, but not a torch Dataset."""

    classes = ("a", "b", "c", "d")

    def __len__(self):
        return 20

    def __getitem__(self, i):
        if not 0 <= i < 20:
            raise IndexError
        return {"x": X[i], "label": int(Y[i])}


class Endless(IterableDataset):
    def __iter__(self):
        return iter(X)


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        (X, False),
        (X.numpy(), False),
        ((X, Y), True),
        ((X.numpy(), Y.tolist()), True),
        (TensorDataset(X), False),
        (TensorDataset(X, Y), True),
        (TensorDataset(X, Y.float()), True),
        (TensorDataset(X, Y / 7), False),
        (DataLoader(TensorDataset(X, Y), batch_size=7), True),
        (ConcatDataset([TensorDataset(X[:5], Y[:5]), TensorDataset(X[5:], Y[5:])]), True),
        (Endless(), False),
        ([X[:9], X[9:]], False),
        ([(X[:9], Y[:9]), (X[9:], Y[9:])], True),
        ([[X.numpy(), Y.numpy()]], True),
        (iter([{"input": X, "labels": Y}]), True),
        ([({"input": X}, Y)], True),
        ((X[i : i + 3] for i in range(0, 20, 3)), False),
    ],
)
def test_capture_takes_every_kind_of_data(data, labelled):
    found = run(data, batch_size=6)
    np.testing.assert_array_equal(found["input"], X.numpy())
    if labelled:
        np.testing.assert_array_equal(found.labels, Y.numpy())
    else:
        assert found.labels is None
    assert found.provenance.parameters["drawn"] == "all"


def test_capture_takes_dict_items_and_class_names():
    found = run(Items(), forward=lambda model, batch: model(batch["x"]))
    np.testing.assert_array_equal(found["input"], X.numpy())
    np.testing.assert_array_equal(found.labels, Y.numpy())
    assert found.class_names == ("a", "b", "c", "d")


def test_draw_is_seeded_ascending_and_without_replacement():
    first, again, other = (run((X, Y), n_points=8, seed=s)["input"][:, 0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (np.diff(first) > 0).all()
    same = run(TensorDataset(X, Y), n_points=8, seed=1)
    np.testing.assert_array_equal(same["input"][:, 0], first)
    np.testing.assert_array_equal(same.labels, Y.numpy()[(first / 2).astype(int)])
    assert same.provenance.parameters["drawn"] == "sample"


@pytest.mark.parametrize(
    "data", [(X, Y), TensorDataset(X, Y), Subset(TensorDataset(X, Y), range(20)), Items()]
)
def test_draw_per_class_is_balanced_and_seeded(data):
    forward = (lambda model, b: model(b["x"])) if isinstance(data, Items) else None
    found = run(data, per_class=3, seed=5, forward=forward)
    assert np.bincount(found.labels).tolist() == [3, 3, 3, 3]
    rows = (found["input"][:, 0] / 2).astype(int)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(found.labels, Y.numpy()[rows])
    assert (rows != (run(data, per_class=3, seed=6, forward=forward)["input"][:, 0] / 2)).any()


def test_capture_takes_the_first_rows_of_an_iterator():
    found = run(((X[i : i + 6], Y[i : i + 6]) for i in range(0, 20, 6)), n_points=8)
    np.testing.assert_array_equal(found["input"], X[:8].numpy())
    np.testing.assert_array_equal(found.labels, Y[:8].numpy())
    assert found.provenance.parameters["drawn"] == "first"
    assert found.provenance.parameters["batches"] == 2
    found = run([(X, Y)], per_class=2)
    np.testing.assert_array_equal(found["input"], X[:8].numpy())


def test_capture_reads_an_iterator_no_further_than_needed():
    def endless():
        while True:
            yield X

    assert run(endless(), n_points=45).n_points == 45


def test_capture_passes_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 3)

        def forward(self, a, b, scale=2.0):
            return self.fc(a + b) * scale

    model = Two()
    found = capture(model, [(X, X.flip(0))], ["input", "output"])
    expected = model(X, X.flip(0)).detach().numpy()
    np.testing.assert_allclose(found["output"], expected, rtol=1e-5)
    found = capture(model, [((X, X.flip(0)), Y)], ["input", "output"])
    np.testing.assert_allclose(found["output"], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.labels, Y.numpy())
    one = run([(X, X.flip(0))])  # a network of one input: the second is what it should say
    np.testing.assert_array_equal(one["input"], X.numpy())


def test_capture_uses_the_forward_function():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    found = capture(model, X, "all", forward=lambda m, x: m[0](x + 1))
    assert list(found) == ["input", "input>add", "output"]
    np.testing.assert_allclose(found["output"], model[0](X + 1).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "keywords", "error", "message"),
    [
        ([], {}, BadSource, "batches is empty"),
        (iter(()), {}, BadSource, "batches is empty"),
        (X[:0], {}, BadPoints, "hold no rows"),
        (torch.tensor(1.0), {}, BadPoints, "a single number"),
        (3, {}, BadSource, "batches is a int"),
        ({}, {}, BadPoints, "hold no rows"),
        ({"x": X, "y": Y[:5]}, {}, BadSource, r"differ in their numbers of rows \(x: 20, y: 5\)"),
        (["text"], {}, BadSource, "a batch is a str"),
        ([object()], {}, BadSource, "a batch is a object"),
        (X, {"n_points": 21}, BadPoints, "n_points is 21 but the data hold 20"),
        (X, {"n_points": 0}, BadPoints, "n_points is 0"),
        (X, {"batch_size": 0}, BadPoints, "batch_size is 0"),
        (X, {"per_class": 2}, BadPoints, "per_class needs labels"),
        ([X], {"per_class": 2}, BadPoints, "per_class needs labels"),
        ((X, Y), {"per_class": 6}, BadPoints, "class 0 has 5 rows"),
        ((X, Y), {"per_class": 2, "n_points": 2}, BadPoints, "exclude each other"),
        ("nowhere", {}, BadSource, "nowhere does not exist"),
        (X, {"readout": "middle"}, BadSource, "readout 'middle' is unknown"),
    ],
)
def test_capture_refuses_wrong_data_and_options(data, keywords, error, message):
    with pytest.raises(error, match=message):
        run(data, **keywords)


def test_capture_refuses_items_that_form_no_batch():
    data = [(Image.new("RGB", (4, 4)), 0)]
    with pytest.raises(BadSource, match="do not form a batch"):
        run(type("Images", (Items,), {"__getitem__": lambda self, i: data[0]})())


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (torch.rand(10, 2), r"shape \(10, 2\)"),  # ten more stimuli, by their shape
        (Y[:10], r"shape \(10,\)"),
        (Y[:10].tolist(), "type list"),
    ],
)
def test_capture_refuses_labels_of_another_shape(labels, kind):
    words = (
        rf"a tuple of shape \(20, 2\) and {kind}, which is not \(inputs, labels\) with one label"
    )
    with pytest.raises(BadSource, match=words):
        run((X, labels))


def test_capture_refuses_a_tuple_of_batches():
    with pytest.raises(BadSource, match="a list of batches such as"):
        run((X[:7], X[7:14], X[14:]))


def test_capture_takes_the_second_of_two_equal_arrays_for_a_target():
    activations = run((X, X.flip(0), Y))
    np.testing.assert_array_equal(activations["input"], X.numpy())
    assert activations.labels is None
    assert "no labels (item 2 has shape (n, 2)" in activations.provenance.parameters["inputs"]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((X, torch.rand(10, 2)), r"shape \(20, 2\) and float32 of shape \(10, 2\), which differ"),
        ((X, Y[:10]), r"shape \(20, 2\) and int64 of shape \(10,\), which differ"),
        ((X, X, Y[:10]), "which differ in their numbers of rows"),
        (((X, X[:10]), Y), "which differ in their numbers of rows"),
        ((X, Y[:10].tolist()), "which differ in their numbers of rows"),
        (({"input": X}, Y[:10]), "which differ in their numbers of rows"),
        ((X, ["cat"] * 10), r"20 inputs but labels of shape \(10,\)"),
        ({"input": X, "labels": Y[:10]}, r"20 inputs but labels of shape \(10,\)"),
    ],
)
def test_capture_refuses_batches_with_labels_of_another_length(batch, words):
    with pytest.raises(BadSource, match=words):
        run([batch])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(3):
            pixels = rng.integers(0, 255, (300, 280, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{i}.png")
    return tmp_path


class Average(nn.Module):
    def forward(self, x):
        return x.mean([2, 3])


def test_image_folder_preprocesses_as_for_imagenet(folder):
    found = capture(Average(), str(folder), batch_size=4)
    assert found["input"].shape == (6, 3 * 224 * 224)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.class_names == ("cat", "dog")
    image = Image.open(folder / "cat" / "0.png").resize((256, 274), Image.BILINEAR)
    pixels = np.asarray(image, np.float64)[25:249, 16:240] / 255
    expected = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(
        found["input"][0].reshape(3, 224, 224), expected.transpose(2, 0, 1), atol=1e-5
    )
    drawn = capture(Average(), folder, per_class=2, seed=1)
    assert drawn.labels.tolist() == [0, 0, 1, 1]


def test_image_folder_refuses_bad_folders(tmp_path, folder):
    (folder / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with pytest.raises(BadSource, match=r"broken.png is not a readable image"):
        capture(Average(), folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadSource, match="is an empty folder"):
        capture(Average(), empty)
    with pytest.raises(BadSource, match="does not hold one folder for each class"):
        capture(Average(), folder / "cat")
    with pytest.raises(BadSource, match="has no images"):
        capture(Average(), folder)


def test_capture_reads_npy_files(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X.numpy())
    np.testing.assert_array_equal(run(path)["input"], X.numpy())
    chosen = run(str(path), n_points=6)["input"]
    np.testing.assert_array_equal(chosen, run(X, n_points=6)["input"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.npy", b"1, 2, 3", "is not a NumPy array file"),
        ("empty.npy", b"", "is empty"),
        ("pickle.npy", b"\x80\x04N.", "is a pickle, which is never read"),
        ("data.txt", b"1,2", "neither a folder of images nor a file of an array"),
    ],
)
def test_capture_refuses_other_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSource, match=message):
        run(tmp_path / name)


def test_capture_refuses_npy_of_objects_and_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    array = np.empty(3, object)
    array[:] = Evil()
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(BadSource, match="holds Python objects"):
        run(tmp_path / "x.npy")
    assert not (tmp_path / "ran").exists()


def test_capture_refuses_truncated_npy(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-20])
    with pytest.raises(BadSource, match="is truncated"):
        run(tmp_path / "x.npy")


def test_capture_refuses_data_that_are_no_numbers():
    with pytest.raises(BadPoints, match="values, not numbers"):
        run(np.array([["a", "b"]] * 5))
    with pytest.raises(BadPoints, match="to_dense"):
        run(torch.eye(2).to_sparse())


@pytest.mark.parametrize("labelled", [False, True])
def test_capture_puts_single_stimuli_into_batches(labelled):
    data = [(row, int(label)) for row, label in zip(X, Y, strict=True)] if labelled else list(X)
    network = nn.Linear(2, 3)
    activations = capture(network, data, ["input", "output"], batch_size=6)
    np.testing.assert_array_equal(activations["input"], X.numpy())
    np.testing.assert_array_equal(
        activations["output"], capture(network, X, batch_size=6)["output"]
    )
    assert (activations.labels is not None) == labelled
    assert "in batches of 6" in activations.provenance.parameters["inputs"]


def test_capture_refuses_single_stimuli_that_the_network_does_not_take():
    with pytest.raises(BadSource, match=r"torch\.stack"):
        capture(nn.Linear(5, 3), list(X))
