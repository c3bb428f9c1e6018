"""Every benchmark loads; ``python -m benchmarks.check`` notices a copy and a second pass."""

import importlib
import json
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import dimscope as ds
from benchmarks import check, resident
from benchmarks.__main__ import PAGES, SECTIONS, page_of
from benchmarks.timing import interleaved
from dimscope.arrays import block_points, memory, numpy_points, threads
from dimscope.arrays.block_points import BlocksKind
from dimscope.neighbors import codes, products, searchers, tiles
from dimscope.neighbors.sketches import Widths
from dimscope.networks.capturing.recording import Recorder

# images of noise
pytestmark = pytest.mark.filterwarnings("ignore::dimscope.errors.HubDominates")

SEARCHED = "estimate, memory map, Sampled"
CODES, CODED_MAP = "estimate, codes of a layer", "estimate, codes, memory map, Sampled"
MAP, STORE, CAPTURE = "estimate, memory map", "profile of a store", "capture"


BENCHMARKS = [path.stem for path in Path(check.__file__).parent.glob("*.py")]


def test_each_round_of_a_timing_begins_with_another_task():
    runs = []
    seconds = interleaved({name: partial(runs.append, name) for name in "abc"}, repeats=3)
    assert "".join(runs) == "abcbcacab"
    assert sorted(seconds) == ["a", "b", "c"]


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "dadapy_worker"])
def test_benchmark_loads(name):
    assert importlib.import_module(f"benchmarks.{name}")


def test_each_section_has_its_markers_on_one_page():
    texts = {page: page.read_text() for page in PAGES.glob("*.md")}
    markers = re.findall(r"<!-- (?!end of )(\w+) -->", "".join(texts.values()))
    assert sorted(markers) == sorted(SECTIONS)
    for name in SECTIONS:
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        assert texts[page_of(name)].index(start) < texts[page_of(name)].index(end)


def failed(capsys, name):
    """The claims of a row that are lost."""
    code = check.main(["--only", name])
    sentences = capsys.readouterr().err.splitlines()
    assert code == (1 if sentences else 0)
    return sentences


@pytest.mark.slow
def test_copy_of_a_memory_map_loses_a_claim(capsys, monkeypatch):
    assert failed(capsys, MAP) == []
    convert = block_points.as_numpy
    monkeypatch.setattr(block_points, "as_numpy", lambda points: np.array(convert(points)))
    sentences = failed(capsys, MAP)
    assert len(sentences) == 1
    assert sentences[0].startswith(f"lost: {MAP}: allocated is ")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_copy_of_a_searched_map_loses_a_claim(tmp_path, monkeypatch):
    check.write_map(file := str(tmp_path / "points.npy"))
    recorded = json.loads(check.COUNTS.read_text())
    assert check.lost(resident_in(file), recorded["rows"], recorded["slack"]) == []
    convert = block_points.as_numpy
    monkeypatch.setattr(block_points, "as_numpy", lambda points: np.array(convert(points)))
    (sentence,) = check.lost(resident_in(file), recorded["rows"], recorded["slack"])
    assert sentence.startswith(f"{SEARCHED}: resident is ")


def resident_in(file):
    return {SEARCHED: {"resident": resident.peak(file)}}


@pytest.mark.slow
def test_more_passes_over_a_map_lose_a_claim(capsys, monkeypatch):
    def checked_again(array):
        for _ in range(3):
            checked(array)
        return checked(array)

    checked = block_points.checked
    monkeypatch.setattr(block_points, "checked", checked_again)
    sentences = failed(capsys, MAP)
    assert len(sentences) == 1
    assert sentences[0].startswith(f"lost: {MAP}: read is ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["estimate, sketches", "estimate, sketches of a layer"])
@pytest.mark.parametrize("widths", [None, Widths(4, 32), Widths(1, 8), Widths(400, 400)])
def test_sketches_that_do_not_fit_lose_a_claim(capsys, monkeypatch, name, widths):
    monkeypatch.setattr(searchers, "chosen_screen", lambda *_: widths)
    sentences = failed(capsys, name)
    assert any(sentence.startswith(f"lost: {name}: multiply-adds") for sentence in sentences)


@pytest.mark.slow
def test_loose_bounds_of_codes_lose_a_claim(capsys, monkeypatch):
    assert failed(capsys, CODES) == []
    ceiling = codes._ceiling
    monkeypatch.setattr(codes, "_ceiling", lambda *arguments: 1.05 * ceiling(*arguments))
    sentences = failed(capsys, CODES)
    assert any(sentence.startswith(f"lost: {CODES}: pairs is") for sentence in sentences)


@pytest.mark.slow
def test_keeping_the_codes_of_a_map_loses_a_claim(capsys, monkeypatch):
    assert failed(capsys, CODED_MAP) == []
    monkeypatch.setattr(codes, "is_mapped", lambda _: False)
    sentences = failed(capsys, CODED_MAP)
    assert [sentence.split(" is ")[0] for sentence in sentences] == [
        f"lost: {CODED_MAP}: allocated"
    ]


@pytest.mark.slow
def test_second_pass_over_a_store_loses_a_claim(capsys, monkeypatch):
    assert failed(capsys, STORE) == []
    opened = BlocksKind.open

    def open_twice(self, array, memory=None):
        np.asarray(array)
        return opened(self, array, memory)

    monkeypatch.setattr(BlocksKind, "open", open_twice)
    sentences = failed(capsys, STORE)
    assert len(sentences) == 1
    assert sentences[0].startswith(f"lost: {STORE}: read from a store is ")


@pytest.mark.slow
def test_tracing_every_batch_loses_a_claim(capsys, monkeypatch):
    assert failed(capsys, CAPTURE) == []
    begin = Recorder.begin
    monkeypatch.setattr(Recorder, "begin", lambda recorder, batch: begin(recorder, batch) and None)
    sentences = failed(capsys, CAPTURE)
    assert len(sentences) == 1
    assert sentences[0].startswith(f"lost: {CAPTURE}: values traced is ")


def test_second_search_loses_a_claim():
    points = check.relu_map(300, 50)
    counts = []
    for n in (1, 2):
        meter = check.Meter()
        with meter:
            for _ in range(n):
                ds.estimate(points)
        counts.append(meter.counts)
    assert counts[0]["multiply-adds"] >= 300 * 300 * 50 / 2
    assert counts[1]["multiply-adds"] == 2 * counts[0]["multiply-adds"]
    assert counts[1]["read"] == 2 * counts[0]["read"] > 0
    assert counts[1]["allocated"] < 1.5 * counts[0]["allocated"]


@pytest.mark.slow
def test_second_run_of_a_network_is_counted():
    network, data, counts = check.small_network(), check.images(8), []
    for n in (1, 2):
        meter = check.Meter()
        with meter:
            for _ in range(n):
                ds.capture(network, data)
        counts.append(meter.counts)
    assert counts[1]["multiply-adds"] == 2 * counts[0]["multiply-adds"] > 0
    assert counts[1]["torch"] == 2 * counts[0]["torch"] > 0


def test_pages_outside_the_heap_are_counted_until_they_are_freed():
    meter = check.Meter()
    with meter:
        for n_bytes in (3 << 20, 5 << 20, 4 << 20):
            pages = memory.own_pages(n_bytes)
            pages.resize(n_bytes + (1 << 20))
            del pages
        kept = memory.empty_array((1 << 20, 2), np.dtype(np.float32))
    assert len(kept) == 1 << 20
    assert 8 << 20 <= meter.counts["allocated"] < 8.1 * (1 << 20)


def test_meter_leaves_the_library_as_it_was():
    def watched():
        return [
            products.add_product, tiles.add_product, tiles.add_gram, tiles.Tiles.row_bounds,
            memory.own_pages, numpy_points.largest_absolute, block_points.largest_absolute,
            numpy_points.NumpyPoints.read, np.matmul, threads.workers(),
        ]  # fmt: skip

    check._load()
    before = watched()
    with check.Meter():
        during = watched()
    assert watched() == before
    assert sum(a is not b for a, b in zip(during, before, strict=True)) >= 9


def test_every_row_is_recorded_and_no_other():
    recorded = json.loads(check.COUNTS.read_text())
    assert recorded["rows"].keys() == check.ROWS.keys()
    assert recorded["slack"] <= 1.2


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Two rows that count what they are told, and a file of counts."""
    numbers = {"first": {"read": 100}, "second": {"read": 10, "torch": 3}}
    monkeypatch.setattr(check, "COUNTS", tmp_path / "counts.json")
    monkeypatch.setattr(
        check,
        "ROWS",
        {name: partial(lambda meter, name: meter.counts.update(numbers[name]), name=name)
         for name in numbers},
    )  # fmt: skip
    return numbers


def test_record_writes_the_counts_and_the_check_holds_them(rows, capsys):
    assert check.main([]) == 1
    assert "first: nothing is recorded" in capsys.readouterr().err
    assert check.main(["--record"]) == 0
    assert check.main([]) == 0
    rows["second"]["read"] = 11
    assert check.main([]) == 0
    rows["second"]["read"] = 12
    rows["first"]["torch"] = 1
    capsys.readouterr()
    assert check.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "lost: first: torch is 1, more than 1.15 times the recorded 0",
        "lost: second: read is 12, more than 1.15 times the recorded 10",
    ]
    assert check.main(["--record", "--only", "second"]) == 0
    assert check.main(["--only", "second"]) == 0
    assert check.main(["--only", "first"]) == 1
