"""Models by name, and weights that are read without running anything."""

import pickle
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dimscope.errors import BadSource
from dimscope.networks.models import load_model

FILE = """
import torch
from torch import nn
not_a_function = 3
def make_model():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
def make_text():
    return "text"
"""


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "nets.py").write_text(FILE)
    return f"{tmp_path / 'nets.py'}:make_model"


def weights_of(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_load_model_seeds_untrained_networks_only(spec):
    state = torch.get_rng_state()
    for name in (spec, "torchvision/squeezenet1_1", "timm/resnet10t"):
        first, again, other = (load_model(name, "random", seed=s) for s in (0, 0, 1))
        assert torch.equal(weights_of(first), weights_of(again))
        assert not torch.equal(weights_of(first), weights_of(other))
        assert not first.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("form", ["pt", "safetensors", "checkpoint", "prefix"])
def test_load_model_reads_weights_from_a_file(spec, tmp_path, form):
    trained = load_model(spec, seed=5).state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(trained, path)
    else:
        saved = {"checkpoint": {"epoch": 3, "state_dict": trained}}.get(form, trained)
        if form == "prefix":
            saved = {f"module.{key}": value for key, value in trained.items()}
        torch.save(saved, path)
    loaded = load_model(spec, path, seed=1).state_dict()
    assert all(torch.equal(loaded[key], trained[key]) for key in trained)


def test_load_weights_runs_no_code(spec, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    for name in ("zip.pt", "plain.pt", "model.pt"):
        with pytest.raises(BadSource, match="holds Python objects"):
            load_model(spec, tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_load_weights_refuses_unreadable_files(spec, tmp_path):
    state = load_model(spec).state_dict()
    torch.save(state, tmp_path / "good.pt")
    content = (tmp_path / "good.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    save_file(state, tmp_path / "cut.safetensors")
    content = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-9])
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("cut.pt", "cut.safetensors", "text.pt", "empty.pt"):
        with pytest.raises(BadSource, match="truncated"):
            load_model(spec, tmp_path / name)
    with pytest.raises(BadSource, match="does not exist"):
        load_model(spec, tmp_path / "none.pt")
    torch.save({"epoch": 3}, tmp_path / "number.pt")
    with pytest.raises(BadSource, match="holds no state dict"):
        load_model(spec, tmp_path / "number.pt")


def test_load_weights_refuses_those_of_another_network(spec, tmp_path):
    state = load_model(spec).state_dict()
    state["0.weight"] = torch.zeros(3, 5)
    state["extra"] = state.pop("2.bias")
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(BadSource) as caught:
        load_model(spec, tmp_path / "other.pt")
    for part in ("1 entries are missing (2.bias)", "1 are unknown (extra)", "(3, 5), not (3, 4)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/resnet81", "no model 'resnet81'. Did you mean .*'resnet18'"),
        ("timm/resnet81", "timm has no model 'resnet81'. Did you mean"),
        ("resnet18", "there is no model or store.*'torchvision/resnet18'"),
        ("keras/resnet18", "there is no model or store"),
        ("nowhere.py:make", "nowhere.py does not exist"),
    ],
)
def test_load_model_refuses_unknown_names(name, message):
    with pytest.raises(BadSource, match=message):
        load_model(name, "random")


def test_load_model_refuses_files_that_give_no_network(spec, tmp_path):
    file = spec.rpartition(":")[0]
    with pytest.raises(BadSource, match=r"not define 'make_modle'\. Did you mean 'make_model'"):
        load_model(f"{file}:make_modle")
    with pytest.raises(BadSource, match="returned a str"):
        load_model(f"{file}:make_text")
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(BadSource, match="ZeroDivisionError"):
        load_model(f"{tmp_path / 'broken.py'}:make_model")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [("timm", "timm/resnet18", "timm"), ("transformers", "hf/bert", "transformers")],
)
def test_load_model_names_a_missing_package(monkeypatch, package, name, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadSource, match=rf"pip install dimscope\[{extra}\]"):
        load_model(name)


def test_load_model_explains_a_missing_connection(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent-cache")
    with pytest.raises(BadSource, match="weights=FILE, or weights='random'"):
        load_model("torchvision/alexnet")


def test_load_model_reads_transformers_from_a_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=32, vocab_size=50,
        num_hidden_layers=2,
    )  # fmt: skip
    model = transformers.BertModel(config)
    model.save_pretrained(tmp_path)
    loaded = load_model(f"hf/{tmp_path}")
    np.testing.assert_array_equal(weights_of(loaded), weights_of(model))
    untrained = load_model(f"hf/{tmp_path}", "random", seed=1)
    assert not torch.equal(weights_of(untrained), weights_of(model))
