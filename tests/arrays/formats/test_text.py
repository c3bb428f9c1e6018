"""Tables in text: the exact array, a warning of every guess, or what is wrong in a sentence."""

import gzip

import numpy as np
import pandas as pd
import pytest

import dimscope as ds
from array_files import (
    I8,
    SPOILED,
    ZEROS,
    X,
    assert_does_not_fit,
    assert_missing_value_named,
    assert_refused,
    assert_returned,
    csv_of,
    cut,
    frame,
    guessing,
    lines,
    rows,
)
from dimscope.arrays.files import open_points


def thousandths(value):
    return f"{value:.3f}".replace(".", ",")


def comma(value):
    return repr(value).replace(".", ",")


def table_of_r(delimiter, name=""):
    """Write what write.table of R writes: no name for the column of the row names."""
    names = delimiter.join(('"V1"', '"V2"', '"V3"'))
    body = "".join(
        f'"{name}{number}"{delimiter}{delimiter.join(map(repr, row))}\n'
        for number, row in enumerate(X.tolist(), 1)
    )
    return lines(f"{names}\n{body}")


def packed(path):
    with gzip.open(path, "wt") as file:
        frame().to_csv(file, index=False)


PRICES = np.abs(X) + np.arange(1, 4)
GRID = np.sort(np.abs(X[:, :1]), axis=0) + np.arange(3)
EVEN = np.vstack([[0.125, 0.25, 0.375], X[1:]])
COUNTS = np.vstack([[201, 205], I8[1:, :2]])
RANKS = np.column_stack([np.argsort(np.argsort(column)) for column in X.T])
SHUFFLED = np.random.default_rng(0).permutation(np.arange(40.0))
CURVE = np.column_stack([np.arange(40) + 0.5, np.arange(40) ** 2 + 1.0])


GOOD = {
    "csv of pandas": ("a.csv", lambda p: frame().to_csv(p, index=False), X),
    "csv with an index": ("a.csv", lambda p: frame().to_csv(p), X),
    "csv with a shuffled index": (
        "a.csv", lambda p: frame().iloc[::-1].to_csv(p), X[::-1],
    ),
    "csv of a plain frame": ("a.csv", lambda p: pd.DataFrame(X).to_csv(p), X),
    "csv without a header": ("a.csv", rows(","), X),
    "csv of numpy": ("a.csv", lambda p: np.savetxt(p, X, fmt="%.17g"), X),
    "csv of Excel in Germany": (
        "a.csv", rows(";", "abc", lambda v: repr(v).replace(".", ",")), X,
    ),
    "csv of integers": (
        "a.csv", lambda p: pd.DataFrame(I8, columns=list("abc")).to_csv(p, index=False), I8,
    ),
    "csv with numbered columns": (
        "a.csv", lambda p: pd.DataFrame(X, columns=[1, 2, 3]).to_csv(p, index=False), X,
    ),
    "csv that states its delimiter": (
        "a.csv", lines("sep=;\nx;y\n" + "".join(f"{a!r};{b!r}\n" for a, b in X[:, :2].tolist())),
        X[:, :2],
    ),
    "csv of truths": (
        "a.csv", lambda p: frame(d=X[:, 0] > 0).to_csv(p, index=False),
        np.column_stack([X, X[:, 0] > 0]),
    ),
    "csv with a byte order mark": ("a.csv", lambda p: frame().to_csv(p, encoding="utf-8-sig"), X),
    "csv in UTF-16": ("a.csv", lambda p: frame().to_csv(p, encoding="utf-16"), X),
    "pipes": ("a.csv", rows("|", "abc"), X),
    "pipes without a header": ("a.txt", rows("|"), X),
    "tabs and decimal commas": ("a.tsv", rows("\t", "abc", comma), X),
    "blanks and decimal commas": ("a.txt", rows(" ", "abc", comma), X),
    "blanks and decimal commas alone": ("a.txt", rows(" ", (), comma), X),
    "tabs and thousandths": ("a.tsv", rows("\t", (), thousandths, PRICES), np.round(PRICES, 3)),
    "table of R": ("a.txt", table_of_r(" "), X),
    "table of R with tabs": ("a.tsv", table_of_r("\t", "sample"), X),
    "csv gz": ("a.csv.gz", packed, X),
    "csv of Excel in thousandths": (
        "a.csv", rows(";", (), thousandths, PRICES), np.round(PRICES, 3),
    ),
    "csv of Excel below one": ("a.csv", rows(";", (), thousandths), np.round(X, 3)),
    "csv with # in its names": ("a.csv", rows(",", ("n#1", "n#2", "n#3")), X),
    "csv with comments between rows": (
        "a.csv", lambda p: p.write_text("x,y,z\n" + csv_of(X[:9]) + "# 9\n" + csv_of(X[9:])), X,
    ),
    "csv of an even grid": ("a.csv", lambda p: p.write_text(csv_of(GRID)), GRID),
    "csv of counts": ("a.csv", lambda p: p.write_text("201,205\n" + csv_of(I8[1:, :2])), COUNTS),
    "csv with an even first row": ("a.csv", lambda p: p.write_text(csv_of(EVEN)), EVEN),
    "csv of a rising curve": ("a.csv", lambda p: p.write_text(csv_of(CURVE)), CURVE),
    "csv of ranks": ("a.csv", lambda p: p.write_text(csv_of(RANKS)), RANKS),
    "csv with a number as a name": (
        "a.csv", lambda p: p.write_text("0,1,label\n" + csv_of(X)), X,
    ),
    "csv with names of digits": ("a.csv", lambda p: p.write_text("0_0,0_1,1_0\n" + csv_of(X)), X),
    "csv of logical values": (
        "a.csv", lambda p: p.write_text(csv_of(X > 0).upper()), X > 0,
    ),
    "csv of an old Mac with sep": (
        "a.csv", lambda p: p.write_text("sep=,\r" + csv_of(X).replace("\n", "\r")), X,
    ),
    "tsv": ("a.tsv", rows("\t", ("x", "y", "z")), X),
    "txt with comments": (
        "a.txt", lambda p: np.savetxt(p, X, fmt="%.17g", header="points\nthree columns"), X,
    ),
}  # fmt: skip


INDEX = "first column has no name and numbers the rows, so it is left out"
GUESSED = {
    "csv with an index": INDEX,
    "csv with a shuffled index": INDEX,
    "csv of a plain frame": INDEX,
    "csv with a byte order mark": INDEX,
    "csv in UTF-16": INDEX,
    "csv with numbered columns": "the first line, 1, 2, 3, is read as the names of the columns",
    "blanks and decimal commas": "if they separate thousands or columns, replace them",
    "blanks and decimal commas alone": "if they separate thousands or columns, replace them",
    "tabs and thousandths": "so 1,126 is 1.126; if they separate thousands, remove them",
    "csv of Excel in thousandths": "so 1,126 is 1.126; if they separate thousands, remove them",
}


@pytest.mark.parametrize("case", GOOD)
def test_read_points_returns_the_array(tmp_path, case):
    assert_returned(tmp_path, *GOOD[case], guess=GUESSED.get(case))


def test_read_points_reads_rows_longer_than_the_text_it_looks_at(tmp_path):
    wide = np.random.default_rng(2).integers(10**8, 10**9, (4, 60_000))
    (tmp_path / "a.csv").write_text(csv_of(wide))
    np.testing.assert_array_equal(ds.read_points(tmp_path / "a.csv"), wide)


def test_read_points_warns_of_thousands_in_a_long_file(tmp_path):
    (tmp_path / "a.csv").write_text("1,234;2,345\n" * 90_000)
    with pytest.warns(ds.GuessedReading, match=r"so 1,234 is 1\.234"):
        ds.read_points(tmp_path / "a.csv")


def text_in_numbers(path):
    frame = pd.DataFrame(X).astype(object)
    frame.iloc[7, 1] = "?"
    frame.to_csv(path, index=False, header=False)


def cells_of(value):
    """Write a column of numbers, and one of a value in quotes."""
    return lines("x,y\n" + f'"{value}",1.5\n' * 40)


BAD = {
    "errors of Excel": (
        "a.csv", lambda p: p.write_text(csv_of(X) + "#DIV/0!,1.5,2.5\n"), "row 40 holds '#DIV/0!'",
    ),
    "stars in the first row": (
        "a.csv", lambda p: p.write_text("*****,*****,*****\n" + csv_of(X)), "row 0 holds '\\*+'",
    ),
    "columns of a part of a frame": (
        "a.csv", lambda p: pd.DataFrame(X, columns=[7, 2, 5]).to_csv(p, index=False),
        "may be the names",
    ),
    "a header with the shape": (
        "a.txt", lambda p: p.write_text("40 2\n" + csv_of(X[:, :2]).replace(",", " ")),
        "may be the names",
    ),
    "row numbers at the end": (
        "a.csv", lambda p: frame(id=range(1000, 1040)).to_csv(p, index=False),
        r"column 'id' numbers the rows \(1000, 1001, 1002, ...\); drop the column$",
    ),
    "shuffled row numbers": (
        "a.csv",
        lambda p: frame(id=SHUFFLED).to_csv(p, index=False),
        "column 'id' numbers the rows",
    ),
    "gz cut": ("a.csv.gz", cut(packed), "truncated"),
    "header only": ("a.csv", lines("x,y\n"), "no row of numbers"),
    "numbers or names": ("a.csv", lines("1,2\n3,4\n5,6\n"), "may be the names of the columns"),
    "huge integers": ("a.csv", lines("a,b\n9007199254740993,0.5\n1,2\n3,4\n"), "beyond 2.53"),
    "wavelengths": (
        "a.csv", lambda p: p.write_text("400,410,420\n" + csv_of(X)),
        "the first line, 400, 410, 420, may be the names of the columns or a row; replace",
    ),
    "falling wavenumbers": (
        "a.csv", lambda p: p.write_text("4000.5,4000,3999.5\n" + csv_of(X)), "may be the names",
    ),
    "two years": ("a.csv", lambda p: p.write_text("2001,2005\n" + csv_of(X[:, :2])), "may be the"),
    "uneven wavelengths": (
        "a.csv", lambda p: p.write_text("400,410,425,430,450,451\n" + csv_of(np.hstack([X, -X]))),
        "the first line, 400, 410, 425, 430, ..., may be the names",
    ),
    "a column without a name": (
        "a.csv", lines(",b\n" + "".join(f"{i * i + 7},{i % 5}\n" for i in range(40))),
        "the first column has no name, and does not number the rows",
    ),
    "joined tables": (
        "a.csv", lambda p: pd.concat([frame(), frame()]).to_csv(p),
        "the first column has no name, and does not number the rows",
    ),
    "a column without a name, of fractions": (
        "a.csv", lambda p: frame().set_index("a").to_csv(p, index_label=""),
        "the first column has no name, and does not number the rows",
    ),
    "quotes around blanks": ("a.txt", lines('"1 2" 3\n"4 5" 6\n'), "3 columns, but 2 were read"),
    "endless name": ("a.csv", lines("a" * 200_000 + "\n1\n2\n"), "2 points are too few"),
    "labels in csv": (
        "a.csv", lambda p: frame(label=["cat"] * 40).to_csv(p, index=False),
        "column 'label' holds text, not numbers: row 0 holds 'cat'; drop the column",
    ),
    "row numbers": (
        "a.csv", lambda p: frame().to_csv(p, index_label="id"), "column 'id' numbers the rows",
    ),
    "text in numbers": ("a.csv", text_in_numbers, r"column 1 holds text: row 7 holds '\?'"),
    "ragged csv": ("a.csv", lines("1.5,2\n3,4\n5,6\n7,8,9\n"), "2 fields in line 4, saw 3"),
    "fortran": ("a.csv", cells_of("1.25D-01"), "column 'x' .* exponents with E instead of D"),
    "thousands": ("a.csv", cells_of("12,573.02"), "remove what separates the thousands"),
    "thousands of integers": ("a.csv", cells_of("1,234,573"), "remove what separates the thou"),
    "thousands in Germany": ("a.csv", cells_of("12.573,02"), "remove what separates the thous"),
    "commas in quotes": ("a.csv", cells_of("1,5"), "write decimal points instead of commas"),
    "lists as text": ("a.csv", cells_of("[0.1, 0.2]"), "column 'x' .* list of numbers written"),
    "commas at the ends": (
        "a.csv", lines("a,b,\n" + "1.5,2,\n" * 9), "last column is empty; remove the commas at",
    ),
    "semicolons at the ends": ("a.csv", lines("1.5;2;\n" * 9), "remove the semicolons at the ends"),
    "names with bars": ("a.csv", lines("a,b\n" + '"x|y",1.5\n' * 9), "column 'a' holds text"),
    "short header": ("a.csv", lines("a,b\nr1,1,2\nr2,3,4\n"), "first line has 2 columns"),
    "bytes as csv": ("a.csv", lambda p: p.write_bytes(b"\x00\x01\x02\x03" * 9), "not text"),
    "latin": ("a.csv", lambda p: p.write_bytes("größe,b\n1,2\n".encode("latin-1")), "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    assert_refused(tmp_path, *BAD[case])


def test_missing_values_are_named_by_row(tmp_path):
    spoiled = pd.DataFrame(SPOILED, columns=list("abc"))
    assert_missing_value_named(tmp_path, "a.csv", lambda p: spoiled.to_csv(p, index=False))


@pytest.mark.parametrize(
    ("text", "row"), [(csv_of(X) + "#N/A,#N/A,#N/A\n", 40), ("NA,NA,NA\n" + csv_of(X), 0)]
)
def test_rows_without_a_number_are_missing_values(tmp_path, text, row):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ds.BadPoints, match=f"row {row}, column 0 is nan"):
        ds.estimate(ds.read_points(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda p: np.savetxt(p, ZEROS, fmt="%.10f")),
        ("a.csv.gz", lambda p: np.savetxt(p, ZEROS, fmt="%.10f")),
        ("a.csv.xz", lambda p: np.savetxt(p, ZEROS, fmt="%.10f")),
    ],
)  # fmt: skip
def test_read_points_refuses_what_does_not_fit(tmp_path, monkeypatch, name, write):
    write(tmp_path / name)
    advice = "; save the array with numpy.save as .npy"
    assert_does_not_fit(tmp_path / name, monkeypatch, "text", advice)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("csv without a header", "commas between columns; no header"),
        (
            "table of R",
            "blanks between columns; a header: V1, V2, V3; the first column, the names of the "
            "rows, is left out",
        ),
        ("csv of numpy", "blanks between columns; no header"),
        (
            "csv with an index",
            "commas between columns; a header; the first column, which has no name and numbers "
            "the rows, is left out",
        ),
    ],
)
def test_open_points_says_what_it_chose(tmp_path, case, said):
    name, write, _ = GOOD[case]
    write(tmp_path / name)
    with guessing(GUESSED.get(case)):
        assert open_points(tmp_path / name)[1] == said
