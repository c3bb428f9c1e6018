"""What the layout promises: light imports, torch in its place, names and sizes."""

import ast
import os
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import dimscope

ROOT = Path(dimscope.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
HEAVY = ("torch", "torchvision", "scipy", "sklearn", "pandas", "matplotlib")


def fresh(code):
    """Standard output of a new interpreter that finds this dimscope."""
    found = [str(ROOT.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, found))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def trees():
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in MODULES}


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


def test_import_costs_little():
    clock = "import time, numpy; t = time.perf_counter(); import dimscope;"
    cost = min(float(fresh(clock + "print(time.perf_counter() - t)")) for _ in range(3))
    assert cost < 0.150


def test_every_public_name_is_found():
    missing = []
    for name in dimscope.__all__:
        try:
            getattr(dimscope, name)
        except ImportError as error:  # an extra that is not installed
            if (error.name or "").startswith("dimscope"):
                missing.append(name)
    assert not missing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dimscope.nothing


def test_the_search_for_imports_can_fail():
    source = "if TYPE_CHECKING:\n    import torch\ndef f():\n    from scipy.spatial import KDTree\n"
    assert imported(ast.parse(source)) == {"scipy"}
    assert imported(ast.parse("import torch.nn as nn")) == {"torch"}


def test_torch_is_imported_in_its_place_only():
    places = ("capturing/", "sources/", "profiling.py")
    wrong = [
        name
        for name, tree in trees().items()
        if imported(tree) & {"torch", "torchvision"} and not name.startswith(places)
    ]
    assert not wrong


def test_no_module_is_named_as_one_of_the_standard_library():
    assert not [p.name for p in MODULES if p.stem in sys.stdlib_module_names]


def test_no_public_function_has_the_name_of_a_module():
    modules = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    public = {
        node.name
        for tree in trees().values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    # the command line's functions are named by their commands
    commands = {
        node.name
        for name, tree in trees().items()
        if name.startswith("cli/")
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    assert not (public - commands) & modules


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_modules_are_short(path):
    assert len(path.read_text().splitlines()) <= 300


def code_lines(path):
    """Lines that hold code: no blank lines, comments or docstrings."""
    with path.open("rb") as file:
        skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING)
        layout = (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
        lines = {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in skip + layout
            for line in range(token.start[0], token.end[0] + 1)
        }
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


@pytest.mark.parametrize("path", sorted((ROOT / "estimators").glob("*.py")), ids=lambda p: p.name)
def test_estimators_are_short(path):
    assert 0 < code_lines(path) <= 120
