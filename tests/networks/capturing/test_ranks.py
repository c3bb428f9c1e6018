"""Captures on two ranks that torchrun starts: the bytes of one process, kills, errors."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import dimscope as ds
from networks.capturing.checks import CHECKED, CHECKS

pytestmark = pytest.mark.slow

MANY = Path(__file__).with_name("many.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# The numbers of a product of matrices may depend on the number of threads.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
N, BATCHES = 100, 17  # sixteen batches of six, and one of four
PATIENCE = 600  # seconds; only a process that hangs takes as long

NETWORK = """
import os
import time
from pathlib import Path

import torch

HOLD, FAILS = int(os.environ.get("HOLD", "1000")), os.environ.get("FAILS")
RANK = os.environ.get("RANK", "alone")


def hold_until(happened):
    for _ in range(30_000):
        if happened():
            return
        time.sleep(0.01)


class Counted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.top = torch.nn.Linear(3, 30_000), torch.nn.Linear(30_000, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > CHECKS:
            self.note(x)
        return self.top(torch.relu(self.hidden(x)))

    def note(self, x):
        with open("passes", "a") as file:
            file.write(f"{RANK} {os.getpid()} {x[0, 0].item():.0f}\\n")
        lines = Path("passes").read_text().splitlines()
        if len(lines) >= HOLD:  # it is killed here
            hold_until(lambda: False)
        if FAILS == RANK and x[0, 0] >= 70:
            raise RuntimeError("no more")
        if FAILS and sum(line.startswith(RANK) for line in lines) == 5:
            hold_until(lambda: list(Path().glob("failed*/.stop.part")))


def net():
    if FAILS == f"{RANK} at once":
        raise RuntimeError("nothing here")
    return Counted()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    (place / "net.py").write_text(f"CHECKS = {CHECKS}\n{NETWORK}")
    rows = np.sin(np.arange(3.0 * N)).reshape(N, 3).astype(np.float32)
    rows[:, 0] = np.arange(N)
    np.save(place / "points.npy", rows)
    return place


def command(out):
    call = ["dimscope", "capture", "net.py:net", "--data", "points.npy", "--out", out]
    return [*call, "--batch-size", "6", "--layers", "all"]


def run(folder, out, launcher=TORCHRUN, **environment):
    (folder / "passes").unlink(missing_ok=True)
    return subprocess.run(
        [*launcher, "-m", *command(out)],
        cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


def passes(folder):
    """Rank, process and first row of each batch that ran."""
    path = folder / "passes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(rank, int(pid), int(row)) for rank, pid, row in map(str.split, lines)]


def files(store):
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def differing(store, other):
    found, wanted = files(store), files(other)
    return sorted(map(str, found.keys() ^ wanted.keys())) + [
        str(path) for path in found.keys() & wanted.keys() if found[path] != wanted[path]
    ]


@pytest.fixture(scope="module")
def whole(folder):
    """The store of one process."""
    done = run(folder, "whole.zarr", [sys.executable])
    assert done.returncode == 0, done.stderr
    assert len(passes(folder)) == BATCHES
    return folder / "whole.zarr"


def test_two_ranks_write_the_bytes_of_one_process(folder, whole):
    done = run(folder, "two.zarr")
    assert done.returncode == 0, done.stderr
    assert differing(folder / "two.zarr", whole) == []
    assert len(list(whole.glob("layers/001*/c/*/*"))) > 1
    ran = passes(folder)
    assert sorted(row for *_, row in ran) == list(range(0, N, 6))
    assert [sum(rank == one for rank, *_ in ran) for one in "01"] == [9, 8]
    assert done.stdout == f"written: two.zarr, {len(ds.open_store(whole))} layers of 100 points\n"
    assert done.stderr.count("plan:") == 1


def killed(folder, out, after):
    """Batches that are written when all processes are killed, once so many have begun."""
    (folder / "passes").unlink(missing_ok=True)
    child = subprocess.Popen(
        [*TORCHRUN, "-m", *command(out.name)], cwd=folder, env=ENVIRONMENT | {"HOLD": str(after)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while len(passes(folder)) < after or len({rank for rank, *_ in passes(folder)}) < 2:
        assert child.poll() is None, "the capture ended before it was killed"
        time.sleep(0.01)
    ranks = [psutil.Process(pid) for pid in {pid for _, pid, _ in passes(folder)}]
    os.killpg(child.pid, signal.SIGKILL)
    for rank in ranks:  # torchrun gives them groups of their own
        rank.kill()
    assert child.wait() == -signal.SIGKILL
    while any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks):
        time.sleep(0.01)  # a process on its way out can still write
    journals = [out / "journal.json", out / "ranks" / "1" / "journal.json"]
    leader, follower = (json.loads(p.read_text()) if p.exists() else None for p in journals)
    rows, written = leader["rows"], leader["batches"]
    if follower is not None:
        rows += follower["rows"] - follower["first"]
        written += follower["batches"] - leader["shares"][1]
    with pytest.raises(ds.BadSource, match=f"is incomplete: it holds {rows} of 100 rows"):
        ds.open_store(out)
    return written


def test_killed_ranks_resume_to_the_same_bytes(folder, whole):
    out, written = folder / "killed.zarr", [0]
    for after in (5, 6):
        written.append(killed(folder, out, after))
        # what ran is written, but for the batches that the two ranks were in
        assert 0 <= len(passes(folder)) - (written[-1] - written[-2]) <= 2
    assert 0 < written[1] < written[2] < BATCHES
    done = run(folder, out.name)
    assert done.returncode == 0, done.stderr
    assert differing(out, whole) == []
    assert len(passes(folder)) == BATCHES - written[-1]


@pytest.mark.parametrize(
    ("fails", "sentence"),
    [
        (
            "1",
            r"rank 1: the network failed on batch 13, of .*: RuntimeError: no more; give data .*",
        ),
        ("1 at once", r"rank 1: .*RuntimeError: nothing here"),
    ],
)
def test_error_on_one_rank_ends_all_ranks(folder, fails, sentence):
    out = f"failed {fails}.zarr"
    done = run(folder, out, FAILS=fails)
    assert done.returncode != 0
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if line.startswith("dimscope: ")]
    assert len(said) == 1
    assert re.fullmatch(f"dimscope: {sentence}", said[0])
    assert sum(rank == "0" for rank, *_ in passes(folder)) < 9  # it stopped before its end
    with pytest.raises(ds.BadSource, match=r"is incomplete|no store"):
        ds.open_store(folder / out)


# -- from Python --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """What ranks 0 and 1 saw, and one process (rank -1), and where their stores are."""
    seen, places = {}, []
    for ranks, launcher in (([-1], [sys.executable]), ([0, 1], TORCHRUN)):
        places.append(tmp_path_factory.mktemp("called"))
        done = subprocess.run(
            [*launcher, MANY, places[-1]],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seen |= {rank: json.loads((places[-1] / f"{rank}.json").read_text()) for rank in ranks}
    return seen, *places


@pytest.mark.parametrize("name", ["words", "numbers", "one batch", "fails late", "begun", "lazy"])
def test_ranks_capture_what_one_process_captures(called, name):
    seen, one, two = called
    assert differing(two / f"{name}.zarr", one / f"{name}.zarr") == []
    assert seen[0][name]["shape"] == seen[1][name]["shape"] == seen[-1][name]["shape"]
    # each rank runs a few stimuli first, and two more to make lazy weights
    before = CHECKED + (2 if name == "lazy" else 0)
    assert seen[0][name]["rows"] + seen[1][name]["rows"] == seen[-1][name]["rows"] + before
    assert (seen[1][name]["rows"] > CHECKED) == (name != "one batch")


def test_merged_shares_are_not_run_again(called):
    seen, one, two = called
    assert seen[0]["stopped"] == ["KeyboardInterrupt: ", True]
    assert seen[1]["stopped"] == ["BadSource: rank 0: KeyboardInterrupt", True]
    assert seen[0]["taken over"]["rows"] == seen[1]["taken over"]["rows"] == CHECKED
    assert differing(two / "taken over.zarr", one / "taken over.zarr") == []


def test_compared_stores_hold_labels_and_failures(called):
    _, one, _ = called
    words, late = ds.open_store(one / "words.zarr"), ds.open_store(one / "fails late.zarr")
    assert words.labels.tolist()[29:33] == ["dog", "ape", "cat", "cat"]
    assert any("changes from 5 to 4" in reason for reason in late.failures.values())


def test_progress_of_a_rank_counts_its_share(called):
    seen = called[0]
    assert seen[0]["words"]["told"] == [[n, 30] for n in (6, 12, 18, 24, 30)]
    assert seen[1]["words"]["told"] == [[n, 20] for n in (6, 12, 18, 20)]
    assert seen[0]["begun"]["told"] == [[n, 36] for n in (18, 24, 30, 36)]


def test_ranks_draw_different_random_numbers(called):
    _, one, two = called
    clean = ds.open_store(one / "begun.zarr")["output"]
    alone, ranks = (ds.open_store(place / "noisy.zarr")["output"] - clean for place in (one, two))
    np.testing.assert_array_equal(ranks[:30], alone[:30])
    assert np.abs(ranks[30:] - alone[30:]).max(1).min() > 1e-3
    assert np.abs(ranks[30:44] - ranks[6:20]).max(1).min() > 1e-3


def test_ranks_without_out_capture_everything(called):
    assert all(
        one["without out"] == ["Activations", 50, CHECKED + 50] for one in called[0].values()
    )


def test_ranks_return_a_complete_store(called):
    assert all(one["complete"] == [50, 0] for one in called[0].values())


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("iterable", ["can only be iterated, so 2 ranks cannot share", "can only be iterated"]),
        ("remote", ["2 ranks cannot write to memory://", "2 ranks cannot write to memory://"]),
        ("place", ["the same folder on one machine", "the same folder on one machine"]),
        (
            "weights",
            ["rank 1: its capture differs from that of rank 0 in weights", "its capt"],
        ),
        ("bug", ["rank 1: the network failed on batch 9", "the network failed on batch 9"]),
        ("interrupted", ["BadSource: rank 1: KeyboardInterrupt", "KeyboardInterrupt: "]),
    ],
)
def test_error_on_one_rank_is_raised_on_all(called, case, words):
    for rank in (0, 1):
        assert words[rank] in called[0][rank][case]


def test_refused_captures_write_nothing(called):
    assert called[0][0]["untouched"] == called[0][1]["untouched"] == []


def test_ranks_refuse_to_resume_with_another_number(called):
    assert "was started by 2 ranks; resume it with the same number" in called[0][0]["one of two"]
    assert called[0][0]["left"] == [".lock", "journal.json", "layers", "ranks", "zarr.json"]


def test_ranks_resume_after_an_interrupt(called):
    assert called[0][0]["again"] == called[0][1]["again"] == 50


def test_ranks_without_a_group_are_told_to_start_one(called):
    for rank in (0, 1):
        sentence, written = called[0][rank]["no group"]
        assert "one of 2 processes" in sentence
        assert "call torch.distributed.init_process_group first" in sentence
        assert not written


def test_group_of_the_caller_is_left_as_it_was(called):
    assert called[0][0]["group left"] is called[0][1]["group left"] is True


def test_ranks_do_not_wait_for_an_absent_rank(called):
    assert "not all 2 ranks called capture within 2 s" in called[0][0]["absent"]
