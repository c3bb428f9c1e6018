"""A wrong call ends with a sentence that names the next step, an exit code and no traceback."""

import re
import shlex
import sys

import numpy as np
import pytest

import dimscope as ds

NETWORK = """
import torch

number = 3


def make_model():
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def wide():
    return torch.nn.Linear(7, 3)
"""

LAYERS = (
    ds.Layer("input", "input", 0, 0.0, 5),
    ds.Layer("fc", "last_hidden", 1, 0.5, 8),
    ds.Layer("output", "output", 2, 1.0, 3),
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    points = rng.random((60, 5))
    holed = points.copy()
    holed[7, 2] = np.nan
    for name, values in {
        "points": points, "two": points[:2], "line": points[0], "same": np.ones((60, 5)),
        "holed": holed, "words": np.array(["a"] * 60), "five": np.arange(5),
    }.items():  # fmt: skip
        np.save(f"{name}.npy", values)
    for name, text in {
        "net.py": NETWORK, "wrong.py": "def (", "broken.json": "{", "other.json": "{}",
        "high.csv": "network,accuracy\na,high\n", "ab.csv": "network,accuracy\na,1\nb,2\n",
        "weights.pt": "a,b\n1,2\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    np.savez("points.npz", a=points, b=points)
    (tmp_path / "folder").mkdir()
    for number, name in enumerate("abc"):
        estimates = {layer.name: ds.Estimate(2.0 + number, 0.1, n_points=60) for layer in LAYERS}
        ds.Profile(LAYERS, {"twonn": estimates}, name=name).save(f"{name}.json")


NET = "profile net.py:make_model --data points.npy"

WRONG = {
    "estimate": (2, "Try 'dimscope estimate --help'"),
    "estimat points.npy": (2, "Try 'dimscope --help'"),
    "estimate point.npy": (2, "Did you mean 'points.npy'"),
    "estimate zzzzzzzzz.qqq": (2, "correct the path, or create it"),
    "estimate no/such/points.npy": (2, "create it, or correct the path"),
    "estimate two.npy": (1, "give at least 3"),
    "estimate line.npy": (1, "use points.reshape(-1, 1)"),
    "estimate holed.npy": (1, "remove or replace"),
    "estimate words.npy": (1, "convert them first"),
    "estimate nowhere.zarr::fc": (2, "correct the path, or create it"),
    "estimate folder": (1, "dimscope profile folder"),
    "estimate folder::fc": (1, "dimscope capture writes one"),
    "estimate points.npy::a --key a": (2, "names the array already"),
    "estimate points.npz::a --exclude ids": (2, "holds no ids of its rows"),
    "estimate points.npy --estimator nothing": (2, "use one of"),
    "estimate points.npy --estimator 'Gride(n1=0)'": (2, "give ranks"),
    "estimate points.npy --estimator net.py:number": (2, "name an instance or a subclass"),
    "estimate points.npy --fit best": (2, "use one of"),
    "estimate points.npy --estimator pca --fit mle": (2, "omit them"),
    "estimate points.npy --engine quick": (2, "use exact, sketched"),
    "estimate points.npy --rtol 0.1": (2, "use --engine sampled"),
    "estimate points.npy --memory much": (2, "such as '4GB'"),
    "estimate points.npy --copies drop": (2, "use one of"),
    "estimate points.npy --exclude five.npy": (1, "give one id for each row"),
    "estimate points.npy --groups gone.npy": (2, "correct the path, or create it"),
    "estimate points.npy --estimator pca --engine exact": (2, "omit this option"),
    "estimate points.npy --estimator pca --resamples 3": (2, "omit --resamples"),
    "scale points.npy --estimator pca": (2, "such as twonn"),
    "scale points.npy --plot no/such.png": (2, "or create it"),
    "scale points.npy --plot a.gif": (1, "must be one of .png, .svg, .pdf"),
    "profile net.py:make_model": (2, "give the data for the network"),
    "profile net.py:make_modle --data points.npy": (2, "Did you mean 'make_model'"),
    "profile nets.py:make_model --data points.npy": (2, "give path/file.py:name"),
    "profile wrong.py:make_model --data points.npy": (2, "correct this file"),
    "profile net.py:number --data points.npy": (2, "name a torch.nn.Module"),
    "profile net.py:wide --data points.npy": (1, "give data of the shape"),
    "profile resnet18 --data points.npy": (2, "Did you mean 'torchvision/resnet18'"),
    "profile torchvision/resnet81 --data points.npy": (2, "Did you mean 'resnet18'"),
    "profile torchvision/resnet18@V9 --data points.npy": (2, "its weights are IMAGENET1K_V1"),
    "profile net.py:make_model --data folder": (1, "put the images of each class"),
    f"{NET} --labels gone.npy": (2, "correct the path, or create it"),
    f"{NET} --labels five.npy --by-class": (1, "one label for each row"),
    f"{NET} --by-class": (1, "--labels on the command line"),
    f"{NET} --per-class 3": (1, "use n_points"),
    f"{NET} --layers nothing": (1, "Use one of input, 0, 1, 2, output"),
    f"{NET} --readout sum": (1, "use 'flatten'"),
    f"{NET} --n-points 1000": (1, "ask for fewer"),
    f"{NET} --image-size 64": (2, "omit this option"),
    f"{NET} --preprocess imagenet": (2, "omit this option"),
    f"{NET} --classes fixed": (2, "omit this option"),
    f"{NET} --classes all --by-class": (2, "use random or fixed"),
    f"{NET} --companion speed": (2, "use one of"),
    f"{NET} --dtype int8": (2, "use one of float32"),
    f"{NET} --device cuda:99": (2, "use cpu"),
    f"{NET} --weights gone.pt": (2, "use 'random'"),
    f"{NET} --weights weights.pt": (2, "copy or save it again"),
    f"{NET} --out no/such/p.json": (2, "create it, or give another path"),
    f"{NET} --out folder": (2, "name a file in it"),
    f"{NET} --revision main": (2, "omit revision"),
    "capture net.py:make_model --data points.npy --out no/such/s.zarr": (2, "create it"),
    "capture net.py:make_model --data points.npy --out net.py": (1, "give another path"),
    "capture net.py:make_model --out s.zarr": (2, "Try 'dimscope capture --help'"),
    "compare a.json b.json --accuracy ab.csv": (1, "give more profiles"),
    "compare a.json b.json c.json --accuracy ab.csv": (1, "give a score for every network"),
    "compare a.json b.json c.json --accuracy high.csv": (1, "write lines such as: resnet18,0"),
    "compare a.json b.json c.json --accuracy bc.csv": (2, "Did you mean 'ab.csv'"),
    "diagnose d.json": (2, "Did you mean"),
    "diagnose broken.json": (1, "dimscope profile MODEL --data DATA --out FILE.json writes one"),
    "diagnose other.json": (1, "dimscope profile MODEL --data DATA --out FILE.json writes one"),
    "diagnose points.npy": (1, "dimscope profile MODEL --data DATA --out FILE.json writes one"),
    "report a.json --out no/such/p.html": (2, "create it"),
    "reproduce fig77": (2, "use fig1"),
    "reproduce fig1 --scale huge": (2, "use one of smoke"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_call_names_the_next_step(files, capsys, monkeypatch, line):
    from dimscope.cli import main

    code, step = WRONG[line]
    monkeypatch.setattr(sys, "argv", ["dimscope"])
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    printed = capsys.readouterr()
    message = re.sub(r"\s+", " ", printed.err).replace("python -m pytest.dimscope", "dimscope")
    assert ended.value.code == code, message
    assert step in message
    assert printed.out == ""
    assert "Traceback" not in message
