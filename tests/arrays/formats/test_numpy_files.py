"""Files and archives of NumPy: the exact array, or a sentence on what is wrong."""

import io
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import scipy.sparse

import dimscope as ds
from array_files import (
    I8,
    SPOILED,
    STRUCTURED,
    ZEROS,
    F,
    X,
    Y,
    assert_does_not_fit,
    assert_missing_value_named,
    assert_refused,
    assert_returned,
    cut,
    npy,
    renamed,
)
from dimscope.arrays.formats.registry import open_array
from dimscope.errors import BadSource

GOOD = {
    "numpy": ("a.npy", lambda p: np.save(p, X), X),
    "fortran": ("a.npy", lambda p: np.save(p, np.asfortranarray(X)), X),
    "big-endian": ("a.npy", lambda p: np.save(p, X.astype(">f4")), F),
    "float16": ("a.npy", lambda p: np.save(p, X.astype("f2")), X.astype("f2")),
    "bool": ("a.npy", lambda p: np.save(p, X > 0), X > 0),
    "uint8": ("a.NPY", lambda p: p.write_bytes(npy(I8.view("u1"))), I8.view("u1")),
    "npz": ("a.npz", lambda p: np.savez(p, X), X),
    "npz compressed": ("a.npz", lambda p: np.savez_compressed(p, x=F), F),
    "npz with labels": ("a.npz", lambda p: np.savez(p, y=Y, x=X), X),
    "npz by key": ("a.npz", lambda p: np.savez(p, z=X, x=F), F, "x"),
    "npz by a key that ends in npy": (
        "a.npz", lambda p: np.savez(p, **{"x": X, "x.npy": F}), F, "x.npy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_read_points_returns_the_array(tmp_path, case):
    assert_returned(tmp_path, *GOOD[case])


def objects(path):
    np.save(path, np.array([[1, "a"], [2, None]], dtype=object), allow_pickle=True)


def objects_in_archive(path):
    np.savez(path, a=np.array([[1, "a"]], dtype=object))


def empty_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")


def header(shape, dtype="<f8"):
    stream = io.BytesIO()
    about = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def archive_of(*members):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of equal names
            for name, content in members:
                archive.writestr(name, content)

    return write


BAD = {
    "two arrays in npy": ("a.npy", lambda p: p.write_bytes(npy(X) + npy(F)), "more than the one"),
    "absurd shape": ("a.npy", lambda p: p.write_bytes(header((2**62, 9)) + bytes(99)), "truncated"),
    "equal names in npz": (
        "a.npz", archive_of(("x.npy", npy(X)), ("x.npy", npy(F))), "two arrays with the name x;",
    ),
    "endless npz": (
        "a.npz", archive_of(("x.npy", header((10**9, 100)) + bytes(1000))),
        "damaged .the size of x does not match its header.; copy",
    ),
    "long npz": ("a.npz", archive_of(("x.npy", npy(X) + npy(X))), "does not match its header"),
    "pickle as npy": ("a.npy", lambda p: p.write_bytes(pickle.dumps([[1.0]])), "never read"),
    "objects": ("a.npy", objects, "never read"),
    "objects in npz": ("a.npz", objects_in_archive, "never read"),
    "npz cut": ("a.npz", cut(lambda p: np.savez(p, X)), "truncated"),
    "npy cut": ("a.npy", cut(lambda p: np.save(p, X)), "truncated"),
    "npz as npy": ("a.npy", renamed(lambda p: np.savez(p, X), ".npz"), "zip archive"),
    "zip without arrays": ("a.npz", empty_archive, "zip archive without arrays"),
    "sparse npz": (
        "a.npz", lambda p: scipy.sparse.save_npz(p, scipy.sparse.eye(40, format="csr")), "toarray",
    ),
    "complex": ("a.npy", lambda p: np.save(p, X + 1j), "complex"),
    "structured": ("a.npy", lambda p: np.save(p, STRUCTURED), "structured_to_unstructured"),
    "strings": ("a.npy", lambda p: np.save(p, X.astype(str)), "not numbers"),
    "dates": ("a.npy", lambda p: np.save(p, X.astype("M8[s]")), "not numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    assert_refused(tmp_path, *BAD[case])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", lambda p: np.save(p, SPOILED)),
        ("a.npz", lambda p: np.savez(p, SPOILED)),
    ],
)  # fmt: skip
def test_missing_values_are_named_by_row(tmp_path, name, write):
    assert_missing_value_named(tmp_path, name, write)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", lambda p: np.savez_compressed(p, ZEROS)),
    ],
)  # fmt: skip
def test_read_points_refuses_what_does_not_fit(tmp_path, monkeypatch, name, write):
    write(tmp_path / name)
    advice = "; save the array with numpy.save as .npy"
    assert_does_not_fit(tmp_path / name, monkeypatch, "base", advice)


def test_read_points_lets_no_warning_out_of_an_absurd_shape(tmp_path):
    (tmp_path / "a.npy").write_bytes(header((2**62, 9)) + bytes(99))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(BadSource, match="truncated"):
            ds.read_points(tmp_path / "a.npy")
    assert warned == []


def test_open_array_maps_the_file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(4, 3))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array[2, 1] == 7


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 not a zip",
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10,",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (-10, 3)}\n",
    ],
)
def test_open_array_refuses_a_damaged_file(tmp_path, content):
    path = tmp_path / "points.npy"
    path.write_bytes(content)
    with pytest.raises(BadSource, match=r"points\.npy"):
        open_array(path)
