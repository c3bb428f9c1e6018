"""Texts are read from files as they stand there, and become the tokens of the network."""

import json

import pandas as pd
import pytest
import torch

import dimscope as ds
from dimscope.errors import BadPoints, BadSource, CaptureWarning
from language import BOS, EOS, LONGEST, WORDS, lines, save_model, tokenizer

LINES = ["a fox", "the river, twice", "grey  stone"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


@pytest.fixture(scope="module")
def model(saved):
    return ds.load_model(f"hf/{saved}")


def write(path, content, encoding="utf-8"):
    path.write_text(content, encoding=encoding)
    return path


def numbers(text):
    return [WORDS.index(word) for word in text.split()]


# --- files -------------------------------------------------------------------------------------


def test_texts_reads_one_text_a_line_and_counts_blank_lines(tmp_path):
    content = "\ufeffa fox\r\n\r\n   \nthe river, twice\u2028\ngrey  stone"
    found = ds.texts(write(tmp_path / "a.txt", content))
    assert list(found) == LINES
    assert str(found) == "3 texts of a.txt, 2 blank skipped"


def test_texts_takes_a_list_of_strings_and_a_slice():
    found = ds.texts([*LINES, ""], tokens=2)
    assert list(found[1:]) == LINES[1:]
    assert found[1:].tokens == 2
    with pytest.raises(BadSource, match="hold a int; give a list of strings"):
        ds.texts(["a", 3])


RECORDS = [{"text": text, "number": i, "note": None} for i, text in enumerate(LINES)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\n".join(map(json.dumps, RECORDS)) + "\n\n"),
        ("a.json", json.dumps(RECORDS)),
        ("a.jsonl", "\n".join(map(json.dumps, LINES))),
        ("a.csv", pd.DataFrame(RECORDS).to_csv(index=False)),
        ("a.tsv", pd.DataFrame(RECORDS).to_csv(index=False, sep="\t")),
    ],
)
def test_texts_finds_the_only_field_of_text(tmp_path, name, content):
    assert list(ds.texts(write(tmp_path / name, content))) == LINES


def test_texts_reads_a_column_of_a_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": [*LINES, None], "title": ["x"] * 4}).to_parquet(path)
    found = ds.texts(path, field="text")
    assert list(found) == LINES
    assert found.n_blank == 1


def test_texts_keeps_words_that_pandas_takes_for_missing(tmp_path):
    path = write(tmp_path / "a.csv", "text\nNA\nnull\nnone\n")
    assert list(ds.texts(path)) == ["NA", "null", "none"]


def test_texts_reads_the_files_of_a_folder_as_one_text_each(tmp_path):
    for number, text in enumerate(LINES):
        write(tmp_path / f"{number}.txt", f"{text}\nmore\n")
    write(tmp_path / "notes.md", "other")
    assert list(ds.texts(tmp_path)) == [f"{text}\nmore" for text in LINES]


TWO = '{"text": "a", "title": "b", "n": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", "", {}, "a.txt holds no text; give at least three"),
        ("a.txt", "\n \n", {}, "a.txt holds no text; give at least three"),
        ("a.csv", "", {}, "a.csv holds no text"),
        ("a.json", "", {}, "a.json holds no text"),
        ("a.jsonl", "\n", {}, "a.jsonl holds no text"),
        ("a.txt", "x", {"field": "text"}, "has no fields; omit field"),
        ("a.jsonl", TWO, {}, "several fields of text: 'text', 'title'; name the one to read"),
        ("a.jsonl", TWO, {"field": "txt"}, "no field 'txt'; its fields are 'text', 'title', 'n'"),
        ("a.jsonl", TWO, {"field": "n"}, "values that are not text; .* 'text', 'title'"),
        ("a.jsonl", '"a"\n"b"', {"field": "n"}, "its texts have no fields: omit field"),
        ("a.jsonl", '"a"\n{"b": "c"}', {}, "mixes objects with other values"),
        ("a.jsonl", '"a"\nb\n', {}, "is not JSON: line 2: Expecting value"),
        ("a.json", '"a"\nb\n', {}, "is not JSON: Extra data"),
        ("a.csv", "n,m\n1,2\n", {}, "no field of text, only 'n', 'm'; name the one"),
        ("a.csv", 'a,b\n"c', {}, "a.csv is not a table"),
        ("a.doc", "a", {}, "is no file of texts; give .txt"),
        ("a.txt", "a", {"tokens": 0}, "tokens is 0; use a number of at least 1"),
    ],
)
def test_texts_says_what_is_wrong_with_a_file(tmp_path, name, content, options, message):
    with pytest.raises((BadSource, BadPoints), match=message):
        ds.texts(write(tmp_path / name, content), **options)


def test_texts_names_the_line_that_is_not_utf8(tmp_path):
    path = write(tmp_path / "a.txt", "fox\ncafé\n", encoding="latin-1")
    with pytest.raises(BadSource, match=r"line 2 holds the byte 0xe9; convert it, .* iconv"):
        ds.texts(path)


def test_texts_refuses_missing_paths_and_folders_without_texts(tmp_path):
    with pytest.raises(BadSource, match="there is no file or folder of texts"):
        ds.texts(tmp_path / "none.txt")
    with pytest.raises(BadSource, match=r"holds no \.txt files"):
        ds.texts(tmp_path)


# --- tokens ------------------------------------------------------------------------------------


def test_encode_uses_whole_texts_with_the_tokens_that_the_tokenizer_adds(model):
    texts = lines(5)
    tokens = ds.texts(texts).encode(model)
    assert tokens.rows == [[BOS, *numbers(text)] for text in texts]
    batch = tokens.batch(range(5))
    assert batch["attention_mask"].sum(1).tolist() == [len(row) for row in tokens.rows]
    assert tokens.text == "5 texts of a list, whole"


def test_encode_takes_the_first_tokens_and_says_how_many_texts_are_skipped(model):
    texts = [*lines(4, 5), "red fox", *lines(3, 7)]
    with pytest.warns(CaptureWarning, match="1 of 8 texts have fewer than 5 tokens, and are skip"):
        tokens = ds.texts(texts, tokens=5).encode(model)
    kept = [text for text in texts if text != "red fox"]
    assert tokens.rows == [[BOS, *numbers(text)[:5]] for text in kept]
    assert tokens.ids.tolist() == ds.texts(kept).encode(model).ids.tolist()
    assert tokens.text == "the first 5 tokens of 7 texts of a list, 1 with fewer skipped"


def test_encode_cuts_a_single_text_into_parts(model):
    text = " ".join(lines(9, 7))
    tokens = ds.texts([text], tokens=20, tokenizer=tokenizer(ends=True)).encode(model)
    cut = [numbers(text)[start : start + 20] for start in (0, 20, 40)]
    assert tokens.rows == [[BOS, *part, EOS] for part in cut]
    assert len(set(tokens.ids.tolist())) == 3
    assert tokens.text == "the text of a list in 3 parts of 20 tokens"


def test_encode_says_that_texts_exceed_the_network(model):
    texts = [*lines(3), *lines(2, 30)]
    room = LONGEST - 1
    with pytest.warns(CaptureWarning, match=f"2 texts of 5 exceed the {room} tokens"):
        tokens = ds.texts(texts).encode(model)
    assert tokens.rows[3] == [BOS, *numbers(texts[3])[:room]]
    with pytest.raises(BadPoints, match=f"tokens is 24, but the network takes {room} tokens of"):
        ds.texts(texts, tokens=24).encode(model)


@pytest.mark.parametrize(
    ("texts", "tokens", "message"),
    [
        (["red fox"], None, "1 text, but at least 3 are needed; give tokens=, such as tokens=20"),
        (["red fox", "red"], None, "2 texts, but at least 3 are needed, and hundreds"),
        (["red fox bird"], 2, "has 3 tokens, which make 1 parts of 2; at least 3"),
        (["red fox"] * 8 + ["red fox bird"], 3, r"only 1 of 9 .* \(half of them have 2\)"),
    ],
)
def test_encode_refuses_too_few_texts(model, texts, tokens, message):
    with pytest.raises(BadPoints, match=message):
        ds.texts(texts, tokens=tokens).encode(model)


def test_encode_needs_a_tokenizer(tmp_path, model):
    save_model(tmp_path / "bare", with_tokenizer=False)
    bare = ds.load_model(f"hf/{tmp_path / 'bare'}")
    with pytest.raises(BadSource, match=r"bare has no tokenizer; save it there with"):
        ds.texts(lines(3)).encode(bare)
    with pytest.raises(BadSource, match=r"Linear names no tokenizer; in Python, give texts\(path"):
        ds.texts(lines(3)).encode(torch.nn.Linear(2, 2))
    given = ds.texts(lines(3), tokenizer=tokenizer()).encode(bare)
    assert given.rows == ds.texts(lines(3)).encode(model).rows
    write(tmp_path / "bare" / "tokenizer.json", "{}")
    with pytest.raises(BadSource, match=r"the tokenizer of hf/.* cannot be loaded"):
        ds.texts(lines(3)).encode(bare)


def test_encode_finds_the_tokenizer_of_a_model_that_transformers_loaded(saved, model):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.GPT2LMHeadModel.from_pretrained(saved)
    assert ds.texts(lines(3)).encode(loaded).rows == ds.texts(lines(3)).encode(model).rows


# --- profiles ----------------------------------------------------------------------------------


def test_profile_of_texts_equals_that_of_their_tokens(model):
    texts = lines(60)
    encoded = tokenizer()(texts, padding=True, return_tensors="pt")
    data = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    found = ds.profile(model, ds.texts(texts), readout="last")
    expected = ds.profile(model, data, readout="last")
    assert found["h.1"].n_points == 60
    for layer, estimate in expected.items():
        assert float(found[layer]) == pytest.approx(float(estimate), rel=1e-3)


def test_capture_of_texts_gives_their_tokens_one_id(model):
    texts = [*lines(3, 5), "red fox", *lines(3, 7)]
    with pytest.warns(CaptureWarning, match="skipped"):
        points = ds.capture(model, ds.texts(texts, tokens=4), ["h.0"], readout="tokens")
    ids = points.ids.reshape(6, 5)
    assert (ids == ids[:, :1]).all()
    assert len(set(ids[:, 0].tolist())) == 6
    assert points.provenance.parameters["inputs"].startswith("texts: the first 4 tokens of 6 texts")


def test_difference_pairs_the_same_texts_only(model):
    first, again, other = (
        ds.profile(model, ds.texts(lines(60, seed=seed)), layers=["h.0"], readout="last")["h.0"]
        for seed in (0, 0, 1)
    )
    assert ds.difference(first, again).difference == 0
    with pytest.raises(BadPoints, match="rows"):
        ds.difference(first, other)


def test_capture_draws_texts(model):
    points = ds.capture(model, ds.texts(lines(40)), ["h.0"], readout="last", n_points=10, seed=1)
    assert len(points["h.0"]) == len(set(points.ids.tolist())) == 10


def test_store_of_texts_is_resumed_only_for_the_same_texts(model, tmp_path):
    pytest.importorskip("zarr")
    options = {"layers": ["h.0"], "readout": "last", "batch_size": 8, "out": tmp_path / "s.zarr"}
    first = ds.capture(model, ds.texts(lines(40)), **options)
    assert ds.capture(model, ds.texts(lines(40)), **options)["h.0"].shape == first["h.0"].shape
    other = lines(40)
    other[20] = lines(1, 6, seed=9)[0]
    with pytest.raises(BadSource, match="values of the data"):
        ds.capture(model, ds.texts(other), **options)
