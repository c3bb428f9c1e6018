import json

import pytest

from dimscope import Estimate, Layer, Profile
from dimscope.cli import main


@pytest.fixture
def files(tmp_path):
    layer = Layer("fc", "last_hidden")
    for i, d in enumerate((10.0, 13.0, 12.0, 18.0)):
        Profile((layer,), {"twonn": {"fc": Estimate(d, 0.1)}}, f"net{i}").save(
            tmp_path / f"net{i}.json"
        )
    (tmp_path / "acc.csv").write_text("network,accuracy\nnet0,0.9\nnet1,0.8\nnet2,0.85\nnet3,0.7\n")
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as done:
        main([str(one) for one in arguments])
    return done.value.code


def test_compare_prints_a_table_and_draws_a_figure(files, capsys):
    profiles = sorted(files.glob("net*.json"))
    plot = files / "c.png"
    curves = files / "curves.png"
    options = ["--accuracy", files / "acc.csv", "--plot", plot, "--plot-profiles", curves]
    assert run("compare", *profiles, *options) == 0
    out = capsys.readouterr().out
    assert f"written: {plot}, {curves}" in out
    assert curves.stat().st_size > 5000
    assert curves.read_bytes() != plot.read_bytes()
    assert "net3" in out
    assert "Pearson" in out
    assert plot.stat().st_size > 5000


def test_compare_prints_json(files, capsys):
    profiles = sorted(files.glob("net*.json"))
    assert run("compare", *profiles, "--accuracy", files / "acc.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pearson"]["r"] < -0.9
    assert [row["network"] for row in found["networks"]] == ["net0", "net1", "net2", "net3"]


def test_compare_measures_the_layer_that_is_named(files, capsys):
    profiles = sorted(files.glob("net*.json"))
    given = ["--accuracy", files / "acc.csv", "--layer"]
    assert run("compare", *profiles, *given, "fc", "--json") == 0
    assert {row["layer"] for row in json.loads(capsys.readouterr().out)["networks"]} == {"fc"}
    assert run("compare", *profiles, *given, "fc2") == 1
    assert "has no layer 'fc2'; its layers are fc" in capsys.readouterr().err


def test_compare_refuses_bad_accuracy_tables(files, capsys):
    profiles = sorted(files.glob("net*.json"))
    (files / "short.csv").write_text("network,accuracy\nnet0,0.9\n")
    assert run("compare", *profiles, "--accuracy", files / "short.csv") == 1
    assert "no score for 'net1'" in capsys.readouterr().err
    (files / "words.csv").write_text("network,accuracy\nnet0,good\n")
    assert run("compare", *profiles, "--accuracy", files / "words.csv") == 1
    assert "two columns, a name and a number" in capsys.readouterr().err
    assert run("compare", *profiles, "--accuracy", files / "no.csv") == 2
