"""Files are read safely and written whole."""

import numpy as np
import pytest

from dimscope.errors import BadSource
from dimscope.files import open_array, write_beside


def test_an_array_is_mapped_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(4, 3))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array[2, 1] == 7


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(beside):
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(BadSource, match="No space left on device"):
        write_beside(path, fail)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_written_replaces_the_old(tmp_path):
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
