"""Tensors in safetensors and files of torch: the exact array, or a sentence on what is wrong."""

import pickle
import warnings

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import dimscope as ds
from array_files import (
    SPOILED,
    ZEROS,
    F,
    X,
    Y,
    assert_does_not_fit,
    assert_extra_named,
    assert_missing_value_named,
    assert_refused,
    assert_returned,
    cut,
)


def legacy(path):
    torch.save(torch.from_numpy(F), path, _use_new_zipfile_serialization=False)


def module(path):
    torch.save(torch.nn.Linear(3, 2), path)


def padded(size):
    """Write a safetensors file whose header has a given length."""

    def write(path):
        safetensors.numpy.save_file({"x": F}, path)
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        path.write_bytes(size.to_bytes(8, "little") + data[8:end].ljust(size) + data[end:])

    return write


BF = torch.from_numpy(X).bfloat16()


GOOD = {
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


@pytest.mark.parametrize("case", GOOD)
def test_read_points_returns_the_array(tmp_path, case):
    assert_returned(tmp_path, *GOOD[case])


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 3)), path)


def nested_tensor(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.nested is a prototype
        torch.save(torch.nested.nested_tensor([BF[:3], BF[:2]]), path)


BAD = {
    "module": ("a.pt", module, "never read; save the tensors"),
    "no tensor": ("a.pt", lambda p: torch.save({"epoch": 3}, p), "holds no tensor"),
    "safetensors cut": ("a.safetensors", cut(GOOD["safetensors"][1]), "truncated"),
    "torch cut": ("a.pt", cut(lambda p: torch.save(BF, p)), "truncated"),
    "torch as npz": ("a.npz", lambda p: torch.save(BF, p), "rename it to a.pt"),
    "equal names": (
        "a.pt", lambda p: torch.save({"a/b": BF, "a": {"b": BF}}, p),
        "two arrays with the name a/b; rename",
    ),
    "checkpoint": (
        "a.pt", lambda p: torch.save({"model": torch.nn.Linear(4, 3).state_dict()}, p),
        "weights of a network, not points: model/weight",
    ),
    "sparse in torch": ("a.pt", lambda p: torch.save(BF.to_sparse(), p), "to_dense"),
    "script": ("a.pt", script, "never read; save the tensors"),
    "rows in torch": ("a.pt", lambda p: torch.save(list(BF), p), "stack them with torch.stack"),
    "rows by name": ("a.pt", lambda p: torch.save(dict(enumerate(BF)), p), "if each of them is a"),
    "pickle as torch": (
        "a.pt", lambda p: p.write_bytes(pickle.dumps(np.sin, protocol=4)), "never read",
    ),
    "nested tensor": (
        "a.pt", nested_tensor,
        "nested tensor, whose rows differ in length; save one row",
    ),
    "state of a recurrent layer": (
        "a.pt", lambda p: torch.save(torch.nn.GRU(4, 3, bias=False).state_dict(), p),
        "weights of a network, not points: weight_ih_l0",
    ),
    "not torch": ("a.pt", lambda p: p.write_bytes(bytes(99)), "is not a file of torch.save"),
    "one axis in torch": ("a.pt", lambda p: torch.save(torch.tensor(Y), p), r"reshape\(-1, 1\)"),
    "three axes in safetensors": (
        "a.safetensors", lambda p: safetensors.torch.save_file({"x": torch.zeros(5, 2, 2)}, p),
        "flatten each point",
    ),
    "three axes in bfloat16": (
        "a.safetensors",
        lambda p: safetensors.torch.save_file({"x": torch.zeros(5, 2, 2).bfloat16()}, p),
        "flatten each point",
    ),
    "complex in torch": ("a.pt", lambda p: torch.save(torch.tensor(X + 1j), p), "complex"),
    "float8": (
        "a.safetensors",
        lambda p: safetensors.torch.save_file({"x": BF.to(torch.float8_e4m3fn)}, p),
        "save it as float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_read_points_refuses_a_file_in_one_sentence(tmp_path, case):
    assert_refused(tmp_path, *BAD[case])


@pytest.mark.parametrize("case", ["sparse in torch", "script", "pickle as torch"])
def test_read_points_lets_no_warning_of_torch_out(tmp_path, case):
    BAD[case][1](tmp_path / "a.pt")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ds.errors.DimscopeError):
            ds.read_points(tmp_path / "a.pt")
    assert warned == []


def test_read_points_refuses_quantized_tensors(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantized tensors are deprecated
        tensor = torch.quantize_per_tensor(torch.tensor(F), 0.1, 0, torch.qint8)
        torch.save(tensor, tmp_path / "a.pt")
    with pytest.raises(ds.BadPoints, match=r"a\.pt: points are .*qint8.*; give points.dequantize"):
        ds.read_points(tmp_path / "a.pt")
    with pytest.raises(ds.BadPoints, match="dequantize"):
        ds.estimate(tensor)


SPOILED_BF = torch.tensor(SPOILED).bfloat16()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.safetensors", lambda p: safetensors.numpy.save_file({"x": SPOILED}, p)),
        ("b.safetensors", lambda p: safetensors.torch.save_file({"x": BF + SPOILED_BF}, p)),
        ("a.pt", lambda p: torch.save(torch.tensor(SPOILED), p)),
    ],
)  # fmt: skip
def test_missing_values_are_named_by_row(tmp_path, name, write):
    assert_missing_value_named(tmp_path, name, write)


@pytest.mark.parametrize(
    ("package", "extra", "case"),
    [
        ("safetensors", "files", "safetensors"),
        ("torch", "torch", "torch"),
    ],
)
def test_read_points_names_the_extra_of_a_missing_package(
    tmp_path, monkeypatch, package, extra, case
):
    assert_extra_named(tmp_path, monkeypatch, package, extra, *GOOD[case][:2])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.pt", lambda p: torch.save(
            torch.from_numpy(ZEROS), p, _use_new_zipfile_serialization=False
        )),
    ],
)  # fmt: skip
def test_read_points_refuses_what_does_not_fit(tmp_path, monkeypatch, name, write):
    write(tmp_path / name)
    assert_does_not_fit(tmp_path / name, monkeypatch)


def test_read_points_maps_safetensors(tmp_path):
    name, write, _ = GOOD["safetensors"]
    write(tmp_path / name)
    assert isinstance(ds.read_points(tmp_path / name), np.memmap)
