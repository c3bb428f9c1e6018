"""The layout: light imports, torch in its place, folders in order, tests that mirror them."""

import ast
import graphlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import dimscope

ROOT = Path(dimscope.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
MAP = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "architecture.py"))
import_graph, source_trees = MAP["import_graph"], MAP["source_trees"]
HEAVY = ("torch", "torchvision", "scipy", "sklearn", "pandas", "matplotlib")


def fresh(code):
    """Standard output of a new interpreter that finds this dimscope."""
    found = [str(ROOT.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, found))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def imported(tree):
    """Top-level names of all that a module imports, TYPE_CHECKING blocks excepted."""
    stack, names = [tree], set()
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {one.name.split(".")[0] for one in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
        stack += ast.iter_child_nodes(node)
    return names


def test_import_loads_numpy_at_most():
    code = "import dimscope, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    assert not set(fresh(code).split()) & set(HEAVY)


def test_measuring_loads_no_torch_and_no_plotting():
    code = (
        "import dimscope, numpy, sys; dimscope.TwoNN()(numpy.random.rand(50, 20));"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    assert not set(fresh(code).split()) & {"torch", "sklearn", "pandas", "matplotlib"}


def test_monitoring_loads_no_framework_that_was_not_asked_for():
    code = (
        "import dimscope, sys; dimscope.monitoring.Every(3); assert 'torch' not in sys.modules;"
        "dimscope.IDMonitor; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    loaded = set(fresh(code).split())
    frameworks = {"lightning", "pytorch_lightning", "transformers", "torchmetrics"}
    assert "torch" in loaded
    assert not loaded & {*frameworks, "wandb", "mlflow", "tensorboard", "matplotlib", "pandas"}


def test_import_costs_less_than_numpy():
    # Processor time, and NumPy in the same process: a busy machine slows both.
    code = (
        "from time import process_time as now; a = now(); import numpy; b = now(); import dimscope;"
        "print((now() - b) / (b - a))"
    )
    assert min(float(fresh(code)) for _ in range(3)) < 1


def test_every_public_name_is_found():
    missing = []
    for name in dimscope.__all__:
        try:
            getattr(dimscope, name)
        except ImportError as error:  # an extra that is not installed
            if (error.name or "").startswith("dimscope"):
                missing.append(name)
    assert not missing
    with pytest.raises(AttributeError, match="nothing"):
        _ = dimscope.nothing


def test_the_search_for_imports_can_fail():
    source = "if TYPE_CHECKING:\n    import torch\ndef f():\n    from scipy.spatial import KDTree\n"
    assert imported(ast.parse(source)) == {"scipy"}
    assert imported(ast.parse("import torch.nn as nn")) == {"torch"}


def test_torch_is_imported_in_its_place_only():
    wrong = [
        name
        for name, tree in source_trees().items()
        if imported(tree) & {"torch", "torchvision"}
        # a file of torch.save is read by torch
        and not name.startswith(("networks/", "monitoring/", "arrays/formats/tensors.py"))
    ]
    assert not wrong


# The way of the data: a module imports only from its own folder and from those before it.
ORDER = (
    "errors", "extras", "digits", "html", "progress", "values", "provenance", "citations", "files",
    "manifolds", "arrays", "neighbors", "estimators", "analysis", "activations", "profiles",
    "networks", "monitoring", "plotting", "reports", "sklearn", "cli",
)  # fmt: skip


def test_no_import_cycle():
    sorter = graphlib.TopologicalSorter(
        {
            # a folder's __init__ only hands on names, so importing it is importing those
            name: {one for one in others if not name.startswith(f"{one}.")}
            for name, others in import_graph().items()
        }
    )
    assert len(list(sorter.static_order())) >= len(MODULES)


def test_imports_follow_the_way_of_the_data():
    place = {folder: number for number, folder in enumerate(ORDER)}
    pairs = [(name, other) for name, others in import_graph().items() for other in others]
    known = [(a, b) for a, b in pairs if a.split(".")[-1] not in ("__init__", "__main__")]
    wrong = [(a, b) for a, b in known if place[b.split(".")[1]] > place[a.split(".")[1]]]
    assert len(known) > 100
    assert not wrong


def test_the_folders_of_networks_build_on_each_other_one_way():
    graph = import_graph()
    data = {name: graph[name] for name in graph if name.startswith("dimscope.networks.data.")}
    assert len(data) > 5
    wrong = [
        (name, other)
        for name, others in data.items()
        for other in others
        if other.startswith("dimscope.networks.capturing")
    ]
    assert not wrong


TESTS = Path(__file__).parent
# Subjects that cross the folders of the package.
ACROSS = {
    "laws", "truth", "peers", "documents", "experiments", "recorded", "report", "architectures",
    "typed",
}  # fmt: skip


def folders_of(root):
    return {
        path.parent.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if path.parent != root
    }


def test_test_folders_mirror_the_source_folders():
    tested = {folder for folder in folders_of(TESTS) if not ACROSS & set(folder.split("/"))}
    assert tested == folders_of(ROOT)


def lacks_an_opening(docstring):
    """Tell whether a folder's docstring lacks what comes in, what goes out or where to begin."""
    words = ("In:", "Out:", "Begin reading")
    return len(docstring.splitlines()) < 3 or not all(word in docstring for word in words)


def test_each_folder_says_what_comes_in_what_goes_out_and_where_to_begin():
    docstrings = {
        name: ast.get_docstring(tree) or ""
        for name, tree in source_trees().items()
        if name.endswith("/__init__.py")
    }
    assert len(docstrings) == len(folders_of(ROOT))
    assert [name for name, text in docstrings.items() if lacks_an_opening(text)] == []


def asserts(function, helpers):
    """Tell whether a test asserts, or calls something that does."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called in helpers or called.startswith(("assert_", "raises", "warns", "check_")):
                return True
    return False


def idle_tests(tree):
    """Names of tests that assert nothing, directly or through a function of the module."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    helpers: set[str] = set()
    for _ in functions:  # until nothing is added: helpers that call helpers
        helpers |= {f.name for f in functions if asserts(f, helpers)}
    return [f.name for f in functions if f.name.startswith("test_") and f.name not in helpers]


def test_every_test_asserts_something():
    idle = {
        f"{path.relative_to(TESTS)}::{name}"
        for path in TESTS.rglob("test_*.py")
        for name in idle_tests(ast.parse(path.read_text()))
    }
    assert idle == set()


def test_idle_tests_are_found():
    source = "def test_a():\n    f()\ndef test_b():\n    h()\ndef h():\n    assert f()\n"
    assert idle_tests(ast.parse(source)) == ["test_a"]
