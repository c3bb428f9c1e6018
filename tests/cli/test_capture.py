"""``dimscope capture``, and what the other commands do with a store."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dimscope as ds
from networks.capturing.checks import CHECKS

SLOW = """
import os
import time
import torch


class Slow(torch.nn.Sequential):
    def forward(self, x):
        with open("passes", "ab") as file:
            file.write(b".")
        while "HOLD" in os.environ and os.path.getsize("passes") >= 6:  # it is killed here
            time.sleep(0.01)
        return super().forward(x)


def slow():
    torch.manual_seed(0)
    return Slow(torch.nn.Linear(3, 20), torch.nn.ReLU(), torch.nn.Linear(20, 8))
"""


@pytest.fixture
def store(run, points, network, tmp_path):
    """A store of the network in net.py, as the command line makes it."""
    net = ds.load_model("net.py:small", weights="random")
    return ds.capture(net, points, out=tmp_path / "s.zarr", name="net.py:small")


def dimensions(printed):
    return {row["name"]: row["twonn"]["dimension"] for row in json.loads(printed)["layers"]}


def test_capture_writes_a_store_and_prints_its_path(run, store, points):
    call = ("capture", "net.py:small", "--data", points, "--weights", "random")
    done = run(*call, "--out", "t.zarr", "--memory", "4GB")
    assert done.code == 0, done.err
    assert done.out == "written: t.zarr, 3 layers of 500 points\n"
    assert "plan: 62.0 kB for 500 points, on disk (budget 4.0 GB)" in done.err
    found = ds.open_store("t.zarr")
    for name in store:
        np.testing.assert_array_equal(found[name], store[name])


def test_estimate_of_a_stored_layer_equals_that_of_a_file(run, store, tmp_path):
    np.save(tmp_path / "layer.npy", ds.open_store("s.zarr")["0"])
    stored, file = run("estimate", "s.zarr::0", "--json"), run("estimate", "layer.npy", "--json")
    assert stored.code == file.code == 0, stored.err
    assert stored.out == file.out
    assert "500 x 20 features" in run("estimate", "s.zarr::0").out


def test_profile_of_a_store_equals_that_of_the_network(run, store, points):
    call = ("profile", "net.py:small", "--data", points, "--weights", "random", "--json")
    wanted, spilled = run(*call), run(*call, "--memory", "10kB")
    found = run("profile", "s.zarr", "--json", "--memory", "20kB", "--out", "p.json")
    assert found.code == spilled.code == 0, found.err + spilled.err
    assert dimensions(wanted.out) == dimensions(found.out) == dimensions(spilled.out)
    assert wanted.err == "inputs: input\n"
    assert "plan: 62.0 kB for 500 points, on disk (budget 10.0 kB)" in spilled.err
    assert ds.Profile.load("p.json").name == "net.py:small"


def test_capture_resumes_after_a_kill(run, points, tmp_path):
    (tmp_path / "net.py").write_text(SLOW)
    call = ["capture", "net.py:slow", "--data", str(points), "--out", "s.zarr", "--name", "slow"]
    child = subprocess.Popen(
        [sys.executable, "-m", "dimscope", *call],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"HOLD": "1"},
    )  # fmt: skip
    passes = tmp_path / "passes"
    while (passes.stat().st_size if passes.exists() else 0) < CHECKS + 3:
        assert child.poll() is None, "the capture ended before it was killed"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    done = run("estimate", "s.zarr::0")
    assert done.code == 1
    assert "of 500 rows" in done.err
    before = passes.stat().st_size - CHECKS
    written = json.loads((tmp_path / "s.zarr" / "journal.json").read_text())["batches"]
    assert written >= before - 1 > 0
    assert run(*call).code == 0
    assert passes.stat().st_size - before == 2 * CHECKS + 16 - written
    again = run(*call)
    assert again.code == 0
    assert passes.stat().st_size - before == 2 * CHECKS + 16 - written


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["capture", "net.py:small", "--data", "points.npy"], 2, "--out"),
        (["capture", "net.py:small", "--data", "gone.npy", "--out", "t.zarr"], 2, "gone.npy"),
        (["capture", "net.py:small", "--data", "points.npy", "--out", "no/t.zarr"], 2, "no"),
        (
            ["capture", "net.py:small", "--data", "points.npy", "--out", "t.zarr",
             "--memory", "4 apples"], 2, "4 apples",
        ),
        (
            ["capture", "net.py:small", "--data", "points.npy", "--out", "t.zarr",
             "--layers", "layer7"], 1, "layer7",
        ),
        (["capture", "net.py:small", "--data", "points.npy", "--out", "."], 1, "not a store"),
        (
            ["capture", "net.py:small", "--data", "points.npy", "--out", "s.zarr", "--seed", "4"],
            1, "another capture, which differs in seed",
        ),
        (["profile", "s.zarr", "--data", "points.npy"], 2, "--data"),
        (["profile", "s.zarr", "--layers", "0"], 2, "--layers"),
        (["profile", "net.py:small"], 2, "--data"),
        (["profile", "s.zarr", "--memory", "many"], 2, "many"),
        (["estimate", "s.zarr"], 2, "s.zarr::LAYER: input, 0, output"),
        (["estimate", "s.zarr::9"], 2, "the layers are input, 0, output"),
        (["estimate", "gone.zarr::0"], 2, "gone.zarr"),
        (["estimate", "net.py::0"], 1, "net.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_capture_refuses_wrong_calls(run, store, tmp_path, arguments, code, words):
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    if code == 2:
        assert not (tmp_path / "t.zarr").exists()


def test_capture_does_not_write_a_complete_store_again(folder, invoke, refusal):
    call = ("capture", "net.py:make", "--data", "x.npy", "--out", "s.zarr")
    assert "written: s.zarr" in invoke(*call).output
    assert "complete already: s.zarr" in invoke(*call).output
    assert "values of the data" not in refusal(*call, "--batch-size", "5")
