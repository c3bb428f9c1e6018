"""HDF5: the exact array, read in blocks, or a sentence on what is wrong."""

import tracemalloc

import h5py
import numpy as np
import pytest
import scipy.sparse

import dimscope as ds
from array_files import (
    I8,
    SPOILED,
    STRUCTURED,
    F,
    X,
    Y,
    assert_extra_named,
    assert_missing_value_named,
    assert_permission_needed,
    assert_refused,
    assert_returned,
    cut,
    lines,
    renamed,
)
from dimscope.arrays.formats.registry import list_arrays


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


def virtual(source="b.h5", name="x", shape=(40, 3), rows=40, holds=X):
    """Write a virtual dataset next to the file that holds its values, if there is one."""

    def write(path):
        if holds is not None:
            with h5py.File(path.parent / "b.h5", "w") as file:
                file["x"] = holds
        with h5py.File(path, "w") as file:
            layout = h5py.VirtualLayout((40, 3), "f8")
            layout[:rows] = h5py.VirtualSource(source, name, shape)[:rows]
            file.create_virtual_dataset("x", layout)

    return write


def virtual_in_itself(path):
    with h5py.File(path, "w") as file:
        file["parts/x"] = X
        layout = h5py.VirtualLayout((40, 3), "f8")
        layout[:] = h5py.VirtualSource(file["parts/x"])
        file.create_virtual_dataset("x", layout)


def virtual_of_virtual(path):
    virtual(source="c.h5", holds=None)(path.parent / "b.h5")
    virtual(holds=None)(path)


def virtual_labels(path):
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((40,), "i8")
        layout[:] = h5py.VirtualSource("b.h5", "y", (40,))
        file.create_virtual_dataset("y", layout)


def h5_of_matlab(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = X.T
        file["x"].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")


def h5_damaged(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=X, chunks=X.shape, compression="gzip")
        chunk = file["x"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + 9)
        file.write(bytes(99))


def h5_with_filter(path):
    """Write a chunk that names a filter which is not installed, 32001, as Blosc."""
    with h5py.File(path, "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(X.shape)
        settings.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(X.shape)
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, space, settings)
        made.write_direct_chunk((0, 0), X.tobytes())


def pandas_table(path):
    """Write a table and its index where DataFrame.to_hdf(format="table") writes them."""
    with h5py.File(path, "w") as file:
        file["df/table"] = np.zeros(40, [("index", "i8"), ("values_block_0", "f8", (3,))])
        file["df"].attrs["pandas_type"] = np.bytes_("frame_table")
        file["df/_i_table/index/bounds"] = np.zeros((4, 127), int)


def h5_in_part(**options):
    """Write all rows but the last."""

    def write(path):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", X.shape, X.dtype, chunks=(1, 3), **options)[:-1] = X[:-1]

    return write


PART = np.vstack([X[:-1], np.zeros((1, 3))])


def h5_never_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", X.shape, X.dtype)


def h5_of_short_file(path):
    X[:30].tofile(path.parent / "x.bin")
    with h5py.File(path, "w") as file:
        outside = [(str(path.parent / "x.bin"), 0, X.nbytes)]
        file.create_dataset("x", X.shape, X.dtype, external=outside)


def h5_of_octave(path):
    with h5py.File(path, "w") as file:
        group = file.create_group("x")
        group.attrs["OCTAVE_NEW_FORMAT"] = np.uint8(1)
        group["value"] = X.T


def h5_with_damaged_links(path):
    h5(g__x=X)(path)
    data = bytearray(path.read_bytes())
    data[512:1024] = bytes(512)
    path.write_bytes(data)


def netcdf(path):
    h5(x=np.where(np.arange(40)[:, None] == 7, 9.5, X))(path)
    with h5py.File(path, "a") as file:
        file["x"].attrs["_FillValue"] = 9.5


GOOD = {
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
    "hdf5 with a stated fill": ("a.h5", h5_in_part(fillvalue=0.0), PART, "x"),
    "hdf5 virtual": ("a.h5", virtual(), X),
    "hdf5 virtual in itself": ("a.h5", virtual_in_itself, X, "x"),
    "h5ad by key": ("a.h5ad", sparse_and_dense, F, "obsm/X_pca"),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_read_points_returns_the_array(tmp_path, case):
    assert_returned(tmp_path, *GOOD[case])


BAD = {
    "hdf5 in part": ("a.h5", h5_in_part(), "1 of its 40 parts were never written"),
    "hdf5 never written": ("a.h5", h5_never_written, "1 of its 1 parts were never written"),
    "hdf5 of a short file": ("a.h5", h5_of_short_file, "x.bin, which is too short; copy it again"),
    "octave as h5": ("a.h5", h5_of_octave, "Octave, which transposes .* give the transposed"),
    "hdf5 with damaged links": ("a.h5", h5_with_damaged_links, "truncated or damaged"),
    "h5 cut": ("a.h5", cut(h5(x=np.zeros((4000, 30)))), "truncated"),
    "not hdf5": ("a.h5", lines("1,2\n3,4\n"), "is not an HDF5 file"),
    "hdf5 as npy": ("a.npy", renamed(h5(x=X), ".h5"), "rename it to a.h5"),
    "hdf5 of text": ("a.h5", h5(names=["a", "b"]), "not numbers"),
    "hdf5 of links": (
        "a.h5", h5_links, "no array, but links, .*: external to /x in b.h5, soft to /x; give the",
    ),
    "hdf5 link": ("a.h5", h5_of_links_and_x, "soft of .* is a link, .* to /x; name the", "soft"),
    "sparse beside dense": (
        "a.h5ad", sparse_and_dense, r"several arrays: X \(40, 40\) sparse matrix, .* key=",
    ),
    "sparse by key": ("a.h5ad", sparse_and_dense, r"give its .toarray\(\)", "X"),
    "hdf5 of nothing": ("a.h5", h5(), "holds no array"),
    "hdf5 of a number": ("a.h5", h5(x=3.0), "single number"),
    "hdf5 of images": ("a.h5", h5(x=np.zeros((9, 4, 4))), r"shape \(9, 4, 4\); flatten"),
    "hdf5 ragged": ("a.h5", h5_ragged, "ragged"),
    "one axis in hdf5": ("a.h5", h5(x=Y), r"reshape\(-1, 1\)"),
    "no rows in hdf5": ("a.h5", h5(x=X[:0]), "points are empty"),
    "complex in hdf5": ("a.h5", h5(x=X + 1j), "complex"),
    "structured in hdf5": ("a.h5", h5(x=STRUCTURED), "structured_to_unstructured"),
    "matlab as h5": ("a.h5", h5_of_matlab, "MATLAB, which transposes .* give the transposed"),
    "virtual without a file": (
        "a.h5", virtual(holds=None), "refers to the file b.h5, which is missing; copy all data",
    ),
    "virtual of a damaged file": (
        "a.h5", lambda p: (virtual()(p), (p.parent / "b.h5").write_text("x")), "cannot be read",
    ),
    "virtual without a dataset": ("a.h5", virtual(name="z"), "z of the file .*, which is missing"),
    "virtual of fewer rows": ("a.h5", virtual(holds=X[:30]), r"shape \(30, 3\) is too small"),
    "virtual in part": ("a.h5", virtual(rows=30), "for 90 of its 120 values only"),
    "virtual of virtual": ("a.h5", virtual_of_virtual, "the file c.h5, which is missing"),
    "virtual labels": ("a.h5", virtual_labels, "the file b.h5, which is missing", "y"),
    "table of pandas": ("a.h5", pandas_table, "/df/table of .* table of pandas, .*to_parquet"),
    "matlab by h5py": ("a.mat", renamed(h5(x=X), ".h5"), "is an HDF5 file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    assert_refused(tmp_path, *BAD[case])


def test_missing_values_are_named_by_row(tmp_path):
    assert_missing_value_named(tmp_path, "a.h5", h5(x=SPOILED))


def test_read_points_refuses_a_file_without_permission(tmp_path):
    assert_permission_needed(tmp_path, "a.h5", h5(x=X))


def test_read_points_names_the_extra_of_a_missing_package(tmp_path, monkeypatch):
    assert_extra_named(tmp_path, monkeypatch, "h5py", "files", *GOOD["hdf5"][:2])


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


def test_read_points_reads_hdf5_in_blocks(tmp_path):
    wide = np.random.default_rng(0).standard_normal((3000, 400))
    h5(x=wide)(tmp_path / "a.h5")
    array = ds.read_points(tmp_path / "a.h5")
    np.testing.assert_array_equal(array[2990:, 7:9], wide[2990:, 7:9])
    few = ds.estimate(array, memory=10**7)
    assert few.dimension == ds.estimate(wide).dimension
    with h5py.File(tmp_path / "a.h5") as file:
        assert ds.estimate(file["x"]).dimension == few.dimension


def test_hdf5_rows_far_apart_are_read_without_those_between(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (60_000, 100), "f8", fillvalue=0.0)  # 48 MB, none written
    array = ds.read_points(tmp_path / "a.h5")
    tracemalloc.start()
    try:
        part = array[np.array([0, 59_999])]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part.shape == (2, 100)
    assert peak < 10**7


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (h5_damaged, "x of .* it is damaged .* copy it again"),
        (netcdf, "x of .* holds its _FillValue, 9.5, which marks missing values; remove"),
        (h5_with_filter, r"\(filter 32001\), which h5py does not know; install hdf5plugin"),
    ],
)
def test_unreadable_values_are_explained_when_they_are_read(tmp_path, write, message):
    write(tmp_path / "a.h5")
    points = ds.read_points(tmp_path / "a.h5")
    with pytest.raises(ds.BadSource, match=message):
        ds.estimate(points)


def test_virtual_dataset_in_memory_is_refused_without_its_source(tmp_path):
    virtual(holds=None)(tmp_path / "a.h5")
    with (
        h5py.File(tmp_path / "a.h5") as file,
        pytest.raises(ds.BadSource, match=r"b\.h5, which is missing"),
    ):
        ds.estimate(file["x"])


def test_read_points_indexes_hdf5_as_numpy_does(tmp_path):
    h5(x=X)(tmp_path / "a.h5")
    points = ds.read_points(tmp_path / "a.h5")
    mask = X[:, 0] > 0
    for index in (
        ..., (), (...,), (..., 2), (3, ...), (slice(2, 9), ..., slice(1, 3)), [], [-1, 4], mask,
        np.int8(-3), range(3), (slice(None), np.array([2, 0])), (5, -1),
    ):  # fmt: skip
        key = list(index) if isinstance(index, range) else index
        np.testing.assert_array_equal(points[index], X[key], err_msg=repr(index))
    for index in (
        None, True, np.True_, (..., ...), (1, 1, 1), mask[:9], [[1, 2]], 1.5, "x", ["x"], 40,
        (0, 9), (slice(None), None), [1.0],
    ):  # fmt: skip
        with pytest.raises(IndexError):
            points[index]
