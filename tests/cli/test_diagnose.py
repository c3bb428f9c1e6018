import json

import pytest

from dimscope import Estimate, Layer, Profile
from dimscope.cli import main


def run(*arguments):
    with pytest.raises(SystemExit) as done:
        main([str(argument) for argument in arguments])
    return done.value.code


@pytest.fixture
def saved(tmp_path):
    layers = tuple(Layer(name) for name in "abc")
    estimates = {n: Estimate(d, 0.1) for n, d in zip("abc", (8.0, 16.0, 5.0), strict=True)}
    Profile(layers, {"twonn": estimates}, "net").save(tmp_path / "p.json")
    return tmp_path / "p.json"


def test_diagnose_prints_a_line_for_each_finding(saved, capsys):
    assert run("diagnose", saved) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "net:"
    assert any(line.startswith("found: hunchback: the dimension at b is 2.0") for line in lines)


def test_diagnose_prints_json(saved, capsys):
    assert run("diagnose", saved, "--json") == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert findings[0]["kind"] == "hunchback"
    assert findings[0]["numbers"]["rise"]["value"] == pytest.approx(2)


def test_diagnose_takes_accuracies_and_the_number_of_classes(saved, capsys):
    accuracies = ["--train-accuracy", 1, "--test-accuracy", 0.1]
    assert run("diagnose", saved, *accuracies, "--classes", 10) == 0
    assert "found: memorised labels: 100.0% of the training labels" in capsys.readouterr().out
    assert run("diagnose", saved, "--train-accuracy", 99) == 2
    assert "--train-accuracy" in capsys.readouterr().err


def test_diagnose_refuses_a_file_that_is_no_profile(tmp_path, capsys):
    (tmp_path / "p.json").write_text("{}")
    assert run("diagnose", tmp_path / "p.json") == 1
    assert "not a profile" in capsys.readouterr().err
    assert run("diagnose", tmp_path / "no.json") == 2


def test_diagnose_takes_the_name_of_the_last_hidden_layer(tmp_path, capsys):
    layers = tuple(Layer(name) for name in "abc")
    estimates = {n: Estimate(d, 0.1) for n, d in zip("abc", (8.0, 16.0, 15.0), strict=True)}
    Profile(layers, {"twonn": estimates}, "net").save(tmp_path / "p.json")
    assert run("diagnose", tmp_path / "p.json") == 0
    assert (
        "the last hidden layer is missing. Give its name as last_hidden" in capsys.readouterr().out
    )
    assert run("diagnose", tmp_path / "p.json", "--last-hidden", "c") == 0
    assert "the last hidden layer, c, has 0.938" in capsys.readouterr().out
    assert run("diagnose", tmp_path / "p.json", "--last-hidden", "d") == 2
    assert "there is no layer 'd'; the profile has a, b, c" in " ".join(
        capsys.readouterr().err.split()
    )
