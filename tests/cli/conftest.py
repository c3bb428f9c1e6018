"""The program run as users run it, and small data for it."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from typer.testing import CliRunner

from dimscope.manifolds import sphere


@dataclass
class Done:
    """What the program printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run ``dimscope ...`` in an empty folder, in a process of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, timeout=1200):
        done = subprocess.run(
            [sys.executable, "-m", "dimscope", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"COLUMNS": "110", "PYTHONIOENCODING": "utf-8"},
        )
        assert "Traceback" not in done.stderr + done.stdout
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def points(tmp_path):
    """A file with 500 points of a 2-sphere in 3 dimensions."""
    path = tmp_path / "points.npy"
    np.save(path, sphere(500, 2, seed=3))
    return path


NETWORK = """
import torch


def small():
    return torch.nn.Sequential(
        torch.nn.Linear(3, 20), torch.nn.ReLU(), torch.nn.Linear(20, 8), torch.nn.Tanh()
    )


def broken():
    return torch.nn.Linear(7, 2)
"""


@pytest.fixture
def network(tmp_path):
    """A file with a network that takes such points."""
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def invoke():
    """Run ``dimscope ...`` in this process: quicker, where the process itself does not matter."""
    from dimscope.cli.main import app

    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def refusal(invoke):
    """Return the message with which a wrong call ends, its lines joined and its frame removed."""

    def call(*arguments):
        result = invoke(*arguments)
        assert result.exit_code != 0
        return " ".join(f"{result.output} {result.exception or ''}".replace("│", " ").split())

    return call


SIX_FEATURES = """
import torch


def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 4))


net = make()
"""


LATE = """
import torch


class Late(torch.nn.Linear):
    def forward(self, x):
        from neighbour import make

        return super().forward(x)


net = Late(6, 4)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder: x.npy (200 x 6), y.npy (two classes), net.py and three files beside it."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).random((200, 6)).astype(np.float32))
    np.save("y.npy", np.arange(200) % 2)
    (tmp_path / "net.py").write_text(SIX_FEATURES)
    (tmp_path / "neighbour.py").write_text(SIX_FEATURES)
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "other.py").write_text("from neighbour import make as made\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "neighbour", raising=False)
    return tmp_path
