"""The notebooks run as they are, show tables and pictures, and are kept without outputs."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def executed(notebook, folder):
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": folder}}
    )
    return client.execute()


def shown(notebook):
    """The outputs of each kind: MIME type -> texts."""
    outputs = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for kind, text in output.get("data", {output.get("name"): output.get("text")}).items():
                outputs.setdefault(kind, []).append(text)
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_tables_and_pictures(path, tmp_path):
    outputs = shown(executed(nbformat.read(path, as_version=4), tmp_path))
    tables = [text for text in outputs["text/html"] if "<table" in text]
    assert len(tables) >= 5
    assert any("<svg" in text for text in tables)
    assert outputs["image/png"]
    # the pixels of the digits are whole numbers
    assert all("TiedPoints" in text for text in outputs.get("stderr", ()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 3
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


BAR = """
from dimscope import progress
import dimscope as ds
from dimscope.manifolds import cube
progress._PATIENCE = progress._REDRAWN_EVERY = 0
activations = ds.Activations({"a": cube(300, 2), "b": cube(300, 2)})
bar = ds.ProgressBar()
ds.profile(activations, progress=bar)
{end}
"""


@pytest.mark.slow
def test_progress_bar_is_drawn_in_a_notebook_and_removed_at_the_end(tmp_path):
    cells = [
        nbformat.v4.new_code_cell(BAR.replace("{end}", end))
        for end in ("None", "bar.__exit__(None, None, None)")
    ]
    running, ended = (
        shown(nbformat.v4.new_notebook(cells=[cell]))
        for cell in executed(nbformat.v4.new_notebook(cells=cells), tmp_path).cells
    )
    assert "stderr" not in running
    assert "<progress value=" in running["text/html"][0]
    assert "done" in running["text/html"][0]
    assert ended["text/html"] == [""]
