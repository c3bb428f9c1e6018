"""Files that hold arrays, for the tests of every format; NumPy and pandas write them."""

import csv
import io
import os
import re
import sys
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

import dimscope as ds
from dimscope.errors import BadPoints, BadSource, DimscopeError

X = np.random.default_rng(0).standard_normal((40, 3))
F = X.astype(np.float32)
I8 = np.random.default_rng(1).integers(-100, 100, (40, 3)).astype(np.int8)
Y = np.arange(40) % 2
SPOILED = X.copy()
SPOILED[17, 2] = np.nan
ZEROS = np.zeros((60_000, 3))
STRUCTURED = np.zeros(40, dtype=[("x", "f8"), ("y", "f8")])


def frame(**columns):
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], **columns})


def lines(text):
    return lambda path: path.write_text(text)


def rows(delimiter, header=(), number=repr, array=X):
    def write(path):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            if header:
                writer.writerow(header)
            writer.writerows([[number(float(v)) for v in row] for row in array])

    return write


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def csv_of(array):
    return "".join(f"{','.join(map(repr, row))}\n" for row in array.tolist())


def cut(write, share=0.5):
    def write_part(path):
        write(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return write_part


def renamed(write, suffix):
    def write_renamed(path):
        write(path.with_suffix(suffix))
        path.with_suffix(suffix).rename(path)

    return write_renamed


def assert_returned(tmp_path, name, write, expected, key=None, *, guess=None):
    """Check that the file is read as the array, whole and in parts."""
    write(tmp_path / name)
    with guessing(guess):
        array = ds.read_points(tmp_path / name, key=key)
    assert array.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(array), expected)
    # the first rows are read alone
    np.testing.assert_array_equal(np.asarray(array[:2]), expected[:2])
    np.testing.assert_array_equal(
        np.asarray(array[np.array([30, 2, 5])]), expected[np.array([30, 2, 5])]
    )
    if expected.dtype.kind == "f":
        assert ds.estimate(array).dimension == ds.estimate(expected).dimension


def guessing(message):
    return pytest.warns(ds.GuessedReading, match=message) if message else nullcontext()


def assert_refused(tmp_path, name, write, message, key=None):
    """Check that the error is one sentence, which names the file."""
    write(tmp_path / name)
    with pytest.raises(DimscopeError, match=message) as refused:
        ds.read_points(tmp_path / name, key=key)
    assert name in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def assert_missing_value_named(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(BadPoints, match="row 17, column 2 is nan; remove or replace"):
        ds.estimate(ds.read_points(tmp_path / name))


def assert_permission_needed(tmp_path, name, write):
    write(tmp_path / name)
    (tmp_path / name).chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read every file
        os.seteuid(65534)
    try:
        with pytest.raises(BadSource, match="permission denied"):
            ds.read_points(tmp_path / name)
    finally:
        os.seteuid(user)


def assert_extra_named(tmp_path, monkeypatch, package, extra, name, write):
    write(tmp_path / name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadSource, match=rf"needs {package}; run pip install 'dimscope\[{extra}\]'"):
        ds.read_points(tmp_path / name)


def assert_does_not_fit(path, monkeypatch, module="base", advice=""):
    """Reading a file is refused where the budget, which a module of formats asks for, is small."""
    monkeypatch.setattr(f"dimscope.arrays.formats.{module}.budget_from", lambda memory: 10**6)
    with pytest.raises(ds.OverBudget, match=f"{re.escape(path.name)}.*{advice}"):
        ds.read_points(path)
