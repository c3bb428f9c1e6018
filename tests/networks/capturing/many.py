"""Captures on many ranks from Python; run by test_ranks.py, under torchrun and alone.

``many.py FOLDER`` makes the same captures whether it is alone or one of several ranks, into
stores in FOLDER, then wrong ones, and writes what it saw to ``FOLDER/RANK.json``.
"""

import json
import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn

import dimscope as ds
from dimscope.activations.store import Folder
from dimscope.networks.capturing import ranks

X = torch.arange(300.0).reshape(50, 6).sin()
WORDS = ["dog" if i < 30 else "cat" if i % 3 else "ape" for i in range(50)]
RANK = int(os.environ.get("RANK", "-1"))


class Network(nn.Module):
    """Does what it is told in the batch that begins with row ``at``, on one rank."""

    def __init__(self, at=None, on=None, then=None, noise=0.0, lazy=False, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.rows, self.at, self.on, self.then, self.noise = 0, at, on, then, noise
        self.hidden = nn.LazyLinear(9) if lazy else nn.Linear(6, 9)
        self.top = nn.Linear(9, 2)

    def forward(self, x):
        self.rows += len(x)
        here = self.at is not None and torch.equal(x[0], X[self.at])
        if here and isinstance(self.then, BaseException) and self.on in (None, RANK):
            raise self.then
        hidden = torch.relu(self.hidden(x)) + self.noise * torch.rand(len(x), 1)
        return self.top(hidden), torch.relu(hidden[:, : 4 if here else 5])


def caught(*arguments, **keywords):
    """What a capture that has to fail says."""
    try:
        ds.capture(*arguments, batch_size=6, **keywords)
    except (ds.DimscopeError, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was wrong")


@contextmanager
def alone():
    """One process, whatever others there are."""
    there, distributed.is_available = distributed.is_available, lambda: False
    yield
    distributed.is_available = there


@contextmanager
def interrupted():
    """Stop before the journals of other ranks are removed."""
    remove = Folder.remove

    def stop(self, name):
        if name == "ranks" and (self.path / name).exists():
            raise KeyboardInterrupt
        remove(self, name)

    Folder.remove = stop
    yield
    Folder.remove = remove


def main(folder):
    torch.set_num_threads(1)
    seen = {}
    if RANK >= 0:
        seen["no group"] = caught(Network(), X, out=folder / "no group.zarr")
        seen["no group"] = [seen["no group"], (folder / "no group.zarr").exists()]
        distributed.init_process_group("gloo")

    def good(name, network, data, **keywords):
        told = []
        found = ds.capture(
            network, data, batch_size=6, name="net", out=folder / f"{name}.zarr",
            progress=lambda step, *done: told.append(done), **keywords,
        )  # fmt: skip
        seen[name] = {"rows": network.rows, "told": told, "shape": found["hidden"].shape}
        return found

    good("words", Network(), (X, WORDS))
    good("numbers", Network(), (X, torch.arange(50)), n_points=40)
    good("one batch", Network(), X[:6])
    good("fails late", Network(at=42, then="narrow"), X, layers="all")
    if RANK < 1:  # two batches are done by one process
        with alone():
            caught(Network(at=12, then=KeyboardInterrupt()), X, out=folder / "begun.zarr")
    good("begun", Network(), X)
    if RANK >= 0:  # rank 0 is stopped after it took over what rank 1 wrote
        with interrupted():
            said = caught(Network(), (X, WORDS), out=folder / "taken over.zarr")
        seen["stopped"] = [said, (folder / "taken over.zarr" / "ranks" / "1").is_dir()]
    good("taken over", Network(), (X, WORDS))
    good("lazy", Network(lazy=True), X)
    good("noisy", Network(noise=1.0), X)
    network = Network()
    own = ds.capture(network, X, batch_size=6)
    seen["without out"] = [type(own).__name__, own.n_points, network.rows]
    network = Network()
    seen["complete"] = ds.capture(network, X, batch_size=6, out=folder / "begun.zarr").n_points
    seen["complete"] = [seen["complete"], network.rows]
    if RANK < 0:
        return seen
    out = folder / "wrong.zarr"
    seen["iterable"] = caught(Network(), (x for x in X.split(6)), out=out)
    seen["remote"] = caught(Network(), X, out="memory://wrong.zarr")
    seen["place"] = caught(Network(), X, out=folder / f"wrong-{RANK}.zarr")
    seen["untouched"] = [path.name for path in folder.glob("wrong*")]
    seen["weights"] = caught(Network(seed=RANK), X, out=folder / "weights.zarr")
    seen["bug"] = caught(Network(at=48, on=1, then=RuntimeError("a bug")), X, out=out)
    if RANK == 0:
        seen["left"] = sorted(path.name for path in out.iterdir())
        with alone():
            seen["one of two"] = caught(Network(), X, out=out)
    network = Network(at=48, on=1, then=KeyboardInterrupt())
    seen["interrupted"] = caught(network, X, out=folder / "interrupted.zarr")
    seen["again"] = ds.capture(Network(), X, batch_size=6, out=folder / "interrupted.zarr").n_points
    ranks.COME = timedelta(seconds=2)
    if RANK == 0:
        seen["absent"] = caught(Network(), X, out=folder / "absent.zarr")
    return seen


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found = main(place)
    if RANK >= 0:
        found["group left"] = distributed.is_initialized()
        distributed.destroy_process_group()
    (place / f"{RANK}.json").write_text(json.dumps(found))
