"""The experiments use what anyone can: public modules, and no name that begins with a line."""

import ast
from pathlib import Path

import pytest

import dimscope_experiments

PUBLIC = {
    "dimscope",
    "dimscope.extras",
    "dimscope.files",
    "dimscope.manifolds",
    "dimscope.plotting",
    "dimscope.provenance",
    "dimscope_experiments.digits",
}
MODULES = sorted(Path(dimscope_experiments.__file__).parent.rglob("*.py"))


def wrong(tree):
    """Imports of what is not public, and uses of private attributes of other objects."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            root = str(node.module).split(".")[0]
            if root == "dimscope" and (
                node.module not in PUBLIC or any(one.name.startswith("_") for one in node.names)
            ):
                found.append(f"{node.module}: {[one.name for one in node.names]}")
        elif isinstance(node, ast.Import):
            found += [
                one.name
                for one in node.names
                if one.name.split(".")[0] == "dimscope" and one.name not in PUBLIC
            ]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if private and node.value.id not in ("self", "cls"):
                found.append(f"{node.value.id}.{node.attr}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_experiments_use_public_names_only(path):
    assert not wrong(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "from dimscope.neighbors.tiles import Tiles",
        "from dimscope.plotting import _draw",
        "import dimscope.neighbors",
        "profile._rows()",
    ],
)
def test_wrong_finds_private_names(source):
    assert wrong(ast.parse(source))
