"""Parquet: the exact array, or a sentence on what is wrong."""

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from array_files import (
    I8,
    SPOILED,
    ZEROS,
    F,
    X,
    Y,
    assert_does_not_fit,
    assert_extra_named,
    assert_missing_value_named,
    assert_refused,
    assert_returned,
    cut,
    frame,
)
from dimscope.arrays.files import open_points


def table_of_lists(path):
    pd.DataFrame({"text": ["a"] * 40, "embedding": list(F)}).to_parquet(path)


def equal_names(path, **columns):
    columns = [*[pyarrow.array(column) for column in F.T], *columns.values()]
    names = ["a", "b", "a", *"ee"][: len(columns)]
    pyarrow.parquet.write_table(pyarrow.table(columns, names), path)


GOOD = {
    "parquet": ("a.parquet", lambda p: frame().to_parquet(p), X),
    "parquet of pyarrow": (
        "a.parquet",
        lambda p: pyarrow.parquet.write_table(pyarrow.table({"a": F[:, 0], "b": F[:, 1]}), p),
        F[:, :2],
    ),
    "parquet with equal names": ("a.parquet", equal_names, F),
    "parquet of nullable integers": (
        "a.parquet", lambda p: pd.DataFrame(I8).astype("Int16").rename(columns=str).to_parquet(p),
        I8,
    ),
    "parquet of embeddings": ("a.parquet", table_of_lists, F),
    "parquet of embeddings and labels": (
        "a.parquet",
        lambda p: pd.DataFrame({"label": Y, "embedding": list(F)}).to_parquet(p), F,
    ),
    "parquet of embeddings and numbers": (
        "a.parquet", lambda p: frame(embedding=list(F)).to_parquet(p), X, "columns of numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_read_points_returns_the_array(tmp_path, case):
    assert_returned(tmp_path, *GOOD[case])


BAD = {
    "equal names of lists": (
        "a.parquet", lambda p: equal_names(p, e=pyarrow.array(list(F)), f=pyarrow.array(list(F))),
        "two columns with the name 'a'; rename",
    ),
    "lists of text": (
        "a.parquet", lambda p: pd.DataFrame({"e": [["a", "b"]] * 40}).to_parquet(p),
        "column 'e' holds lists of text or of other objects, not of numbers; drop it",
    ),
    "lists of lists": (
        "a.parquet", lambda p: pd.DataFrame({"e": [[[1.0], [2.0]]] * 40}).to_parquet(p),
        "column 'e' holds lists of lists, not of numbers; join them",
    ),
    "structs": (
        "a.parquet", lambda p: pd.DataFrame({"s": [{"x": 1.0, "y": 2.0}] * 40}).to_parquet(p),
        "column 's' holds a dict.*; write each of its fields as a column",
    ),
    "parquet cut": ("a.parquet", cut(lambda p: frame().to_parquet(p)), "truncated"),
    "embeddings and numbers": (
        "a.parquet", lambda p: frame(embedding=list(F)).to_parquet(p),
        r"several arrays: embedding \(40, 3\) lists, columns of numbers \(40, 3\) table; name",
    ),
    "a missing embedding": (
        "a.parquet", lambda p: pd.DataFrame({"x": [*F[:7], None, *F]}).to_parquet(p),
        "row 7 of column 'x' holds no list; remove the row",
    ),
    "a missing first embedding": (
        "a.parquet", lambda p: pd.DataFrame({"x": [None, *F]}).to_parquet(p),
        "row 0 of column 'x' holds no list; remove the row",
    ),
    "row numbers in parquet": (
        "a.parquet", lambda p: frame().reset_index().to_parquet(p),
        "column 'index' numbers the rows",
    ),
    "labels in parquet": (
        "a.parquet", lambda p: frame(label=["cat"] * 40).to_parquet(p),
        "column 'label' holds text, not numbers: row 0 holds 'cat'; drop the column",
    ),
    "dates in parquet": (
        "a.parquet", lambda p: frame(when=pd.Timestamp("2020")).to_parquet(p),
        "column 'when' holds datetime",
    ),
    "ragged embeddings": (
        "a.parquet",
        lambda p: pd.DataFrame({"e": [[1.0, 2.0], [3.0], [4.0, 5.0]]}).to_parquet(p), "ragged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    assert_refused(tmp_path, *BAD[case])


MISSING = [*range(17), None, *range(18, 40)]
NULLABLE = pd.DataFrame({"a": Y, "b": Y, "n": pd.array(MISSING, "Int64")})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", lambda p: pd.DataFrame(SPOILED).rename(columns=str).to_parquet(p)),
        ("b.parquet", lambda p: NULLABLE.to_parquet(p)),
    ],
)  # fmt: skip
def test_missing_values_are_named_by_row(tmp_path, name, write):
    assert_missing_value_named(tmp_path, name, write)


def test_read_points_names_the_extra_of_a_missing_package(tmp_path, monkeypatch):
    assert_extra_named(tmp_path, monkeypatch, "pyarrow", "files", *GOOD["parquet"][:2])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", lambda p: pd.DataFrame(ZEROS, columns=list("abc")).to_parquet(p)),
        (
            "b.parquet",
            lambda p: pd.DataFrame(ZEROS + np.arange(60_000)[:, None], columns=list("abc"))
            .astype(str).to_parquet(p, compression="zstd"),
        ),
    ],
)  # fmt: skip
def test_read_points_refuses_what_does_not_fit(tmp_path, monkeypatch, name, write):
    write(tmp_path / name)
    assert_does_not_fit(tmp_path / name, monkeypatch)


def test_open_points_says_what_it_chose(tmp_path):
    name, write, _ = GOOD["parquet of embeddings and labels"]
    write(tmp_path / name)
    assert open_points(tmp_path / name)[1] == "array embedding; not read: label (40,) int64"
