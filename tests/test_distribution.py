"""The sdist and the wheel: what they hold, and that a wheel built from the sdist measures."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    "src", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff",
)  # fmt: skip


def python(*arguments, cwd, **environment):
    """Run Python; return its standard output."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist, and the wheel from the sdist; return both paths."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so", "*.pyd")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    (source / "tests").mkdir()
    (source / "tests" / "test_alone.py").touch()
    make = "from setuptools import build_meta; print(build_meta.build_sdist({!r}))"
    name = python("-c", make.format(str(folder)), cwd=source).splitlines()[-1]
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / name.removesuffix(".tar.gz")
    make = "from setuptools import build_meta; print(build_meta.build_wheel({!r}))"
    wheel = python("-c", make.format(str(folder)), cwd=unpacked).splitlines()[-1]
    return folder / name, folder / wheel


@pytest.mark.slow
def test_sdist_holds_all_that_a_build_needs(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= names
    assert "src/dimscope/neighbors/_kernels.c" in names
    assert not [name for name in names if name.startswith("tests/")]  # a few would run nowhere


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
    data = {".py", ".pyi", ".json", ".toml", ".html", ".css", ".js", ".txt", ".typed"}
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for package in ("dimscope", "dimscope_experiments")
        for path in (ROOT / "src" / package).rglob("*")
        if path.suffix in data or path.name == "py.typed"
    }
    assert {"dimscope/reports/plotly-LICENSE.txt", "dimscope/citations.toml"} <= expected
    assert "dimscope/py.typed" in expected
    assert expected - names == set()
    assert any(name.startswith("dimscope/neighbors/_kernels.") for name in names - expected)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "docs", "benchmarks")) for name in names)


@pytest.mark.slow
def test_wheel_serves_every_later_version_of_python(built):
    assert "-cp311-abi3-" in built[1].name


@pytest.mark.slow
def test_wheel_from_the_sdist_measures(built, tmp_path):
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(tmp_path / "site")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((100, 3)))
    site = str(tmp_path / "site")
    code = "import dimscope.neighbors._kernels as k; print(k.__file__)"
    assert python("-c", code, cwd=tmp_path, PYTHONPATH=site).startswith(site)
    out = python("-m", "dimscope", "estimate", "x.npy", cwd=tmp_path, PYTHONPATH=site)
    assert "100 x 3 features" in out


def test_oldest_versions_are_the_lower_bounds():
    from packaging.requirements import Requirement
    from packaging.version import Version

    from hidden import normal, requirements

    text = (ROOT / "constraints-oldest.txt").read_text()
    pins = dict(line.split("==") for line in text.splitlines() if "==" in line)
    for dependency in map(Requirement, requirements()["dependencies"]):
        (bound,) = dependency.specifier
        assert bound.operator == ">="
        assert Version(bound.version) == Version(pins[normal(dependency.name)]), dependency
