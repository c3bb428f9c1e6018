"""``dimscope profile``: a network in, its profile out, on the terminal and in files."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn

import dimscope as ds
from dimscope.arrays import memory
from dimscope.manifolds import sphere


def test_profile_prints_every_layer_with_a_bar(run, points, network):
    done = run("profile", "net.py:small", "--data", points)
    assert done.code == 0, done.err
    for name in ("input", "0", "output"):
        assert any(line.split()[1:2] == [name] for line in done.out.splitlines())
    assert "█" in done.out


def test_profile_out_plot_and_json_agree(run, points, network, tmp_path):
    done = run(
        "profile", "net.py:small", "--data", points, "--name", "mine",
        "--out", "p.json", "--plot", "p.png", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed == json.loads((tmp_path / "p.json").read_text())
    profile = ds.Profile.load("p.json")
    assert profile.name == "mine"
    assert float(profile["input"]) == pytest.approx(float(ds.estimate(np.load(points))), rel=1e-6)
    with Image.open(tmp_path / "p.png") as image:
        assert min(image.size) > 500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 10
    assert not list(tmp_path.glob(".*part*"))


def test_profile_plots_svg(run, points, network, tmp_path):
    assert run("profile", "net.py:small", "--data", points, "--plot", "p.svg").code == 0
    assert ET.parse(tmp_path / "p.svg").getroot().tag.endswith("svg")


def test_profile_selects_layers(run, points, network):
    done = run("profile", "net.py:small", "--data", points, "--layers", "last_hidden", "--json")
    assert {row["role"] for row in json.loads(done.out)["layers"]} == {"last_hidden"}


def test_profile_of_an_image_folder_by_class(run, tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    (tmp_path / "net.py").write_text(
        "import torch\n\n\ndef tiny():\n    return torch.nn.Sequential(\n"
        "        torch.nn.Conv2d(3, 2, 9, 8), torch.nn.ReLU(), torch.nn.MaxPool2d(4),\n"
        "        torch.nn.Flatten(), torch.nn.LazyLinear(5))\n"
    )
    done = run("profile", "net.py:tiny", "--data", "images", "--by-class", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert list(found["classes"]) == ["cat", "dog"]
    assert "data: 12 images in 2 classes" in done.err
    means = {row["name"]: row["twonn"] for row in found["layers"]}
    each = [
        {row["name"]: row["twonn"] for row in one["layers"]} for one in found["classes"].values()
    ]
    dims = [one["input"]["dimension"] for one in each]
    assert means["input"]["dimension"] == pytest.approx(np.mean(dims))
    assert means["input"]["class_std"] == pytest.approx(np.std(dims, ddof=1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.py:missing"], "missing"),
        (["nowhere.py:net"], "nowhere.py"),
        (["torchvision/resnet1000"], "resnet1000"),
        (["net.py:small", "--plot", "p.gif"], ".png"),
        (["net.py:small", "--out", "no/such/p.json"], "no/such"),
        (["net.py:small", "--data", "gone.npy"], "gone.npy"),
        (["net.py:small", "--layers", "layer77"], "layer77"),
        (["net.py:small", "--readout", "sum"], "sum"),
        (["net.py:small", "--weights", "gone.pt"], "gone.pt"),
    ],
)
def test_profile_writes_nothing_for_wrong_calls(run, points, network, tmp_path, arguments, words):
    if "--data" not in arguments:
        arguments = [*arguments, "--data", points]
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "p.json"]
    done = run("profile", *arguments)
    assert done.code in (1, 2)
    assert words in done.err
    assert done.out == ""
    assert not (tmp_path / "p.json").exists()


def test_profile_explains_a_network_that_does_not_fit_the_data(run, points, network, tmp_path):
    done = run("profile", "net.py:broken", "--data", points, "--out", "p.json")
    assert done.code == 1
    assert "7" in done.err
    assert not (tmp_path / "p.json").exists()


def test_profile_refuses_weights_that_hold_code(run, points, network, tmp_path):
    import pickle

    (tmp_path / "w.pt").write_bytes(pickle.dumps(print))
    done = run("profile", "net.py:small", "--data", points, "--weights", "w.pt")
    assert done.code in (1, 2)
    assert "w.pt" in done.err


@pytest.mark.parametrize("model", ["net.py:make", "net.py:net", "other.py:made", "late.py:net"])
def test_profile_takes_a_network_from_a_file(folder, invoke, model):
    result = invoke("profile", model, "--data", "x.npy")
    assert result.exit_code == 0, result.output
    assert "200 points" in result.output
    assert "± is one standard error" in result.output
    assert "exact to 1e-6" in result.output


def test_profile_shows_companions_in_the_table_the_file_and_the_plot(folder, invoke):
    beside = ["--companion", "distance", "--companion", "effective_rank"]
    files = ["--out", "beside.json", "--plot", "beside.png"]
    result = invoke("profile", "net.py:make", "--data", "x.npy", *beside, *files)
    assert result.exit_code == 0, result.output
    assert "effective rank" in result.output
    profile = ds.Profile.load("beside.json")
    assert profile.companions == ("distance", "effective_rank")
    assert f"{profile.beside('distance')['input']:.3g}" in result.output
    assert (folder / "beside.png").stat().st_size > 1000


def test_profile_refuses_an_unknown_companion(folder, refusal):
    message = refusal("profile", "net.py:make", "--data", "x.npy", "--companion", "entropy")
    assert "participation_ratio" in message


def test_profile_reuses_the_memory_of_the_network(folder, invoke, monkeypatch):
    calls, options_set = [], memory._set
    monkeypatch.setattr(memory, "_set", lambda *given: calls.append(options_set(*given)))
    assert invoke("profile", "net.py:make", "--data", "x.npy").exit_code == 0
    assert len(calls) == 2  # at the beginning and at the end


def test_profile_takes_labels_of_an_array(folder, invoke, refusal):
    call = ("profile", "net.py:make", "--data", "x.npy", "--by-class")
    result = invoke(*call, "--labels", "y.npy")
    assert result.exit_code == 0, result.output
    assert "mean over 2 classes" in result.output
    assert "or --labels" in refusal(*call)


def test_profile_resizes_images(folder, invoke):
    for label, numbers in {"cat": range(4), "dog": range(4, 8)}.items():
        (folder / "images" / label).mkdir(parents=True)
        for number in numbers:
            pixels = np.random.default_rng(number).integers(0, 255, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / label / f"{number}.png")
    (folder / "conv.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), "
        "torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 14, 5))\n"
    )
    result = invoke("profile", "conv.py:make", "--data", "images", "--image-size", "16", "--json")
    assert result.exit_code == 0, result.output
    widths = {layer["name"]: layer["n_features"] for layer in json.loads(result.stdout)["layers"]}
    assert widths["input"] == 3 * 16 * 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("profile net.py --data x.npy", "name the function in it, as net.py:make_model"),
        ("profile lost.zarr", "there is no file or folder lost.zarr"),
    ],
)
def test_profile_says_how_to_name_its_source(folder, refusal, call, message):
    assert message in refusal(*call.split())


CTRL_C_IN_THE_THIRD_LAYER = """
import dimscope as ds

measure, calls = ds.TwoNN.measure, []


def interrupted(self, inputs):
    calls.append(inputs)
    if len(calls) == 3:
        raise KeyboardInterrupt
    return measure(self, inputs)


ds.TwoNN.measure = interrupted
"""


def test_profile_stopped_by_ctrl_c_keeps_the_layers_that_were_done(run, points, network):
    network.write_text(network.read_text() + CTRL_C_IN_THE_THIRD_LAYER)
    done = run("profile", "net.py:small", "--data", points, "--layers", "all", "--out", "p.json")
    assert done.code == 130
    assert "interrupted; the layers that were done are kept" in done.err
    names = list(profile := ds.Profile.load("p.json"))
    assert [math.isnan(profile[name].dimension) for name in names] == [False] * 2 + [True] * 3
    assert "interrupted" in profile[names[2]].reason


def test_profile_shows_the_traceback_of_a_failure_on_request(run, points, network, monkeypatch):
    network.write_text(
        network.read_text()
        + "import dimscope as ds\n\n\ndef broken(*_):\n    return 1 / 0\n\n\n"
        + "ds.TwoNN.evaluate = broken\n"
    )
    call = ("profile", "net.py:small", "--data", points)
    assert "ZeroDivisionError: division by zero" in run(*call).out
    monkeypatch.setenv("DIMSCOPE_TRACEBACK", "1")
    done = subprocess.run(
        [sys.executable, "-m", "dimscope", *map(str, call)], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "in broken" in done.stderr
    assert "Traceback" not in done.stdout


def test_profile_refuses_a_folder_as_output_before_it_measures(folder, refusal):
    for option in ("--out", "--plot"):
        said = refusal("profile", "net.py:make", "--data", "x.npy", option, ".")
        assert ". is a folder; name a file in it" in said


def test_profile_refuses_labels_of_another_length(folder, refusal):
    np.save(folder / "few.npy", np.zeros((7, 6)))
    said = refusal("profile", "net.py:make", "--data", "x.npy", "--labels", "few.npy")
    assert "which is not (inputs, labels)" in said


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of images, and networks whose preprocessing is known and is not."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    network = (
        "import torch\nfrom torchvision.transforms.functional import pil_to_tensor\n\n\n"
        "def tiny():\n    return torch.nn.Sequential(\n"
        "        torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(192, 5))\n"
    )
    (tmp_path / "net.py").write_text(network)
    (tmp_path / "known.py").write_text(
        network + "\n\ndef preprocess(image):\n    return pil_to_tensor(image) / 255\n"
    )
    (tmp_path / "other.py").write_text(
        network + "\n\ndef halved(image):\n    return pil_to_tensor(image.resize((20, 20))) / 255\n"
        "number = 3\n"
    )
    return tmp_path / "images"


@pytest.mark.filterwarnings("ignore:images of 40 x 40 pixels are enlarged")
@pytest.mark.parametrize(
    ("model", "options", "says", "features"),
    [
        ("net.py:tiny", [], "as for ImageNet classifiers (net.py:tiny names no other): resize 256",
         3 * 224 * 224),
        ("known.py:tiny", [], "preprocess of known.py", 3 * 40 * 40),
        ("known.py:tiny", ["--preprocess", "weights"], "preprocess of known.py", 3 * 40 * 40),
        ("known.py:tiny", ["--preprocess", "imagenet", "--image-size", "16"],
         "as for ImageNet classifiers: resize 18, crop 16", 3 * 16 * 16),
        ("net.py:tiny", ["--preprocess", "other.py:halved"], "halved of other.py", 3 * 20 * 20),
    ],
)  # fmt: skip
def test_profile_prints_and_keeps_the_preprocessing(
    invoke, pictures, model, options, says, features
):
    done = invoke("profile", model, "--data", "images", "--json", *options)
    assert done.exit_code == 0, done.stderr
    assert f"\npreprocessing: {says}" in done.stderr
    found = json.loads(done.stdout)
    assert found["layers"][0]["n_features"] == features
    assert found["provenance"]["inputs"][0]["parameters"]["preprocessing"].startswith(says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "images", "--preprocess", "weights"], "that the weights expect is unknown"),
        (["--data", "images", "--preprocess", "other"], "there is no preprocessing 'other'"),
        (["--data", "images", "--preprocess", "other.py:number"], "is a int; name a function"),
        (["--data", "x.npy", "--preprocess", "imagenet"], "not an image folder"),
        (["--data", "x.npy", "--image-size", "16"], "not an image folder"),
        (["--data", "x.npy", "--dtype", "int8"], "use one of float32"),
        (["--data", "x.npy", "--device", "gpu"], "'gpu' cannot be used here"),
        (["--data", "x.npy", "--revision", "main"], "omit revision"),
    ],
)
def test_profile_refuses_options_that_have_no_effect(invoke, pictures, options, says):
    np.save(pictures.parent / "x.npy", np.zeros((6, 3, 8, 8), np.float32))
    done = invoke("profile", "net.py:tiny", *options)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())


def test_profile_takes_a_type(invoke, pictures):
    np.save(pictures.parent / "x.npy", np.random.default_rng(0).random((40, 3, 8, 8)))
    found = {
        dtype: json.loads(
            invoke(
                "profile", "net.py:tiny", "--data", "x.npy", "--weights", "random", "--json",
                "--dtype", dtype, "--device", "cpu",
            ).stdout
        )["layers"][-1]["twonn"]["dimension"]
        for dtype in ("float64", "bfloat16")
    }  # fmt: skip
    assert found["float64"] != found["bfloat16"]
    assert found["float64"] == pytest.approx(found["bfloat16"], rel=0.2)


def test_profile_measures_saved_activations(run, tmp_path):
    (tmp_path / "acts").mkdir()
    layers = {"conv2": sphere(200, 2), "conv10": sphere(200, 3)}
    for name, points in layers.items():
        np.save(tmp_path / "acts" / f"{name}.npy", points)
    np.save(tmp_path / "y.npy", np.arange(200) % 2)
    done = run("profile", "acts", "--out", "p.json")
    assert done.code == 0, done.err
    assert "acts: 2 layers, names in natural order: conv2, conv10" in done.err
    profile, expected = ds.Profile.load(tmp_path / "p.json"), ds.profile(ds.Activations(layers))
    assert [float(e) for e in profile.values()] == [float(e) for e in expected.values()]
    done = run("profile", "acts", "--layers", "conv10", "--labels", "y.npy", "--by-class", "--json")
    assert list(json.loads(done.out)["classes"]) == ["0", "1"]
    assert "1 layer, as named: conv10" in done.err


def test_profile_warns_of_a_guessed_order(run, tmp_path):
    (tmp_path / "acts").mkdir()
    for name in ("avgpool", "conv1"):
        np.save(tmp_path / "acts" / f"{name}.npy", sphere(200, 2))
    done = run("profile", "acts")
    assert done.code == 0
    assert "the order of the layers is guessed from their names: avgpool, conv1" in done.err
    assert "guessed" not in run("profile", "acts", "--layers", "conv1", "--layers", "avgpool").err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["acts", "--layers", "fc"], 1, "no layer 'fc'"),
        (["acts", "--n-points", "9"], 2, "already been captured"),
        (["tokens.npz"], 1, "give readout="),
        (["tokens.npz", "--readout", "tokens"], 1, "use one of 'flatten'"),
        (["nothing"], 1, "holds no file of arrays"),
    ],
)
def test_profile_refuses_saved_activations_in_a_sentence(run, tmp_path, arguments, code, message):
    (tmp_path / "acts").mkdir()
    (tmp_path / "nothing").mkdir()
    np.save(tmp_path / "acts" / "conv.npy", sphere(200, 2))
    np.savez(tmp_path / "tokens.npz", a=np.zeros((9, 4, 3)))
    done = run("profile", *arguments)
    assert done.code == code
    assert message in " ".join(done.err.replace("│", " ").split())


def test_profile_takes_the_mask_of_saved_activations(invoke, refusal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    tokens = rng.random((60, 4, 5))
    mask = np.arange(4) < rng.integers(1, 5, (60, 1))
    np.save("mask.npy", mask)
    np.savez("both.npz", mask=mask, y=np.arange(60) % 2)
    np.save("layer.npy", tokens)
    call = ("profile", "layer.npy", "--readout", "last", "--json")
    expected = float(ds.profile({"layer": tokens}, readout="last", mask=mask)["layer"])
    for file in ("mask.npy", "both.npz::mask"):
        found = invoke(*call, "--mask", file)
        assert json.loads(found.stdout)["layers"][0]["twonn"]["dimension"] == expected
        assert "no mask" not in found.stderr
    without = invoke(*call)
    assert json.loads(without.stdout)["layers"][0]["twonn"]["dimension"] != expected
    assert "every position counts as a token: give mask= (--mask) if" in without.stderr
    message = refusal("profile", "net.py:make", "--data", "layer.npy", "--mask", "mask.npy")
    assert "MODEL is a network, which takes the mask of its data itself" in message


def test_profile_takes_labels_and_ids_inside_a_file(invoke, refusal, folder):
    h5py = pytest.importorskip("h5py")
    labels = np.load("y.npy")
    with h5py.File("rows.h5", "w") as file:
        file["y"], file["ids"] = labels, np.arange(200) // 5
    np.savez("rows.npz", y=labels, ids=np.arange(200) // 5)
    np.save("ids.npy", np.arange(200) // 5)
    call = ("profile", "net.py:make", "--data", "x.npy", "--by-class", "--json")
    plain = invoke(*call, "--labels", "y.npy", "--exclude", "ids.npy").stdout
    for file in ("rows.h5", "rows.npz"):
        found = invoke(*call, "--labels", f"{file}::y", "--exclude", f"{file}::ids").stdout
        assert json.loads(found)["layers"] == json.loads(plain)["layers"]
    assert "there is no array 'z' in rows.npz" in refusal(*call, "--labels", "rows.npz::z")
    assert "no file or folder row.npz" in refusal(*call, "--labels", "row.npz::y")


def test_profile_keeps_influences_when_asked(invoke, refusal, folder):
    call = ("profile", "net.py:make", "--data", "x.npy")
    assert invoke(*call, "--out", "plain.json").exit_code == 0
    assert invoke(*call, "--out", "p.json", "--influences").exit_code == 0
    loaded = ds.Profile.load("p.json")
    assert ds.difference(loaded["input"], loaded["0"]).std_error > 0
    plain = ds.Profile.load("plain.json")
    with pytest.raises(ds.BadPoints, match="influences"):
        ds.difference(plain["input"], plain["0"])
    assert "influences are kept in the .json file of --out" in refusal(*call, "--influences")
    assert "influences are kept" in refusal(*call, "--out", "p.csv", "--influences")


def test_profile_writes_its_table_as_csv(invoke, refusal, folder):
    call = ("profile", "net.py:make", "--data", "x.npy")
    assert invoke(*call, "--out", "p.csv").exit_code == 0
    assert invoke(*call, "--out", "p.json").exit_code == 0
    expected = ds.Profile.load("p.json").to_frame()
    found = pd.read_csv("p.csv")
    found["reason"] = found["reason"].astype(object).fillna("")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert "p.txt would hold a profile, which is a .json file" in refusal(*call, "--out", "p.txt")


def test_random_weights_are_in_the_name_of_the_profile(invoke, folder):
    done = invoke("profile", "net.py:make", "--data", "x.npy", "--weights", "none", "--json")
    assert json.loads(done.stdout)["name"] == "net.py:make, random weights"


def test_profile_warns_of_images_that_are_much_enlarged(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from torch.nn import AdaptiveAvgPool2d, Conv2d, Flatten, Sequential\n"
        "make = Sequential(Conv2d(3, 4, 3), AdaptiveAvgPool2d(1), Flatten())\n"
    )
    rng = np.random.default_rng(0)
    for side, name in ((32, "small"), (112, "large")):
        for number in range(4):
            path = tmp_path / name / "cat" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    call = ("profile", "net.py:make", "--data")
    with pytest.warns(ds.errors.CaptureWarning, match="32 x 32 .* to 224 x 224, .*--preprocess"):
        invoke(*call, "small")
    assert invoke(*call, "large").exit_code == 0
    assert invoke(*call, "small", "--image-size", "32").exit_code == 0
    assert invoke(*call, "small", "--preprocess", "imagenet").exit_code == 0
    network = ds.load_model("net.py:make")
    plain = nn.Sequential(*network)  # in Python, a network names no file
    for module in (network, plain):
        with pytest.warns(ds.errors.CaptureWarning, match="32 x 32 .* enlarged to 224"):
            ds.profile(module, "small")
    ds.profile(plain, "large")
    ds.profile(plain, ds.image_folder("small", 32))
