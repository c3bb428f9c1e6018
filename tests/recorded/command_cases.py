"""Cases of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds
from dimscope import manifolds
from recorded import networks
from recorded.casebook import case, empty_folder, last_hidden
from recorded.plain import (
    activations,
    noted,
    plain,
    profile,
    stored_files,
)


def run(*arguments: str) -> dict[str, Any]:
    """A command in this process: how it ended, what it printed, and its warnings."""
    from typer.testing import CliRunner

    from dimscope.cli import app

    notes: list[list[str]] = []
    clean = dict.fromkeys(("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "COLUMNS"))
    with noted(notes):
        done = CliRunner().invoke(app, list(arguments), env=clean)
    error = done.exception
    if error is not None and not isinstance(error, SystemExit | ValueError):
        raise error
    shown = _json_or_lines(done.stdout)
    found = {"code": done.exit_code, "out": shown, "warnings": notes}
    if isinstance(error, ValueError):
        found["error"] = [type(error).__name__, str(error)]
    return found


def _json_or_lines(text: str) -> Any:
    if text.startswith("{"):
        return plain(json.loads(text))
    # rows that were added after the values were recorded
    added = ("│ distance ", "│ hubness ")
    return [line.rstrip() for line in text.splitlines() if not line.startswith(added)]


def process(*arguments: str) -> dict[str, Any]:
    """A command in a process of its own: how it ended and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "dimscope", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "110", "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    return {
        "code": done.returncode,
        "out": _json_or_lines(done.stdout),
        "err": done.stderr.splitlines(),
    }


@case()
def every_command_with_its_options() -> Any:
    import typer

    from dimscope.cli import app

    group: Any = typer.main.get_command(app)
    since = {
        ("estimate", "--memory"), ("scale", "--memory"), ("estimate", "--exclude"),
        ("estimate", "--groups"), ("scale", "--exclude"), ("profile", "--exclude"),
        ("profile", "--groups"), ("profile", "--classes"), ("profile", "--companion"),
    }  # fmt: skip
    since |= {(name, "--copies") for name in ("estimate", "profile", "scale")}
    of_texts = ("--text", "--field", "--tokens", "--level")
    since |= {(name, word) for name in ("capture", "profile") for word in of_texts}
    since |= {("profile", "--mask"), ("profile", "--influences")}
    return {
        name: sorted(
            word for option in command.params for word in option.opts if (name, word) not in since
        )
        for name, command in sorted({"": group, **group.commands}.items())
    }


@case()
def command_estimate() -> Any:
    with empty_folder():
        np.save("points.npy", manifolds.sphere(300, 2, seed=51))
        np.save("counts.npy", np.random.default_rng(52).integers(0, 50, (300, 2)))
        np.save("wide.npy", manifolds.gaussian(600, 40, seed=53))
        np.save("rounded.npy", np.round(manifolds.cube(300, 4, seed=54) * 12))
        Path("own_estimator.py").write_text(
            "from dataclasses import dataclass\n"
            "import dimscope as ds\n\n\n"
            "@dataclass(frozen=True)\n"
            "class Mine(ds.SpectralEstimator):\n"
            "    def evaluate(self, spectrum):\n"
            "        return float(len(spectrum.eigenvalues))\n",
            encoding="utf-8",
        )
        return {
            " ".join(options): run("estimate", *options)
            for options in (
                ["points.npy"],
                ["points.npy", "--json"],
                ["points.npy", "--fit", "regression", "--discard", "0.2", "--json"],
                ["points.npy", "--resamples", "3", "--keep", "0.8", "--seed", "5"],
                ["points.npy", "--estimator", "Gride(n1=1, n2=4)", "--json"],
                ["points.npy", "--estimator", "mle", "--resamples", "2", "--json"],
                ["points.npy", "--estimator", "pca"],
                ["points.npy", "--estimator", "own_estimator.py:Mine"],
                ["points.npy", "--engine", "sketched", "--json"],
                ["points.npy", "--engine", "sampled", "--rtol", "0.2", "--json"],
                ["counts.npy", "--estimator", "i3d", "--json"],
                ["wide.npy"],
                ["rounded.npy"],
                ["nowhere.npy"],
                ["points.npy", "--engine", "slow"],
                ["points.npy", "--rtol", "0.1"],
                ["points.npy", "--estimator", "thing"],
                ["points.npy", "--estimator", "Gride(n3=1)"],
                ["points.npy", "--estimator", "pca", "--fit", "mle"],
                ["points.npy", "--estimator", "pca", "--resamples", "3"],
            )
        }


@case()
def command_scale() -> Any:
    with empty_folder():
        np.save("points.npy", manifolds.torus(400, 2, seed=55))
        found = {
            " ".join(options): run("scale", "points.npy", *options)
            for options in (
                [],
                ["--json"],
                ["--blocks", "5", "--ranks", "16", "--seed", "3", "--json"],
                ["--estimator", "gride", "--engine", "sketched", "--json"],
                ["--estimator", "pca"],
                ["--blocks", "2", "--plot", "scale.png"],
                ["--plot", "scale.txt"],
                ["--plot", "nowhere/scale.png"],
            )
        }
        found["files"] = sorted(os.listdir())
        return found


@case()
def command_profile() -> Any:
    with empty_folder():
        Path("profiled_net.py").write_text(networks.SOURCE, encoding="utf-8")
        np.save("points.npy", networks.mlp_inputs(200).numpy())
        np.save("labels.npy", np.arange(200) % 2)
        network = ["profiled_net.py:make_model", "--data", "points.npy"]
        found: dict[str, Any] = {
            "table": run("profile", *network, "--out", "one.json", "--plot", "one.svg"),
            "json": run("profile", *network, "--json", "--layers", "all", "--n-points", "100"),
            "classes": run(
                "profile", *network, "--labels", "labels.npy", "--by-class", "--name", "x"
            ),
            "options": run(
                "profile", *network, "--layers", "0", "--layers", "output", "--estimator",
                "Gride(2, 4)", "--resamples", "2", "--batch-size", "50", "--memory", "1MB",
            ),
            "no data": run("profile", "profiled_net.py:make_model"),
            "no network": run("profile", "nowhere.py:make_model", "--data", "points.npy"),
            "no folder": run("profile", *network, "--out", "nowhere/one.json"),
            "no layer": run("profile", *network, "--layers", "layer9"),
            "bad memory": run("profile", *network, "--memory", "much"),
        }  # fmt: skip
        found["saved"] = plain(json.loads(Path("one.json").read_text(encoding="utf-8")))
        found["loaded"] = profile(ds.Profile.load("one.json"))
        found["files"] = sorted(one for one in os.listdir() if one != "__pycache__")
        return found


@case("zarr")
def command_capture_and_the_store_that_it_makes() -> Any:
    with empty_folder():
        Path("captured_net.py").write_text(networks.SOURCE, encoding="utf-8")
        np.save("points.npy", networks.mlp_inputs(200).numpy())
        np.save("labels.npy", np.arange(200) % 2)
        call = [
            "capture", "captured_net.py:make_model", "--data", "points.npy", "--labels",
            "labels.npy", "--out", "one.zarr", "--batch-size", "64", "--name", "kept",
        ]  # fmt: skip
        return {
            "written": run(*call),
            "again": run(*call),
            "other": run(*call, "--seed", "4"),
            "store": activations(ds.open_store("one.zarr")),
            "files": stored_files("one.zarr"),
            "layer": run("estimate", "one.zarr::0", "--json"),
            "no layer": run("estimate", "one.zarr::9"),
            "which layer": run("estimate", "one.zarr"),
            "profile": run("profile", "one.zarr", "--by-class"),
            "settled": run("profile", "one.zarr", "--layers", "all"),
            "no folder": run(*call[:7], "nowhere/one.zarr"),
        }


@case()
def command_compare() -> Any:
    with empty_folder():
        for name, dimension in (("a", 4.0), ("b", 6.5), ("c", 5.0), ("d", 9.0)):
            last_hidden(name, dimension).save(f"{name}.json")
        Path("scores.csv").write_text("network,accuracy\na,0.9\nb,0.7\nc,0.75\nd,0.6\n", "utf-8")
        Path("few.csv").write_text("network,accuracy\na,0.9\n", "utf-8")
        Path("words.csv").write_text("network,accuracy\na,good\n", "utf-8")
        files = [f"{name}.json" for name in "abcd"]
        return {
            "table": run("compare", *files, "--accuracy", "scores.csv"),
            "json": run("compare", *files, "--accuracy", "scores.csv", "--json"),
            "three": run("compare", *files[:3], "--accuracy", "scores.csv", "--plot", "one.png"),
            "two": run("compare", *files[:2], "--accuracy", "scores.csv"),
            "few": run("compare", *files, "--accuracy", "few.csv"),
            "words": run("compare", *files, "--accuracy", "words.csv"),
            "nowhere": run("compare", *files, "nowhere.json", "--accuracy", "scores.csv"),
        }


@case()
def commands_in_a_process_of_their_own() -> Any:
    with empty_folder():
        np.save("points.npy", manifolds.sphere(200, 2, seed=56))
        np.save("rounded.npy", np.round(manifolds.cube(200, 4, seed=57) * 12))
        np.save("same.npy", np.ones((20, 3)))
        found = {
            "json": process("estimate", "points.npy", "--json"),
            "warned": process("estimate", "rounded.npy", "--json"),
            "degenerate": process("estimate", "same.npy"),
        }
        found["json"]["err"] = []  # a bar, or none
        return found
