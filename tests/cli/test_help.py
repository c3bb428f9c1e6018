"""``dimscope COMMAND --help`` explains every option, in groups, with examples that run."""

import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

import dimscope as ds
from dimscope.cli.help import DATA, ESTIMATOR, LAYERS, NETWORK, OUTPUT, RUN, SEARCH, examples_of
from dimscope.cli.main import app
from dimscope.manifolds import cube

COMMANDS = get_command(app).commands
PANELS = {DATA, NETWORK, LAYERS, ESTIMATOR, SEARCH, OUTPUT, RUN}
EXAMPLES = [line for command in COMMANDS.values() for line in examples_of(command.help)]

NETWORK_FILE = """
import torch


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5)
    )
"""


def options_of(command):
    return [option for option in command.params if option.param_type_name == "option"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option_in_its_group(invoke, name):
    command = COMMANDS[name]
    for parameter in command.params:
        assert parameter.help, parameter.name
    assert {option.rich_help_panel for option in options_of(command)} <= PANELS
    text = invoke(name, "--help").output
    for option in options_of(command):
        section = text.split(f"\n{option.rich_help_panel}:\n")[1].split("\n\n")[0]
        assert option.opts[0] in section, option.opts


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_two_or_three_examples(invoke, name):
    examples = examples_of(COMMANDS[name].help)
    assert 2 <= len(examples) <= 3
    assert all(example.startswith(f"dimscope {name} ") or example == f"dimscope {name}"
               for example in examples)  # fmt: skip
    text = invoke(name, "--help").output
    assert text.endswith("\nExamples:\n" + "".join(f"  {line}\n" for line in examples))
    assert "----" not in text


@pytest.fixture(scope="module")
def example_files(tmp_path_factory):
    """A folder with the files that the examples name."""
    from language import lines, save_model  # needs transformers

    folder = tmp_path_factory.mktemp("examples")
    points = cube(300, 3, seed=0) @ np.random.default_rng(0).standard_normal((3, 8))
    np.save(folder / "points.npy", points)
    (folder / "net.py").write_text(NETWORK_FILE)
    save_model(folder / "model")
    (folder / "lines.txt").write_text("\n".join(lines(30, 22)))
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / label / f"{number}.png")
    layers = (
        ds.Layer("input", "input", 0, 0.0, 8),
        ds.Layer("fc", "last_hidden", 1, 0.5, 20),
        ds.Layer("output", "output", 2, 1.0, 5),
    )
    provenance = ds.estimate(points).provenance
    for number, name in enumerate("abc"):
        estimates = {
            layer.name: ds.Estimate(
                4.0 + number - layer.depth, 0.2, n_points=300, provenance=provenance
            )
            for layer in layers
        }
        ds.Profile(layers, {"twonn": estimates}, name=name).save(folder / f"{name}.json")
    (folder / "accuracy.csv").write_text("network,accuracy\na,0.7\nb,0.8\nc,0.75\n")
    return folder


def in_order(examples):
    """The command that writes the store that others read comes first."""
    return sorted(examples, key=lambda line: "--out store.zarr" not in line)


@pytest.mark.filterwarnings("ignore")  # tiny data
def test_every_example_runs(example_files, monkeypatch):
    monkeypatch.chdir(example_files)
    assert len(EXAMPLES) >= 2 * len(COMMANDS)
    for example in in_order(EXAMPLES):
        program, *arguments = shlex.split(example)
        assert program == "dimscope"
        done = CliRunner().invoke(app, arguments)
        missing = "--check" in arguments  # exits with 1 where data are missing
        assert done.exit_code in ((0, 1) if missing else (0,)), (example, done.output)
        assert done.exception is None or isinstance(done.exception, SystemExit), example


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dimscope di", {"diagnose"}),
        ("dimscope estimate --estimator g", {"gride"}),
        ("dimscope estimate --engine s", {"sketched", "sampled"}),
        ("dimscope profile --layers ", {"checkpoints", "all", "last_hidden"}),
        ("dimscope profile --readout m", {"mean", "max"}),
        ("dimscope profile --by", {"--by-class"}),
    ],
)
def test_the_shell_completes_commands_options_and_words(line, words):
    number = len(line.split(" ")) - 1
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['dimscope']; from dimscope.cli import main; main()",
        ],
        env=os.environ
        | {"_DIMSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(number)},
        capture_output=True,
        text=True,
    )
    assert set(done.stdout.split()) == words, done.stderr


def test_completed_estimators_exist():
    from dimscope.cli.arguments import estimator_from

    option = next(o for o in options_of(COMMANDS["estimate"]) if o.name == "estimator")
    names = [item.value for item in option.shell_complete(None, "")]
    assert len(names) > 5
    for name in names:
        assert repr(estimator_from(name, None, None, 0, 0.9, 0))
