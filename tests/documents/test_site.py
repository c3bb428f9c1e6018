"""The site documents everything that is public, its blocks run, and it builds without a warning."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dimscope as ds
from docs.building import reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCES = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Tables that a program writes between two comments: <!-- x --> ... <!-- end of x -->.
GENERATED = re.compile(r"<!-- ([\w ]+?)(: begin)? -->.*?<!-- (end of \1|\1: end) -->", re.DOTALL)
MOST_WORDS = 1500


def entries():
    """Names in the reference: dimscope.TwoNN, dimscope.monitoring.Every, ..."""
    texts = [text for _, text in reference.pages().values()]
    return {name for text in texts for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}


def test_reference_has_every_public_name():
    missing = [name for name in ds.__all__ if f"dimscope.{name}" not in entries()]
    assert missing == ["monitoring"]  # a module, with names of its own


@pytest.mark.parametrize("module", reference.MODULES)
def test_reference_has_every_name_of_a_public_module(module):
    names = set(reference.names_of_module(module))
    assert names
    assert {f"dimscope.{module}.{name}" for name in names} <= entries()


def test_every_public_name_has_a_docstring():
    assert [name for name in ds.__all__ if not inspect.getdoc(getattr(ds, name))] == []


def test_command_page_has_every_command_with_its_arguments_and_options():
    page = reference.command_page()
    assert "profile" in reference.commands()
    for name, command in reference.commands().items():
        section = page.split(f"## dimscope {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            assert all(option in section for option in (*parameter.opts, *parameter.secondary_opts))


def test_every_estimator_has_a_page():
    overview = (ROOT / "docs" / "estimators" / "index.md").read_text()
    estimators = [
        name
        for name in ds.__all__
        if inspect.isclass(cls := getattr(ds, name))
        and issubclass(cls, ds.Estimator)
        and not inspect.isabstract(cls)
    ]
    assert len(estimators) >= 9
    assert [name for name in estimators if name not in overview] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_of_a_page_is_a_doctest(page):
    blocks = [block for language, block in FENCES.findall(page.read_text()) if "py" in language]
    assert [block for block in blocks if not block.startswith(">>> ") or "+SKIP" in block] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_is_short(page):
    assert len(GENERATED.sub("", page.read_text()).split()) <= MOST_WORDS


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_site_builds_and_loads_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//[^\s\">]+")
    assert [found for page in pages for found in loaded.findall(page.read_text())] == []


@pytest.mark.slow
def test_site_shows_formulas_pictures_and_docstrings(site):
    text = (site / "estimators" / "twonn.html").read_text()
    assert "<math" in text
    assert (site / "estimators" / "twonn.png").stat().st_size > 10_000
    assert (site / "tutorial-profile.png").stat().st_size > 10_000
    assert (
        "Estimate the intrinsic dimension from mu"
        in (site / "reference" / "estimators.html").read_text()
    )
    assert ":class:" not in (site / "reference" / "profiles.html").read_text()
    notebook = (site / "notebooks" / "first_profile.html").read_text()
    assert "<svg" in notebook
    assert "ipykernel" not in notebook
    assert "<p><svg" not in notebook  # Markdown ended the block at an empty line


@pytest.mark.slow
def test_texts_for_language_models_have_the_pages_and_the_docstrings(site):
    listed = (site / "llms.txt").read_text()
    addresses = re.findall(r"\]\((\S+)\)", listed)
    assert {"tutorial.html", "reference/estimators.html"} <= set(addresses)
    assert all((site / address).exists() for address in addresses)
    whole = (site / "llms-full.txt").read_text()
    assert "# A ten-minute tutorial" in whole
    assert "## dimscope.TwoNN(" in whole
