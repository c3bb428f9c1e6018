"""Stores are read as they were written, in parts, and refused when they are not whole."""

import json
import math
import pickle
import shutil
import subprocess
import sys
from typing import ClassVar

import fsspec
import numcodecs
import numpy as np
import pytest
import torch
import zarr
from torch import nn

import dimscope as ds
from dimscope.activations import chunks
from dimscope.activations.chunks import ChunkFiles, ZarrChunks, chunk_shape
from dimscope.activations.store import Folder
from dimscope.arrays import as_points
from dimscope.arrays.block_points import Blocks, Panels, SelectedRows

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((50, 23)).astype(np.float32)


def chunked(kind, folder, values=VALUES, shape=(7, 5), batch=6):
    """Values written batch by batch into chunks that fit neither rows nor columns."""
    if kind == "files":
        array = ChunkFiles(folder / "a", (0, values.shape[1]), shape, values.dtype)
    else:
        array = ZarrChunks(
            zarr.create_array(
                f"memory://{folder.name}/{kind}", shape=(0, values.shape[1]), chunks=shape,
                dtype=values.dtype,
            )
        )  # fmt: skip
    for start in range(0, len(values), batch):
        array.write(start, values[start : start + batch])
    return array


@pytest.fixture(params=["files", "zarr", "rows", "panels", "narrow panels"])
def blocks(request, tmp_path):
    """Every kind of array that lies elsewhere, with the same values."""
    if request.param in ("files", "zarr"):
        return chunked(request.param, tmp_path)
    if request.param == "rows":
        order = RNG.permutation(50)
        return SelectedRows(chunked("files", tmp_path, VALUES[np.argsort(order)]), order)
    size = 1 << 20 if request.param == "panels" else 50 * 4 * 4 * 4 * 2
    return Panels(chunked("files", tmp_path), size)


KEYS = [
    slice(None), 3, -1, slice(5, 30), slice(40, 99), slice(None, None, 3), slice(9, 9),
    [4, 4, 49, 0], np.arange(50) % 3 == 1, np.array([-1, -50]),
    (slice(3, 9), slice(4, 17)), (slice(None), slice(None, 5)), (7, slice(20, None)),
    (np.array([30, 2, 2]), slice(9, 11)), (7, 21), (slice(2, 4), [1, 22]),
    (slice(0, 3), slice(5, 5)),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_blocks_index_like_arrays(blocks, key):
    for _ in range(2):  # the second time from what was kept
        np.testing.assert_array_equal(blocks[key], VALUES[key])
        assert blocks[key].dtype == np.float32


def test_blocks_have_shape_dtype_and_repr(blocks):
    assert (blocks.shape, blocks.ndim, len(blocks)) == ((50, 23), 2, 50)
    assert blocks.nbytes == VALUES.nbytes
    np.testing.assert_array_equal(np.asarray(blocks), VALUES)
    assert np.asarray(blocks, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        np.array(blocks, copy=False)
    with pytest.raises(IndexError):
        blocks[:, ::2]


def test_as_points_accepts_blocks(blocks):
    found = as_points(blocks)
    assert isinstance(found.array, Blocks)
    assert found.max_abs == np.abs(VALUES).max()
    rows = np.array([3, 1, 40])
    np.testing.assert_array_equal(found.select(rows).block(slice(1, 3)), VALUES[rows[1:]])
    bad = VALUES.copy()
    bad[31, 20] = np.nan
    array = SelectedRows(bad.view(Wrapped), np.arange(50))
    with pytest.raises(ds.BadPoints, match="row 31, column 20 is nan"):
        as_points(array)


class Wrapped(np.ndarray):
    def read(self, rows, columns):
        return np.asarray(self)[:, columns][rows]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("width", [3, 40, 3000])
def test_nearest_neighbors_of_blocks_equal_those_of_the_array(tmp_path, dtype, width):
    values = np.maximum(RNG.standard_normal((90, width)), 0).astype(dtype)
    values[70] = values[3]
    array = chunked("files", tmp_path, values, (32, min(width, 700)), 20)
    found, wanted = ds.nearest_neighbors(array), ds.nearest_neighbors(values)
    np.testing.assert_array_equal(found.distances, wanted.distances)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.rows, wanted.rows)
    spectra = ds.spectrum(array).eigenvalues, ds.spectrum(values).eigenvalues
    np.testing.assert_allclose(*spectra, rtol=1e-6, atol=1e-6 * spectra[1][0])


def test_panels_stay_within_their_budget(tmp_path):
    panels = Panels(chunked("files", tmp_path), 50 * 4 * 100)
    for start in range(0, 20, 2):
        panels.read(slice(None), slice(start, start + 2))
        assert sum(panel.nbytes for _, panel in panels._panels) <= 50 * 4 * 100


def test_chunk_files_are_readable_by_zarr(tmp_path):
    array = zarr.create_array(
        tmp_path / "a", shape=VALUES.shape, chunks=(7, 5), dtype="float32", compressors=None,
        filters=None,
    )  # fmt: skip
    chunked("files", tmp_path)
    np.testing.assert_array_equal(array[:], VALUES)


def test_writer_overwrites_half_written_rows(tmp_path):
    array = chunked("files", tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    array.write(10, VALUES[10:40] * 0 + 7)
    array.write(10, VALUES[10:40])
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_chunk_files_refuse_a_missing_or_truncated_chunk(tmp_path):
    array = chunked("files", tmp_path)
    chunk = tmp_path / "a" / "c" / "2" / "1"
    chunk.write_bytes(chunk.read_bytes()[:-4])
    with pytest.raises(ds.BadSource, match="damaged"):
        array[:]
    chunk.unlink()
    with pytest.raises(ds.BadSource, match=r"2.1 is missing"):
        array[14:21, 5:10]
    np.testing.assert_array_equal(array[:14], VALUES[:14])


@pytest.mark.parametrize(("n_features", "itemsize"), [(1, 4), (1000, 2), (150_528, 4), (10**7, 8)])
def test_chunk_shape_of_long_layers_is_4_to_16_megabytes(n_features, itemsize):
    rows, columns = chunk_shape(n_features, itemsize, 32)
    assert 4e6 <= rows * columns * itemsize <= 16e6
    assert columns == n_features or rows == 32


# -- stores -------------------------------------------------------------------------------

NAMES = ["fc1>relu", "layer1.0/conv#2", "Fc1>relu", "ö", "..", "x" * 300, "__a", "a%2Fb"]


class Odd(nn.Module):
    """Layers with names that no file may have."""

    def forward(self, x):
        return x * 2


@pytest.fixture
def store(tmp_path):
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    path = tmp_path / "s.zarr"
    data = torch.rand(20, 4), torch.arange(20) % 2
    ds.capture(net, data, "all", out=path, name="net")
    return path


def test_stored_activations_read_layers_on_access(store):
    found = ds.open_store(store)
    assert "1" in found
    assert list(found) == [layer.name for layer in found.layers]
    assert (found.n_points, found.name) == (20, "net")
    assert found.nbytes == 20 * 4 * sum(layer.n_features for layer in found.layers)
    assert isinstance(found["input"], np.ndarray)
    assert "net" in repr(found)
    np.testing.assert_array_equal(found.stored("0")[5:7, 1:3], found["0"][5:7, 1:3])
    with pytest.raises(KeyError, match="there is no layer 'x'; the layers are input"):
        found["x"]
    for chunk in (store / "layers").rglob("c/0/0"):
        chunk.unlink()
    assert ds.open_store(store).stored("input").shape == (20, 4)


def test_store_keeps_odd_layer_names_under_plain_keys(tmp_path):
    from dimscope.activations.store import Folder
    from dimscope.networks.capturing.readouts import Column, as_readout
    from dimscope.networks.capturing.recording import Chosen
    from dimscope.networks.capturing.store_writer import Writer, failures_of
    from dimscope.networks.data.batches import Batch

    class Recorded:
        n_batches = 1

    recorder = Recorded()
    recorder.columns = {name: Column(name, as_readout("flatten")) for name in NAMES}
    for number, column in enumerate(recorder.columns.values()):
        tensor = torch.full((3, 2), float(number))
        column.append(tensor, Batch(tensor, None, 3))
    recorder.chosen = [Chosen(ds.Layer(name), c) for name, c in recorder.columns.items()]
    writer = Writer(Folder(tmp_path / "s.zarr"), {}, 3)
    writer.start(recorder, 3)
    writer.add(recorder, None, None, 3, [])
    assert not failures_of(recorder.chosen)
    writer.finish(recorder, None, "odd", ds.Provenance("capture"))
    found = ds.open_store(tmp_path / "s.zarr")
    assert list(found) == NAMES
    assert [float(found[name][0, 0]) for name in NAMES] == list(range(len(NAMES)))
    keys = [path.name for path in (tmp_path / "s.zarr" / "layers").iterdir() if path.is_dir()]
    assert len({key.lower() for key in keys}) == len(NAMES)
    assert all(key.replace("-", "").replace("_", "").isalnum() and key.isascii() for key in keys)
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    assert {array.attrs["layer"] for _, array in group["layers"].arrays()} == set(NAMES)


def test_open_store_reads_compressed_arrays_through_zarr(store):
    wanted = ds.open_store(store)
    before = {name: wanted[name] for name in wanted}
    group = zarr.open_group(store, mode="r+")
    for key, array in list(group["layers"].arrays()):
        values, layer = array[:], dict(array.attrs)
        again = group["layers"].create_array(
            key, shape=values.shape, chunks=(3, 2), dtype=values.dtype, overwrite=True,
            attributes=layer,
        )  # fmt: skip
        again[:] = values
    found = ds.open_store(store)
    assert isinstance(found.stored("input"), ZarrChunks)
    for name in before:
        np.testing.assert_array_equal(found[name], before[name])


def test_store_attribute_is_complete_json(store):
    about = json.loads((store / "zarr.json").read_text())["attributes"]["dimscope"]
    assert about["schema_version"] == 1
    assert [one["role"] for one in about["layers"]] == ["input", "hidden", "last_hidden", "output"]
    assert about["provenance"]["step"] == "capture"
    assert not any(p.read_bytes().startswith(b"\x80") for p in store.rglob("*.json"))


def test_open_store_refuses_another_schema_version(store):
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(ds.BadSource, match=r"schema_version 9, but .* reads 1"):
        ds.open_store(store)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: (path / "zarr.json").unlink(), "not a dimscope store"),
        (lambda path: (path / "zarr.json").write_text("{"), "cannot be read"),
        (lambda path: next(path.glob("layers/000*/zarr.json")).unlink(), "damaged"),
    ],
)
def test_open_store_refuses_damaged_stores_and_other_files(store, spoil, words):
    spoil(store)
    with pytest.raises(ds.BadSource, match=words):
        ds.open_store(store)


def test_open_store_refuses_a_missing_path(tmp_path):
    for path in (tmp_path / "gone", tmp_path, "memory://gone.zarr"):
        with pytest.raises(ds.BadSource, match="there is no store"):
            ds.open_store(path)
    with pytest.raises(ds.BadSource, match="cannot be opened"):
        ds.open_store("nosuchprotocol://x")


def test_open_store_refuses_an_incomplete_store_with_its_progress(tmp_path):
    class Stops(nn.Module):
        def forward(self, x):
            if x[0, 0] > 6:
                raise KeyboardInterrupt
            return x * 2

    with pytest.raises(KeyboardInterrupt):
        ds.capture(Stops(), torch.arange(20.0).reshape(10, 2), batch_size=4, out=tmp_path / "s")
    with pytest.raises(ds.BadSource, match=r"4 of 10 rows; repeat .*.*s' to resume it"):
        ds.open_store(tmp_path / "s")


@pytest.mark.slow
def test_open_store_without_zarr_names_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['zarr'] = None; import dimscope as ds, torch; x = sys.argv[1]\n"
        "for work in (lambda: ds.open_store(x), "
        "lambda: ds.capture(torch.nn.ReLU(), torch.ones(3, 1), out=x), "
        "lambda: ds.capture(torch.nn.ReLU(), torch.ones(3, 1), out='memory://x'), "
        "lambda: ds.capture(torch.nn.ReLU(), torch.ones(3, 1), memory=1)):\n"
        "    try: work()\n"
        "    except ds.BadSource as error: print(error)\n"
        "print(len(ds.capture(torch.nn.ReLU(), torch.ones(3, 1))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x"], capture_output=True, text=True, check=True
    )
    *told, n = done.stdout.splitlines()
    assert len(told) == 4
    assert all("a store needs zarr; run pip install 'dimscope[scale]'" in one for one in told)
    assert n == "2"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_capture_in_memory_loads_no_zarr():
    code = (
        "import dimscope as ds, torch, sys; ds.capture(torch.nn.ReLU(), torch.ones(3, 1));"
        "ds.TwoNN()(torch.rand(50, 2)); print({'zarr', 'dask', 'distributed'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_profile_measures_a_large_stored_layer_in_blocks(store, monkeypatch):
    read = []
    whole = chunks.Chunked.__array__
    monkeypatch.setattr(
        chunks.Chunked, "__array__", lambda self, *a, **k: read.append(1) or whole(self, *a, **k)
    )
    found = ds.profile(store, memory=20 * 4 * 4)
    assert len(read) == 2  # the input of 4 units and the output of 3, not those of 6
    assert len(found) == 4


# -- chunks that are lost -----------------------------------------------------------------


@pytest.fixture(params=["folder", "memory://"])
def location(request, tmp_path):
    """Where a store of several chunks lies: on disk and elsewhere."""
    out = str(tmp_path / "s.zarr") if request.param == "folder" else f"memory://{tmp_path.name}"
    net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5))
    ds.capture(net, (torch.rand(300, 6), np.repeat([0, 1], 150)), out=out, batch_size=50)
    return out


def lose_a_chunk(location, array):
    files, root = fsspec.core.url_to_fs(location)
    files.rm(next(path for path in files.find(root) if array in path and "/c/" in path))


def test_profile_tells_that_a_layer_of_a_store_lost_a_chunk(location):
    whole = ds.profile(location)
    lose_a_chunk(location, "layers/")
    if location.startswith("memory://"):  # Zarr counts the chunks when the store is opened
        with pytest.raises(ds.BadSource, match="damaged"):
            ds.profile(location)
        return
    part = ds.profile(location)
    lost = [name for name in part if math.isnan(part[name].dimension)]
    assert len(lost) == 1
    assert "damaged" in part[lost[0]].reason
    assert all(float(part[name]) == float(whole[name]) for name in part if name not in lost)


def test_profile_by_class_refuses_a_store_that_lost_its_labels(location):
    lose_a_chunk(location, "labels/")
    with pytest.raises(ds.BadSource, match="its labels are missing"):
        ds.profile(location, by_class=True)


def test_stored_layer_refuses_rows_beyond_its_end(location):
    layer = ds.open_store(location).stored("input")
    with pytest.raises(IndexError, match="row 300 is out of range: there are 300 rows"):
        layer[300]
    assert sum(1 for _ in layer) == 300


def test_folder_ignores_and_removes_files_left_by_killed_processes(tmp_path):
    names = [
        ".journal.1234.part.json",  # before the random names
        ".journal.0123456789abcdef.part.json",
        ".stop.part",
    ]
    folder = Folder(tmp_path)
    for name in names:
        (tmp_path / name).write_text("{")
    assert folder.is_empty
    (tmp_path / "mine.part.json").write_text("{}")
    assert not folder.is_empty
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / ("0." + "a1" * 16 + ".partial")).write_text("")
    folder.tidy()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.part.json"]


# -- codecs that would run code -----------------------------------------------------------


class Tattle(numcodecs.abc.Codec):
    """Notes whenever it decodes, as a pickle runs code; the newest numcodecs refuses pickles."""

    codec_id = "tattle"
    decoded: ClassVar[list[int]] = []

    def encode(self, buf):
        return buf

    def decode(self, buf, out=None):
        self.decoded.append(len(buf))
        return numcodecs.compat.ndarray_copy(buf, out)


class Tattle3(zarr.abc.codec.BytesBytesCodec):
    """The same for arrays of format 3."""

    is_fixed_size = True

    def to_dict(self):
        return {"name": "tattle"}

    @classmethod
    def from_dict(cls, data):
        return cls()

    def compute_encoded_size(self, input_byte_length, chunk_spec):
        return input_byte_length

    async def _encode_single(self, chunk_bytes, chunk_spec):
        return chunk_bytes

    async def _decode_single(self, chunk_bytes, chunk_spec):
        Tattle.decoded.append(len(chunk_bytes))
        return chunk_bytes


@pytest.fixture
def tattle():
    numcodecs.register_codec(Tattle)
    zarr.registry.register_codec("tattle", Tattle3)
    Tattle.decoded.clear()
    return Tattle


def with_codec(place, values, zarr_format):
    """An array whose codec notes that it decodes."""
    array = zarr.create_array(
        place, shape=values.shape, chunks=values.shape, dtype=values.dtype, overwrite=True,
        compressors=Tattle() if zarr_format == 2 else Tattle3(), zarr_format=zarr_format,
    )  # fmt: skip
    array[:] = values
    return array


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("place", ["labels", "layers/000-input"])
def test_open_store_decodes_no_codec_that_could_run_code(store, tattle, place, zarr_format):
    values = np.asarray(zarr.open_array(store / place)[:])
    shutil.rmtree(store / place)
    with_codec(store / place, values, zarr_format)
    words = "format 2, whose codecs could run code" if zarr_format == 2 else "codec 'tattle' could"
    with pytest.raises(ds.BadSource, match=f"^{place} of .* is not read, because .*{words}"):
        ds.open_store(store)["input"]
    assert not tattle.decoded


def test_open_store_refuses_pickled_values(store):
    ran = store / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    shutil.rmtree(store / "labels")
    array = with_codec(store / "labels", np.arange(20), 2)
    about = json.loads((store / "labels" / ".zarray").read_text())
    about |= {"dtype": "|O", "compressor": None, "filters": [{"id": "pickle", "protocol": 5}]}
    (store / "labels" / ".zarray").write_text(json.dumps(about))
    (store / "labels" / "0").write_bytes(pickle.dumps(np.array([Evil()] * 20)))
    with pytest.raises(ds.BadSource, match=r"labels of .* is not read"):
        ds.open_store(store)
    assert array.shape == (20,)
    assert not ran.exists()


def test_open_store_refuses_values_that_are_no_numbers(store):
    path = next(store.glob("layers/000*/zarr.json"))
    path.write_text(path.read_text().replace('"float32"', '"string"'))
    with pytest.raises(ds.BadSource, match=r"000-input of .* because it holds string values"):
        ds.open_store(store)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_estimate_decodes_no_codec_of_a_zarr_array_that_could_run_code(tattle, zarr_format):
    array = with_codec("memory://handed.zarr", VALUES, zarr_format)
    with pytest.raises(ds.BadSource, match=r"the Zarr array is not read.*codec 'tattle' could"):
        ds.estimate(array)
    assert not tattle.decoded


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_estimate_takes_zarr_arrays_with_plain_codecs(zarr_format):
    array = zarr.create_array(
        f"memory://plain{zarr_format}", shape=VALUES.shape, dtype="f4", zarr_format=zarr_format
    )
    array[:] = VALUES
    assert ds.estimate(array).dimension == ds.estimate(VALUES).dimension


def test_open_store_reads_shards(store):
    wanted = ds.open_store(store)["input"]
    again = zarr.create_array(
        store / "layers" / "000-input", shape=wanted.shape, chunks=(5, 4), shards=(10, 4),
        dtype=wanted.dtype, overwrite=True,
    )  # fmt: skip
    again[:] = wanted
    np.testing.assert_array_equal(ds.open_store(store)["input"], wanted)
