"""Every figure of the paper at the smallest scale, from the command line."""

import csv
import json

import pytest

from dimscope.cli import main
from dimscope_experiments.ansuini2019 import FIGURES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("cache")


def arguments(figure, folders):
    out, cache = folders
    return ["reproduce", figure, "--scale", "smoke", "--out", str(out), "--cache", str(cache)]


@pytest.mark.parametrize("figure", FIGURES)
def test_reproduce_makes_each_figure(figure, folders, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments(figure, folders))
    assert done.value.code == 0
    record = json.loads((folders[0] / figure / "record.json").read_text())
    assert record["scale"] == "smoke"
    assert record["settings"]["seed"] == 0
    for claim in record["claims"]:
        assert claim["verdict"] in ("shown", "refuted", "not testable here")
    assert f"{figure}:" in capsys.readouterr().out
    if figure != "fig7":
        assert (folders[0] / figure / f"{figure}.png").stat().st_size > 5000
    for path in (folders[0] / figure).glob("*.csv"):
        with path.open() as file:
            assert len(list(csv.DictReader(file))) >= 2


def test_page_has_every_claim_and_figure(folders):
    page = folders[0].with_suffix(".md").read_text()
    for figure in FIGURES:
        record = json.loads((folders[0] / figure / "record.json").read_text())
        assert f"## {figure}" in page
        for claim in record["claims"]:
            assert f"{claim['number']}. {claim['says']} | **{claim['verdict']}**" in page
        if figure != "fig7":
            assert f"![{figure}]({folders[0].name}/{figure}/{figure}.png)" in page


def test_profiles_differ_between_networks(folders):
    with (folders[0] / "fig3" / "profiles.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("all", "mean")]
    each = {}
    for row in rows:
        each.setdefault(row["network"], []).append(row["dimension"])
    assert len(each) == 18  # 14 of torchvision, 3 trained here, one with its own weights
    assert len({tuple(one) for one in each.values()}) == 18


def test_reproduce_keeps_figures_until_settings_change(folders, monkeypatch):
    with pytest.raises(SystemExit):
        main(arguments("fig1", folders))
    record = folders[0] / "fig1" / "record.json"
    before = record.stat().st_mtime_ns
    with pytest.raises(SystemExit):
        main(arguments("fig1", folders))
    assert record.stat().st_mtime_ns == before
    changed = json.loads(record.read_text())
    changed["settings"]["seed"] = 7
    record.write_text(json.dumps(changed))
    with pytest.raises(SystemExit):
        main(arguments("fig1", folders))
    assert json.loads(record.read_text())["settings"]["seed"] == 0


def test_reproduce_refuses_an_unknown_figure(capsys):
    with pytest.raises(SystemExit) as done:
        main(["reproduce", "fig77"])
    assert done.value.code == 2
    assert "there is no figure 'fig77'" in capsys.readouterr().err
