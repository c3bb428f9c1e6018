"""Every function that takes points accepts or refuses each kind of array alike."""

import numpy as np
import pandas as pd
import pyarrow
import pytest
import scipy.sparse
import torch

import dimscope as ds
from dimscope.errors import BadPoints
from dimscope.extras import MissingExtra
from dimscope.manifolds import sphere
from reference import ByDLPack

X = sphere(120, 2)
FRAME = pd.DataFrame(X, columns=list("abc"))
FUNCTIONS = {
    "estimate": lambda points: ds.estimate(points).dimension,
    "spectrum": lambda points: ds.spectrum(points).eigenvalues.sum(),
    "nearest_neighbors": lambda points: ds.nearest_neighbors(points).distances.sum(),
    "scale_curve": lambda points: ds.scale_curve(points).points[0].dimension,
    "curvature_test": lambda points: ds.curvature_test(points, n=2).p_value,
    "local_dimension": lambda points: ds.local_dimension(points, 10).sum(),
}
EVERYWHERE = pytest.mark.parametrize("function", FUNCTIONS)


ACCEPTED = {
    "big-endian": X.astype(">f8"),
    "Fortran order": np.asfortranarray(X),
    "frame": FRAME,
    "nullable frame": FRAME.convert_dtypes(),
    "frame of Arrow types": FRAME.astype("double[pyarrow]"),
    "table of pyarrow": pyarrow.Table.from_pandas(FRAME),
    "DLPack": ByDLPack(torch.from_numpy(X)),
    "tensor": torch.from_numpy(X),
}


@EVERYWHERE
@pytest.mark.parametrize("kind", ACCEPTED)
def test_every_function_accepts_the_kind(function, kind):
    call = FUNCTIONS[function]
    assert call(ACCEPTED[kind]) == call(X)


@pytest.mark.parametrize("kind", ACCEPTED)
def test_profile_accepts_the_kind_as_a_layer(kind):
    assert float(ds.profile({"a": ACCEPTED[kind]})["a"]) == float(ds.estimate(X))


def missing():
    frame = FRAME.convert_dtypes()
    frame.iloc[5, 1] = pd.NA
    return frame


REFUSED = {
    "path": ("points.h5", r"dimscope.read_points\('points.h5'\)"),
    "mapping": ({"a": X}, r"points are a dict, not an array; give one of its arrays \('a'\)"),
    "masked": (np.ma.masked_less(X, 0), "masked array; drop the masked rows"),
    "sparse": (scipy.sparse.csr_matrix(X), r"points.toarray\(\)"),
    "text": (FRAME.assign(d="x"), "column 'd' holds text, not numbers: row 0 holds 'x'"),
    "text in pyarrow": (
        pyarrow.Table.from_pandas(FRAME.assign(d="x")),
        "column 'd' holds text, not numbers: row 0 holds 'x'",
    ),
    "dates": (FRAME.assign(d=pd.Timestamp("2020")), "column 'd' holds datetime"),
    "categories": (FRAME.assign(d=pd.Categorical(["x"] * 120)), "column 'd' holds category"),
    "missing": (missing(), "row 5, column 1 is nan"),
    "column": (FRAME["a"], r"reshape\(-1, 1\)"),
    "nullable column": (FRAME["a"].convert_dtypes(), r"reshape\(-1, 1\)"),
    "structured": (np.zeros(9, [("x", float)]), "structured_to_unstructured"),
    "complex": (X + 1j, "complex"),
    "dates of NumPy": (X.astype("M8[s]"), "not numbers"),
    "no rows": (X[:0], "points are empty"),
}


@EVERYWHERE
@pytest.mark.parametrize("kind", REFUSED)
def test_every_function_refuses_the_kind_in_the_same_words(function, kind):
    points, message = REFUSED[kind]
    with pytest.raises(BadPoints, match=message):
        FUNCTIONS[function](points)


def test_estimate_refuses_annotated_data():
    class AnnData:
        X, obsm = np.eye(9), {}

    with pytest.raises(BadPoints, match=r"points.obsm\['X_pca'\]"):
        ds.estimate(AnnData())


def test_estimate_says_what_converts_a_table_without_pyarrow(monkeypatch):
    table = pyarrow.Table.from_pandas(FRAME)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dimscope\[files\]'"):
        ds.estimate(table)
