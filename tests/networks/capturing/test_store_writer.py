"""Captures into a store: the same numbers, nothing lost to a kill, nothing run twice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dimscope as ds
from dimscope.activations.store import Folder
from networks.capturing.checks import CHECKS

KILLED = Path(__file__).with_name("killed.py")
X = torch.arange(120.0).reshape(20, 6).sin()
Y = torch.arange(20) % 3


class Network(nn.Module):
    """Counts its passes, and stops the capture in one of its batches of 6."""

    def __init__(self, stops=None, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.passes, self.last = 0, None if stops is None else X[min(6 * stops, len(X)) - 1]
        self.hidden, self.top = nn.Linear(6, 9, dtype=dtype), nn.Linear(9, 2, dtype=dtype)

    def forward(self, x):
        self.passes += 1
        if self.last is not None and torch.equal(x[-1], self.last):
            raise KeyboardInterrupt
        return self.top(torch.relu(self.hidden(x) + 0.1 * torch.rand(len(x), 1, dtype=x.dtype)))


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    assert found.layers == wanted.layers
    assert found.failures == wanted.failures
    assert found.class_names == wanted.class_names
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name])
    assert (found.labels is None) == (wanted.labels is None)
    if wanted.labels is not None:
        assert found.labels.dtype == wanted.labels.dtype
        np.testing.assert_array_equal(found.labels, wanted.labels)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stopped(out, data=(X, Y), after=2, **keywords):
    """A capture that was stopped in the batch after so many."""
    network = Network(stops=after + 1)
    with pytest.raises(KeyboardInterrupt):
        ds.capture(network, data, out=out, batch_size=6, **keywords)


# -- killed -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, KILLED, folder], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_kills_came_at_different_moments(killed):
    moments = killed[1]["moments"]
    assert sum(one["killed"] for one in moments) >= 8
    assert len({one["written"] for one in moments} - {None, 0}) >= 3


def test_killed_capture_resumes_to_the_same_bytes(killed):
    folder, found = killed
    whole = files(folder / "whole.zarr")
    assert sum(path.parts[0] == "layers" for path in whole) > 20
    for number, moment in enumerate(found["moments"]):
        assert moment["code"] == 0, moment
        again = files(folder / f"{number}.zarr")
        assert again.keys() == whole.keys()
        assert [path for path in whole if again[path] != whole[path]] == []


def test_resumed_capture_skips_written_batches(killed):
    found = killed[1]
    for moment in found["moments"]:
        written = moment["written"] or 0
        assert moment["before"] - CHECKS - written in (0, 1)
        left = found["passes"] - written  # with the runs on a few stimuli, which are made again
        assert moment["after"] == (left if moment["refused"] else 0)


def test_open_store_refuses_a_killed_capture(killed):
    found = killed[1]
    assert sum(one["refused"] for one in found["moments"]) >= 5
    assert all(one["refused"] for one in found["moments"] if (one["written"] or 0) < 12)


# -- the same as in memory ----------------------------------------------------------------


@pytest.mark.parametrize("place", ["folder", "file://", "memory://"])
def test_store_holds_what_memory_holds(tmp_path, place):
    out = {
        "folder": tmp_path / "s.zarr",
        "file://": f"file://{tmp_path}/s.zarr",
        "memory://": f"memory://{tmp_path.name}/s.zarr",
    }[place]
    wanted = ds.capture(Network(), (X, Y), batch_size=6)
    assert_same(ds.capture(Network(), (X, Y), batch_size=6, out=out), wanted)
    assert_same(ds.open_store(out), wanted)
    assert ds.open_store(out).provenance == wanted.provenance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_store_keeps_dtypes(tmp_path, dtype):
    out = tmp_path / "s.zarr"
    wanted = ds.capture(Network(dtype=dtype), X)
    assert_same(ds.capture(Network(dtype=dtype), X, out=out), wanted)


def test_store_is_independent_of_memory_layout(tmp_path):
    images = torch.rand(10, 4, 6, 6).to(memory_format=torch.channels_last)
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.MaxPool2d(2))
    net = net.to(memory_format=torch.channels_last)
    assert_same(
        ds.capture(net, images, "all", out=tmp_path / "s.zarr"), ds.capture(net, images, "all")
    )


@pytest.mark.parametrize(
    "labels",
    [
        Y.numpy().astype(np.uint8),
        Y.numpy() == 1,
        np.array(["cat", "dog", "caterpillar"])[Y.numpy()],
    ],
    ids=["uint8", "bool", "words"],
)
def test_store_keeps_labels(tmp_path, labels):
    data = [(X[i : i + 7], labels[i : i + 7].tolist()) for i in range(0, 20, 7)]
    if labels.dtype.kind != "U":
        data = [(x, labels[7 * i : 7 * i + 7]) for i, (x, _) in enumerate(data)]
    assert_same(ds.capture(Network(), data, out=tmp_path / "s.zarr"), ds.capture(Network(), data))


def test_store_drops_labels_that_some_batches_lack(tmp_path):
    data = [(X[:7], Y[:7]), (X[7:14], Y[7:14] / 7), (X[14:], Y[14:])]
    assert_same(ds.capture(Network(), data, out=tmp_path / "s.zarr"), ds.capture(Network(), data))


class Changing(nn.Module):
    """Its first layer has another width in the second batch."""

    def forward(self, x):
        kept = torch.relu(x if len(x) == 7 else x[:, :4])
        return kept[:, :3] * 2


def test_store_records_a_layer_that_fails_later(tmp_path):
    data = [X[:7], X[7:]]
    found = ds.capture(Changing(), data, "all", out=tmp_path / "s.zarr")
    assert found.failures
    assert_same(found, ds.capture(Changing(), data, "all"))
    assert len(list((tmp_path / "s.zarr" / "layers").glob("0*"))) == len(found)


def test_store_writes_shared_points_once(tmp_path):
    layers = ["top", "output"]
    found = ds.capture(Network(), X, layers, out=tmp_path / "s.zarr")
    assert_same(found, ds.capture(Network(), X, layers))
    assert len(list((tmp_path / "s.zarr" / "layers").glob("0*"))) == 1


# -- going on -----------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 3])
def test_capture_resumes_where_it_stopped(tmp_path, after):
    out, network = tmp_path / "s.zarr", Network()
    stopped(out, after=after)
    wanted = ds.capture(Network(), (X, Y), batch_size=6)
    told = []
    found = ds.capture(
        network, (X, Y), batch_size=6, out=out, progress=lambda step, *done: told.append(done)
    )
    assert_same(found, wanted)
    assert network.passes == CHECKS + 4 - after
    assert told == [(n, 20) for n in (6, 12, 18, 20)][after:]
    assert found.provenance == wanted.provenance


@pytest.mark.parametrize(
    "data",
    [
        lambda: ((x, list("abcdef")[: len(x)]) for x in X.split(6)),
        lambda: DataLoader(TensorDataset(X, Y), batch_size=6),
        lambda: "memory://resumed",
    ],
    ids=["generator", "loader", "remote"],
)
def test_capture_resumes_with_iterators_and_urls(tmp_path, data):
    out = tmp_path / "s.zarr"
    if data() == "memory://resumed":
        out, data = f"memory://{tmp_path.name}", lambda: (X, Y)
    stopped(out, data())
    network, fresh = Network(), Network()
    assert_same(
        ds.capture(network, data(), batch_size=6, out=out),
        ds.capture(fresh, data(), batch_size=6),
    )
    assert network.passes == fresh.passes - 2


def test_capture_initialises_lazy_weights_before_resuming(tmp_path):
    class Lazy(Network):
        def __init__(self, stops=None):
            super().__init__(stops)
            self.hidden = nn.LazyLinear(9)

    out, network = tmp_path / "s.zarr", Lazy()
    with pytest.raises(KeyboardInterrupt):
        ds.capture(Lazy(stops=3), X, batch_size=6, out=out)
    fresh = Lazy()
    assert_same(ds.capture(network, X, batch_size=6, out=out), ds.capture(fresh, X, batch_size=6))
    assert network.passes == fresh.passes - 2


def test_capture_returns_a_complete_store_without_running(tmp_path):
    out, network = tmp_path / "s.zarr", Network()
    first = ds.capture(network, X, out=out)
    before = files(out)
    ran = network.passes
    assert_same(ds.capture(network, X, out=out), first)
    assert network.passes == ran
    assert files(out) == before


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("layers", {"layers": "all"}),
        ("readout", {"readout": "mean"}),
        ("n_points", {"n_points": 20}),
        ("seed", {"seed": 1}),
        ("batch size", {"batch_size": 5}),
        ("weights", {"model": Network().double()}),
        ("values of the data", {"batches": (X + 1, Y)}),
        ("rows of the data", {"batches": (X[:19], Y[:19])}),
        ("values of the data", {"batches": (X, Y + 1)}),
    ],
)
def test_capture_refuses_the_store_of_another_capture(tmp_path, complete, word, change):
    out = tmp_path / "s.zarr"
    if complete:
        ds.capture(Network(), (X, Y), batch_size=6, out=out)
    else:
        stopped(out)
    before = files(out)
    asked = {"model": Network(), "batches": (X, Y), "batch_size": 6, **change}
    with pytest.raises(ds.BadSource, match=f"another capture, which differs in .*{word}"):
        ds.capture(**asked, out=out)
    assert files(out) == before


def test_capture_refuses_a_foreign_folder(tmp_path):
    (tmp_path / "thesis.txt").write_text("draft")
    with pytest.raises(ds.BadSource, match="not a store"):
        ds.capture(Network(), X, out=tmp_path)
    assert files(tmp_path) == {Path("thesis.txt"): b"draft"}


def test_capture_refuses_a_file_as_out(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ds.BadSource, match="not a store"):
        ds.capture(Network(), X, out=tmp_path / "file")


def test_capture_without_points_leaves_no_store(tmp_path):
    class Integers(nn.Module):
        def forward(self, x):
            return x.long()

    with pytest.raises(ds.BadPoints, match="none of the 1 selected layers"):
        ds.capture(Integers(), X, "output", out=tmp_path / "s.zarr")
    with pytest.raises(ds.BadSource, match="20 of 20 rows"):
        ds.open_store(tmp_path / "s.zarr")


# -- journals and links that lead out of the store ------------------------------------------


@pytest.mark.parametrize("reason", ["it failed", None])
def test_capture_resumes_no_journal_that_leads_out_of_the_store(tmp_path, reason):
    out, precious = tmp_path / "s.zarr", tmp_path / "precious"
    stopped(out)
    journal = json.loads((out / "journal.json").read_text())
    column = list(journal["columns"].values())[-1]
    shutil.copytree(out / "layers" / column["array"], precious)
    before = files(precious)
    column |= {"array": "../../precious", "reason": reason}
    (out / "journal.json").write_text(json.dumps(journal))
    with pytest.raises(ds.BadSource, match=r"journal.json is damaged: .*\.\./\.\./precious"):
        ds.capture(Network(), (X, Y), batch_size=6, out=out)
    assert files(precious) == before


@pytest.mark.parametrize(
    "name",
    [
        *("layers", "layers/000-input", "layers/000-input/c/0/0", "labels", "labels/c/0"),
        *("journal.json", ".stop.part", ".owner.json"),
    ],
)
def test_capture_writes_and_deletes_through_no_link(tmp_path, name):
    out, precious = tmp_path / "s.zarr", tmp_path / "precious"
    stopped(out)
    if (out / name).exists():
        (out / name).rename(precious)
    else:
        precious.write_text("null")
    (out / name).symlink_to(precious)
    before = files(precious) if precious.is_dir() else precious.read_bytes()
    with pytest.raises(ds.BadSource, match=f"s.zarr/{name} is a symbolic link"):
        ds.capture(Network(), (X, Y), batch_size=6, out=out)
    assert before == (files(precious) if precious.is_dir() else precious.read_bytes())


def test_folder_removes_a_link_and_not_what_it_leads_to(tmp_path):
    folder, precious = Folder(tmp_path / "s"), tmp_path / "precious"
    for path in (folder.path, precious):
        path.mkdir()
    (precious / "file").write_text("x")
    (folder.path / "link").symlink_to(precious)
    with pytest.raises(ds.BadSource, match="is a symbolic link"):
        folder.remove("link/file")
    folder.remove("link")
    assert not (folder.path / "link").is_symlink()
    assert (precious / "file").read_text() == "x"


# -- the budget ---------------------------------------------------------------------------


def test_capture_keeps_what_fits_in_memory():
    plans = []
    found = ds.capture(Network(), X, memory=20 * 17 * 4, on_plan=plans.append)
    assert type(found) is ds.Activations
    assert [one.how for one in plans] == ["memory"]
    assert plans[0].bytes == found.nbytes == 20 * 17 * 4


@pytest.mark.parametrize("data", [(X, Y), [(X[:9], Y[:9]), (X[9:18], Y[9:18]), (X[18:], Y[18:])]])
def test_capture_spills_to_a_temporary_store(tmp_path, monkeypatch, data):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plans = []
    budget = 20 * 17 * 4 - 1
    found = ds.capture(Network(), data, batch_size=6, memory=budget, on_plan=plans.append)
    assert isinstance(found, ds.StoredActivations)
    assert plans[-1].how == "store"
    assert_same(found, ds.capture(Network(), data, batch_size=6))
    part = found.stored("hidden")
    del found
    assert part[3:4].shape == (1, 9)  # as long as a part is held, the folder is there
    del part
    assert list(tmp_path.iterdir()) == []


def test_temporary_store_is_deleted_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        ds.capture(Network(stops=2), X, batch_size=6, memory=100)
    assert list(tmp_path.iterdir()) == []


class Wide:
    """Four terabytes, none of which is made before it is asked for."""

    def __len__(self):
        return 10**6

    def __getitem__(self, i):
        return torch.zeros(1).expand(10**6)


def test_capture_refuses_a_disk_without_room(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ds.BadSource, match="GB left; give another folder as out"):
        ds.capture(nn.AvgPool1d(10), Wide(), "input", batch_size=3, memory="1 GB")
    assert list(tmp_path.iterdir()) == []


def test_plan_runs_the_first_batch_and_writes_nothing(tmp_path):
    network = Network()
    plan = ds.plan(network, X, batch_size=6, memory="1 kB", out=tmp_path / "s.zarr")
    assert (plan.how, plan.bytes, plan.passes) == ("store", 20 * 17 * 4, 1)
    assert plan.seconds > 0
    assert network.passes == CHECKS + 1
    assert not (tmp_path / "s.zarr").exists()
    assert ds.plan(Network(), X, memory="1 GB").how == "memory"
    assert ds.plan(Network(), iter([X]), memory="1 GB").bytes is None


def test_profile_within_a_budget_equals_that_in_memory(tmp_path):
    data = torch.rand(300, 6)
    told = []
    wanted = ds.profile(Network(), data)
    found = ds.profile(Network(), data, memory="2 kB", progress=lambda step, *_: told.append(step))
    for name in wanted:
        assert found[name].dimension == wanted[name].dimension
        assert found[name].std_error == wanted[name].std_error
    assert "running the network, on disk" in told
    out = tmp_path / "s.zarr"
    ds.profile(Network(), data, out=out, by_class=False)
    assert ds.profile(out)["hidden"].dimension == wanted["hidden"].dimension


def test_profile_by_class_from_a_store_equals_that_in_memory(tmp_path):
    data = torch.rand(300, 6), torch.arange(300) % 2
    wanted = ds.profile(Network(), data, by_class=True)
    for memory in ("1 GB", "1 kB"):
        found = ds.profile(Network(), data, by_class=True, memory=memory, out=tmp_path / memory)
        assert found["hidden"].dimension == wanted["hidden"].dimension
