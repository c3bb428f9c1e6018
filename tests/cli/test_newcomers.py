"""What newcomers try, and what they are told."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import dimscope as ds
from dimscope.cli.main import app

X = np.random.default_rng(0).random((200, 6)).astype(np.float32)
NET = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 4))
net = make()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("y.npy", np.arange(200) % 2)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "neighbour.py").write_text(NET)
    (tmp_path / "other.py").write_text("from neighbour import make as made\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "neighbour", raising=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def said(*arguments):
    """What a wrong call is told; lines are joined, frames left out."""
    found = run(*arguments)
    assert found.exit_code != 0
    text = f"{found.output} {found.exception or ''}"
    return " ".join(text.replace("│", " ").split())


def test_the_version():
    assert run("--version").output.strip() == ds.__version__


@pytest.mark.parametrize("model", ["net.py:make", "net.py:net", "other.py:made"])
def test_a_network_of_a_file(folder, model):
    found = run("profile", model, "--data", "x.npy")
    assert found.exit_code == 0, found.output
    assert "200 points" in found.output
    assert "± is one standard error" in found.output
    assert "exact to 1e-6" in found.output


def test_classes_of_an_array(folder):
    found = run("profile", "net.py:make", "--data", "x.npy", "--labels", "y.npy", "--by-class")
    assert found.exit_code == 0, found.output
    assert "mean over 2 classes" in found.output
    assert "or --labels" in said("profile", "net.py:make", "--data", "x.npy", "--by-class")


def test_images_of_another_size(folder):
    from PIL import Image

    for kind in ("cat", "dog"):
        (folder / "images" / kind).mkdir(parents=True)
        for i in range(4):
            values = np.random.default_rng(i).integers(0, 255, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(values).save(folder / "images" / kind / f"{i}.png")
    (folder / "conv.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), "
        "torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 14, 5))\n"
    )
    found = run("profile", "conv.py:make", "--data", "images", "--image-size", "16", "--json")
    assert found.exit_code == 0, found.output
    units = {one["name"]: one["n_features"] for one in json.loads(found.stdout)["layers"]}
    assert units["input"] == 3 * 16 * 16


def test_scales_of_a_stored_layer_are_drawn(folder):
    ds.capture(nn.Sequential(nn.Linear(6, 9)), torch.from_numpy(X), out="s.zarr")
    found = run("scale", "s.zarr::input", "--engine", "sketched", "--plot", "scale.png")
    assert found.exit_code == 0, found.output
    assert (folder / "scale.png").stat().st_size > 10_000


def test_a_store_that_is_complete_is_not_written_again(folder):
    call = ("capture", "net.py:make", "--data", "x.npy", "--out", "s.zarr")
    assert "written: s.zarr" in run(*call).output
    assert "complete already: s.zarr" in run(*call).output
    assert "values of the data" not in said(*call, "--batch-size", "5")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ("estimate x.npy --estimator mle --fit regression", "options of twonn, not of mle"),
        ("estimate x.npy --rtol 0.1", "use --engine sampled"),
        ("estimate x.npy --estimator Gride(k=2)", "its parameters are n1, n2"),
        ("estimate x.npy --fit triplets --seed -1", "greater than or equal to 0"),
        ("profile net.py --data x.npy", "name the function in it, as net.py:make_model"),
        ("profile lost.zarr", "lost.zarr is none"),
    ],
)
def test_wrong_calls(folder, call, word):
    assert word in said(*call.split())


def test_an_estimate_without_an_error_shows_none(folder):
    found = run("estimate", "x.npy", "--estimator", "pca")
    assert "nan" not in found.output


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda net: ds.estimate(X, "twonn"), "'twonn' is not an estimator"),
        (lambda net: ds.profile(net, X, np.zeros(200)), "labels go with the data"),
        (lambda net: ds.profile(net, X, labels=np.zeros(200)), "labels go with the data"),
        (lambda net: ds.profile(net, X, layer="0"), "did you mean layers"),
        (lambda net: ds.profile(net, X).plot("x.png"), r"savefig\('profile.png'\)"),
    ],
)
def test_wrong_calls_in_python(call, word):
    with pytest.raises(TypeError, match=word):
        call(nn.Linear(6, 3))


def test_single_stimuli_are_not_taken_for_batches():
    points = torch.from_numpy(X)
    for data in (list(points), [(one, 0) for one in points]):
        with pytest.raises(ds.BadSource, match=r"torch\.stack"):
            ds.profile(nn.Linear(6, 3), data)


def test_pictures_of_several_estimators_have_a_legend():
    profile = ds.profile(nn.Linear(6, 3), X, [ds.TwoNN(), ds.PCA()], name="net")
    ax = profile.plot()
    assert [one.get_text() for one in ax.get_legend().get_texts()] == ["net twonn", "net pca"]
    assert ax.get_title() == "net, 200 points, bars: 95 % intervals"


def test_only_neighbour_estimates_are_shown_as_lower_bounds():
    cloud = np.random.default_rng(0).standard_normal((300, 60))
    several = ds.Activations({"a": cloud})
    for estimator, shaded in ((ds.TwoNN(), True), (ds.PCA(), False)):
        ax = ds.profile(several, estimators=estimator).plot()
        assert any(one.get_text() == "lower bounds" for one in ax.texts) == shaded
