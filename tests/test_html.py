"""What a notebook shows: every value as an HTML table, with names as text."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import dimscope as ds
from dimscope.manifolds import cube

NAME = "<b>&$\\bad$"  # markup, and what is not a formula


class Cells(HTMLParser):
    """The text of every cell, and the tags."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.tags = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def shown(value):
    return Cells(value._repr_html_().partition("<svg")[0])


@pytest.fixture(scope="module")
def activations():
    points = cube(500, 5)
    layers = (
        ds.Layer(NAME, "input", 0, 0.0, 2),
        ds.Layer("fc", "hidden", 1, 0.5, 5),
        ds.Layer("lost", "hidden", 1, 0.5),
        ds.Layer("output", "output", 2, 1.0, 2),
    )
    arrays = {NAME: points[:, :2], "fc": points, "output": points[:, :2]}
    labels = np.arange(500) % 2
    return ds.Activations(arrays, layers, labels, failures={"lost": "a <fault>"}, name=NAME)


@pytest.fixture(scope="module")
def profile(activations):
    estimators = [ds.TwoNN(), ds.MLE(20)]
    return ds.profile(activations, estimators=estimators, companions=["distance"])


def test_estimate_shows_its_numbers_and_leaves_out_what_it_lacks():
    estimate = ds.Estimate(3.02, 0.09, n_points=500)
    assert shown(estimate).cells == [
        "dimension", "3.02 ± 0.09", "95 % interval", "2.849 to 3.202", "points", "500",
    ]  # fmt: skip


def test_estimate_without_a_dimension_shows_the_reason():
    html = ds.Estimate(float("nan"), reason="all <rows> are equal")._repr_html_()
    assert "not measured: all &lt;rows&gt; are equal" in html


def test_profile_shows_every_layer_and_estimator(profile):
    cells = shown(profile).cells
    assert cells[:8] == [
        NAME, "layer", "role", "depth", "features", "twonn", "mle", "distance",
    ]  # fmt: skip
    assert cells.count(NAME) == 2
    for estimator in ("twonn", "mle"):
        assert all(str(estimate) in cells for estimate in profile.of(estimator).values())


def test_profile_by_class_shows_the_means(activations):
    cells = shown(ds.profile(activations, by_class=True)).cells
    assert "mean over 2 classes" in cells[0]


def test_activations_show_their_layers_and_what_was_not_captured(activations):
    cells = shown(activations).cells
    assert "4 layers" not in cells[0]
    assert "2 classes" in cells[0]
    assert "not captured: a <fault>" in cells
    assert "float64" in cells


def test_stored_activations_are_shown_without_reading_them():
    torch = pytest.importorskip("torch")
    pytest.importorskip("zarr")
    ds.capture(torch.nn.Linear(4, 3), torch.rand(20, 4), out="memory://shown.zarr")
    stored = ds.open_store("memory://shown.zarr")
    cells = shown(stored).cells
    assert cells[0].startswith("StoredActivations")
    assert "float32" in cells


def test_plan_shows_where_the_points_are_kept():
    torch = pytest.importorskip("torch")
    cells = shown(ds.plan(torch.nn.Linear(4, 3), torch.rand(20, 4))).cells
    assert cells[cells.index("kept") + 1] == "in memory"


def test_differences_show_each_pair(profile):
    one = ds.difference(profile["fc"], profile["output"])
    assert shown(one).cells[:2] == ["difference", "2.4 ± 0.3"]
    cells = shown(profile.differences()).cells
    assert "not measured, and left out: lost" in cells[0]
    assert cells.count("fc") == 2
    assert NAME in cells


def test_diagnosis_shows_every_finding(profile):
    diagnosis = ds.diagnose(profile)
    cells = shown(diagnosis).cells
    assert all(finding.kind in cells and finding.says in cells for finding in diagnosis)


def test_no_value_sets_a_colour_or_lets_markup_through(activations, profile):
    values = (
        activations, profile, profile["fc"], profile.differences(), ds.diagnose(profile),
    )  # fmt: skip
    for value in values:
        html = value._repr_html_()
        assert "<b>" not in html
        assert not re.search(r"#[0-9a-f]{6}\b|rgb\(|background", html)
        # a dollar sign begins no formula
        assert html.count("<table") == html.count("mathjax_ignore") == 1


def test_profile_draws_its_curve_in_the_colour_of_the_text(profile):
    picture = profile._repr_html_().partition("<svg")[2]
    assert "stroke: currentColor" in picture
    assert "<style" not in picture
    assert len(picture) < 60_000


def test_profile_without_a_dimension_or_matplotlib_shows_the_table_only(profile, monkeypatch):
    layers = (ds.Layer("a"),)
    empty = ds.Profile(layers, {"twonn": {"a": ds.Estimate(float("nan"), reason="none")}})
    assert "<svg" not in empty._repr_html_()
    monkeypatch.setitem(sys.modules, "dimscope.plotting.inline", None)
    assert "<svg" not in profile._repr_html_()
    assert "twonn" in profile._repr_html_()


def test_showing_an_estimate_loads_no_plotting():
    code = (
        "import dimscope, sys; dimscope.Estimate(3.0, 0.1)._repr_html_();"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"matplotlib", "pandas", "torch"}
