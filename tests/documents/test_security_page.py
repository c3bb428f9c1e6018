"""SECURITY.md: each claim names a test that exists, or is tested here."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import dimscope as ds
from dimscope.arrays.formats.registry import open_array

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
LOADERS = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    assert len(named) >= 9
    assert {name for name in named if f"def {name}(" not in text} == set()


def test_a_model_file_is_code_that_runs(tmp_path):
    model = tmp_path / "model.py"
    model.write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n")
    with pytest.raises(ds.BadSource):
        ds.load_model(f"{model}:make")
    assert (tmp_path / "model.ran").exists()


def unsafe(tree):
    """Return the calls and imports that could run code from a file or a hub."""
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in LOADERS:
            wrong.append(node.module)
        if isinstance(node, ast.Call):
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            called = ast.unparse(node.func)
            if called.partition(".")[0] in LOADERS:
                wrong.append(called)
            if called == "torch.load" and options.get("weights_only") != "True":
                wrong.append(called)
            if called == "np.load" and options.get("allow_pickle", "False") != "False":
                wrong.append(called)
            if options.get("trust_remote_code", "False") != "False":
                wrong.append(called)
    return wrong


def test_no_source_enables_code_from_elsewhere():
    sources = list((ROOT / "src").rglob("*.py"))
    assert len(sources) > 150
    wrong = {
        path.name: calls
        for path in sources
        if (calls := unsafe(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "source",
    [
        "pickle.load(f)",
        "from pickle import loads",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "m(trust_remote_code=True)",
    ],
)
def test_unsafe_sources_are_found(source):
    assert unsafe(ast.parse(source))


def test_arrays_of_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ds.BadSource):
        open_array(tmp_path / "x.npy")


def test_a_profile_is_read_as_json_only(tmp_path):
    (tmp_path / "p.json").write_bytes(b"\x80\x04N.")  # a pickle
    with pytest.raises(ds.DimscopeError):
        ds.Profile.load(tmp_path / "p.json")
