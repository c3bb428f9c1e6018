"""Files are read safely and written whole."""

import threading

import numpy as np
import pytest

from dimscope.errors import BadSource
from dimscope.files import TemporaryFolder, free_disk, is_leftover, open_array, write_beside


def test_open_array_maps_the_file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(4, 3))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array[2, 1] == 7


def test_write_beside_keeps_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(beside):
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(BadSource, match="No space left on device"):
        write_beside(path, fail)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_write_beside_replaces_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_beside(path, lambda beside: beside.write_text("new"))
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


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


def test_write_beside_refuses_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSource, match="cannot write"):
        write_beside(tmp_path / "file" / "x.json", lambda path: path.write_text("x"))
    with pytest.raises(BadSource, match="it is a folder"):
        write_beside(tmp_path, lambda path: path.write_text("x"))


def test_write_beside_serves_two_threads_at_once(tmp_path):
    path, both_began = tmp_path / "a.txt", threading.Barrier(2, timeout=60)
    errors, names = [], set()

    def write(text):
        def fill(beside):
            names.add(beside.name)
            beside.write_text(text[:100])
            both_began.wait()
            with beside.open("a") as file:
                file.write(text[100:])

        try:
            write_beside(path, fill)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(names) == 2
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [left.name for left in tmp_path.iterdir()] == ["a.txt"]


def test_write_beside_names_its_files_as_leftovers(tmp_path):
    names = []
    for target in ("a.txt", "b.tar.gz"):
        write_beside(tmp_path / target, lambda path: names.append(path) or path.write_text("x"))
    assert all(is_leftover(name.name) for name in names)
    assert [name.suffix for name in names] == [".txt", ".gz"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (".journal.1234.part.json", True),  # as written before names were random
        (".journal.0123456789abcdef.part.json", True),
        (".plain.0123456789abcdef.part", True),
        ("journal.0123456789abcdef.part.json", False),
        (".notes.part.txt", False),
        (".notes.0123456789abcdeg.part.txt", False),
        ("backup.part1.rar", False),
    ],
)
def test_is_leftover_knows_names_old_and_new(name, answer):
    assert is_leftover(name) is answer


def test_temporary_folder_is_deleted_with_its_object():
    folder = TemporaryFolder(".zarr")
    path = folder.path
    (path / "file").write_text("x")
    assert path.name.startswith("dimscope-")
    assert path.suffix == ".zarr"
    del folder
    assert not path.exists()


def test_free_disk_is_zero_without_a_folder(monkeypatch, tmp_path):
    assert free_disk() > 0
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert free_disk() == 0
