"""Files are read safely and written whole."""

import io
import os
import socket
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from dimscope.errors import BadSource
from dimscope.files import TemporaryFolder, free_disk, is_leftover, write_beside


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


def test_write_beside_refuses_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSource, match="cannot write"):
        write_beside(tmp_path / "file" / "x.json", lambda path: path.write_text("x"))
    with pytest.raises(BadSource, match="it is a folder"):
        write_beside(tmp_path, lambda path: path.write_text("x"))


def test_write_beside_keeps_the_mode_of_the_old_file(tmp_path):
    path, new = tmp_path / "a.txt", tmp_path / "new.txt"
    for mode in (0o600, 0o664, 0o666):
        path.write_text("old")
        path.chmod(mode)
        modes = []
        write_beside(path, lambda beside: modes.append(beside.stat().st_mode))  # noqa: B023
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(modes[0]) == mode
    before = os.umask(0o027)
    try:
        write_beside(new, lambda beside: beside.write_text("new"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o640


@pytest.mark.parametrize("old", ["old", None])
def test_write_beside_replaces_the_target_of_a_link(tmp_path, old):
    link, target = tmp_path / "link.txt", tmp_path / "folder" / "target.txt"
    target.parent.mkdir()
    if old is not None:
        target.write_text(old)
    link.symlink_to(Path("folder") / "target.txt")
    write_beside(link, lambda beside: beside.write_text("new"))
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target.txt"]


def test_write_beside_refuses_a_link_to_itself(tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to(link)
    with pytest.raises(BadSource, match=r"cannot write .*link.txt: Too many levels"):
        write_beside(link, lambda beside: beside.write_text("new"))


def test_write_beside_writes_to_a_pipe(tmp_path):
    path = tmp_path / "pipe.npy"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    write_beside(path, lambda beside: np.save(beside, np.arange(3)))
    reader.join(timeout=10)
    assert stat.S_ISFIFO(path.stat().st_mode)
    np.testing.assert_array_equal(np.load(io.BytesIO(read[0])), [0, 1, 2])


def test_write_beside_leaves_a_device_in_its_place(tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.open("wb").close()
    except OSError:
        if os.geteuid() == 0:
            pytest.skip("no devices can be made here, and a failure would replace the real one")
        null = Path("/dev/null")
    write_beside(null, lambda beside: beside.write_text("lost"))
    assert null.is_char_device()


def test_write_beside_refuses_a_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        with pytest.raises(BadSource, match="cannot write s: it is a socket"):
            write_beside("s", lambda beside: beside.write_text("x"))
        assert Path("s").is_socket()


def test_write_beside_follows_no_link_with_the_temporary_name(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_text("old")
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)  # as if it were guessed
    (tmp_path / ".a.0000000000000000.part.txt").symlink_to(precious)
    with pytest.raises(BadSource, match="File exists"):
        write_beside(tmp_path / "a.txt", lambda beside: beside.write_text("new"))
    assert precious.read_text() == "old"


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
