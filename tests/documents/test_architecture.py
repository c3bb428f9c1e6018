"""The map of the package is current, and the page about it names what exists."""

import ast
import importlib
import re
import runpy
import textwrap
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = runpy.run_path(str(ROOT / "docs" / "architecture.py"))
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
WALKS = PROSE.split("## Walks", 1)[1]


def test_map_is_current():
    kept = MAP["PICTURE"].read_text(encoding="utf-8")
    assert kept == MAP["draw"](), "run: python docs/architecture.py"


def test_map_has_every_folder():
    package = MAP["PACKAGE"]
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders == set(MAP["FOLDERS"])


def test_arrows_refuse_an_import_against_the_way_of_the_data():
    counts = Counter({("arrays", "neighbors"): 1})
    with pytest.raises(ValueError, match="against the way of the data"):
        MAP["_arrows"](counts, list(MAP["FOLDERS"]), {})


def test_imported_modules_leaves_out_methods_called_plot():
    source = """
    from dimscope.arrays import Points
    def plot():
        from dimscope.plotting import figures
    """
    tree = ast.parse(textwrap.dedent(source))
    assert MAP["imported_modules"](tree) == {"dimscope.arrays", "dimscope.arrays.Points"}


def resolve(dotted):
    """Import the longest prefix that is a module, and follow the rest by attributes."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] != "dimscope":
                raise
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(dotted)


def test_resolve_can_fail():
    with pytest.raises(AttributeError):
        resolve("dimscope.arrays.kinds.nothing")
    with pytest.raises(AttributeError):
        resolve("dimscope.points.array")


PATHS = sorted(set(re.findall(r"`([\w/]+(?:\.py|/))`", PROSE)))
NAMES = sorted(
    {
        name.replace("ds.", "dimscope.", 1) if name.startswith("ds.") else name
        for name in re.findall(r"\b(?:dimscope|ds)(?:\.\w+)+", PROSE)
    }
)


@pytest.mark.parametrize("path", PATHS)
def test_path_in_the_page_exists(path):
    assert any((base / path).exists() for base in (ROOT, MAP["PACKAGE"]))


@pytest.mark.parametrize("name", NAMES)
def test_dotted_name_in_the_page_exists(name):
    assert resolve(name) is not None


def steps():
    """Yield (module, name) for every name in backticks that a step of a walk mentions.

    A step begins with the path of its module; names in it belong to that module.
    """
    for path, text in re.findall(
        r"^\d+\. `([\w/]+\.py)`: (.*?)(?=\n\d+\. |\n\n)", WALKS, re.M | re.S
    ):
        module = "dimscope." + path.removesuffix(".py").replace("/", ".")
        for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", text):
            if not name.startswith(("dimscope", "ds.")):
                yield module, name


@pytest.mark.parametrize(("module", "name"), sorted(set(steps())))
def test_name_in_a_step_exists_in_its_module(module, name):
    assert resolve(f"{module}.{name}") is not None


def test_every_walk_names_modules_and_names():
    assert len(re.findall(r"^### ", WALKS, re.M)) >= 4
    assert len(PATHS) > 20
    assert len(set(steps())) > 30
