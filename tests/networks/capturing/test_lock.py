"""One capture at a time writes to a store; the lock of a process that has ended holds nobody up."""

import json
import os
import platform
import subprocess
import sys
import time

import psutil
import pytest
import torch
from torch import nn

import dimscope as ds

X = torch.arange(120.0).reshape(20, 6).sin()

WAITING = """
import sys, time
import torch
import dimscope as ds

def wait(step, done, total):
    print("ready", flush=True)
    time.sleep(600)

X = torch.arange(120.0).reshape(20, 6).sin()
ds.capture(torch.nn.ReLU(), X, batch_size=6, out=sys.argv[1], progress=wait)
"""


def capture(out, **keywords):
    return ds.capture(nn.ReLU(), X, batch_size=6, out=out, **keywords)


def interrupted(out):
    """A capture that stops after its first batch."""

    def stop(step, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(out, progress=stop)


@pytest.mark.slow
def test_capture_refuses_a_store_that_another_process_writes(tmp_path):
    out = tmp_path / "s.zarr"
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, out], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
            owner = f"process {process.pid} on {platform.node()}, started 2"
            with pytest.raises(ds.BadSource, match=f"s.zarr is being written by {owner}"):
                capture(out)
            assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
        finally:
            process.kill()
    assert capture(out).n_points == 20  # the lock has gone with its process
    assert not {".lock", ".owner.json"} & {path.name for path in out.iterdir()}


@pytest.mark.parametrize("place", ["folder", "memory://"])
def test_capture_refuses_a_store_that_this_process_writes(tmp_path, place):
    out = str(tmp_path / "s.zarr") if place == "folder" else f"memory://{tmp_path.name}"
    refusals = []

    def again(step, done, total):
        with pytest.raises(ds.BadSource, match="is being written by process") as refusal:
            capture(out)
        refusals.append(refusal)

    assert capture(out, progress=again).n_points == 20
    assert len(refusals) == 4


def test_capture_takes_over_the_lock_of_a_process_that_has_ended(tmp_path):
    out = tmp_path / "s.zarr"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    reused = psutil.Process(os.getppid())
    for pid, started in [(ended.pid, time.time()), (reused.pid, reused.create_time() - 100)]:
        interrupted(out)
        owner = {"host": platform.node(), "pid": pid, "started": started}
        (out / ".owner.json").write_text(json.dumps(owner))
        interrupted(out)
        assert not (out / ".owner.json").exists()
    assert capture(out).n_points == 20


def test_capture_refuses_the_lock_of_another_machine(tmp_path):
    out = tmp_path / "s.zarr"
    interrupted(out)
    owner = {"host": "elsewhere", "pid": os.getpid(), "started": time.time()}
    (out / ".owner.json").write_text(json.dumps(owner))
    words = r"on elsewhere, started .*, which this machine cannot see; .* remove .*\.owner\.json"
    with pytest.raises(ds.BadSource, match=words):
        capture(out)
    (out / ".owner.json").unlink()
    assert capture(out).n_points == 20
