"""The program run as users run it, and small data for it."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

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

    def call(*arguments, timeout=300):
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
