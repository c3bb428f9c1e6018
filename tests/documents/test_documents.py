"""Commands in README and docs do what they say; their Python blocks run as doctests."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimscope.manifolds import sphere

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = re.compile(r"```console\n(.*?)```", re.DOTALL)
BLOCKS_OF_PAGES = [block for page in PAGES for block in BLOCKS.findall(page.read_text())]
COMMANDS = sorted({line for block in BLOCKS_OF_PAGES for line in block.splitlines()})
NETWORK = """
import torch


def make_model():
    return torch.nn.Sequential(torch.nn.Linear(3, 20), torch.nn.ReLU(), torch.nn.Linear(20, 8))
"""


def images(folder):
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (260, 260, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def test_there_are_commands():
    assert {line.split()[0] for line in COMMANDS} == {"make", "dimscope", "python"}


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs(line, tmp_path):
    program, *arguments = shlex.split(line)
    if program == "make":  # run as they are before every release: here, that they exist
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets)
        return
    (tmp_path / "net.py").write_text(NETWORK)
    np.save(tmp_path / "points.npy", sphere(300, 2))
    images(tmp_path / "IMAGENET")
    if program == "python":
        arguments = [str(ROOT / arguments[0]), *arguments[1:], str(tmp_path / "out")]
        (tmp_path / "out").mkdir()
    else:
        arguments = ["-m", "dimscope", *arguments]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    for name in re.findall(r"\S+\.png", line):
        assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
