"""The page as a file; tests/report opens it in a browser."""

import hashlib
import json
import re
from pathlib import Path

import pytest

import dimscope as ds
from dimscope import BadSource, Estimate, Layer, Profile
from dimscope.manifolds import cube
from dimscope.reports import report as module

ROOT = Path(__file__).parents[2]
PLOTLY = Path(module.__file__).with_name("plotly-basic.min.js")


def profile(name="net", layer="a"):
    return Profile((Layer(layer),), {"twonn": {layer: Estimate(3.0, 0.1)}}, name)


def test_report_gives_the_same_bytes_for_the_same_profiles(tmp_path):
    ds.report(profile(), tmp_path / "a.html")
    ds.report([profile()], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_report_of_5_networks_with_20_layers_is_below_3_megabytes(tmp_path):
    layers = tuple(Layer(f"blocks.{number}.attention") for number in range(20))
    estimates = {layer.name: Estimate(3.0, 0.1, n_points=1000) for layer in layers}
    networks = [Profile(layers, {"twonn": estimates}, f"network {n}") for n in range(5)]
    ds.report(networks, tmp_path / "p.html")
    assert (tmp_path / "p.html").stat().st_size < 3_000_000


def test_report_cannot_be_ended_by_the_names_in_it(tmp_path):
    name = "</script><script>alert(1)</script><!-- <script> {{style}} \u2028 &lt;"
    ds.report(profile(name, name), tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    contents = re.search(r'id="contents">(.*?)</script>', page, re.DOTALL)[1]
    assert "<" not in contents
    assert json.loads(contents)["networks"][0]["name"] == name


def test_report_loads_nothing_from_elsewhere(tmp_path):
    ds.report(profile(), tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?!data:)[^"]*"', page) == []
    assert "default-src 'none'" in page


def test_report_names_the_file_that_it_cannot_write(tmp_path):
    with pytest.raises(BadSource, match=r"cannot write .*p\.html"):
        ds.report(profile(), tmp_path / "no" / "p.html")


def test_plotly_is_the_version_that_the_decision_records():
    page = (ROOT / "docs" / "decisions" / "reports.md").read_text(encoding="utf-8")
    code = PLOTLY.read_bytes()
    version = re.search(rb"plotly\.js \(basic - minified\) v([\d.]+)", code)[1].decode()
    assert f"plotly.js-basic-dist-min {version}" in page
    assert hashlib.sha256(code).hexdigest() in page


def test_report_holds_the_licence_of_plotly(tmp_path):
    ds.report(profile(), tmp_path / "p.html")
    licence = PLOTLY.with_name("plotly-LICENSE.txt").read_text(encoding="utf-8")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in licence
    assert licence.strip().replace('"', "&quot;") in page


def test_report_and_diagnose_name_what_they_take(tmp_path):
    estimate = ds.estimate(cube(50, 3))
    with pytest.raises(TypeError, match=r"as ds\.profile returns them, not Estimate"):
        ds.report(estimate, tmp_path / "page.html")
    with pytest.raises(TypeError, match=r"as ds\.profile returns it, not Estimate"):
        ds.diagnose(estimate)
