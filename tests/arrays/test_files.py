"""Files by other libraries: the exact array, or a sentence that names the file and what to do."""

import csv
import gzip
import io
import os
import pickle
import sys
import tracemalloc
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
import safetensors.torch
import scipy.sparse
import torch

import dimscope as ds
from dimscope.arrays.files import open_points
from dimscope.arrays.formats import list_arrays, open_array
from dimscope.errors import BadPoints, BadSource, DimscopeError

X = np.random.default_rng(0).standard_normal((40, 3))
F = X.astype(np.float32)
I8 = np.random.default_rng(1).integers(-100, 100, (40, 3)).astype(np.int8)
Y = np.arange(40) % 2


def h5(**arrays):
    def write(path):
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                file[name.replace("__", "/")] = value

    return write


def h5_chunked(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=X, chunks=(7, 2), compression="gzip", shuffle=True)


def h5_with_scales(path):
    with h5py.File(path, "w") as file:
        file["x"], file["rows"] = X, np.arange(40)
        file["rows"].make_scale("rows")
        file["x"].dims[0].attach_scale(file["rows"])


def frame(**columns):
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], **columns})


def lines(text):
    return lambda path: path.write_text(text)


def thousandths(value):
    return f"{value:.3f}".replace(".", ",")


def rows(delimiter, header=(), number=repr, array=X):
    def write(path):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            if header:
                writer.writerow(header)
            writer.writerows([[number(float(v)) for v in row] for row in array])

    return write


def packed(path):
    with gzip.open(path, "wt") as file:
        frame().to_csv(file, index=False)


def legacy(path):
    torch.save(torch.from_numpy(F), path, _use_new_zipfile_serialization=False)


def h5_ragged(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (5,), h5py.vlen_dtype("f4"))[0] = [1, 2]


def sparse_and_dense(path):
    with h5py.File(path, "w") as file:
        matrix = scipy.sparse.csr_matrix(np.eye(40))
        for name in ("data", "indices", "indptr"):
            file[f"X/{name}"] = getattr(matrix, name)
        file["X"].attrs["shape"] = matrix.shape
        file["obsm/X_pca"] = F
        file["obs/cell"] = Y


def h5_links(path):
    with h5py.File(path, "w") as file:
        file["soft"], file["external"] = h5py.SoftLink("/x"), h5py.ExternalLink("b.h5", "/x")


def h5_of_links_and_x(path):
    h5_links(path)
    with h5py.File(path, "a") as file:
        file["x"] = X


def table_of_lists(path):
    pd.DataFrame({"text": ["a"] * 40, "embedding": list(F)}).to_parquet(path)


def padded(size):
    """Write a safetensors file whose header has a given length."""

    def write(path):
        safetensors.numpy.save_file({"x": F}, path)
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        path.write_bytes(size.to_bytes(8, "little") + data[8:end].ljust(size) + data[end:])

    return write


BF = torch.from_numpy(X).bfloat16()

PRICES = np.abs(X) + np.arange(1, 4)
GRID = np.sort(np.abs(X[:, :1]), axis=0) + np.arange(3)
EVEN = np.vstack([[0.125, 0.25, 0.375], X[1:]])
COUNTS = np.vstack([[201, 205], I8[1:, :2]])
CURVE = np.column_stack([np.arange(40) + 0.5, np.arange(40) ** 2 + 1.0])


def csv_of(array):
    return "".join(f"{','.join(map(repr, row))}\n" for row in array.tolist())


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
    "hdf5": ("a.h5", h5(x=X), X),
    "hdf5 chunked": ("a.hdf5", h5_chunked, X),
    "hdf5 in a group": ("a.h5", h5(model__layer1=F, model__labels=Y), F),
    "hdf5 by key": ("a.h5", h5(model__layer1=F, model__layer2=X), X, "model/layer2"),
    "hdf5 big-endian": ("a.h5", h5(x=X.astype(">f8")), X),
    "hdf5 float16": ("a.h5", h5(x=X.astype("f2")), X.astype("f2")),
    "hdf5 int8": ("a.h5", h5(x=I8), I8),
    "hdf5 bool": ("a.h5", h5(x=X > 0), X > 0),
    "hdf5 with scales": ("a.h5", h5_with_scales, X),
    "hdf5 and text": ("a.h5", h5(x=X, names=["a", "b"]), X),
    "h5ad by key": ("a.h5ad", sparse_and_dense, F, "obsm/X_pca"),
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
    "tsv": ("a.tsv", rows("\t", ("x", "y", "z")), X),
    "txt with comments": (
        "a.txt", lambda p: np.savetxt(p, X, fmt="%.17g", header="points\nthree columns"), X,
    ),
    "parquet": ("a.parquet", lambda p: frame().to_parquet(p), X),
    "parquet of pyarrow": (
        "a.parquet",
        lambda p: pyarrow.parquet.write_table(pyarrow.table({"a": F[:, 0], "b": F[:, 1]}), p),
        F[:, :2],
    ),
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
    "safetensors": ("a.safetensors", lambda p: safetensors.numpy.save_file({"x": F}, p), F),
    "safetensors bfloat16": (
        "a.safetensors", lambda p: safetensors.torch.save_file({"x": BF, "y": BF[:, 0] * 1}, p),
        BF.float().numpy(),
    ),
    **{
        f"safetensors with a header of {size} bytes": ("a.safetensors", padded(size), F)
        for size in (0x280, 0x380, 0x480, 0x580, 0x5B20)
    },
    "torch": ("a.pt", lambda p: torch.save(torch.from_numpy(X), p), X),
    "torch bfloat16": ("a.pt", lambda p: torch.save({"x": BF}, p), BF.float().numpy()),
    "torch view": ("a.pt", lambda p: torch.save(torch.from_numpy(X).T.clone().T, p), X),
    "torch of a parameter": (
        "a.pt", lambda p: torch.save(torch.nn.Parameter(torch.tensor(X)), p), X,
    ),
    "torch legacy": ("a.pth", legacy, F),
    "torch nested": (
        "a.pt", lambda p: torch.save({"epoch": 3, "layers": {"fc": torch.from_numpy(F)}}, p), F,
    ),
}  # fmt: skip


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


INDEX = "first column has no name and numbers the rows, so it is left out"

GUESSED = {
    "csv with an index": INDEX,
    "csv with a shuffled index": INDEX,
    "csv of a plain frame": INDEX,
    "csv with a byte order mark": INDEX,
    "csv in UTF-16": INDEX,
    "csv with numbered columns": "the first line, 1, 2, 3, is read as the names of the columns",
    "csv of Excel in thousandths": "so 1,126 is 1.126; if they separate thousands, remove them",
}


def guessing(case):
    message = GUESSED.get(case)
    return pytest.warns(ds.GuessedReading, match=message) if message else nullcontext()


@pytest.mark.parametrize("case", GOOD)
def test_read_points_returns_the_array(tmp_path, case):
    name, write, expected, *key = GOOD[case]
    write(tmp_path / name)
    with guessing(case):
        array = ds.read_points(tmp_path / name, key=key[0] if key else None)
    assert array.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(array), expected)
    # the first rows are read alone
    np.testing.assert_array_equal(np.asarray(array[:2]), expected[:2])
    np.testing.assert_array_equal(
        np.asarray(array[np.array([30, 2, 5])]), expected[np.array([30, 2, 5])]
    )
    if "truths" not in case and expected.dtype.kind == "f":
        assert ds.estimate(array).dimension == ds.estimate(expected).dimension


def test_read_points_reads_rows_longer_than_the_text_it_looks_at(tmp_path):
    wide = np.random.default_rng(2).integers(10**8, 10**9, (4, 60_000))
    (tmp_path / "a.csv").write_text(csv_of(wide))
    np.testing.assert_array_equal(ds.read_points(tmp_path / "a.csv"), wide)


def test_read_points_warns_of_thousands_in_a_long_file(tmp_path):
    (tmp_path / "a.csv").write_text("1,234;2,345\n" * 90_000)
    with pytest.warns(ds.GuessedReading, match=r"so 1,234 is 1\.234"):
        ds.read_points(tmp_path / "a.csv")


def objects(path):
    np.save(path, np.array([[1, "a"], [2, None]], dtype=object), allow_pickle=True)


def objects_in_archive(path):
    np.savez(path, a=np.array([[1, "a"]], dtype=object))


def module(path):
    torch.save(torch.nn.Linear(3, 2), path)


def cut(write, share=0.5):
    def write_part(path):
        write(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return write_part


def empty_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")


def renamed(write, suffix):
    def write_renamed(path):
        write(path.with_suffix(suffix))
        path.with_suffix(suffix).rename(path)

    return write_renamed


def text_in_numbers(path):
    frame = pd.DataFrame(X).astype(object)
    frame.iloc[7, 1] = "?"
    frame.to_csv(path, index=False, header=False)


STRUCTURED = np.zeros(40, dtype=[("x", "f8"), ("y", "f8")])
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"

BAD = {
    "missing": ("a.h5", lambda p: None, "there is no file"),
    "empty": ("a.csv", lambda p: p.touch(), "is empty"),
    "empty npy": ("a.npy", lambda p: p.touch(), "is empty"),
    "folder": ("a.npz", lambda p: p.mkdir(), "is a folder"),
    "unknown": ("a.xyz", lambda p: p.write_text("1 2 3"), "name ends in one of .npy, .npz"),
    "matlab": ("a.mat", lambda p: p.write_text("MATLAB 5.0"), "scipy.io.loadmat"),
    "pickle": ("a.pkl", lambda p: p.write_bytes(pickle.dumps([1])), "would run code"),
    "pickle as npy": ("a.npy", lambda p: p.write_bytes(pickle.dumps([[1.0]])), "never read"),
    "pickle as csv": ("a.csv", lambda p: p.write_bytes(pickle.dumps([[1.0]])), "never read"),
    "objects": ("a.npy", objects, "never read"),
    "objects in npz": ("a.npz", objects_in_archive, "never read"),
    "module": ("a.pt", module, "never read; save the tensors"),
    "no tensor": ("a.pt", lambda p: torch.save({"epoch": 3}, p), "holds no tensor"),
    "git lfs": ("a.safetensors", lines(POINTER), "run git lfs pull"),
    "web page": ("a.csv", lines("<!DOCTYPE html><html>404"), "download the file itself"),
    "npz cut": ("a.npz", cut(lambda p: np.savez(p, X)), "truncated"),
    "npy cut": ("a.npy", cut(lambda p: np.save(p, X)), "truncated"),
    "h5 cut": ("a.h5", cut(h5(x=np.zeros((4000, 30)))), "truncated"),
    "parquet cut": ("a.parquet", cut(lambda p: frame().to_parquet(p)), "truncated"),
    "safetensors cut": ("a.safetensors", cut(GOOD["safetensors"][1]), "truncated"),
    "torch cut": ("a.pt", cut(lambda p: torch.save(BF, p)), "truncated"),
    "gz cut": ("a.csv.gz", cut(packed), "truncated"),
    "not hdf5": ("a.h5", lines("1,2\n3,4\n"), "is not an HDF5 file"),
    "hdf5 as npy": ("a.npy", renamed(h5(x=X), ".h5"), "rename it to a.h5"),
    "npy as csv": ("a.csv", lambda p: p.write_bytes(npy(X)), "rename it to a.npy"),
    "npz as npy": ("a.npy", renamed(lambda p: np.savez(p, X), ".npz"), "zip archive"),
    "torch as npz": ("a.npz", lambda p: torch.save(BF, p), "rename it to a.pt"),
    "zip without arrays": ("a.npz", empty_archive, "zip archive without arrays"),
    "sparse npz": (
        "a.npz", lambda p: scipy.sparse.save_npz(p, scipy.sparse.eye(40, format="csr")), "toarray",
    ),
    "hdf5 of text": ("a.h5", h5(names=["a", "b"]), "not numbers"),
    "hdf5 of links": ("a.h5", h5_links, "holds no array"),
    "hdf5 link": ("a.h5", h5_of_links_and_x, "soft of .* is a link, which is not followed", "soft"),
    "sparse beside dense": (
        "a.h5ad", sparse_and_dense, r"several arrays: X \(40, 40\) sparse matrix, .* key=",
    ),
    "sparse by key": ("a.h5ad", sparse_and_dense, r"give its .toarray\(\)", "X"),
    "equal names": (
        "a.pt", lambda p: torch.save({"a/b": BF, "a": {"b": BF}}, p),
        "two arrays with the name a/b; rename",
    ),
    "hdf5 of nothing": ("a.h5", h5(), "holds no array"),
    "hdf5 of a number": ("a.h5", h5(x=3.0), "single number"),
    "hdf5 of images": ("a.h5", h5(x=np.zeros((9, 4, 4))), r"shape \(9, 4, 4\); flatten"),
    "hdf5 ragged": ("a.h5", h5_ragged, "ragged"),
    "checkpoint": (
        "a.pt", lambda p: torch.save({"model": torch.nn.Linear(4, 3).state_dict()}, p),
        "weights of a network, not points: model/weight",
    ),
    "not torch": ("a.pt", lambda p: p.write_bytes(bytes(99)), "is not a file of torch.save"),
    "json as csv": ("a.csv", lines('{"error": 404}'), "is JSON, not a table in text"),
    "header only": ("a.csv", lines("x,y\n"), "no row of numbers"),
    "numbers or names": ("a.csv", lines("1,2\n3,4\n5,6\n"), "may be the names of the columns"),
    "compressed npy": ("a.npy.gz", lambda p: p.write_bytes(gzip.compress(npy(X))), "decompress"),
    "pipe": ("a.npy", os.mkfifo, "pipe it into standard input"),
    "huge integers": ("a.csv", lines("a,b\n9007199254740993,0.5\n1,2\n3,4\n"), "beyond 2.53"),
    "several": ("a.npz", lambda p: np.savez(p, u=X, v=F), r"u \(40, 3\) float64, v .* key="),
    "no key": ("a.npz", lambda p: np.savez(p, layer1=X), "no array 'layer2'.*Did you", "layer2"),
    "needless key": ("a.npy", lambda p: np.save(p, X), "omit key", "x"),
    "no candidate": ("a.npz", lambda p: np.savez(p, a=Y, b=Y), "no array of numbers of shape"),
    "one axis": ("a.npy", lambda p: np.save(p, Y), r"reshape\(-1, 1\)"),
    "one axis in hdf5": ("a.h5", h5(x=Y), r"reshape\(-1, 1\)"),
    "one axis in torch": ("a.pt", lambda p: torch.save(torch.tensor(Y), p), r"reshape\(-1, 1\)"),
    "three axes": ("a.npy", lambda p: np.save(p, np.zeros((5, 2, 2))), "flatten each point"),
    "three axes in safetensors": (
        "a.safetensors", lambda p: safetensors.torch.save_file({"x": torch.zeros(5, 2, 2)}, p),
        "flatten each point",
    ),
    "three axes in bfloat16": (
        "a.safetensors",
        lambda p: safetensors.torch.save_file({"x": torch.zeros(5, 2, 2).bfloat16()}, p),
        "flatten each point",
    ),
    "no rows": ("a.npy", lambda p: np.save(p, X[:0]), "points are empty"),
    "no rows in hdf5": ("a.h5", h5(x=X[:0]), "points are empty"),
    "two rows": ("a.csv", lines("1.5,2\n3,4\n"), "2 points are too few"),
    "complex": ("a.npy", lambda p: np.save(p, X + 1j), "complex"),
    "complex in hdf5": ("a.h5", h5(x=X + 1j), "complex"),
    "complex in torch": ("a.pt", lambda p: torch.save(torch.tensor(X + 1j), p), "complex"),
    "structured": ("a.npy", lambda p: np.save(p, STRUCTURED), "structured_to_unstructured"),
    "structured in hdf5": ("a.h5", h5(x=STRUCTURED), "structured_to_unstructured"),
    "strings": ("a.npy", lambda p: np.save(p, X.astype(str)), "not numbers"),
    "dates": ("a.npy", lambda p: np.save(p, X.astype("M8[s]")), "not numbers"),
    "float8": (
        "a.safetensors",
        lambda p: safetensors.torch.save_file({"x": BF.to(torch.float8_e4m3fn)}, p),
        "save it as float32",
    ),
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
    "matlab 7.3": (
        "a.mat", lambda p: p.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF"),
        "is an HDF5 file, in which MATLAB's arrays are transposed",
    ),
    "matlab by h5py": ("a.mat", renamed(h5(x=X), ".h5"), "is an HDF5 file"),
    "endless name": ("a.csv", lines("a" * 200_000 + "\n1\n2\n"), "2 points are too few"),
    "labels in csv": (
        "a.csv", lambda p: frame(label=["cat"] * 40).to_csv(p, index=False),
        "column 'label' holds text, not numbers: row 0 holds 'cat'; drop the column",
    ),
    "row numbers": (
        "a.csv", lambda p: frame().to_csv(p, index_label="id"), "column 'id' numbers the rows",
    ),
    "row numbers in parquet": (
        "a.parquet", lambda p: frame().reset_index().to_parquet(p),
        "column 'index' numbers the rows",
    ),
    "labels in parquet": (
        "a.parquet", lambda p: frame(label=["cat"] * 40).to_parquet(p),
        "column 'label' holds text, not numbers: row 0 holds 'cat'; drop the column",
    ),
    "text in numbers": ("a.csv", text_in_numbers, r"column 1 holds text: row 7 holds '\?'"),
    "dates in parquet": (
        "a.parquet", lambda p: frame(when=pd.Timestamp("2020")).to_parquet(p),
        "column 'when' holds datetime",
    ),
    "ragged csv": ("a.csv", lines("1.5,2\n3,4\n5,6\n7,8,9\n"), "2 fields in line 4, saw 3"),
    "short header": ("a.csv", lines("a,b\nr1,1,2\nr2,3,4\n"), "first line has 2 columns"),
    "bytes as csv": ("a.csv", lambda p: p.write_bytes(b"\x00\x01\x02\x03" * 9), "not text"),
    "latin": ("a.csv", lambda p: p.write_bytes("größe,b\n1,2\n".encode("latin-1")), "UTF-8"),
    "ragged embeddings": (
        "a.parquet",
        lambda p: pd.DataFrame({"e": [[1.0, 2.0], [3.0], [4.0, 5.0]]}).to_parquet(p), "ragged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    name, write, message, *key = BAD[case]
    write(tmp_path / name)
    with pytest.raises(DimscopeError, match=message) as refused:
        ds.read_points(tmp_path / name, key=key[0] if key else None)
    assert name in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


SPOILED = X.copy()
SPOILED[17, 2] = np.nan
SPOILED_BF = torch.tensor(SPOILED).bfloat16()
MISSING = [*range(17), None, *range(18, 40)]
NULLABLE = pd.DataFrame({"a": Y, "b": Y, "n": pd.array(MISSING, "Int64")})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", lambda p: np.save(p, SPOILED)),
        ("a.npz", lambda p: np.savez(p, SPOILED)),
        ("a.h5", h5(x=SPOILED)),
        ("a.csv", lambda p: pd.DataFrame(SPOILED, columns=list("abc")).to_csv(p, index=False)),
        ("a.parquet", lambda p: pd.DataFrame(SPOILED).rename(columns=str).to_parquet(p)),
        ("b.parquet", lambda p: NULLABLE.to_parquet(p)),
        ("a.safetensors", lambda p: safetensors.numpy.save_file({"x": SPOILED}, p)),
        ("b.safetensors", lambda p: safetensors.torch.save_file({"x": BF + SPOILED_BF}, p)),
        ("a.pt", lambda p: torch.save(torch.tensor(SPOILED), p)),
    ],
)  # fmt: skip
def test_missing_values_are_named_by_row_in_every_format(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(BadPoints, match="row 17, column 2 is nan; remove or replace"):
        ds.estimate(ds.read_points(tmp_path / name))


@pytest.mark.parametrize("case", ["numpy", "csv of pandas", "hdf5"])
def test_read_points_refuses_a_file_without_permission(tmp_path, case):
    name, write, *_ = GOOD[case]
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


@pytest.mark.parametrize(
    ("package", "case"),
    [
        ("h5py", "hdf5"),
        ("pyarrow", "parquet"),
        ("safetensors", "safetensors"),
        ("torch", "torch"),
    ],
)
def test_read_points_names_the_extra_of_a_missing_package(tmp_path, monkeypatch, package, case):
    name, write, *_ = GOOD[case]
    write(tmp_path / name)
    monkeypatch.setitem(sys.modules, package, None)
    extra = "torch" if package == "torch" else "files"
    with pytest.raises(BadSource, match=rf"needs {package}; run pip install 'dimscope\[{extra}\]'"):
        ds.read_points(tmp_path / name)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("numpy", ""),
        ("npz with labels", "array x; not read: y (40,) int64"),
        ("csv without a header", "commas between columns; no header"),
        ("csv of numpy", "blanks between columns; no header"),
        (
            "parquet of embeddings and labels",
            "array embedding; not read: label (40,) int64",
        ),
        (
            "csv with an index",
            "commas between columns; a header; the first column, which has no name and numbers "
            "the rows, is left out",
        ),
    ],
)
def test_open_points_says_what_it_chose(tmp_path, case, said):
    name, write, *_ = GOOD[case]
    write(tmp_path / name)
    with guessing(case):
        assert open_points(tmp_path / name)[1] == said


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
        (b"PK\x03\x04....", "NumPy archive"),
        (gzip.compress(b"1,2"), "compressed"),
        (npy(np.array([[None]])), "Python objects"),
    ],
)
def test_read_points_refuses_other_input(monkeypatch, content, message):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(BadSource, match=f"standard input.*{message}"):
        ds.read_points("-")


@pytest.mark.parametrize("path", [3, b"a.npy", None])
def test_read_points_refuses_what_is_no_path(path):
    with pytest.raises(BadSource, match="give the path of a file"):
        ds.read_points(path)


def test_read_points_lists_hard_links_by_both_names_and_no_group_in_itself(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["alias"] = X, h5py.SoftLink("/x")
        file["group/same"] = file["x"]
        file["group/again"] = file["group"]
    arrays = list_arrays(tmp_path / "a.h5")
    assert {name: str(array) for name, array in arrays.items()} == {
        "alias": "() link, not followed",
        "group/same": "(40, 3) float64",
        "x": "(40, 3) float64",
    }
    np.testing.assert_array_equal(ds.read_points(tmp_path / "a.h5", key="group/same"), X)


def test_read_points_maps_files_and_reads_hdf5_in_blocks(tmp_path):
    for case in ("numpy", "safetensors"):
        name, write, *_ = GOOD[case]
        write(tmp_path / name)
        assert isinstance(ds.read_points(tmp_path / name), np.memmap)
    wide = np.random.default_rng(0).standard_normal((3000, 400))
    h5(x=wide)(tmp_path / "a.h5")
    array = ds.read_points(tmp_path / "a.h5")
    np.testing.assert_array_equal(array[2990:, 7:9], wide[2990:, 7:9])
    few = ds.estimate(array, memory=10**7)
    assert few.dimension == ds.estimate(wide).dimension
    with h5py.File(tmp_path / "a.h5") as file:
        assert ds.estimate(file["x"]).dimension == few.dimension


ZEROS = np.zeros((60_000, 3))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npz", lambda p: np.savez_compressed(p, ZEROS)),
        ("a.csv", lambda p: np.savetxt(p, ZEROS, fmt="%.10f")),
        ("a.csv.gz", lambda p: np.savetxt(p, ZEROS, fmt="%.10f")),
        ("a.csv.xz", lambda p: np.savetxt(p, ZEROS, fmt="%.10f")),
        ("a.parquet", lambda p: pd.DataFrame(ZEROS, columns=list("abc")).to_parquet(p)),
        (
            "b.parquet",
            lambda p: pd.DataFrame(ZEROS + np.arange(60_000)[:, None], columns=list("abc"))
            .astype(str).to_parquet(p, compression="zstd"),
        ),
        ("a.pt", lambda p: torch.save(
            torch.from_numpy(ZEROS), p, _use_new_zipfile_serialization=False
        )),
    ],
)  # fmt: skip
def test_read_points_refuses_what_does_not_fit(tmp_path, monkeypatch, name, write):
    write(tmp_path / name)
    monkeypatch.setattr("dimscope.arrays.formats.budget_from", lambda memory: 10**6)
    with pytest.raises(ds.OverBudget, match=name):
        ds.read_points(tmp_path / name)


def test_read_points_stops_reading_input_at_the_budget(monkeypatch):
    stream = io.BytesIO(bytes(10**7))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    monkeypatch.setattr("dimscope.arrays.formats.budget_from", lambda memory: 10**6)
    with pytest.raises(ds.OverBudget, match="standard input"):
        ds.read_points("-")
    assert stream.tell() == 10**6 + 1


def test_hdf5_rows_far_apart_are_read_without_those_between(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (60_000, 100), "f8")  # 48 MB, none of them written
    array = ds.read_points(tmp_path / "a.h5")
    tracemalloc.start()
    try:
        part = array[np.array([0, 59_999])]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part.shape == (2, 100)
    assert peak < 10**7


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
