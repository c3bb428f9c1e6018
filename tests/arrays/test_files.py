"""Files by other libraries: which array is read, and a sentence on what is wrong."""

import gzip
import io
import os
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import dimscope as ds
from array_files import F, X, Y, assert_permission_needed, assert_refused, frame, lines, npy
from dimscope.arrays.files import open_points
from dimscope.errors import BadSource

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"


BAD = {
    "missing": ("a.h5", lambda p: None, "there is no file"),
    "empty": ("a.csv", lambda p: p.touch(), "is empty"),
    "empty npy": ("a.npy", lambda p: p.touch(), "is empty"),
    "folder": ("a.npz", lambda p: p.mkdir(), "is a folder"),
    "unknown": ("a.xyz", lambda p: p.write_text("1 2 3"), "name ends in one of .npy, .npz"),
    "matlab": ("a.mat", lambda p: p.write_text("MATLAB 5.0"), "scipy.io.loadmat"),
    "pickle": ("a.pkl", lambda p: p.write_bytes(pickle.dumps([1])), "would run code"),
    "pickle as csv": ("a.csv", lambda p: p.write_bytes(pickle.dumps([[1.0]])), "never read"),
    "web page": ("a.csv", lines("<!DOCTYPE html><html>404"), "download the file itself"),
    "npy as csv": ("a.csv", lambda p: p.write_bytes(npy(X)), "rename it to a.npy"),
    "json as csv": ("a.csv", lines('{"error": 404}'), "is JSON, not a table in text"),
    "compressed npy": ("a.npy.gz", lambda p: p.write_bytes(gzip.compress(npy(X))), "decompress"),
    "pipe": ("a.npy", os.mkfifo, "pipe it into standard input"),
    "several": ("a.npz", lambda p: np.savez(p, u=X, v=F), r"u \(40, 3\) float64, v .* key="),
    "no key": ("a.npz", lambda p: np.savez(p, layer1=X), "no array 'layer2'.*Did you", "layer2"),
    "needless key": ("a.npy", lambda p: np.save(p, X), "omit key", "x"),
    "no candidate": ("a.npz", lambda p: np.savez(p, a=Y, b=Y), "no array of numbers of shape"),
    "one axis": ("a.npy", lambda p: np.save(p, Y), r"reshape\(-1, 1\)"),
    "three axes": ("a.npy", lambda p: np.save(p, np.zeros((5, 2, 2))), "flatten each point"),
    "no rows": ("a.npy", lambda p: np.save(p, X[:0]), "points are empty"),
    "two rows": ("a.csv", lines("1.5,2\n3,4\n"), "2 points are too few"),
    "matlab 7.3": (
        "a.mat", lambda p: p.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF"),
        "is an HDF5 file, in which MATLAB's arrays are transposed",
    ),
    "gz as csv": ("a.csv", lambda p: p.write_bytes(gzip.compress(b"1,2")), "to a.csv.gz"),
    "gz as xz": ("a.csv.xz", lambda p: p.write_bytes(gzip.compress(b"1,2")), "to a.csv.gz"),
    "csv as gz": ("a.csv.gz", lines("1.5,2\n3,4\n5,6\n"), "is not compressed, .* to a.csv"),
    "spreadsheet as csv": (
        "a.csv", lambda p: p.write_bytes(b"PK\x03\x04" + bytes(99)), "export a spreadsheet as .csv",
    ),
    "bytes as csv": (
        "a.csv", lambda p: p.write_bytes(np.random.default_rng(0).bytes(5000)), "not text, but",
    ),
    "zarr": (
        "a.zarr", lambda p: (p.mkdir(), (p / "zarr.json").touch()),
        "is a folder of Zarr, .* open it with zarr.open",
    ),
    "git lfs": ("a.safetensors", lines(POINTER), "run git lfs pull"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    assert_refused(tmp_path, *BAD[case])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", lambda p: np.save(p, X)),
        ("a.csv", lambda p: frame().to_csv(p, index=False)),
    ],
)
def test_read_points_refuses_a_file_without_permission(tmp_path, name, write):
    assert_permission_needed(tmp_path, name, write)


def test_open_points_says_what_it_chose(tmp_path):
    np.save(tmp_path / "a.npy", X)
    assert open_points(tmp_path / "a.npy")[1] == ""
    np.savez(tmp_path / "a.npz", y=Y, x=X)
    assert open_points(tmp_path / "a.npz")[1] == "array x; not read: y (40,) int64"


@pytest.mark.parametrize(
    "content", [npy(X), b"\n".join(b"%r,%r,%r" % tuple(r) for r in X.tolist())]
)
def test_read_points_reads_standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    np.testing.assert_array_equal(ds.read_points("-"), X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (npy(X)[:-5], "truncated"),
        (npy(X) + npy(X), "more than the one array of its header"),
        (b"PK\x03\x04....", "NumPy archive"),
        (gzip.compress(b"1,2", mtime=0), "compressed"),
        (npy(np.array([[None]])), "Python objects"),
    ],
)
def test_read_points_refuses_other_input(monkeypatch, content, message):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(BadSource, match=f"standard input.*{message}"):
        ds.read_points("-")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://x.org/a.npy", "https://x.org/a.npy is a URL; download"),
        ("a\0.npy", r"^'a\\x00.npy' is no path of a file"),
    ],
)
def test_read_points_refuses_what_names_no_file(path, message):
    with pytest.raises(BadSource, match=message):
        ds.read_points(path)


@pytest.mark.parametrize("path", [3, b"a.npy", None])
def test_read_points_refuses_what_is_no_path(path):
    with pytest.raises(BadSource, match="give the path of a file"):
        ds.read_points(path)


def test_read_points_maps_files_of_numpy(tmp_path):
    np.save(tmp_path / "a.npy", X)
    assert isinstance(ds.read_points(tmp_path / "a.npy"), np.memmap)


def test_read_points_stops_reading_input_at_the_budget(monkeypatch):
    stream = io.BytesIO(bytes(10**7))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    monkeypatch.setattr("dimscope.arrays.formats.text.budget_from", lambda memory: 10**6)
    with pytest.raises(ds.OverBudget, match="standard input"):
        ds.read_points("-")
    assert stream.tell() == 10**6 + 1
