"""``dimscope demo``: three networks, one figure, three sentences from the numbers."""

import pytest
from PIL import Image

import dimscope as ds
from dimscope.cli.experiment_commands import describe

LAYERS = (
    ds.Layer("input", "input", 0, 0.0, 64),
    ds.Layer("fc1", "last_hidden", 1, 0.5, 48),
    ds.Layer("output", "output", 2, 1.0, 10),
)


def made(*dimensions):
    found = {layer.name: ds.Estimate(d, 0.1) for layer, d in zip(LAYERS, dimensions, strict=True)}
    return ds.Profile(LAYERS, {"twonn": found})


def sentences(trained, shuffled, untrained):
    profiles = {
        "trained": made(*trained),
        "shuffled labels": made(*shuffled),
        "untrained": made(*untrained),
    }
    scores = {"trained": 0.98, "shuffled labels": 0.11, "untrained": 0.09}
    return describe(profiles, scores).splitlines()


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        ((8, 12, 5), "first expands, then compresses"),
        ((8, 7, 5), "compresses its representation"),
        ((5, 7, 9), "expands its representation"),
        ((8, 7, 8), "keeps the dimension"),
    ],
)
def test_describe_first_sentence_follows_the_numbers(trained, words):
    first, _, _ = sentences(trained, (8, 9, 9), (8, 8, 8))
    assert words in first
    assert "98%" in first


def test_describe_second_sentence_follows_the_numbers():
    _, twice, _ = sentences((8, 5, 5), (8, 10, 9), (8, 8, 8))
    assert "2.0 times" in twice
    _, same, _ = sentences((8, 5, 5), (8, 5.1, 9), (8, 8, 8))
    assert "not distinguishable from" in same


def test_the_demo_makes_its_figure_and_profiles(run, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that share processors wait for each other
    done = run("demo", "--out", "shown", timeout=3600)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "shown" / "profiles.png") as image:
        assert min(image.size) > 500
    found = {
        kind: ds.Profile.load(tmp_path / "shown" / f"{kind}.json")
        for kind in ("trained", "shuffled_labels", "untrained")
    }
    # what the paper says of trained and of memorising networks
    assert float(found["trained"]["output"]) < float(found["trained"]["input"])
    assert float(found["trained"]["fc1"]) < float(found["shuffled_labels"]["fc1"])
    for number in "123":
        assert f"\n{number}. " in done.out
    assert str(found["trained"]["output"]) in done.out
