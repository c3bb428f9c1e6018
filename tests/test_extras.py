"""A core install: every public name and command works, or names the extra that it needs."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
from packaging.requirements import Requirement

import dimscope as ds
from dimscope.cli import app
from dimscope.extras import EXTRAS, MissingExtra, needed
from hidden import OURS, core_distributions, normal, omitted_packages, requirements

ROOT = Path(ds.__file__).parent
TESTS = Path(__file__).parent
SENTENCE = re.compile(r"[^\n]+ needs \w+; run pip install '[\w-]+(\[[\w,]+\])?'")
# Modules of the reference that are imported by name, beside those that hold a public name.
MODULES = sorted(
    f"dimscope.{path.relative_to(ROOT).as_posix().removesuffix('.py').replace('/', '.')}"
    for path in [*ROOT.glob("*/"), *ROOT.glob("*.py"), *ROOT.glob("monitoring/*.py")]
    if path.suffix in ("", ".py") and path.name[0] != "_"
)


def core(code, *arguments, cwd=None):
    """Run code as after an install without extras; return what the process printed."""
    paths = [str(ROOT.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-c", f"import hidden; hidden.hide()\n{code}", *map(str, arguments)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def outcomes(code):
    """Return what ``code`` printed as JSON: name -> None, or the kind of error and its message."""
    done = core(f"import json\nfailed = {{}}\n{code}\nprint(json.dumps(failed))")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TRY = """
    except Exception as error:
        failed[name] = [type(error).__name__, str(error)]
"""


def test_public_names_work_or_name_their_extra():
    failed = outcomes(
        "import dimscope as ds\n"
        "names = [(ds, n) for n in ds.__all__] + "
        "[(ds.monitoring, n) for n in ds.monitoring.__all__]\n"
        "for module, name in names:\n    try:\n        getattr(module, name)" + TRY
    )
    assert {"capture", "load_model", "IDMonitor", "IDTrainerCallback", "IDMetric"} <= set(failed)
    assert len(failed) < len(ds.__all__) / 4
    for name, (kind, message) in failed.items():
        assert kind == "MissingExtra", (name, message)
        assert SENTENCE.fullmatch(message), (name, message)


def test_modules_can_be_imported_or_name_their_extra():
    failed = outcomes(
        f"import importlib\nfor name in {MODULES}:\n    try:\n"
        "        importlib.import_module(name)" + TRY
    )
    assert "dimscope.sklearn" in failed
    assert "dimscope.reports" in MODULES
    assert "dimscope.reports" not in failed
    for name, (kind, message) in failed.items():
        if name.startswith("dimscope.monitoring."):
            assert kind in ("MissingExtra", "ModuleNotFoundError"), (name, message)
        else:
            assert kind == "MissingExtra", (name, message)


NETWORK = "torchvision/resnet18"
# A call of each command, and whether it works without extras.
CALLS = {
    "estimate": (["x.npy"], True),
    "scale": (["x.npy"], True),
    "profile": ([NETWORK, "--data", "x.npy"], False),
    "capture": ([NETWORK, "--data", "x.npy", "--out", "s.zarr"], False),
    "compare": (["p.json", "q.json", "r.json", "--accuracy", "a.csv"], True),
    "diagnose": (["p.json"], True),
    "report": (["p.json", "--out", "p.html"], True),
    "cite": (["p.json"], True),
    "demo": ([], False),
    "reproduce": (["fig6", "--scale", "smoke"], False),
}
MORE_CALLS = [
    (["estimate", "s.zarr::layer"], False),
    (["profile", "s.zarr"], False),
    (["estimate", "x.npy", "--engine", "approximate"], False),
    (["reproduce", "all", "--check"], False),
    (["--help"], True),
    (["--version"], True),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with points, a store and three profiles."""
    folder = tmp_path_factory.mktemp("core")
    points = np.random.default_rng(0).random((60, 4))
    np.save(folder / "x.npy", points)
    layer = ds.Layer("layer", "last_hidden")
    for name, dimension in (("p", 2.0), ("q", 3.0), ("r", 5.0)):
        estimates = {"twonn": {"layer": ds.Estimate(dimension, 0.1)}}
        ds.Profile((layer,), estimates, name).save(folder / f"{name}.json")
    (folder / "a.csv").write_text("name,accuracy\np,0.9\nq,0.8\nr,0.7\n")
    import torch

    stored = torch.from_numpy(points).float()
    ds.capture(torch.nn.Linear(4, 3), stored, out=folder / "s.zarr")
    return folder


def test_every_command_has_a_call():
    assert set(typer.main.get_command(app).commands) == set(CALLS)


@pytest.mark.parametrize(
    ("arguments", "works"),
    [([name, *call], works) for name, (call, works) in CALLS.items()]
    + [([name, "--help"], True) for name in CALLS]
    + MORE_CALLS,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.slow
def test_commands_work_or_name_their_extra(folder, arguments, works):
    done = core(
        f"import sys; from dimscope.cli import main; main({arguments!r})",
        cwd=folder,
    )
    assert "Traceback" not in done.stderr
    if works:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        last = done.stderr.strip().splitlines()[-1]
        assert SENTENCE.fullmatch(last), done.stderr


@pytest.mark.slow
def test_verbs_name_the_extra_of_what_they_are_given(folder):
    failed = outcomes(
        "import dimscope as ds, numpy as np\n"
        "from dimscope.monitoring import TensorBoardTracker\n"
        "x = np.random.rand(30, 3)\n"
        "calls = dict(profile=lambda: ds.profile(object(), x), "
        "open_store=lambda: ds.open_store('memory://s'), skdim=lambda: ds.SkDim('lPCA')(x), "
        "pynndescent=lambda: ds.nearest_neighbors(x, 2, ds.Approximate('pynndescent')), "
        "faiss=lambda: ds.nearest_neighbors(x, 2, ds.Approximate('faiss-ivf')), "
        "tensorboard=lambda: TensorBoardTracker('runs'))\n"
        "for name, call in calls.items():\n    try:\n        call()" + TRY
    )
    assert len(failed) == 6
    for name, (kind, message) in failed.items():
        assert kind == "MissingExtra", (name, message)
        assert SENTENCE.fullmatch(message), (name, message)


def unguarded(tree):
    """Return the lines that import an optional package where nothing names its extra.

    Modules that import torch at their top are reached through a guarded name.
    """
    lines = []
    loads_torch = any(
        isinstance(node, ast.Import | ast.ImportFrom) and "torch" in packages_of(node)
        for node in tree.body
    )

    def visit(node, guarded):
        if isinstance(node, ast.With):
            guarded = guarded or any("needed(" in ast.unparse(i) for i in node.items)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            guarded = True
        if isinstance(node, ast.Import | ast.ImportFrom) and not guarded:
            allowed = {"torch"} if loads_torch else set()
            if packages_of(node) & set(EXTRAS) - allowed:
                lines.append(ast.unparse(node))
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    visit(tree, False)
    return lines


def packages_of(node):
    """Return the top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return set() if node.level else {str(node.module).partition(".")[0]}


def test_imports_of_optional_packages_name_their_extra():
    wrong = {
        path.relative_to(ROOT).as_posix(): lines
        for path in ROOT.rglob("*.py")
        if (lines := unguarded(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert wrong == {}


def test_unguarded_imports_are_found():
    source = "def f():\n    import timm\ndef g():\n    with needed('g'):\n        import zarr\n"
    assert unguarded(ast.parse(source)) == ["import timm"]
    source = "import torch\ndef f():\n    import torch.fx\n    from zarr import open\n"
    assert unguarded(ast.parse(source)) == ["from zarr import open"]


def test_extras_are_those_of_the_project():
    of = {
        normal(Requirement(text).name): extra
        for extra, texts in requirements()["optional-dependencies"].items()
        for text in texts
        if Requirement(text).name != "dimscope"
    }
    renamed = {"sklearn": "scikit-learn", "faiss": "faiss-cpu", "mlflow": "mlflow-skinny"}
    listed = {
        normal(renamed.get(package, package)): install
        for package, install in EXTRAS.items()
        if install != "scikit-dimension"
    }
    assert listed == {name: f"dimscope[{extra}]" for name, extra in of.items()}


def test_core_install_hides_the_extras_only():
    omitted = omitted_packages()
    assert {"torch", "zarr", "sklearn", "pytest"} <= omitted
    assert not omitted & {"numpy", "scipy", "typer", "attrs", "dateutil", *OURS}
    assert {"numpy", "kiwisolver"} <= core_distributions()
    assert tomllib.loads((TESTS.parent / "pyproject.toml").read_text())


def test_needed_leaves_other_errors_alone():
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name") as caught, needed("x"):
        import nothing_of_this_name  # noqa: F401
    assert not isinstance(caught.value, MissingExtra)
    with pytest.raises(ImportError, match="'dimscope\\[timm\\]'") as caught, needed("x"):
        raise ModuleNotFoundError(name="timm.data")
    assert caught.value.name == "timm"
